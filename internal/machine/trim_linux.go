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
// Only mappings of this program are touched that cannot be written and of which
// no page is other than the file has it: in a position independent program what
// the loader has relocated cannot be written either, and would be lost.
func TrimProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program's mappings: %w", err)
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("find the program's mappings: %w", err)
	}
	for _, m := range programMappings(string(text), exe) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back pages of the program: %w", errno)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// programMappings lists the mappings of a program that are as they are in its
// file, from the text of /proc/PID/smaps: the line of each mapping, and lines
// with what its pages are.
//
//	00400000-01005000 r-xp 00000000 fe:00 9988484    /usr/bin/carla-rl
//	Anonymous:             0 kB
//	Swap:                  0 kB
func programMappings(text, exe string) (list []mapping) {
	var m mapping
	candidate := false
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		switch {
		case strings.ContainsAny(name, " -"): // the line of a mapping
			m, candidate = programMapping(line, exe)
		case !candidate:
		case name == "Anonymous": // pages of our own, in place of those of the file
			if candidate = strings.TrimSpace(value) == "0 kB"; candidate {
				list = append(list, m)
			}
		case name == "Swap" && strings.TrimSpace(value) != "0 kB": // likewise, and swapped
			if n := len(list); n > 0 && list[n-1] == m {
				list = list[:n-1]
			}
			candidate = false
		}
	}
	return list
}

// programMapping reads the line of a mapping.
func programMapping(line, exe string) (m mapping, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || !strings.HasSuffix(strings.TrimSuffix(line, "\n"), " "+exe) {
		return m, false
	}
	if perms := fields[1]; perms != "r-xp" && perms != "r--p" {
		return m, false
	}
	low, high, _ := strings.Cut(fields[0], "-")
	a, err := strconv.ParseUint(low, 16, 64)
	if err != nil {
		return m, false
	}
	b, err := strconv.ParseUint(high, 16, 64)
	if err != nil || b <= a {
		return m, false
	}
	return mapping{uintptr(a), uintptr(b)}, true
}
