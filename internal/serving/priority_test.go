package serving

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stand puts requests of the classes into a queue whose only lane is held, in
// order, and returns what tells how each came out of it: its number with the
// lane, or with the error. Each that has the lane gives it on at once.
func stand(t *testing.T, q *queue, classes ...Priority) (outcomes func() []string) {
	t.Helper()
	var mu sync.Mutex
	var list []string
	for i, class := range classes {
		go func() {
			lane, err := q.acquire(context.Background(), nil, &Request{Priority: class}, time.Now(), time.Time{})
			mu.Lock()
			list = append(list, fmt.Sprint(i, " ", class, " ", err))
			mu.Unlock()
			if err == nil {
				synctest.Wait() // so that whoever comes next is in the list behind this one
				q.release(lane)
			}
		}()
		synctest.Wait()
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

const control, batch = PriorityControl, PriorityBatch

func TestControlGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 8)
		lane, err := q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		outcomes := stand(t, q, batch, batch, control, batch, control)
		if q.urgent.Load() != 2 {
			t.Errorf("%d of control wait, want 2", q.urgent.Load())
		}
		q.release(lane)
		time.Sleep(time.Second)
		want := []string{"2 control <nil>", "4 control <nil>", "0 batch <nil>", "1 batch <nil>", "3 batch <nil>"}
		if got := outcomes(); !slices.Equal(got, want) {
			t.Errorf("served %q, want %q", got, want)
		}
		if q.urgent.Load() != 0 || q.waiting() != 0 || q.active() != 0 {
			t.Errorf("%d urgent, %d waiting, %d busy at the end", q.urgent.Load(), q.waiting(), q.active())
		}
	})
}

// TestBatchIsShedFirst: in a full queue a request of control takes the place of
// the newest one of batch; another of batch is refused, and so is one of control
// where there is none to displace.
func TestBatchIsShedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 3)
		lane, err := q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		outcomes := stand(t, q, batch, control, batch, batch, control, control, control, batch)
		full := ErrQueueFull.Error()
		want := []string{"3 batch " + full, "2 batch " + full, "0 batch " + full, "6 control " + full, "7 batch " + full}
		if got := outcomes(); !slices.Equal(got, want) {
			t.Errorf("refused %q, want %q", got, want)
		}
		if time.Since(begun) != 0 {
			t.Errorf("it took %v", time.Since(begun))
		}
		q.release(lane)
		time.Sleep(time.Second)
		want = append(want, "1 control <nil>", "4 control <nil>", "5 control <nil>")
		if got := outcomes(); !slices.Equal(got, want) {
			t.Errorf("served %q, want %q", got, want)
		}
	})
}

// TestWorkUnderWayIsNotShed: what has begun keeps its place, and has its turn
// before what has not.
func TestWorkUnderWayIsNotShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 2)
		lane, err := q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		outcomes := stand(t, q, batch)
		resumed := make(chan error, 1)
		go func() {
			lane, err := q.again(t.Context(), nil, &Request{Priority: batch}, time.Time{})
			if err == nil {
				if len(outcomes()) != 1 { // of the one that was shed
					t.Error("one that had not begun was served before")
				}
				q.release(lane)
			}
			resumed <- err
		}()
		synctest.Wait()
		more := stand(t, q, control, control)
		if got := more(); len(got) != 1 || got[0] != "1 control "+ErrQueueFull.Error() {
			t.Errorf("two of control, with room for one: %q", got)
		}
		q.release(lane)
		if err := <-resumed; err != nil {
			t.Errorf("work under way was given up: %v", err)
		}
	})
}

