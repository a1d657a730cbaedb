//go:build unix

package experience

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// lockFile takes the lock that a file stands for, which is let go of when it
// is closed or the process ends, however it does. The file stays: to delete it
// would let two processes hold locks of the same name.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("experience log: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("experience log: lock %s: %w", name, err)
		}
		who, _ := io.ReadAll(io.LimitReader(f, 32))
		return nil, fmt.Errorf("experience log %s: %w (process %s): each server needs a file of its own, or a database of PostgreSQL",
			strings.TrimSuffix(name, ".lock"), ErrLocked, strings.TrimSpace(string(who)))
	}
	// The number is for people, who may have no room left for it either.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f, nil
}
