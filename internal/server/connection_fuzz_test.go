package server

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// sameBackend answers every request with the same action.
type sameBackend struct{}

func (sameBackend) Resolve(model, version string) (Target, error) {
	if model != "" && model != "m" {
		return Target{}, ErrModelNotFound
	}
	return Target{Model: "m", Version: "v1", Contract: drivingContract()}, nil
}

func (sameBackend) Act(_ context.Context, _ *Target, req *serving.Request) error {
	req.Actions = make([]float32, 3*req.Rows)
	return nil
}
func (sameBackend) Warmup(context.Context) error { return nil }
func (sameBackend) Readiness() error             { return nil }
func (sameBackend) Started() bool                { return true }
func (sameBackend) Current() string              { return "v1" }
func (sameBackend) Listing() Listing             { return Listing{Model: "m", Current: "v1"} }

// memoryConn is a client that has sent everything and reads everything.
type memoryConn struct {
	in  *bytes.Reader
	out bytes.Buffer
	n   int // bytes of a portion
}

func (c *memoryConn) Read(p []byte) (int, error)       { return c.in.Read(p[:min(len(p), c.n)]) }
func (c *memoryConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *memoryConn) Close() error                     { return nil }
func (c *memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// connectionSeeds are what a client may say on a connection, and in portions of
// how many bytes it comes.
func connectionSeeds() (list []seed) {
	add := func(text string, portion int) { list = append(list, seed{[]byte(text), portion}) }
	request := "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n" + guide
	add(request, 4096)
	add(request+request, 11)
	add("GET /versions HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\nConnection: close\r\n\r\n", 1)
	add("OPTIONS /predict HTTP/1.0\r\nHost: a\r\nOrigin: https://a\r\nAccess-Control-Request-Method: POST\r\n\r\n", 7)
	add("POST /v1/models/m/versions/v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json;charset=utf-8\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", 50)
	add("HEAD /metadata HTTP/1.1\r\nHost: a\r\nX-API-Key: k\r\nX-Request-ID: x\r\nTraceparent: 00-\r\n\r\n", 50)
	hot, others := hotMessages()
	for _, text := range append(hot, others...) {
		add("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"+text+request, 1<<16)
	}
	for _, text := range good {
		add(text, 9)
	}
	for _, c := range bad {
		add(c.text, 9)
	}
	return list
}

// seed is what a fuzz target begins with.
type seed struct {
	data []byte
	n    int
}

// connectionFuzz are servers that are given connections.
type connectionFuzz struct {
	panics     *panicCounter
	documented map[int]bool
	servers    []*Server
	twins      []*hotTwins
}

func newConnectionFuzz(tb testing.TB) *connectionFuzz {
	tb.Helper()
	keys, err := NewKeys(PlainKey("k", ScopeInfer))
	if err != nil {
		tb.Fatal(err)
	}
	f := &connectionFuzz{panics: &panicCounter{}, documented: map[int]bool{200: true, 204: true, 307: true}}
	for _, fault := range faults {
		f.documented[fault.status] = true
	}
	for _, o := range []Options{{}, {Keys: keys, AllowedHosts: []string{"a", "*.b"}, CORSOrigins: []string{"https://a"}}} {
		f.twins = append(f.twins, newHotTwins(tb, o))
		o.Metrics = f.panics
		s, err := New(sameBackend{}, o)
		if err != nil {
			tb.Fatal(err)
		}
		f.servers = append(f.servers, s)
	}
	return f
}

// hold gives both servers the bytes.
func (f *connectionFuzz) hold(t *testing.T, data []byte, portion int) {
	t.Helper()
	for _, s := range f.servers {
		c := &memoryConn{in: bytes.NewReader(data), n: max(1, portion)}
		g := newGatedConn(c, connAddr(c), s)
		_ = s.http.ServeConn(g) // its error is the client's
		if f.panics.n > 0 {
			t.Fatalf("%q: a handler panicked", data)
		}
		checkAnswers(t, data, c.out.Bytes(), f.documented)
	}
	if bytes.Contains(data, []byte("HEAD ")) {
		return // whose answers have no body: where the next one begins is not known
	}
	for _, h := range f.twins {
		if err := h.compare(data, portion, bytes.Index(data, []byte("\r\n\r\n"))+4); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzConnection (H2) gives a connection any bytes. Whatever they are, nothing
// panics, and what comes back is a sequence of answers, each of them a
// documented status with a body of the documented form.
func FuzzConnection(f *testing.F) {
	for _, s := range connectionSeeds() {
		f.Add(s.data, s.n)
	}
	c := newConnectionFuzz(f)
	f.Fuzz(c.hold)
}

func checkAnswers(t *testing.T, data, out []byte, documented map[int]bool) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(out))
	for {
		// The method matters to how an answer is framed: one to HEAD has no body.
		if _, err := r.Peek(1); err == io.EOF {
			return
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			if bytes.Contains(data, []byte("HEAD ")) {
				return
			}
			t.Fatalf("%q: %v in %q", data, err, out)
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			if bytes.Contains(data, []byte("HEAD ")) {
				return
			}
			t.Fatalf("%q: %v in %q", data, err, out)
		}
		if !documented[resp.StatusCode] || resp.Header.Get("X-Request-ID") == "" {
			t.Fatalf("%q: status %d with %v", data, resp.StatusCode, resp.Header)
		}
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && !bytes.Contains(data, []byte("HEAD ")) {
			var v map[string]any
			if err := json.Unmarshal(body, &v); err != nil || resp.StatusCode >= 400 && (v["error"] == nil || v["details"] == nil && !bytes.Contains(data, []byte("/v2"))) {
				t.Fatalf("%q: status %d with %q (%v)", data, resp.StatusCode, body, err)
			}
		}
	}
}

// panicCounter counts panics and nothing else.
type panicCounter struct {
	noMetrics
	n int
}

func (p *panicCounter) Panicked() { p.n++ }
