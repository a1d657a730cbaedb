package serving

import (
	"sync/atomic"
	"time"
)

// cacheUse is whether it pays to look a policy's requests up. It is learnt in
// windows: what the look-ups and the keeping of a window took is held against
// what the policy would have taken for those that were found. Where it was not
// worth it, the next requests go by without a look-up, and ever more of them
// each time that it is tried again in vain.
type cacheUse struct {
	serial uint64 // of the policy

	skip    atomic.Int64 // requests that still go by
	stretch atomic.Int64 // that go by after the next window in vain; 0 is minSkip
	looks   atomic.Int64 // of this window
	saved   atomic.Int64 // nanoseconds, in this window
	spent   atomic.Int64 // likewise
}

const (
	cacheWindow = 128
	minSkip     = 32 * cacheWindow
	maxSkip     = 1 << 20
)

// use returns what is known of a policy.
func (c *cache) use(serial uint64) *cacheUse {
	slot := &c.uses[serial%cacheUses]
	u := slot.Load()
	if u == nil || u.serial != serial {
		u = &cacheUse{serial: serial}
		slot.Store(u)
	}
	return u
}

// skips tells whether a request goes by.
func (u *cacheUse) skips() bool {
	return u.skip.Load() > 0 && u.skip.Add(-1) >= 0
}

// hit takes a look-up that found what would have taken the policy so long.
func (u *cacheUse) hit(saved, took time.Duration) {
	u.saved.Add(int64(saved))
	u.missed(took)
}

// missed takes what a look-up that found nothing took, or keeping an answer.
func (u *cacheUse) missed(took time.Duration) {
	u.spent.Add(int64(took))
	if u.looks.Add(1) == cacheWindow {
		u.judge()
	}
}

// judge ends a window.
func (u *cacheUse) judge() {
	saved, spent := u.saved.Swap(0), u.spent.Swap(0)
	if saved > spent {
		u.stretch.Store(0)
	} else {
		n := min(max(minSkip, 2*u.stretch.Load()), maxSkip)
		u.stretch.Store(n)
		u.skip.Store(n)
	}
	u.looks.Store(0)
}
