package config

import (
	"testing"
	"testing/fstest"
)

func TestWorkersFollowTheQuota(t *testing.T) {
	f := func(want, cores int, files map[string]string) {
		t.Helper()
		root := fstest.MapFS{}
		for name, text := range files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := workersFor(root, cores); got != want {
			t.Errorf("%v: got %d, want %d", files, got, want)
		}
	}
	f(8, 8, nil)
	f(2, 8, map[string]string{"sys/fs/cgroup/cpu.max": "200000 100000\n"})
	f(1, 8, map[string]string{"sys/fs/cgroup/cpu.max": "50000 100000\n"}) // half a core
	f(2, 8, map[string]string{"sys/fs/cgroup/cpu.max": "150000 100000\n"})
	f(8, 8, map[string]string{"sys/fs/cgroup/cpu.max": "max 100000\n"})
	f(4, 4, map[string]string{"sys/fs/cgroup/cpu.max": "1600000 100000\n"})
	f(8, 8, map[string]string{"sys/fs/cgroup/cpu.max": "nonsense"})
	f(8, 8, map[string]string{"sys/fs/cgroup/cpu.max": "100000 0"})
	// Version 1 in a container, and a limit of none.
	f(2, 8, map[string]string{"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"})
	f(8, 8, map[string]string{"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"})
	f(3, 8, map[string]string{"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n"})
	// Outside a container the path stands in /proc, and a parent may be the
	// one that limits.
	f(1, 8, map[string]string{"proc/self/cgroup": "0::/system.slice/carla-rl.service\n", "sys/fs/cgroup/system.slice/carla-rl.service/cpu.max": "100000 100000"})
	f(3, 8, map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "300000 100000"})
	f(2, 8, map[string]string{"proc/self/cgroup": "4:cpu,cpuacct:/x\n1:memory:/y\n",
		"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "150000", "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000"})
	f(8, 8, map[string]string{"proc/self/cgroup": "garbage\n0::/../../etc\n"})
}
