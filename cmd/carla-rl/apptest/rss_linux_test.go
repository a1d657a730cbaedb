package apptest

import "syscall"

// maxRSS is the largest resident set, which Linux counts in KiB.
func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss << 10 }
