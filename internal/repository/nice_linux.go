package repository

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// loadNiceness is the niceness of the thread on which versions are loaded while
// others serve: requests come first wherever both want the same core.
const loadNiceness = 10

// nicely starts work on a thread of its own which gives way to all others. A
// thread cannot be made less nice again without a privilege, so that it ends
// with its goroutine.
func nicely(work func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked
		// Where it may not, it is merely less nice.
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), loadNiceness)
		work()
	}()
}
