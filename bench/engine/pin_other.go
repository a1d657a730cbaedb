//go:build !linux

package main

import "runtime"

// pin keeps the calling goroutine on one thread; which core has it is up to
// this system.
func pin(int) (int, error) {
	runtime.LockOSThread()
	return -1, nil
}
