package server_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// warm opens a connection whose next request is hot.
func (s *site) warm() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	buf := make([]byte, 4096)
	if n, err := c.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200 OK\r\n") {
		s.t.Fatalf("%q, %v", buf[:n], err)
	}
	return c
}

func predictNumber(i int, more string) string {
	return fmt.Sprintf("POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Request-ID: n-%d\r\n%sContent-Length: %d\r\n\r\n%s", i, more, len(guideRequest), guideRequest)
}

// TestPipeline sends many requests at once, hot ones and others: each is
// answered once, in order, and the connection goes on.
func TestPipeline(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	c := s.warm()
	const requests = 400 // more than a read brings, and than one write answers
	var all strings.Builder
	for i := range requests {
		switch {
		case i == requests-1:
			all.WriteString(predictNumber(i, "Connection: close\r\n"))
		case i%50 == 49:
			fmt.Fprintf(&all, "GET /metadata HTTP/1.1\r\nHost: a\r\nX-Request-ID: n-%d\r\n\r\n", i)
		default:
			all.WriteString(predictNumber(i, ""))
		}
	}
	go func() {
		for text := all.String(); len(text) > 0; { // cut where it falls
			n := min(len(text), 7777)
			if _, err := c.Write([]byte(text[:n])); err != nil {
				return // the answers will be too few
			}
			text = text[n:]
		}
	}()
	answers, closed := readAnswers(t, c, time.Minute)
	if len(answers) != requests || !closed {
		t.Fatalf("%d answers, closed %v", len(answers), closed)
	}
	for i, r := range answers {
		if id := r.header.Get("X-Request-ID"); r.status != 200 || id != fmt.Sprintf("n-%d", i) || r.close != (i == requests-1) {
			t.Errorf("answer %d: %d of %s, close %v", i, r.status, id, r.close)
		}
	}
}

// TestHotInPieces sends a hot request as clients do that send the header
// first, and byte by byte.
func TestHotInPieces(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	c := s.warm()
	head, body, _ := strings.Cut(predictNumber(1, ""), "\r\n\r\n")
	pieces := []string{head + "\r\n\r\n", body, head[:20], head[20:] + "\r\n\r\n" + body[:5], body[5:]}
	for b := range []byte(head + "\r\n\r\n" + body) {
		pieces = append(pieces, (head + "\r\n\r\n" + body)[b:b+1])
	}
	pieces = append(pieces, "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	go func() {
		for _, p := range pieces {
			if _, err := c.Write([]byte(p)); err != nil {
				return // the answers will be too few
			}
			time.Sleep(time.Millisecond)
		}
	}()
	answers, _ := readAnswers(t, c, time.Minute)
	if len(answers) != 4 {
		t.Fatalf("%d answers: %+v", len(answers), answers)
	}
	for _, r := range answers {
		if r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}

// TestHotSlowClients holds that a client that stops in the middle of a hot
// request is cut off with 408, and one that is idle without a word.
func TestHotSlowClients(t *testing.T) {
	limits := fast()
	limits.HeaderTimeout, limits.IdleTimeout = 200*time.Millisecond, 600*time.Millisecond
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits})
	f := func(name, sent string, status ...int) {
		t.Helper()
		c := s.warm()
		fmt.Fprint(c, sent)
		answers, closed := readAnswers(t, c, time.Minute)
		if len(answers) != len(status) || !closed {
			t.Errorf("%s: %+v, closed %v", name, answers, closed)
			return
		}
		for i, r := range answers {
			if r.status != status[i] {
				t.Errorf("%s: answer %d is %d", name, i, r.status)
			}
		}
	}
	m := predictNumber(1, "")
	f("idle", m, 200)
	f("in the body", m+m[:len(m)-1], 200, 408)
	f("before the body", m[:len(m)-len(guideRequest)], 408)
	f("in the header", m+m[:30], 200, 408)
}

// TestHotSlowPolicy holds that the time to write an answer begins with the
// answer: a policy may take longer than a client has to take it.
func TestHotSlowPolicy(t *testing.T) {
	limits := fast()
	limits.WriteTimeout, limits.RequestTimeout = 100*time.Millisecond, time.Minute
	s := serve(t, &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error {
		time.Sleep(3 * limits.WriteTimeout)
		return nil
	}}, server.Options{Limits: limits})
	c := s.warm()
	fmt.Fprint(c, predictNumber(1, "")+predictNumber(2, "Connection: close\r\n"))
	answers, closed := readAnswers(t, c, time.Minute)
	if len(answers) != 2 || answers[0].status != 200 || answers[1].status != 200 || !closed {
		t.Errorf("%+v, closed %v", answers, closed)
	}
}

// TestHotShutdown holds that a stopping server answers the hot requests that
// reached it, with Connection: close, and closes connections that are idle.
func TestHotShutdown(t *testing.T) {
	came, leave := make(chan struct{}), make(chan struct{})
	limits := fast()
	limits.RequestTimeout = time.Minute
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error {
		close(came)
		<-leave
		return nil
	}}
	s := serve(t, b, server.Options{Limits: limits})
	c, idle := s.warm(), s.warm()
	fmt.Fprint(c, predictNumber(1, ""))
	<-came
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	if answers, closed := readAnswers(t, idle, time.Minute); len(answers) != 0 || !closed {
		t.Errorf("the idle connection: %+v, closed %v", answers, closed)
	}
	select {
	case err := <-done:
		t.Fatalf("the server stopped (%v) with a request under way", err)
	default:
	}
	close(leave)
	answers, closed := readAnswers(t, c, time.Minute)
	if len(answers) != 1 || answers[0].status != 200 || !closed {
		t.Errorf("%+v, closed %v", answers, closed)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestHotDraining holds that a hot request to a server that asks connections to
// close is told so.
func TestHotDraining(t *testing.T) {
	limits := fast()
	limits.DrainAccept = time.Minute
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits})
	c := s.warm()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(ctx) }()
	eventually(t, "the server drains", s.Draining)
	time.Sleep(10 * time.Millisecond)
	fmt.Fprint(c, predictNumber(1, ""))
	answers, closed := readAnswers(t, c, time.Minute)
	if len(answers) != 1 || answers[0].status != 200 || !answers[0].close || !closed {
		t.Errorf("%+v, closed %v", answers, closed)
	}
	cancel()
	<-done // its error is that it was cut short
}

// TestHotPanic holds that a panic of a policy is answered, and ends the
// connection and nothing else.
func TestHotPanic(t *testing.T) {
	counted := &countingMetrics{}
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error { panic("boom") }}
	s := serve(t, b, server.Options{Limits: fast(), Metrics: counted})
	c := s.warm()
	fmt.Fprint(c, predictNumber(1, "")+predictNumber(2, ""))
	answers, closed := readAnswers(t, c, time.Minute)
	if len(answers) != 1 || answers[0].status != 500 || answers[0].code(t) != "INTERNAL_ERROR" || !answers[0].close || !closed {
		t.Errorf("%+v, closed %v", answers, closed)
	}
	if counted.panics.Load() != 1 || counted.active.Load() != 0 {
		t.Errorf("%d panics, %d active", counted.panics.Load(), counted.active.Load())
	}
	if r := s.do("GET", "/livez", ""); r.status != 200 {
		t.Errorf("afterwards: %d", r.status)
	}
}
