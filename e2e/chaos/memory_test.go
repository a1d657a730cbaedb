//go:build e2e

package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/e2e/running"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// memoryMax is what the server's control group may take.
const memoryMax = 128 << 20

// group is a control group with a memory limit, of either version.
type group struct{ tasks, peak, kills string }

// limitedGroup makes one, or says why that is not possible here.
func limitedGroup(t *testing.T, limit int64) (*group, error) {
	name := fmt.Sprintf("carla-rl-chaos-%d", os.Getpid())
	for _, v := range []struct {
		root, limit, tasks, peak, kills string
		needs                           string
	}{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "tasks", "memory.max_usage_in_bytes", "memory.oom_control", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max", "cgroup.procs", "memory.peak", "memory.events", "cgroup.controllers"},
	} {
		if _, err := os.Stat(filepath.Join(v.root, v.needs)); err != nil {
			continue
		}
		dir := filepath.Join(v.root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if err := os.WriteFile(filepath.Join(dir, v.limit), strconv.AppendInt(nil, limit, 10), 0o644); err != nil {
			return nil, err
		}
		return &group{tasks: filepath.Join(dir, v.tasks), peak: filepath.Join(dir, v.peak), kills: filepath.Join(dir, v.kills)}, nil
	}
	return nil, errors.New("there is no control group of memory")
}

// killed is how many processes of the group the system has killed for memory.
func (g *group) killed(t *testing.T) int64 {
	text, err := os.ReadFile(g.kills)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n int64
		if _, err := fmt.Sscanf(line, "oom_kill %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("%s does not tell of kills:\n%s", g.kills, text)
	return 0
}

// TestMemory (L5): in a control group of 128 MiB, from which the server derives
// its own limit, ten times the capacity, bodies of 64 MiB and as many as are
// allowed of 10 MiB, and streams with messages of 8 MiB. The system kills nothing,
// what is too much is refused, and good clients are served afterwards as before.
//
// Where no control group can be made, GOMEMLIMIT stands in for it, and the most
// that the process had in memory is held to the same limit.
func TestMemory(t *testing.T) {
	ledger.Begin(t)
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	how, env := "a control group of 128 MiB", []string{"CARLA_RL_DEFAULT_MODEL=" + small, "CARLA_RL_HEADER_TIMEOUT=20s"}
	g, err := limitedGroup(t, memoryMax)
	cmd := exec.Command(name)
	if err != nil {
		how = "GOMEMLIMIT of 102 MiB, as there are no control groups here"
		t.Logf("no control group: %v; %s", err, how)
		env = append(env, "GOMEMLIMIT=102MiB")
	} else {
		cmd = exec.Command("/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, g.tasks, name)
	}
	p := start(t, cmd, policies(t, slow), env...)
	for _, model := range []string{small, quick} {
		p.ready(model, `{"observations":`+observations(1)+`,"deterministic":true}`)
	}
	if said := p.everything(); g != nil && !strings.Contains(said, "heap_limit") {
		t.Errorf("the server tells of no limit that it derived: %s", said)
	}
	ask := p.request(quick, `{"observations":`+observations(deadlineRows)+`,"deterministic":true,"priority":"control"}`)
	p.load(ask, 4, 0, time.Second)
	capacity := p.load(ask, 16, 0, min(*duration, 5*time.Second)).Throughput()

	stop := make(chan struct{})
	var all sync.WaitGroup
	var large, allowed, messages atomic.Int64
	var byStatus sync.Map
	until := func(f func()) {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		})
	}
	zeros := bytes.Repeat([]byte{' '}, 1<<20)
	body := func(size int, n *atomic.Int64, want map[int]bool) {
		c, err := net.DialTimeout("tcp", p.addr, patience)
		if err != nil {
			t.Errorf("dial: %v", err)
			time.Sleep(time.Second)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		tail := smallBody
		if _, err := fmt.Fprintf(c, "POST /predict HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", p.addr, size); err == nil {
			for left := size - len(tail); left > 0 && err == nil; left -= len(zeros) {
				_, err = c.Write(zeros[:min(left, len(zeros))])
			}
			_, _ = c.Write([]byte(tail)) // The server may have closed the connection, and says why in its answer.
		}
		head := make([]byte, 12)
		_, _ = c.Read(head)
		status, _ := strconv.Atoi(strings.TrimSpace(string(head[9:])))
		n.Add(1)
		byStatus.Store(status, true)
		if !want[status] && status != 0 { // 0: it was reset while this one still sent
			t.Errorf("a body of %d bytes was answered %d", size, status)
		}
	}
	for range 4 {
		until(func() { body(64<<20, &large, map[int]bool{413: true, 503: true}) })
	}
	for range 16 {
		until(func() {
			body(10_000_000, &allowed, map[int]bool{200: true, 429: true, 503: true, 504: true, 408: true})
		})
	}
	for range 4 {
		until(func() {
			w, err := openStream(p.addr, small, "")
			if err != nil {
				return // 503: too much is under way
			}
			defer w.Close(websocket.CloseNormal, "")
			message := append(w.Frame(), bytes.Repeat([]byte{' '}, 8_000_000)...)
			if w.Write(websocket.Text, append(message, `{"observation":{"obs":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]}}`...)) == nil {
				_, _ = w.Read()
			}
			messages.Add(1)
		})
	}
	worst := make(chan time.Duration)
	go func() { worst <- p.alive(stop) }()
	r := p.load(ask, overloadConnections, 10*capacity, *duration)
	close(stop)
	lives := <-worst
	all.Wait()
	full, _ := count(r, 429)
	late, _ := count(r, 504)
	busy, _ := count(r, 503)
	if r.Broken > 0 || r.Wrong > 0 || r.Good+full+late+busy != r.Answered || r.Good == 0 {
		t.Errorf("good requests: %v", r.Err())
	}
	for begun := time.Now(); ; {
		again := p.load(ask, 8, capacity/4, time.Second)
		if again.Err() == nil {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("at a quarter of the capacity afterwards: %v", again.Err())
		}
	}
	peak := p.most()
	figures := []string{fmt.Sprintf("most resident memory %.0f MiB", peak/(1<<20)), fmt.Sprintf("/livez at most %.1f ms", ms(lives)), fmt.Sprintf("%.0f/s good at ten times %.0f/s", r.Throughput(), capacity)}
	if g != nil {
		if n := g.killed(t); n > 0 {
			t.Errorf("%d processes were killed for memory", n)
		}
		if text, err := os.ReadFile(g.peak); err == nil {
			n, _ := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
			figures = append(figures, fmt.Sprintf("most of the group %.0f MiB of 128", n/(1<<20)))
		}
		figures = append(figures, "0 kills for memory")
	} else if peak > memoryMax {
		t.Errorf("%.0f MiB were resident, want %d at most", peak/(1<<20), memoryMax>>20)
	}
	ledger.Add(t, ledger.Row{
		ID: "L5", Test: "ten times the capacity and large bodies in " + how, Load: fmt.Sprintf("%.0f requests/s for %v", 10*capacity, *duration),
		Inputs: ledger.N(int(large.Load()+allowed.Load()+messages.Load()), "large inputs: %d bodies of 64 MiB, %d of 10 MB, %d stream messages of 8 MB", large.Load(), allowed.Load(), messages.Load()),
		Lost:   ledger.Nothing, Figures: figures,
	})
}

// smallBody is the end of a body of the small policy, behind its blanks.
const smallBody = `{"observations":[{"obs":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]}]}`

// most is the most memory that the process had at a time.
func (p *process) most() float64 {
	kib, err := running.Status(p.cmd.Process.Pid, "VmHWM")
	if err != nil {
		p.t.Fatal(err)
	}
	return float64(kib << 10)
}
