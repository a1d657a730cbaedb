package machine

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// MemoryLimit reads the memory limit of the control group of this process in
// bytes, or that of a parent where it is lower; +Inf is none. A process that
// reaches it is killed.
func MemoryLimit(root fs.FS) float64 {
	// Inside a container the group is mounted at the root of the file system
	// of groups; outside, its path stands in /proc.
	dirs := []string{"."}
	if text, err := fs.ReadFile(root, "proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(text)) {
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if len(parts) != 3 || parts[1] != "" && parts[1] != "memory" {
				continue
			}
			for dir := strings.Trim(parts[2], "/"); dir != "" && dir != "."; dir = path.Dir(dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	best := math.Inf(1)
	for _, dir := range dirs {
		for _, name := range []string{
			path.Join("sys/fs/cgroup", dir, "memory.max"),                   // version 2: "max" or bytes
			path.Join("sys/fs/cgroup/memory", dir, "memory.limit_in_bytes"), // version 1
		} {
			text, err := fs.ReadFile(root, name)
			if err != nil {
				continue
			}
			// Version 1 writes "no limit" as a number near 2^63.
			if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < 1<<60 {
				best = min(best, float64(n))
			}
		}
	}
	return best
}
