//go:build unix

package experience

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// mapCounters returns the counters of a file, which is made where there is
// none. What is counted there is in the file at once, for whoever reads it after
// this process has ended. They stay as long as the process: metrics may be read
// while the store is being closed.
func mapCounters(name string) (*counters, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("experience log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("experience log: %w", err)
	}
	if info.Size() < int64(countersSize) {
		// Written, not only made longer: memory without room on the volume
		// behind it ends the process that touches it.
		if _, err := f.WriteAt(make([]byte, os.Getpagesize()), 0); err != nil {
			return nil, fmt.Errorf("experience log: %w", err)
		}
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, countersSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("experience log: map %s: %w", name, err)
	}
	return (*counters)(unsafe.Pointer(unsafe.SliceData(mem))), nil
}
