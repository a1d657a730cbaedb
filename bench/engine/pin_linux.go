package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// pin keeps the calling goroutine on one core; -1 is the last that it may use.
// It returns the core.
func pin(core int) (int, error) {
	runtime.LockOSThread()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return -1, fmt.Errorf("cores: %w", err)
	}
	if core < 0 {
		for i := range 1024 {
			if set.IsSet(i) {
				core = i
			}
		}
	}
	var one unix.CPUSet
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return -1, fmt.Errorf("pin to core %d: %w", core, err)
	}
	return core, nil
}
