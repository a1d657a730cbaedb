package machine_test

import (
	"runtime"
	"sync"
	"testing"
)

// A lane as it is: a lock is taken on the goroutine of the request.
func BenchmarkLaneOnTheRequest(b *testing.B) {
	var lane sync.Mutex
	n := 0
	for b.Loop() {
		lane.Lock()
		n++
		lane.Unlock()
	}
}

// A lane on a thread of its own, which could be tied to a core: the request is
// handed over and waits for its answer.
func BenchmarkLaneOnItsThread(b *testing.B) {
	request, answer := make(chan int), make(chan int)
	go func() {
		runtime.LockOSThread()
		for n := range request {
			answer <- n + 1
		}
		close(answer)
	}()
	n := 0
	for b.Loop() {
		request <- n
		n = <-answer
	}
	close(request)
	<-answer
}
