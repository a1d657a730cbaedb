//go:build e2e

package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/onnxmodel"
	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/load"
)

// peer is a server with a policy of the demo's form: this one, or one of PyPI
// packages.
type peer struct {
	name, path string
	start      func(t *testing.T, model string, port int) *exec.Cmd
	body       func(form string) string // with what is wrong, or "" for a good one
	rows       func(n int) string       // a good one of several rows
	addr       string
	cmd        *exec.Cmd
}

// ours is the name of this server.
const ours = "carla-rl"

const seven = "25.5,0.1,0.8,0.2,0.5,0.9,0.1"

// guideBody is the form of the deployment guide, with what is wrong where form
// says so.
func guideBody(form string) string {
	const fine = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`
	speed := func(v string) string { return strings.Replace(fine, "25.5", v, 1) }
	switch form {
	case "":
		return fine
	case "NaN":
		return speed("NaN")
	case "1e999":
		return speed("1e999")
	case "a number as text":
		return speed(`"25.5"`)
	case "null":
		return speed("null")
	case "a missing value":
		return strings.Replace(fine, `"steering":0.1,`, "", 1)
	case "an unknown key":
		return strings.Replace(fine, `"speed"`, `"sped":1,"speed"`, 1)
	case "a key twice":
		return strings.Replace(fine, `"speed"`, `"speed":1,"speed"`, 1)
	case "too many values":
		return strings.Replace(fine, "0.9,0.1]", "0.9,0.1,0.1]", 1)
	case "no rows":
		return `{"observations":[],"deterministic":true}`
	}
	return anyBody(form, fine)
}

// inferBody is that of the Open Inference Protocol.
func inferBody(form string) string {
	const fine = `{"inputs":[{"name":"input","shape":[1,7],"datatype":"FP32","data":[` + seven + `]}]}`
	first := func(v string) string { return strings.Replace(fine, "[25.5", "["+v, 1) }
	switch form {
	case "":
		return fine
	case "NaN":
		return first("NaN")
	case "1e999":
		return first("1e999")
	case "a number as text":
		return first(`"25.5"`)
	case "null":
		return first("null")
	case "a missing value":
		return strings.Replace(fine, "25.5,", "", 1)
	case "an unknown key":
		return strings.Replace(fine, `"name"`, `"nam":"x","name"`, 1)
	case "a key twice":
		return strings.Replace(fine, `"data":[`, `"data":[1,1,1,1,1,1,1],"data":[`, 1)
	case "too many values":
		return strings.Replace(fine, "0.9,0.1]", "0.9,0.1,0.1]", 1)
	case "no rows":
		return `{"inputs":[{"name":"input","shape":[0,7],"datatype":"FP32","data":[]}]}`
	}
	return anyBody(form, fine)
}

func guideRows(n int) string {
	return `{"observations":[` + strings.TrimSuffix(strings.Repeat(`{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]},`, n), ",") + `],"deterministic":true}`
}

func inferRows(n int) string {
	return fmt.Sprintf(`{"inputs":[{"name":"input","shape":[%d,7],"datatype":"FP32","data":[%s]}]}`, n, strings.TrimSuffix(strings.Repeat(seven+",", n), ","))
}

func anyBody(form, fine string) string {
	switch form {
	case "no body":
		return " "
	case "half of it":
		return fine[:len(fine)/2]
	case "bytes behind the end":
		return fine + "x"
	case "nested 100,000 deep":
		return `{"observations":` + strings.Repeat("[", 100_000)
	case "no UTF-8":
		return strings.Replace(fine, `"deterministic"`, "\"\xff\"", 1)
	}
	panic("there is no bad input called " + form)
}

var badForms = []string{
	"NaN", "1e999", "a number as text", "null", "a missing value", "an unknown key", "a key twice", "too many values", "no rows",
	"no body", "half of it", "bytes behind the end", "nested 100,000 deep",
}

// python is a peer of the benchmark's environments.
func python(key, script string, env ...string) func(*testing.T, string, int) *exec.Cmd {
	return func(t *testing.T, model string, port int) *exec.Cmd {
		out, err := exec.Command("../../training/venv.sh", "bench-"+key, "../../bench/peers/requirements-"+key+".txt").Output()
		if err != nil {
			t.Fatalf("the environment of %s: %v", key, err)
		}
		python := strings.TrimSpace(string(out))
		script, err := filepath.Abs(script)
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command(python, script, strconv.Itoa(port), strconv.Itoa(runtime.NumCPU()))
		c.Dir = filepath.Dir(script)
		c.Env = append(append(os.Environ(), "BENCH_MODEL="+model, "BENCH_SCRATCH="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1", "OMP_NUM_THREADS=1",
			"PATH="+filepath.Dir(python)+":"+os.Getenv("PATH")), env...)
		return c
	}
}

// version of a package in a lock file.
func locked(t *testing.T, key, name string) string {
	text, err := os.ReadFile("../../bench/peers/requirements-" + key + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"=="); ok {
			return v
		}
	}
	t.Fatalf("%s is not in the lock of %s", name, key)
	return ""
}

func peers(t *testing.T) []*peer {
	fastapi := fmt.Sprintf("FastAPI %s, uvicorn %s, ONNX Runtime %s", locked(t, "fastapi", "fastapi"), locked(t, "fastapi", "uvicorn"), locked(t, "fastapi", "onnxruntime"))
	return []*peer{
		{name: ours, path: "/predict", body: guideBody, rows: guideRows, start: func(t *testing.T, model string, port int) *exec.Cmd {
			name, err := binary()
			if err != nil {
				t.Fatal(err)
			}
			return exec.Command(name, "serve", model, "--host", "127.0.0.1", "--port", strconv.Itoa(port))
		}},
		{name: fastapi, path: "/predict", body: guideBody, rows: guideRows, start: python("fastapi", "testdata/fastapi_checked.py")},
		{name: fastapi + ", limit_concurrency 64", path: "/predict", body: guideBody, rows: guideRows, start: python("fastapi", "testdata/fastapi_checked.py", "LIMIT_CONCURRENCY=64")},
		{name: "MLServer " + locked(t, "mlserver", "mlserver"), path: "/v2/models/driving/infer", body: inferBody, rows: inferRows, start: python("mlserver", "../../bench/peers/mlserver/start.py")},
	}
}

// up starts the peer and waits for its first answer.
func (p *peer) up(t *testing.T, model string) {
	t.Helper()
	port := freePorts(t)
	p.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = p.start(t, model, port)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.down)
	_ = log.Close()
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		status, _, body, err := load.Ask("tcp", p.addr, p.ask(""), 10*time.Second)
		if err == nil && status == 200 {
			return
		}
		if time.Since(begun) > startMax {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("%s has no answer: %d %v %s\n%s", p.name, status, err, body, text[max(0, len(text)-3000):])
		}
	}
}

// freePorts returns the first of three ports beside each other that nobody has.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port, free := l.Addr().(*net.TCPAddr).Port, 0
		_ = l.Close()
		for i := range 3 {
			if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i))); err == nil {
				_ = l.Close()
				free++
			}
		}
		if free == 3 {
			return port
		}
	}
	t.Fatal("no three ports beside each other are free")
	return 0
}

// down ends the peer with the workers that it started.
func (p *peer) down() {
	if p.cmd != nil {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

func (p *peer) ask(form string) []byte {
	return load.Request("POST", p.addr, p.path, "application/json", []byte(p.body(form)))
}

// resident is the memory of all its processes, in MiB.
func (p *peer) resident() (mib float64) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // It has ended.
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 21 && fields[2] == strconv.Itoa(p.cmd.Process.Pid) {
			pages, _ := strconv.Atoi(fields[21])
			mib += float64(pages*os.Getpagesize()) / (1 << 20)
		}
	}
	return mib
}

// answers tells whether a good request is answered.
func (p *peer) answers() bool {
	status, _, _, err := load.Ask("tcp", p.addr, p.ask(""), patience)
	return err == nil && status == 200
}

// TestPeers puts what other tests put on this server on others as well, each in
// the same way and with the same policy, and keeps what they did. It asserts
// nothing of them; of this server the other tests do.
func TestPeers(t *testing.T) {
	ledger.Begin(t)
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(t.TempDir(), "driving.onnx")
	if out, err := exec.Command(name, "convert", "../../internal/demo/artifact", model).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	heavy := heavyModel(t)
	for _, p := range peers(t) {
		t.Run(p.name, func(t *testing.T) {
			file := model
			if p.name == ours {
				file = "../../internal/demo/artifact" // with its contract, as those of the others are in their programs
			}
			p.up(t, file)
			row := func(id, test string, figures ...string) {
				if !p.answers() {
					figures = append(figures, "**no good request is answered afterwards**")
				}
				ledger.Add(t, ledger.Row{ID: id, Test: test, Subject: p.name, Lost: "see the figures", Figures: figures})
			}
			p.slowed(t, row)
			p.misled(t, row)
			p.bombed(t, row)
			p.down()
			if file = heavy; p.name == ours {
				file = filepath.Dir(heavy)
			}
			p.up(t, file)
			p.overloaded(t, row)
		})
	}
}

// heavyModel is a network of the demo's form that takes milliseconds, so that what
// is measured is the queue in front of it and not how fast requests are read.
func heavyModel(t *testing.T) string {
	t.Helper()
	m := onnxmodel.New("heavy")
	x, in := m.Input("input", onnxmodel.Float, onnxmodel.Batch, 7), 7
	for i := range 9 {
		x = m.Node("Tanh", nil, m.Dense(x, fmt.Sprint("layer", i), in, 1024))
		in = 1024
	}
	m.Output(m.Dense(x, "out", in, 3), onnxmodel.Float)
	card := `model_name: heavy
version: v1.0.0
model_type: onnx
model_filename: model.onnx
postprocess: none
observation: [{name: speed, low: 0, high: 200}, {name: steering, low: -1, high: 1}, {name: sensors, shape: [5], low: 0, high: 1}]
action: [{name: throttle}, {name: brake}, {name: steer}]
`
	dir := t.TempDir()
	for name, data := range map[string][]byte{"model.onnx": m.Bytes(), "model_card.yaml": []byte(card)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "model.onnx")
}

// overloaded asks for what the peer can do, and for five times as much.
func (p *peer) overloaded(t *testing.T, row func(id, test string, figures ...string)) {
	run := func(connections int, rate float64, d time.Duration) *load.Result {
		r, err := load.Run(load.Options{Network: "tcp", Address: p.addr, Requests: [][]byte{load.Request("POST", p.addr, p.path, "application/json", []byte(p.rows(overloadRows)))}, Connections: connections, Rate: rate, Duration: d, Wait: true, Grace: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	d := max(5*time.Second, *duration/6)
	run(8, 0, time.Second)
	capacity := run(8, 0, d/2).Throughput()
	r := run(overloadConnections, 5*capacity, d)
	inTime := float64(r.Latency.Between(0, 100*time.Millisecond)) / d.Seconds()
	figures := []string{
		fmt.Sprintf("capacity %.0f/s", capacity),
		fmt.Sprintf("at five times that %.0f/s answered, %.0f/s of them within 100 ms of when they were due, P99 %.0f ms", r.Throughput(), inTime, ms(r.Latency.Percentile(99))),
	}
	for status, c := range r.Status {
		if status != 200 {
			figures = append(figures, fmt.Sprintf("%s of %d, P99 %.1f ms", ledger.Thousands(int64(c.Count)), status, ms(c.Service.Percentile(99))))
		}
	}
	if r.Broken > 0 {
		figures = append(figures, fmt.Sprintf("%d without an answer", r.Broken))
	}
	row("L2", fmt.Sprintf("five times the capacity of a policy of milliseconds, %d connections, %d rows a request", overloadConnections, overloadRows), figures...)
}

// slowed opens connections that never end their header, while a good client asks.
func (p *peer) slowed(t *testing.T, row func(id, test string, figures ...string)) {
	const clients, rate, patient = 500, 50, 20 * time.Second
	begun := time.Now()
	var mu sync.Mutex
	var closed []time.Duration
	var all sync.WaitGroup
	for range clients {
		c, err := net.DialTimeout("tcp", p.addr, patience)
		if err != nil {
			continue
		}
		_, _ = io.WriteString(c, "POST "+p.path+" HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		all.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(begun.Add(patient))
			_, err := io.Copy(io.Discard, c)
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				return
			}
			mu.Lock()
			closed = append(closed, time.Since(begun))
			mu.Unlock()
		})
	}
	r, err := load.Run(load.Options{Network: "tcp", Address: p.addr, Requests: [][]byte{p.ask("")}, Connections: 4, Rate: rate, Duration: patient / 2, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	all.Wait()
	last := time.Duration(0)
	for _, d := range closed {
		last = max(last, d)
	}
	figures := []string{fmt.Sprintf("%d of %d still held after %v", clients-len(closed), clients, patient)}
	if len(closed) > 0 {
		figures[0] += fmt.Sprintf(", the others closed within %.1f s", last.Seconds())
	}
	row("H4", "500 connections that never end their header", append(figures, fmt.Sprintf("good clients beside them: %d of %d answered, P99 %.1f ms", r.Good, r.Sent, ms(r.Service.Percentile(99))))...)
}

// misled sends bodies that mean nothing, or two things.
func (p *peer) misled(_ *testing.T, row func(id, test string, figures ...string)) {
	var accepted, broke []string
	refused := 0
	for _, form := range badForms {
		status, _, _, err := load.Ask("tcp", p.addr, p.ask(form), patience)
		switch {
		case err != nil:
			broke = append(broke, form+" (no answer)")
		case status >= 500:
			broke = append(broke, fmt.Sprintf("%s (%d)", form, status))
		case status >= 400:
			refused++
		default:
			accepted = append(accepted, form)
		}
	}
	none := func(x []string) string {
		if len(x) == 0 {
			return "none"
		}
		return strings.Join(x, ", ")
	}
	row("H3", fmt.Sprintf("%d bad bodies: which are taken for good, and which break the server", len(badForms)),
		fmt.Sprintf("%d refused with 4xx", refused), "answered 200: "+none(accepted), "answered 5xx or not at all: "+none(broke))
}

// bombed sends headers and bodies that are far too large.
func (p *peer) bombed(_ *testing.T, row func(id, test string, figures ...string)) {
	said := func(request []byte, more []byte, times int) string {
		c, err := net.DialTimeout("tcp", p.addr, patience)
		if err != nil {
			return "no connection"
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		answer := make(chan string, 1)
		go func() {
			head := make([]byte, 12)
			if _, err := io.ReadFull(c, head); err != nil {
				answer <- "closed"
				return
			}
			answer <- string(head[9:])
		}()
		sent := 0
		n, err := c.Write(request)
		sent += n
		for i := 0; i < times && err == nil; i++ {
			n, err = c.Write(more)
			sent += n
		}
		return fmt.Sprintf("%s after %.1f MiB", <-answer, float64(sent)/(1<<20))
	}
	before := p.resident()
	head := said([]byte("GET / HTTP/1.1\r\nHost: x\r\nX-Big: "), bytes.Repeat([]byte("a"), 64<<10), 80)
	headers := said([]byte("GET / HTTP/1.1\r\nHost: x\r\n"), bytes.Repeat([]byte("A: b\r\n"), 50), 100)
	const size = 100 << 20
	var all sync.WaitGroup
	var mu sync.Mutex
	bodies := map[string]bool{}
	peak := before
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			peak = max(peak, p.resident())
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	for range 4 {
		all.Go(func() {
			s := said(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", p.path, size), bytes.Repeat([]byte(" "), 1<<20), size>>20)
			status, _, _ := strings.Cut(s, " ")
			mu.Lock()
			bodies[status] = true
			mu.Unlock()
		})
	}
	all.Wait()
	close(stop)
	<-watched
	row("H6", "a header of 5 MiB, 5,000 headers, four bodies of 100 MiB", "header: "+head, "headers: "+headers,
		"bodies: "+strings.Join(slices.Sorted(maps.Keys(bodies)), ", "), fmt.Sprintf("memory %.0f MiB before, %.0f MiB at most", before, peak))
}
