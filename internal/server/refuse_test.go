package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// TestRefusalsDoNotWait holds that clients beyond the limit of connections who
// say nothing, over TLS, are closed at once and hold up nobody: a handshake
// with them would stop the server from accepting.
func TestRefusalsDoNotWait(t *testing.T) {
	const most, beyond = 2, 300
	counted := &countingMetrics{}
	s, err := server.New(&fakeBackend{contract: driving()}, server.Options{Metrics: counted,
		Limits: server.Limits{MaxConns: most, DrainAccept: time.Millisecond, HeaderTimeout: time.Minute, IdleTimeout: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, MinVersion: tls.VersionTLS12}
	go func() { done <- s.Serve(tls.NewListener(plain, config)) }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var held []net.Conn
	for range most {
		held = append(held, dial())
	}
	eventually(t, "the first connections are open", func() bool { return counted.open() == most })
	begun := time.Now()
	for range beyond {
		c := dial()
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatalf("a connection beyond the limit: %d bytes, %v", n, err)
		}
	}
	// A wait of 100 ms for each would be half a minute; they take a moment.
	if took := time.Since(begun); took > 25*time.Second {
		t.Errorf("%d refusals took %v", beyond, took)
	}
	if n := counted.get("rejected connections"); n != beyond {
		t.Errorf("%d refusals are counted", n)
	}
	for _, c := range held {
		c.Close()
	}
	eventually(t, "the first connections are closed", func() bool { return counted.open() == 0 })
	c := tls.Client(dial(), &tls.Config{InsecureSkipVerify: true})
	if _, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answers, _ := readAnswers(t, c, time.Minute); len(answers) != 1 || answers[0].status != 200 {
		t.Errorf("after them: %+v", answers)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// slowResolver spends time between the beginning of a request and its rows.
type slowResolver struct {
	*fakeBackend
	takes time.Duration
}

func (b slowResolver) Resolve(model, version string) (server.Target, error) {
	time.Sleep(b.takes)
	return b.fakeBackend.Resolve(model, version)
}

// TestDeadlineRunsFromDecodedRequest holds that what comes before the rows are
// there, which grows with the body, spends nothing of a request's time.
func TestDeadlineRunsFromDecodedRequest(t *testing.T) {
	limits := fast()
	limits.RequestTimeout = 500 * time.Millisecond
	b := &fakeBackend{contract: driving(), act: func(ctx context.Context, _ *serving.Request) error { return ctx.Err() }}
	s := serve(t, slowResolver{b, 700 * time.Millisecond}, server.Options{Limits: limits})
	if r := s.do("POST", "/predict", guideRequest); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	late := &fakeBackend{contract: driving(), act: func(ctx context.Context, _ *serving.Request) error {
		time.Sleep(700 * time.Millisecond)
		return ctx.Err()
	}}
	s = serve(t, late, server.Options{Limits: limits})
	if r := s.do("POST", "/predict", guideRequest); r.status != 504 {
		t.Errorf("after the deadline: %d %s", r.status, r.body)
	}
}
