package server_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// TestStreamsEndWithTheServer closes streams with 1001: the idle ones at once,
// one that acts behind its answer, and lets none begin.
func TestStreamsEndWithTheServer(t *testing.T) {
	hold, started := make(chan struct{}), make(chan struct{})
	busy := false
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error {
		if busy {
			close(started)
			<-hold
		}
		return nil
	}}
	limits := fast()
	limits.RequestTimeout, limits.DrainAccept = time.Minute, 200*time.Millisecond
	s := serve(t, b, server.Options{Limits: limits})
	idle, pi, acting := s.stream("/v1/stream"), s.stream("/"), s.stream("/v1/stream")
	idle.ask(`{"observation":` + guideObservation + `}`)
	busy = true
	acting.send(`{"observation":` + guideObservation + `,"seq":1}`)
	<-started
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	for _, w := range []*wire{idle, pi} {
		if e := w.closed(); e.Code != 1001 {
			t.Errorf("an idle stream: %v", e)
		}
	}
	if _, r := s.handshake("/v1/stream"); r.status != 503 || r.code(t) != "SHUTTING_DOWN" {
		t.Errorf("an upgrade while the server stops: %d %s", r.status, r.body)
	}
	select {
	case err := <-done:
		t.Fatalf("the server stopped before an act was answered: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(hold)
	if a := acting.answer(); *a.Seq != 1 || a.Error != "" {
		t.Errorf("the act under way: %+v", a)
	}
	if e := acting.closed(); e.Code != 1001 {
		t.Errorf("then: %v", e)
	}
	if err := <-done; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// TestStreamsAreCutOff ends streams that do not end in the time for it.
func TestStreamsAreCutOff(t *testing.T) {
	hold, started := make(chan struct{}), make(chan struct{})
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error {
		close(started)
		<-hold
		return nil
	}}
	s := serve(t, b, server.Options{Limits: fast()})
	w := s.stream("/v1/stream")
	w.send(`{"observation":` + guideObservation + `}`)
	<-started
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	time.AfterFunc(time.Second, func() { close(hold) })
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	if n := s.StreamCount(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}
