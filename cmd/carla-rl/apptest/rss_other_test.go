//go:build unix && !linux

package apptest

import "syscall"

// maxRSS is the largest resident set, which macOS counts in bytes.
func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss }

// residentNow is not told here.
func residentNow(int) (int64, bool) { return 0, false }
