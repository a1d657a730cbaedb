package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// TestDrain stops a server under the load of 64 keep-alive connections, each
// with a request in flight at every moment: every request that was sent is
// answered, and every connection is told of the end before it comes.
func TestDrain(t *testing.T) {
	const clients = 64
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error {
		time.Sleep(2 * time.Millisecond)
		return nil
	}}
	s, err := server.New(b, server.Options{Limits: server.Limits{RequestTimeout: time.Minute, DrainUnready: 50 * time.Millisecond, DrainAccept: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()

	message := "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: " + itoa(len(guideRequest)) + "\r\n\r\n" + guideRequest
	var answered, lost, told atomic.Int64
	var running, wg sync.WaitGroup
	running.Add(clients)
	for range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Error(err)
				running.Done()
				return
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for i := 0; ; i++ {
				if i == 3 {
					running.Done()
				}
				if _, err := io.WriteString(c, message); err != nil {
					lost.Add(1)
					t.Errorf("request %d could not be sent: %v", i, err)
					return
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					lost.Add(1)
					t.Errorf("request %d was lost: %v", i, err)
					return
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					lost.Add(1)
					t.Errorf("request %d: %d, %v", i, resp.StatusCode, err)
					return
				}
				answered.Add(1)
				if resp.Close {
					told.Add(1)
					return
				}
			}
		})
	}
	running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	wg.Wait()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if lost.Load() != 0 || told.Load() != clients {
		t.Errorf("%d of %d requests lost, %d of %d connections told", lost.Load(), answered.Load()+lost.Load(), told.Load(), clients)
	}
	t.Logf("%d requests answered, 0 lost", answered.Load())
}

// TestDrainOrder holds the order of a stop: not ready at once, requests still
// answered and new connections still taken, the listener closed at the end.
func TestDrainOrder(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: server.Limits{DrainUnready: 300 * time.Millisecond, DrainAccept: 2 * time.Second}})
	if r := s.do("GET", "/readyz", ""); r.status != 200 {
		t.Fatalf("before: %d", r.status)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	for !s.Draining() {
		time.Sleep(time.Millisecond)
	}
	// At first connections are kept, then each answer closes its own.
	for closing := false; !closing; {
		ready, live, answer := s.do("GET", "/readyz", ""), s.do("GET", "/livez", ""), s.do("POST", "/predict", guideRequest)
		if ready.status != 503 || ready.code(t) != "SHUTTING_DOWN" || live.status != 200 || answer.status != 200 {
			t.Fatalf("while draining: /readyz %d, /livez %d, /predict %d", ready.status, live.status, answer.status)
		}
		closing = answer.close
		time.Sleep(time.Millisecond)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("a connection is taken after the end")
	}
}

// TestDrainIsCutShort holds that a stop ends with its context.
func TestDrainIsCutShort(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error {
		close(entered)
		<-release
		return nil
	}}
	s := serve(t, b, server.Options{Limits: server.Limits{DrainUnready: time.Minute, DrainAccept: time.Minute}})
	answered := make(chan reply, 1)
	go func() { answered <- s.do("POST", "/predict", guideRequest) }()
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	close(release)
	if r := <-answered; r.status != 200 {
		t.Errorf("the request in flight: %d", r.status)
	}
}
