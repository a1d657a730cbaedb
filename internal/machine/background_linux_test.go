package machine_test

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

// TestBackground: the thread of f is lowered, no other is, and it ends with f.
func TestBackground(t *testing.T) {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice(t)); err != nil {
		t.Skip("the system does not let a thread be lowered:", err)
	}
	if nice(t) == 19 {
		t.Skip("nothing is lower than this process")
	}
	lowered := func() (found []string) {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		own, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			var tid int
			if _, err := fmt.Sscan(task.Name(), &tid); err != nil {
				t.Fatal(err)
			}
			if n, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err == nil && n < own { // The system counts from 40 down.
				found = append(found, task.Name())
			}
		}
		return found
	}
	var within []string
	var tid int
	machine.Background(func() {
		tid = unix.Gettid()
		// Threads that begin meanwhile are not lowered.
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() { time.Sleep(time.Millisecond); _, _ = os.ReadFile("/proc/self/stat") })
		}
		all.Wait()
		within = lowered()
	})
	if want := fmt.Sprint([]int{tid}); fmt.Sprint(within) != want {
		t.Errorf("lowered while it runs: threads %v, want %s", within, want)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		after := lowered()
		if len(after) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still lowered when it has ended: threads %v", after)
		}
	}
}

// nice is that of the process: the system counts from 40 down to 1.
func nice(t *testing.T) int {
	n, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return 20 - n
}
