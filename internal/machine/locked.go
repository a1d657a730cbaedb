package machine

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// Locked hands out memory that was pre-faulted and is locked: it is there when
// it is first used, and it is never swapped. It is safe for use by many
// goroutines. What the system does not let it lock it does not hand out.
type Locked struct {
	bytes    atomic.Int64
	failures atomic.Int64
	tell     func(*LockError)
	once     sync.Once // tells of the first failure alone
}

// LockError says that memory could not be locked, and what the limit is.
type LockError struct {
	Need   int64 // bytes that were asked for
	Locked int64 // bytes that are locked already
	Limit  int64 // bytes that the process may lock; math.MaxInt64 where there is no limit, -1 where it is not known
	Err    error
}

func (e *LockError) Error() string {
	limit := "the limit is not known"
	switch {
	case e.Limit == math.MaxInt64:
		limit = "there is no limit for the process"
	case e.Limit >= 0:
		limit = "the process may lock " + kib(e.Limit) + " (RLIMIT_MEMLOCK)"
	}
	return fmt.Sprintf("%s cannot be locked: %v: %s and has locked %s", kib(e.Need), e.Err, limit, kib(e.Locked))
}

func (e *LockError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *LockError) Hint() string {
	if !canLock {
		return "leave optimization.enable_memory_pinning out on this system"
	}
	return "raise the limit: LimitMEMLOCK=infinity in a unit, ulimits: {memlock: -1} in Docker Compose, --ulimit memlock=-1 for docker run, ulimit -l in a shell, and LimitMEMLOCK of the container runtime's own unit in Kubernetes"
}

func kib(n int64) string { return fmt.Sprintf("%d KiB", (n+1023)>>10) }

// NewLocked returns memory of which nothing is handed out yet. tell is told of
// the first failure; nil tells nobody.
func NewLocked(tell func(*LockError)) *Locked { return &Locked{tell: tell} }

// Bytes is how much is handed out, in whole pages.
func (l *Locked) Bytes() int64 { return l.bytes.Load() }

// Failures is how often the system refused to lock.
func (l *Locked) Failures() int64 { return l.failures.Load() }

// Alloc returns that many bytes, all zero, that begin at a page, and what gives
// them back; nil where the system refuses.
func (l *Locked) Alloc(bytes int) (data []byte, free func()) {
	pages, err := lock(bytes)
	if err != nil {
		l.failures.Add(1)
		l.once.Do(func() {
			if l.tell != nil {
				l.tell(&LockError{Need: int64(bytes), Locked: l.Bytes(), Limit: LockLimit(), Err: err})
			}
		})
		return nil, nil
	}
	l.bytes.Add(int64(len(pages)))
	return pages[:bytes], func() {
		// Nothing can be done about pages that the system does not take back.
		_ = unlock(pages)
		l.bytes.Add(-int64(len(pages)))
	}
}
