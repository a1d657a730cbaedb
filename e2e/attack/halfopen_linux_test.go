//go:build e2e

package attack_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// away is where the clients are that vanish: addresses of the loopback interface
// that nothing else has.
const away = "127.66.0.0/16"

// vanishing is what clients have done when their machine loses power or its network:
// nothing that they send arrives any more, and nothing that is sent to them,
// not even the end of the connection.
type vanishing struct {
	name   string
	sent   string        // on a connection, or as messages of a stream
	stream bool          // that is opened first
	heard  bool          // one answer was read
	limit  time.Duration // after which the server may hold none of them
	most   int           // clients, 0 for as many as all others
}

// TestHalfOpen (H7, H4): clients that vanish without a word are given up in their
// time, whatever they were about to do, and leave no descriptor. It has a
// network of its own, where packets can be dropped without harm to others.
func TestHalfOpen(t *testing.T) {
	switch os.Getenv(envNetwork) {
	case "":
		alone(t)
		return
	case network(t):
		t.Fatal("this is the network of the process that started it: nothing may be dropped here")
	}
	command(t, "ip", "link", "set", "lo", "up")
	n := ledger.Size(20, 1000)
	header, body, idle, ping := 5*time.Second, 30*time.Second, time.Minute, 15*time.Second
	var env []string
	if !full() {
		header, body, idle, ping = time.Second, 2*time.Second, 3*time.Second, 2*time.Second
		env = []string{"CARLA_RL_HEADER_TIMEOUT=1s", "CARLA_RL_BODY_TIMEOUT=2s", "CARLA_RL_IDLE_TIMEOUT=3s", "CARLA_RL_STREAM_PING=2s"}
	}
	p := serve(t, env...)
	post := "POST /predict HTTP/1.1\r\nHost: " + p.addr + "\r\nContent-Type: application/json\r\nContent-Length: "
	act := string(frame(0x81, []byte(`{"observation":{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}}`)))
	for _, v := range []vanishing{
		{name: "clients that vanish: an open stream", stream: true, limit: 2 * ping},
		{name: "clients that vanish: a stream that has asked", sent: strings.Repeat(act, 20), stream: true, limit: 2 * ping},
		{name: "clients that vanish: half a message of a stream", sent: act[:20], stream: true, limit: max(2*ping, body)},
		{name: "clients that vanish: nothing said", limit: idle},
		{name: "clients that vanish: half a header", sent: "GET /livez HTTP/1.1\r\nHost: a\r\n", limit: header},
		{name: "clients that vanish: half a small body", sent: post + "1000\r\n\r\n{", limit: header},
		{name: "clients that vanish: half a large body", sent: post + "60000\r\n\r\n{", limit: body},
		{name: "clients that vanish: between two requests", sent: string(p.request("POST", "/predict", goodBody)), heard: true, limit: idle},
		{name: "clients that vanish: answers under way", sent: strings.Repeat(string(p.request("GET", "/docs/docs.js", "")), 2000), limit: idle, most: ledger.Size(20, 300)},
	} {
		t.Run(v.name, func(t *testing.T) {
			p.t = t
			many := n
			if v.most > 0 {
				many = v.most
			}
			p.vanish(v, many)
		})
		p.t = t
	}
}

// vanish has n clients do what v says, drops all that is theirs, and waits until the
// server has given them up.
func (p *process) vanish(v vanishing, n int) {
	t := p.t
	ledger.Begin(t)
	p.settles(4)
	descriptors := p.descriptors()
	var list []net.Conn
	var took time.Duration
	var writers sync.WaitGroup
	stop := make(chan struct{})
	late := lateness(stop)
	g := p.beside(func() {
		for i := range n {
			c, err := p.prepare(v, i, &writers)
			if c != nil {
				list = append(list, c)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				break
			}
		}
		drop(t, "-I")
		begun := time.Now()
		for {
			left := p.metric("carla_rl_connections_open")
			if took = time.Since(begun); left <= 4 {
				break
			}
			if took > v.limit+time.Minute {
				t.Errorf("%.0f connections are open still after %v", left, took)
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		drop(t, "-D")
	})
	close(stop)
	slow := <-late
	for _, c := range list {
		_ = c.Close()
	}
	writers.Wait()
	if took > v.limit+slack()+2*slow {
		t.Errorf("the last was given up after %v, want %v at most; the machine was late by %v", took, v.limit, slow)
	}
	if streams := p.metric("carla_rl_streams"); streams > 0 {
		t.Errorf("%.0f streams are left", streams)
	}
	after := p.descriptors()
	for begun := time.Now(); after > descriptors+4 && time.Since(begun) < time.Minute; time.Sleep(100 * time.Millisecond) {
		after = p.descriptors()
	}
	if after > descriptors+4 {
		t.Errorf("%d descriptors, there were %d", after, descriptors)
	}
	ledger.Add(t, ledger.Row{
		ID: "H7", Test: v.name, Load: g.String(), Inputs: ledger.N(n, "clients, all whose packets were dropped"), Lost: lost(g),
		Figures: []string{
			fmt.Sprintf("the last given up after %v (limit %v, the machine late by %v)", took.Round(10*time.Millisecond), v.limit, slow.Round(10*time.Millisecond)), g.figure(),
			fmt.Sprintf("%d descriptors before, %d after, peak %.0f MiB", descriptors, after, p.peak()),
		},
	})
}

// prepare connects one client, each from an address of its own, and has it do what it
// does before it vanishes.
func (p *process) prepare(v vanishing, i int, writers *sync.WaitGroup) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 66, byte(i/250), byte(1+i%250))}, KeepAlive: -1}
	c, err := d.DialContext(p.t.Context(), "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	if v.stream {
		if status, err := p.handshake(c, "/v1/stream"); err != nil || status != http.StatusSwitchingProtocols {
			return c, fmt.Errorf("the stream is not opened: %d, %w", status, err)
		}
	}
	if v.most > 0 { // more than goes into the system's buffers
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		writers.Go(func() { _, _ = io.WriteString(c, v.sent) }) // until it is closed
		return c, nil
	}
	if _, err := io.WriteString(c, v.sent); err != nil || !v.heard {
		return c, err
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return c, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return c, err
}

// drop begins (-I) or ends (-D) that packets from and to those who are away are
// lost. Both are dropped where they come in: whoever sends them sees nothing of it.
func drop(t *testing.T, how string) {
	t.Helper()
	for _, side := range []string{"-s", "-d"} {
		command(t, "iptables", how, "INPUT", side, away, "-j", "DROP")
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// descriptors is how many the server has.
func (p *process) descriptors() int {
	p.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(list)
}

// envNetwork is the network namespace of the process that started this one for a
// network of its own.
const envNetwork = "CARLA_RL_ATTACK_NETWORK"

// network names the network namespace of this process.
func network(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// alone runs the test in a process that has a network namespace: its rules are those
// of nobody else, and end with it.
func alone(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("../../tools/need", "ip", "iptables").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1h")
	cmd.Env = append(os.Environ(), envAlone+"="+name, envNetwork+"="+network(t), "XTABLES_LOCKFILE="+filepath.Join(t.TempDir(), "lock"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestHalfOpen/") {
		t.Fatalf("in a network of its own: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}
