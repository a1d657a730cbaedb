package server

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	p := Rate{Count: 10, Per: time.Second}.pace()
	var b bucket
	now := int64(0)
	f := func(after time.Duration, want time.Duration) {
		t.Helper()
		now += int64(after)
		if got := b.take(p, now); got != want {
			t.Errorf("at %v: wait %v, want %v", time.Duration(now), got, want)
		}
	}
	for range 10 {
		f(0, 0)
	}
	f(0, 100*time.Millisecond)
	f(60*time.Millisecond, 40*time.Millisecond)
	f(40*time.Millisecond, 0)
	f(0, 100*time.Millisecond)
	f(time.Hour, 0)
	for range 9 {
		f(0, 0)
	}
	f(0, 100*time.Millisecond)
	if p := (Rate{}).pace(); p.interval != 0 {
		t.Errorf("no limit: %+v", p)
	}
}

// TestBucketIsExact: of many goroutines together as many get through as may.
func TestBucketIsExact(t *testing.T) {
	p := Rate{Count: 1000, Per: time.Hour}.pace()
	var b bucket
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if b.take(p, 0) == 0 {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := passed.Load(); n != 1000 {
		t.Errorf("%d passed, want 1000", n)
	}
}

// TestAddressBuckets: the table has an end, and those that have spent nothing
// lately are forgotten first.
func TestAddressBuckets(t *testing.T) {
	p := Rate{Count: 1, Per: time.Minute}.pace()
	var a addressBuckets
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	now := int64(0)
	for i := range maxAddresses {
		a.get(at(i), now).take(p, now)
	}
	if b := a.get(at(maxAddresses), now); b != &a.rest {
		t.Error("the table grows beyond its end")
	}
	if a.get(at(5), now) == &a.rest {
		t.Error("an address that was there is gone")
	}
	now = int64(time.Hour)
	a.get(at(7), now).take(p, now)
	if b := a.get(at(maxAddresses), now); b == &a.rest || len(a.known) != 2 {
		t.Errorf("%d addresses are kept", len(a.known))
	}
	v6 := func(s string) *bucket { return a.get(netip.MustParseAddr(s), now) }
	if v6("2001:db8:1:2::1") != v6("2001:db8:1:2:ffff::9") || v6("2001:db8:1:2::1") == v6("2001:db8:1:3::1") {
		t.Error("networks of IPv6 are told apart by other than their first 64 bits")
	}
}
