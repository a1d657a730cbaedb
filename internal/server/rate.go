package server

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Rate is a number of requests in a time. The zero Rate is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// pace is a Rate as buckets keep it: the time between two requests, and how far
// ahead of it a client may be. Its zero value is no limit.
type pace struct{ interval, burst int64 } // nanoseconds

func (r Rate) pace() pace {
	if r.Count <= 0 || r.Per <= 0 {
		return pace{}
	}
	return pace{interval: max(1, int64(r.Per)/int64(r.Count)), burst: int64(r.Per)}
}

// bucket is a token bucket that holds the requests of one Rate.Per, all of which
// may come at once. What it keeps is the time at which it would be full again
// (the generic cell rate algorithm), so that a request is one compare-and-swap.
type bucket struct{ full atomic.Int64 }

// take takes a token at a time in nanoseconds, or returns how long it is until
// there is one.
func (b *bucket) take(p pace, now int64) (wait time.Duration) {
	for {
		before := b.full.Load()
		after := max(before, now) + p.interval
		if wait := after - now - p.burst; wait > 0 {
			return time.Duration(wait)
		}
		if b.full.CompareAndSwap(before, after) {
			return 0
		}
	}
}

// maxAddresses is how many addresses have a bucket of their own.
const maxAddresses = 1 << 16

// addressBuckets are the buckets of clients without a key. When there are too
// many, those that are full are forgotten, and where none is, the addresses that
// come next share one.
type addressBuckets struct {
	mu    sync.Mutex // guards what follows but rest
	known map[netip.Addr]*bucket
	swept int64
	rest  bucket
}

// sweepEvery is the time between two searches for buckets to forget, in
// nanoseconds: each looks at all of them.
const sweepEvery = int64(time.Second)

// get returns the bucket of an address. What is in a network of 64 bits of IPv6 is one
// client, since it is given out as a whole.
func (a *addressBuckets) get(addr netip.Addr, now int64) *bucket {
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := a.known[addr]; b != nil {
		return b
	}
	if len(a.known) >= maxAddresses && now-a.swept >= sweepEvery {
		a.swept = now
		for addr, b := range a.known {
			if b.full.Load() <= now {
				delete(a.known, addr)
			}
		}
	}
	if len(a.known) >= maxAddresses {
		return &a.rest
	}
	if a.known == nil {
		a.known = map[netip.Addr]*bucket{}
	}
	b := &bucket{}
	a.known[addr] = b
	return b
}

// clock is the time that buckets go by, which nobody sets back.
func (s *Server) clock(now time.Time) int64 { return int64(now.Sub(s.began)) }

// spend takes a token of a client: of its key, or else of the address of the
// connection. Where there is neither, as over a Unix socket, there is no limit.
func (s *Server) spend(key *knownKey, c *gatedConn, now time.Time) (wait time.Duration) {
	switch {
	case key != nil:
		p := key.pace
		if p.interval == 0 {
			p = s.pace
		}
		if p.interval == 0 {
			return 0
		}
		return key.bucket.take(p, s.clock(now))
	case s.pace.interval == 0 || c == nil || !c.addr.IsValid():
		return 0
	}
	at := s.clock(now)
	b := c.bucket.Load()
	if b == nil {
		b = s.addresses.get(c.addr, at)
		if b != &s.addresses.rest {
			c.bucket.Store(b)
		}
	}
	return b.take(s.pace, at)
}

// throttle counts the request against its client's rate, also one that is
// refused for err: to guess keys is limited too.
func (x *exchange) throttle(c *gatedConn, err error) error {
	if wait := x.s.spend(x.key, c, x.start); wait > 0 {
		x.retryAfter = int((wait + time.Second - 1) / time.Second)
		return faultRate
	}
	return err
}
