package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// roomy are limits under which a test may hold a request for as long as it
// likes.
func roomy() server.Limits {
	return server.Limits{DrainAccept: time.Millisecond, RequestTimeout: time.Minute}
}

// gated is a hook that holds acts until the gate is opened, and tells of each
// that has come.
func gated() (hook func(*serving.Request) error, came chan struct{}, open func()) {
	came, gate := make(chan struct{}, 100), make(chan struct{})
	hook = func(*serving.Request) error {
		came <- struct{}{}
		<-gate
		return nil
	}
	return hook, came, func() { close(gate) }
}

// TestSessionBusy holds that of acts that overlap one is made and the others
// are refused, and change nothing.
func TestSessionBusy(t *testing.T) {
	b := newMemory()
	s := serve(t, b, server.Options{Limits: roomy()})
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
	hook, came, open := gated()
	b.on(hook)
	first := make(chan reply, 1)
	go func() { first <- s.do("POST", "/v1/sessions/a/act", observe(1, 2, "")) }()
	<-came
	for range 10 {
		s.refused("POST", "/v1/sessions/a/act", observe(5, 5, `,"episode_start":true`), 409, "SESSION_BUSY")
		s.refused("POST", "/v1/sessions/a/reset", "", 409, "SESSION_BUSY")
	}
	if i := s.ask("GET", "/v1/sessions/a", "", 200); i.Step != 0 {
		t.Errorf("%+v", i)
	}
	open()
	if r := <-first; r.status != 200 || !strings.Contains(r.body, `"actions":[[1.0,2.0]]`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	equalAction(t, "the next", s.act("a", 1, 0, ""), 1.5, 1)
}

// TestSessionDeletedWhileActing holds that the act under way is answered.
func TestSessionDeletedWhileActing(t *testing.T) {
	b := newMemory()
	s := serve(t, b, server.Options{Limits: roomy()})
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
	hook, came, open := gated()
	b.on(hook)
	first := make(chan reply, 1)
	go func() { first <- s.do("POST", "/v1/sessions/a/act", observe(1, 2, "")) }()
	<-came
	if r := s.do("DELETE", "/v1/sessions/a", ""); r.status != 204 {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201) // another one of that name
	open()
	if r := <-first; r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if i := s.ask("GET", "/v1/sessions/a", "", 200); i.Step != 0 {
		t.Errorf("the act of the one before moved it: %+v", i)
	}
	equalAction(t, "the other one", s.act("a", 3, 0, ""), 3, 0)
}

// TestSessionHammer sends acts of one session from many clients at once. Those
// that are answered are, in the order of their steps, one sequential run.
func TestSessionHammer(t *testing.T) {
	const clients, each = 16, 60
	s := serve(t, newMemory(), server.Options{Limits: roomy()})
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
	type won struct {
		sessionAnswer
		x       float32
		episode bool // it began one
	}
	var mu sync.Mutex
	var winners []won
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(client)))
			for i := range each {
				w := won{x: float32(client*each + i), episode: r.IntN(8) == 0}
				members := ""
				if w.episode {
					members = `,"episode_start":true`
				}
				got := s.do("POST", "/v1/sessions/a/act", observe(w.x, 0, members))
				switch {
				case got.status == 409 && got.code(t) == "SESSION_BUSY":
				case got.status == 200 && json.Unmarshal([]byte(got.body), &w.sessionAnswer) == nil:
					mu.Lock()
					winners = append(winners, w)
					mu.Unlock()
				default:
					t.Errorf("%d %s", got.status, got.body)
				}
			}
		})
	}
	wg.Wait()
	slices.SortFunc(winners, func(a, b won) int { return int(a.Step) - int(b.Step) })
	var h float32
	var episode uint64
	for i, w := range winners {
		if w.episode {
			h = 0
			if i > 0 {
				episode++
			}
		}
		h = h/2 + w.x
		if w.Step != uint64(i) || w.Episode != episode || w.Actions[0][0] != h {
			t.Fatalf("answer %d: %+v, want episode %d and %v", i, w, episode, h)
		}
	}
	if i := s.ask("GET", "/v1/sessions/a", "", 200); i.Step != uint64(len(winners)) {
		t.Errorf("%d acts were answered, the session is at %d", len(winners), i.Step)
	}
	t.Logf("%d of %d acts were made", len(winners), clients*each)
}

