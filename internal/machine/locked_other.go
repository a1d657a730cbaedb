//go:build !unix || aix || solaris || illumos

package machine

import (
	"errors"
	"runtime"
)

const canLock = false

func lock(int) ([]byte, error) {
	return nil, errors.New("memory is not locked on " + runtime.GOOS)
}

func unlock([]byte) error { return nil }

// LockLimit is not known on this system.
func LockLimit() int64 { return -1 }
