package serving

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueueHandsLanesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 8)
		var first Request
		lane, err := q.acquire(t.Context(), nil, &first, time.Now(), time.Time{})
		if err != nil || lane != 0 {
			t.Fatalf("acquire on an empty queue = %d, %v; want lane 0", lane, err)
		}
		var order []int
		var mu sync.Mutex
		for i := range 5 {
			go func() {
				var w Request
				lane, err := q.acquire(t.Context(), nil, &w, time.Now(), time.Time{})
				if err != nil {
					t.Errorf("waiter %d: %v", i, err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				q.release(lane)
			}()
			synctest.Wait() // it now stands in the queue
		}
		if got := q.waiting(); got != 5 {
			t.Fatalf("waiting = %d, want 5", got)
		}
		q.release(lane)
		synctest.Wait()
		for i, got := range order {
			if got != i {
				t.Fatalf("order of service = %v, want the order of arrival", order)
			}
		}
		if q.waiting() != 0 || q.active() != 0 {
			t.Fatalf("waiting %d, active %d after all were served", q.waiting(), q.active())
		}
	})
}

func TestQueueRefusesWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 1)
		var holder, waiting, refused Request
		if _, err := q.acquire(t.Context(), nil, &holder, time.Now(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := q.acquire(t.Context(), nil, &waiting, time.Now(), time.Time{})
			done <- err
		}()
		synctest.Wait()
		if _, err := q.acquire(t.Context(), nil, &refused, time.Now(), time.Time{}); !errors.Is(err, ErrQueueFull) {
			t.Fatalf("acquire on a full queue = %v, want ErrQueueFull", err)
		}
		q.release(0)
		if err := <-done; err != nil {
			t.Fatalf("the one that waited: %v", err)
		}
	})
}

func TestQueueGivesUp(t *testing.T) {
	f := func(name string, ctx func(context.Context) (context.Context, context.CancelFunc), want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(1, 1)
			var holder, w Request
			if _, err := q.acquire(t.Context(), nil, &holder, time.Now(), time.Time{}); err != nil {
				t.Fatal(err)
			}
			c, cancel := ctx(t.Context())
			defer cancel()
			start := time.Now()
			if _, err := q.acquire(c, nil, &w, start, until(c)); !errors.Is(err, want) {
				t.Errorf("%s: acquire = %v, want %v", name, err, want)
			}
			if waited := time.Since(start); waited != time.Second {
				t.Errorf("%s: gave up after %v, want 1s", name, waited)
			}
			if q.waiting() != 0 {
				t.Errorf("%s: still %d in the queue", name, q.waiting())
			}
			q.release(0)
			if lane, err := q.acquire(t.Context(), nil, &w, time.Now(), time.Time{}); err != nil || lane != 0 {
				t.Errorf("%s: the lane was lost: %d, %v", name, lane, err)
			}
		})
	}
	f("deadline", func(c context.Context) (context.Context, context.CancelFunc) {
		return deadlineOnly{c, time.Now().Add(time.Second)}, func() {}
	}, ErrDeadline)
	f("cancelled", func(c context.Context) (context.Context, context.CancelFunc) {
		c, cancel := context.WithCancel(c)
		time.AfterFunc(time.Second, cancel)
		return c, cancel
	}, context.Canceled)
}

// deadlineOnly has a deadline and, as a protocol's own context may, no channel
// that tells of it.
type deadlineOnly struct {
	context.Context
	deadline time.Time
}

func until(c context.Context) time.Time {
	at, _ := c.Deadline()
	return at
}

func (c deadlineOnly) Deadline() (time.Time, bool) { return c.deadline, true }
func (c deadlineOnly) Done() <-chan struct{}       { return nil }

// TestQueueHammer holds the queue to its two laws under contention: a lane is
// never held twice, and none is lost.
func TestQueueHammer(t *testing.T) {
	const lanes, clients, rounds = 3, 32, 300
	q := newQueue(lanes, clients)
	var held [lanes]atomic.Bool
	var served, gaveUp atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			var w Request // reused, as requests are
			for range rounds {
				now := time.Now()
				lane, err := q.acquire(t.Context(), nil, &w, now, now.Add(50*time.Microsecond))
				if err != nil {
					gaveUp.Add(1)
					continue
				}
				if held[lane].Swap(true) {
					t.Errorf("lane %d is held twice", lane)
				}
				served.Add(1)
				held[lane].Store(false)
				q.release(lane)
			}
		})
	}
	wg.Wait()
	if got := served.Load() + gaveUp.Load(); got != clients*rounds {
		t.Errorf("%d requests came back, want %d", got, clients*rounds)
	}
	if q.active() != 0 || q.waiting() != 0 {
		t.Errorf("active %d, waiting %d at the end, want none", q.active(), q.waiting())
	}
}
