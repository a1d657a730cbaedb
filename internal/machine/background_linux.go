package machine

import "golang.org/x/sys/unix"

const (
	// backgroundNice is added to what the process was given: the thread gets about
	// a tenth of the time of one that answers, where there is too little for both: one that runs is preempted by one that
	// wakes, and one that only ran where nothing else does (SCHED_IDLE) could hold
	// up a collection of garbage, which waits for all.
	backgroundNice = 10
	// backgroundSlice is what it runs at a time before another may, in nanoseconds
	// (sched_setattr(2), since Linux 6.12): the system's is some milliseconds.
	backgroundSlice = 100_000
)

// giveWay lowers the calling thread. A system that does not let it runs it as any other.
func giveWay() {
	if n, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-n+backgroundNice) // The system counts from 40 down to 1.
	}
	if a, err := unix.SchedGetAttr(0, 0); err == nil && (a.Policy == unix.SCHED_NORMAL || a.Policy == unix.SCHED_BATCH) {
		a.Runtime = backgroundSlice
		_ = unix.SchedSetAttr(0, a, 0)
	}
}

// isMain tells whether the calling thread is the first of the process.
func isMain() bool { return unix.Gettid() == unix.Getpid() }
