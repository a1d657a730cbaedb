package server

import (
	"context"
	"errors"
	"time"
)

// Phases of a server's life.
const (
	phaseServing int32 = iota
	phaseUnready       // answers as ever; /readyz says 503
	phaseClosing       // and asks each connection to close
)

// Shutdown stops the server without losing a request that reached it:
//
//  1. /readyz answers 503 for DrainUnready, while whoever sends requests here
//     learns of it and everything is answered as ever;
//  2. each answer carries Connection: close for DrainAccept, while new
//     connections are still accepted, since a client may have sent a request
//     on a connection that a stop at this point would find idle; streams are
//     closed with 1001 behind the answer that is under way, and none begins;
//  3. no new connections are taken, those that wait are accepted and the
//     listeners closed; the connections that are there are served on for up to
//     DrainAccept, since clients that were told to close have come back with
//     new ones;
//  4. idle connections are closed, and requests in flight and streams are
//     waited for.
//
// A context that ends cuts every step short; Shutdown then returns its error
// and requests may be lost. A second call does not wait a second time.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.phase.CompareAndSwap(phaseServing, phaseUnready) {
		s.log.Info("shutting down: no longer ready", "event_type", "shutdown", "wait", s.limits.DrainUnready)
		sleep(ctx, s.limits.DrainUnready)
	}
	if s.phase.CompareAndSwap(phaseUnready, phaseClosing) {
		s.log.Info("shutting down: connections are asked to close", "event_type", "shutdown", "wait", s.limits.DrainAccept)
		s.streams.drain()
		sleep(ctx, s.limits.DrainAccept)
		s.closeListeners(ctx)
		s.log.Info("shutting down: no new connections", "event_type", "shutdown", "open", s.limit.open())
		for end := time.Now().Add(s.limits.DrainAccept); s.limit.open() > 0 && time.Now().Before(end) && ctx.Err() == nil; {
			sleep(ctx, time.Millisecond)
		}
	}
	err := s.http.ShutdownWithContext(ctx)
	if e := s.streams.wait(ctx); err == nil {
		err = e
	}
	if err != nil && errors.Is(err, ctx.Err()) {
		s.log.Warn("shutting down: requests were cut off", "event_type", "shutdown", "connections", s.limit.open())
	}
	return err
}

// closeListeners closes the listeners. Where the system lets us tell them from
// new ones, connections that have reached them are accepted first.
func (s *Server) closeListeners(ctx context.Context) {
	const (
		handshakes = 50 * time.Millisecond // for those under way to end
		longest    = time.Second           // for the queue to empty
	)
	s.mu.Lock()
	listeners := s.listeners
	s.listeners = nil
	s.mu.Unlock()
	refused := false
	for _, l := range listeners {
		// A Unix socket without a name is one that nobody finds.
		if u, ok := l.Listener.(interface{ Unlink() error }); ok && u.Unlink() == nil {
			refused = true
		}
		refused = refuseNew(l.Listener) || refused
	}
	if refused {
		sleep(ctx, handshakes)
	}
	for end := time.Now().Add(longest); refused && time.Now().Before(end) && ctx.Err() == nil; sleep(ctx, time.Millisecond) {
		waiting := 0
		for _, l := range listeners {
			waiting += unaccepted(l.Listener)
		}
		if waiting == 0 {
			break
		}
	}
	for _, l := range listeners {
		_ = l.Close() // there is nobody left to whom its error matters
	}
}

// Draining reports whether Shutdown has begun.
func (s *Server) Draining() bool { return s.phase.Load() != phaseServing }

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
