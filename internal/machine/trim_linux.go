package machine

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TrimProgram gives back the pages of the program's own code and constants. They
// are backed by the file, so that those which are used come back by themselves;
// those that only the start needed do not.
//
// Only mappings of this program that cannot be written are touched: what is in
// them is what is in the file.
func TrimProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program's mappings: %w", err)
	}
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("find the program's mappings: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		from, to, ok := programMapping(line, exe)
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back pages of the program: %w", errno)
		}
	}
	return nil
}

// programMapping reads a line of /proc/PID/maps:
//
//	00400000-01005000 r-xp 00000000 fe:00 9988484    /usr/bin/carla-rl
func programMapping(line, exe string) (from, to uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || !strings.HasSuffix(strings.TrimSuffix(line, "\n"), " "+exe) {
		return 0, 0, false
	}
	if perms := fields[1]; perms != "r-xp" && perms != "r--p" {
		return 0, 0, false
	}
	low, high, _ := strings.Cut(fields[0], "-")
	a, err := strconv.ParseUint(low, 16, 64)
	if err != nil {
		return 0, 0, false
	}
	b, err := strconv.ParseUint(high, 16, 64)
	if err != nil || b <= a {
		return 0, 0, false
	}
	return uintptr(a), uintptr(b), true
}
