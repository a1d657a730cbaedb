//go:build unix && !aix && !solaris && !illumos

package machine

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

const canLock = true

// lock maps whole pages that hold the bytes, faults them in and locks them.
func lock(bytes int) ([]byte, error) {
	page := os.Getpagesize()
	data, err := unix.Mmap(-1, 0, (bytes+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	if err := unix.Mlock(data); err != nil { // which faults them in
		return nil, errors.Join(fmt.Errorf("mlock: %w", err), unix.Munmap(data))
	}
	return data, nil
}

// unlock gives the pages back, which unlocks them.
func unlock(data []byte) error { return unix.Munmap(data) }

// LockLimit is how many bytes the process may lock; math.MaxInt64 where there is
// no limit, -1 where it is not known.
func LockLimit() int64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r) != nil {
		return -1
	}
	if uint64(r.Cur) > math.MaxInt64 { //nolint:unconvert // It is signed on some systems.
		return math.MaxInt64
	}
	return int64(r.Cur) //nolint:unconvert // It is signed on some systems.
}
