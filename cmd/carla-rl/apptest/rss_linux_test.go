package apptest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// maxRSS is the largest resident set, which Linux counts in KiB.
func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss << 10 }

// residentNow is the resident set of a process in bytes.
func residentNow(pid int) (int64, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	_, rest, found := strings.Cut(string(data), "VmRSS:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); !found || err != nil {
		return 0, false
	}
	return kib << 10, true
}
