package server_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

var predictMessage = []byte("POST /predict HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nX-API-Key: k\r\nContent-Length: " +
	itoa(len(guideRequest)) + "\r\n\r\n" + guideRequest)

// roundTrips returns a function that sends the guide's request over one
// connection in memory and reads the answer.
func roundTrips(tb testing.TB, s stack) (trip func(), answer []byte) {
	tb.Helper()
	return exchanges(tb, s, predictMessage)
}

// exchanges does that with any request.
func exchanges(tb testing.TB, s stack, message []byte) (trip func(), answer []byte) {
	tb.Helper()
	ln := fasthttputil.NewInmemoryListener()
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	c, err := ln.Dial()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		c.Close()
		if err := s.Shutdown(context.Background()); err != nil {
			tb.Error(err)
		}
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	// The first answer tells how long each is.
	if _, err := c.Write(message); err != nil {
		tb.Fatal(err)
	}
	r := bufio.NewReaderSize(c, 4096)
	var resp fasthttp.Response
	if err := resp.Read(r); err != nil || resp.StatusCode() != 200 {
		tb.Fatalf("%d %v: %s", resp.StatusCode(), err, resp.Body())
	}
	answer = append(resp.Header.Header(), resp.Body()...)
	buf := make([]byte, 4096)
	return func() {
		if _, err := c.Write(message); err != nil {
			tb.Fatal(err)
		}
		for n := 0; ; {
			k, err := c.Read(buf[n:])
			if err != nil {
				tb.Fatal(err)
			}
			if n += k; whole(buf[:n]) {
				return
			}
		}
	}, answer
}

// whole reports whether an answer has all of the body that its header
// announces: its length is not the same each time, as it holds durations.
func whole(b []byte) bool {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return false
	}
	_, length, _ := bytes.Cut(head, []byte("Content-Length: "))
	n := 0
	for _, c := range length {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return len(body) == n
}

// stack is a server that is measured.
type stack interface {
	Serve(ln net.Listener) error
	Shutdown(ctx context.Context) error
}

func ours(tb testing.TB) stack {
	tb.Helper()
	s, err := server.New(&fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// noop is a server on the same stack that reads the same request and writes an
// answer of the same size with the same headers.
type noop struct{ *fasthttp.Server }

func newNoop(answer []byte) stack {
	_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	return noop{&fasthttp.Server{
		NoDefaultServerHeader: true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			if len(ctx.PostBody()) != len(guideRequest) {
				ctx.SetStatusCode(400)
				return
			}
			ctx.SetContentType("application/json")
			ctx.Response.Header.Set("X-Request-ID", "36fd6782-831b-40cd-a682-dc667bff6b1d")
			ctx.Response.Header.Set("X-Process-Time", "0.000021833")
			ctx.SetBody(body)
		},
	}}
}

func (n noop) Shutdown(ctx context.Context) error { return n.ShutdownWithContext(ctx) }

func TestPredictAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("not under the race detector: sync.Pool drops what it holds there; 1 case not run")
		return
	}
	keys, err := server.NewKeys(server.PlainKey("k", server.ScopeInfer), server.PlainKey("l", server.ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	guarded, err := server.New(&fakeBackend{contract: driving()}, server.Options{
		Limits: fast(), Keys: keys, AllowedHosts: []string{"a.example", "127.0.0.1"}, CORSOrigins: []string{"https://a.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]stack{"open": ours(t), "guarded": guarded} {
		trip, _ := roundTrips(t, s)
		for range 100 {
			trip()
		}
		if n := testing.AllocsPerRun(1000, trip); n >= 1 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
	}
}

// BenchmarkPredict is one request at a time over a connection in memory: all of
// the way but the machine's network.
func BenchmarkPredict(b *testing.B) {
	trip, _ := roundTrips(b, ours(b))
	b.SetBytes(int64(len(predictMessage)))
	b.ReportAllocs()
	for b.Loop() {
		trip()
	}
}

// BenchmarkNoop is the same with a server that does nothing.
func BenchmarkNoop(b *testing.B) {
	_, answer := roundTrips(b, ours(b))
	trip, _ := roundTrips(b, newNoop(answer))
	b.SetBytes(int64(len(predictMessage)))
	b.ReportAllocs()
	for b.Loop() {
		trip()
	}
}