// TestUselessLeavesAtOnce: who cannot be reached in time, as fast as the queue
// moves, is refused when it comes; the first one never is.
func TestUselessLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 100)
		serve := func(n int) { // one after another, 10 ms each
			for range n {
				lane, err := q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{})
				if err != nil {
					t.Error(err)
				}
				time.Sleep(10 * time.Millisecond)
				q.release(lane)
			}
		}
		for range 8 {
			go serve(1)
		}
		time.Sleep(50*time.Millisecond + time.Microsecond) // three wait, one is served
		if got := leavingMean(q, 0); got != 10*time.Millisecond {
			t.Fatalf("one leaves every %v, want 10ms", got)
		}
		now := time.Now()
		for want, req := range map[error]*Request{ErrQueueFull: {}, ErrDeadline: {Deadline: now.Add(15 * time.Millisecond)}} {
			if _, err := q.acquire(t.Context(), nil, req, now, now.Add(15*time.Millisecond)); !errors.Is(err, want) || time.Since(now) != 0 {
				t.Errorf("after %v: %v, want %v at once", time.Since(now), err, want)
			}
		}
		lane, err := q.acquire(t.Context(), nil, &Request{}, now, now.Add(45*time.Millisecond))
		if err != nil || time.Since(now) > 30*time.Millisecond {
			t.Errorf("after %v: %v, want a lane within 30ms", time.Since(now), err)
		}
		q.release(lane)
		// A hiccup is not believed for long.
		leavingMean(q, time.Hour)
		for range 12 {
			go serve(1)
		}
		time.Sleep(time.Second)
		if got := leavingMean(q, 0); got > time.Second*2 {
			t.Errorf("after eleven that left every 10 ms, one leaves every %v", got)
		}
	})
}

// leavingMean returns that of control, and sets it unless it is to be 0.
func leavingMean(q *queue, to time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &q.lists[control].leaving
	if to > 0 {
		l.mean = to
	}
	return l.mean
}

// TestCrowded: nobody need be read while whoever came would be refused. That is
// so of a full queue in which nobody of batch gives up a place, and where neither class
// would be reached in time; and it is over when a place is free.
func TestCrowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = 100 * time.Millisecond
		crowded := func(q *queue, want bool, when string) {
			t.Helper()
			if got := q.crowded(time.Now(), wait); got != want {
				t.Errorf("%s: crowded %v", when, got)
			}
		}
		q := newQueue(1, 2)
		crowded(q, false, "a free lane")
		lane, err := q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		crowded(q, false, "an empty queue")
		stand(t, q, control)
		crowded(q, false, "room for one")
		stand(t, q, batch)
		crowded(q, false, "one of batch that gives up its place")
		stand(t, q, control) // which takes it
		crowded(q, true, "a full queue of control")
		crowded(q, true, "a full queue of control, asked again")
		q.release(lane)
		time.Sleep(time.Second)
		crowded(q, false, "everybody served")
		if q.pressed.Load() {
			t.Error("a queue that is empty is still looked at")
		}

		// Without a queue the first that is refused tells.
		q = newQueue(1, 0)
		if lane, err = q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		stand(t, q, control)
		crowded(q, true, "no queue")
		q.release(lane)
		crowded(q, false, "no queue, and a lane is free")

		// There is room, and no time: for one class, then for both.
		q = newQueue(1, 100)
		if lane, err = q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		stand(t, q, control, control)
		leavingMean(q, time.Second)
		if _, err := q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Now().Add(wait)); !errors.Is(err, ErrQueueFull) {
			t.Errorf("%v, want no room in time", err)
		}
		crowded(q, false, "control would be late, and batch may stand")
		stand(t, q, batch)
		q.mu.Lock()
		q.lists[batch].leaving.mean = time.Second
		q.mu.Unlock()
		if _, err := q.acquire(t.Context(), nil, &Request{Priority: batch}, time.Now(), time.Now().Add(wait)); !errors.Is(err, ErrQueueFull) {
			t.Errorf("%v, want no room in time for batch", err)
		}
		crowded(q, true, "both would be late")
		leavingMean(q, time.Millisecond)
		crowded(q, false, "control is fast again")
		q.release(lane)
		time.Sleep(time.Second)
	})
}

