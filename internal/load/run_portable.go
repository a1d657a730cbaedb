package load

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// runPortable puts the load on with a goroutine for each connection. It is what
// runs where there is no event loop, and the twin that the event loop is tested
// against; its timers are coarser.
func runPortable(o *Options) (*Result, error) {
	conns := make([]net.Conn, o.Connections)
	for i := range conns {
		c, err := net.DialTimeout(o.Network, o.Address, dialTimeout)
		if err != nil {
			for _, c := range conns[:i] {
				_ = c.Close()
			}
			return nil, err
		}
		conns[i] = c
	}
	w := &workers{options: o, start: time.Now()}
	w.end = w.start.Add(o.Duration)
	results := make([]*Result, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		results[i] = &Result{Status: map[int]*Class{}}
		wg.Go(func() { w.work(c, results[i]) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-tick.C:
			o.Progress(min(1, time.Since(w.start).Seconds()/o.Duration.Seconds()), w.answered.Load())
		}
	}
	all := &Result{Status: map[int]*Class{}, Elapsed: max(time.Since(w.start), o.Duration)}
	if o.Rate == 0 {
		all.Elapsed = o.Duration
	}
	for _, r := range results {
		all.add(r)
	}
	all.late(o, w.next.Load(), w.end)
	return all, nil
}

const (
	dialTimeout   = time.Second
	progressEvery = 200 * time.Millisecond
)

// workers is what the goroutines of a run share.
type workers struct {
	options    *Options
	start, end time.Time
	next       atomic.Uint64 // of the schedule
	answered   atomic.Uint64
}

// planned returns when the i-th request is due.
func planned(start time.Time, rate float64, i uint64) time.Time {
	return start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
}

// work sends requests on one connection until the end.
func (w *workers) work(c net.Conn, r *Result) {
	o := w.options
	defer func() { _ = c.Close() }()
	var b []byte
	chunk := make([]byte, 64<<10)
	for i := uint64(0); ; i++ {
		due := time.Now()
		if o.Rate > 0 {
			i = w.next.Load()
			due = planned(w.start, o.Rate, i)
			if !due.Before(w.end) || time.Now().After(w.end) {
				return
			}
			if !w.next.CompareAndSwap(i, i+1) {
				continue
			}
			time.Sleep(time.Until(due))
		} else if !due.Before(w.end) {
			return
		}
		sent := time.Now()
		_ = c.SetDeadline(w.end.Add(o.Grace))
		r.Sent++
		a, err := w.exchange(c, o.Requests[i%uint64(len(o.Requests))], &b, chunk)
		now := time.Now()
		if err == nil {
			r.count(a.status, now.Sub(due), now.Sub(sent), o.Want == nil || bytes.HasPrefix(b[a.head:a.end], o.Want))
			w.answered.Add(1)
			b = b[:copy(b, b[a.end:])]
			if !a.closes {
				continue
			}
		} else {
			r.Broken++
		}
		_ = c.Close()
		b = b[:0]
		for {
			if time.Now().After(w.end) {
				return
			}
			if c, err = net.DialTimeout(o.Network, o.Address, dialTimeout); err == nil {
				r.Reconnects++
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// exchange sends a request and reads its answer into b.
func (w *workers) exchange(c net.Conn, request []byte, b *[]byte, chunk []byte) (answer, error) {
	if _, err := c.Write(request); err != nil {
		return answer{}, err
	}
	for {
		a, err := parse(*b)
		if err != nil || a.whole {
			return a, err
		}
		n, err := c.Read(chunk)
		if err != nil {
			return answer{}, err
		}
		*b = append(*b, chunk[:n]...)
	}
}

// late counts the requests that the schedule of an open loop had and that were
// not sent, with the time that they had waited at the end.
func (r *Result) late(o *Options, next uint64, end time.Time) {
	if o.Rate == 0 {
		r.Planned = r.Sent
		return
	}
	r.Planned = next
	start := end.Add(-o.Duration)
	for ; ; r.Planned++ {
		due := planned(start, o.Rate, r.Planned)
		if !due.Before(end) {
			return
		}
		r.Latency.Record(end.Sub(due))
	}
}

// add counts what another result has counted.
func (r *Result) add(o *Result) {
	r.Sent += o.Sent
	r.Answered += o.Answered
	r.Good += o.Good
	r.Wrong += o.Wrong
	r.Broken += o.Broken
	r.Reconnects += o.Reconnects
	r.Latency.Add(&o.Latency)
	r.Service.Add(&o.Service)
	for status, c := range o.Status {
		mine := r.Status[status]
		if mine == nil {
			mine = &Class{}
			r.Status[status] = mine
		}
		mine.Count += c.Count
		mine.Latency.Add(&c.Latency)
		mine.Service.Add(&c.Service)
	}
}
