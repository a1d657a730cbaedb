package machine

import "runtime"

// Background runs f on a thread of its own that gives way to those that answer
// requests, and returns when f does: what is put off while it runs, such as the
// writing of a log, takes nothing from the latency of what is not. The goroutines
// that f starts are as any other. The thread ends with f.
func Background(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the runtime ends the thread with the goroutine, and
		// starts no other from one that is locked, which would inherit.
		runtime.LockOSThread()
		if isMain() { // Which would not end, and whose priority is shown as that of the process.
			defer runtime.UnlockOSThread()
			Background(f)
			return
		}
		giveWay()
		f()
	}()
	<-done
}
