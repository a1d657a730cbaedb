package server_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestDrainReconnecting stops a server under clients that come back at once
// when they are told to close: whoever still gets a connection gets an answer.
func TestDrainReconnecting(t *testing.T) {
	const clients = 16
	s, err := server.New(&fakeBackend{contract: driving()}, server.Options{Limits: server.Limits{DrainAccept: 500 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // its sockets take no filter
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	message := "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: " + itoa(len(guideRequest)) + "\r\n\r\n" + guideRequest
	// talk sends requests on one connection until it is told to close.
	talk := func(c net.Conn) (answered int64, err error) {
		r := bufio.NewReader(c)
		for {
			if _, err := io.WriteString(c, message); err != nil {
				return answered, err
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return answered, err
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return answered, err
			}
			answered++
			if resp.Close {
				return answered, nil
			}
		}
	}
	var answered, talks atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				c, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second)
				if err != nil {
					return // no new connections are taken
				}
				n, err := talk(c)
				answered.Add(n)
				c.Close()
				if err != nil {
					t.Errorf("a request was lost after %d: %v", n, err)
					return
				}
				talks.Add(1)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	wg.Wait()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if talks.Load() <= clients {
		t.Errorf("%d connections of %d clients: nobody came back", talks.Load(), clients)
	}
	t.Logf("%d requests on %d connections, 0 lost", answered.Load(), talks.Load())
}