// TestCrowdedIsCounted: what is refused unread is counted as what Act refuses,
// and where answers are kept nobody is.
func TestCrowdedIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cached := range []int{0, 10} {
			var shed [priorities]int
			s := New(Options{Lanes: 1, MaxQueue: 1, CacheEntries: cached, CacheBytes: 1 << 20, Shed: func(class Priority) { shed[class]++ }})
			lane, err := s.queue.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Crowded(time.Now(), time.Second); err != nil {
				t.Errorf("an empty queue: %v", err)
			}
			stand(t, s.queue, control)
			err = s.Crowded(time.Now(), time.Second)
			if want := cached == 0; errors.Is(err, ErrQueueFull) != want || (shed[control] == 1) != want || shed[batch] != 0 {
				t.Errorf("with %d answers kept: %v, counted %v", cached, err, shed)
			}
			s.queue.release(lane)
			time.Sleep(time.Second)
		}
	})
}

// TestCrowdedAllocatesNothing: it is asked for every request, in all its answers.
func TestCrowdedAllocatesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = 100 * time.Millisecond
		shed := 0
		f := func(when string, s *Service, want error, before func()) {
			t.Helper()
			now := time.Now()
			if n := testing.AllocsPerRun(100, func() {
				before()
				if err := s.Crowded(now, wait); !errors.Is(err, want) {
					t.Fatalf("%s: %v, want %v", when, err, want)
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations", when, n)
			}
		}
		nothing := func() {}
		s := New(Options{Lanes: 1, MaxQueue: 2, Shed: func(Priority) { shed++ }})
		q := s.queue
		press := func() { q.pressed.Store(true) } // as who is refused leaves it
		f("not pressed", s, nil, nothing)
		f("pressed, and a lane is free", s, nil, press)
		lane, err := q.acquire(t.Context(), nil, &Request{}, time.Now(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		f("pressed, and there is room", s, nil, press)
		stand(t, q, control, control)
		f("full", s, ErrQueueFull, press)
		q.maxQueue = 10
		stand(t, q, batch)
		for class := range q.lists {
			q.lists[class].leaving.mean = time.Second
		}
		f("no time", s, ErrQueueFull, press)
		f("no time, asked again", s, ErrQueueFull, nothing)
		if want := 3 * 101; shed != want { // AllocsPerRun has one run more
			t.Errorf("%d are counted, want %d", shed, want)
		}
		leavingMean(q, time.Millisecond)
		f("fast again", s, nil, press)
		q.release(lane)
		time.Sleep(time.Second)
	})
}

func TestClassesHaveNames(t *testing.T) {
	for p, want := range Priorities {
		if got := Priority(p).String(); got != want {
			t.Errorf("%d is %q, want %q", p, got, want)
		}
	}
	if got := Priority(9).String(); got != "batch" {
		t.Errorf("an unknown class is %q", got)
	}
}

// TestStandingQueueIsHalfAsLong: a burst may fill the time that it has, and what
// comes for longer than that may not, so that it is not all run at the last moment.
func TestStandingQueueIsHalfAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, left = 10 * time.Millisecond, 100 * time.Millisecond
		q := newQueue(1, 1000)
		leavingMean(q, each)
		var refused int
		var longest time.Duration
		var mu sync.Mutex
		var all sync.WaitGroup
		ask := func() {
			all.Go(func() {
				begun := time.Now()
				lane, err := q.acquire(t.Context(), nil, &Request{Deadline: begun.Add(time.Hour)}, begun, begun.Add(left))
				mu.Lock()
				if err != nil {
					refused++
				}
				longest = max(longest, time.Since(begun))
				mu.Unlock()
				if err == nil {
					time.Sleep(each)
					q.release(lane)
				}
			})
		}
		for range 10 { // one on the lane, nine that wait
			ask()
			synctest.Wait()
		}
		all.Wait()
		if refused != 0 || longest != 9*each {
			t.Errorf("a burst: %d refused, the last waited %v", refused, longest)
		}
		// Two come for each that can be served.
		for range 200 {
			ask()
			time.Sleep(each / 2)
		}
		mu.Lock()
		longest, refused = 0, 0
		mu.Unlock()
		for range 200 {
			ask()
			time.Sleep(each / 2)
		}
		all.Wait()
		if longest > left*6/10 || refused < 95 || refused > 105 {
			t.Errorf("of 200 that came twice as fast as they can be served %d were refused, and one waited %v of %v", refused, longest, left)
		}
	})
}