// walk is a sequential run of the fake's session, as a test computes it.
type walk struct {
	h    [2]float32
	step uint64
}

func (w *walk) act(x, y float32) (float32, float32) {
	w.h[0], w.h[1] = w.h[0]/2+x, w.h[1]/2+y
	w.step++
	return w.h[0], w.h[1]
}

// TestSessionsDoNotLeak runs many sessions at once, over a few connections in
// an order that is drawn, with episodes that begin, resets, ends, refusals and
// connections that break: each is its own sequential run.
func TestSessionsDoNotLeak(t *testing.T) {
	const clients, sessions, acts = 8, 40, 600
	b := newMemory()
	s := serve(t, b, server.Options{Limits: roomy()})
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(client)))
			walks := map[string]*walk{}
			for range acts {
				id := fmt.Sprintf("c%d-%d", client, r.IntN(sessions))
				path := "/v1/sessions/" + id
				w := walks[id]
				if w == nil {
					if r := s.do("POST", "/v1/sessions", `{"id":"`+id+`"}`); r.status != 201 {
						t.Errorf("%d %s", r.status, r.body)
						return
					}
					w = &walk{}
					walks[id] = w
				}
				x, y := float32(r.IntN(64)), float32(r.IntN(64))
				switch r.IntN(12) {
				case 0:
					s.do("DELETE", path, "")
					delete(walks, id)
				case 1:
					s.do("POST", path+"/reset", "")
					*w = walk{}
				case 2:
					s.do("POST", path+"/act", `{"observation":[1]}`)
				case 3: // The client goes away before its request has come.
					c, err := net.Dial("tcp", s.addr)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.WriteString(c, "POST "+path+"/act HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"observation\":[9,9")
					c.Close()
				default:
					members := fmt.Sprintf(`,"step":%d`, w.step)
					if r.IntN(10) == 0 {
						members += `,"episode_start":true`
						w.h = [2]float32{}
					}
					var a sessionAnswer
					got := s.do("POST", path+"/act", observe(x, y, members))
					if err := json.Unmarshal([]byte(got.body), &a); got.status != 200 || err != nil {
						t.Errorf("%s: %d %v %s", id, got.status, err, got.body)
						return
					}
					if wx, wy := w.act(x, y); a.ID != id || a.Step != w.step-1 || a.Actions[0][0] != wx || a.Actions[0][1] != wy {
						t.Errorf("%+v, want %v %v", a, wx, wy)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestSessionOfAClientThatWentAway holds that an act which has come is made,
// and that the session is free afterwards.
func TestSessionOfAClientThatWentAway(t *testing.T) {
	b := newMemory()
	s := serve(t, b, server.Options{Limits: roomy()})
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
	hook, came, open := gated()
	b.on(hook)
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	body := observe(1, 2, "")
	if _, err := io.WriteString(c, "POST /v1/sessions/a/act HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	<-came
	c.Close()
	open()
	for s.ask("GET", "/v1/sessions/a", "", 200).Step == 0 {
		time.Sleep(time.Millisecond)
	}
	for s.do("POST", "/v1/sessions/a/act", observe(1, 0, `,"step":1`)).status == 409 { // until it is let go
		time.Sleep(time.Millisecond)
	}
	if i := s.ask("GET", "/v1/sessions/a", "", 200); i.Step != 2 {
		t.Errorf("%+v", i)
	}
}

// TestSessionDrains holds that a server which stops answers the acts that have
// begun.
func TestSessionDrains(t *testing.T) {
	b := newMemory()
	srv, err := server.New(b, server.Options{Limits: roomy()})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	s := &site{Server: srv, addr: ln.Addr().String(), t: t}
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
	http.DefaultClient.CloseIdleConnections()
	hook, came, open := gated()
	b.on(hook)
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := observe(1, 2, "")
	if _, err := io.WriteString(c, "POST /v1/sessions/a/act HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	<-came
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		stopped <- srv.Shutdown(ctx)
	}()
	for { // until the port is closed
		probe, err := net.Dial("tcp", s.addr)
		if err != nil {
			break
		}
		probe.Close()
		time.Sleep(time.Millisecond)
	}
	open()
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 200 || !strings.Contains(string(text), `"actions":[[1.0,2.0]]`) {
		t.Errorf("%d %v %s", answer.StatusCode, err, text)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
