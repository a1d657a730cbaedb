package config

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// defaultWorkers is the number of CPUs that this process may use: the quota of
// its control group, rounded up, but no more than Go uses. Go itself never
// goes below two for a quota, which would be one lane too many for a
// container of half a core.
func defaultWorkers() int {
	return workersFor(os.DirFS("/"), runtime.GOMAXPROCS(0))
}

func workersFor(root fs.FS, cores int) int {
	n := cores
	if quota, ok := cpuQuota(root); ok {
		n = min(n, int(math.Ceil(quota)))
	}
	return max(1, n)
}

// cpuQuota reads the CPU limit of the control group of this process, in cores.
func cpuQuota(root fs.FS) (float64, bool) {
	best, found := math.Inf(1), false
	take := func(q float64, ok bool) {
		if ok && q < best {
			best, found = q, true
		}
	}
	// Inside a container the group is mounted at the root of the file system
	// of groups; outside, its path stands in /proc. A parent's limit counts
	// too.
	dirs := []string{"."}
	if text, err := fs.ReadFile(root, "proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(text)) {
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if len(parts) != 3 || parts[1] != "" && !hasController(parts[1], "cpu") {
				continue
			}
			for dir := strings.Trim(parts[2], "/"); dir != "" && dir != "."; dir = path.Dir(dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	for _, dir := range dirs {
		take(quotaV2(root, path.Join("sys/fs/cgroup", dir)))
		for _, mount := range []string{"sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"} {
			take(quotaV1(root, path.Join(mount, dir)))
		}
	}
	return best, found
}

func hasController(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

// quotaV2 reads "max 100000" or "150000 100000".
func quotaV2(root fs.FS, dir string) (float64, bool) {
	text, err := fs.ReadFile(root, path.Join(dir, "cpu.max"))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0, false
	}
	return ratio(fields[0], fields[1])
}

// quotaV1 reads two files; a quota of -1 is none.
func quotaV1(root fs.FS, dir string) (float64, bool) {
	quota, err := fs.ReadFile(root, path.Join(dir, "cpu.cfs_quota_us"))
	if err != nil {
		return 0, false
	}
	period, err := fs.ReadFile(root, path.Join(dir, "cpu.cfs_period_us"))
	if err != nil {
		return 0, false
	}
	return ratio(string(quota), string(period))
}

func ratio(quota, period string) (float64, bool) {
	q, err := strconv.ParseInt(strings.TrimSpace(quota), 10, 64)
	if err != nil || q <= 0 {
		return 0, false
	}
	p, err := strconv.ParseInt(strings.TrimSpace(period), 10, 64)
	if err != nil || p <= 0 {
		return 0, false
	}
	return float64(q) / float64(p), true
}

// LanesFrom says in words what the number of lanes follows.
func (c *Config) LanesFrom() string {
	if s := c.Source("server.workers"); s.Kind != "default" && !c.lanesFound {
		return "server.workers"
	}
	cores := runtime.GOMAXPROCS(0)
	if quota, ok := cpuQuota(os.DirFS("/")); ok && quota < float64(cores) {
		return "the CPU quota of " + strconv.FormatFloat(quota, 'f', -1, 64)
	}
	return strconv.Itoa(cores) + " cores"
}

// FitLanes makes the lanes no more than the cores that the process keeps to,
// where their number was not set.
func (c *Config) FitLanes(cores int) {
	if c.lanesFound {
		c.Server.Workers = max(1, min(c.Server.Workers, cores))
	}
}
