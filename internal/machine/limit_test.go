package machine_test

import (
	"math"
	"testing"
	"testing/fstest"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

func TestMemoryLimit(t *testing.T) {
	f := func(want float64, files map[string]string) {
		t.Helper()
		root := fstest.MapFS{}
		for name, text := range files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := machine.MemoryLimit(root); got != want {
			t.Errorf("machine.MemoryLimit(%v) = %v, want %v", files, got, want)
		}
	}
	f(math.Inf(1), nil)
	f(math.Inf(1), map[string]string{"sys/fs/cgroup/memory.max": "max\n"})
	f(268435456, map[string]string{"sys/fs/cgroup/memory.max": "268435456\n"})
	f(1024, map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "1024\n"})
	f(math.Inf(1), map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"})
	// A unit of systemd, whose slice has the lower limit.
	f(2048, map[string]string{
		"proc/self/cgroup": "0::/system.slice/carla-rl.service\n",
		"sys/fs/cgroup/system.slice/carla-rl.service/memory.max": "4096\n",
		"sys/fs/cgroup/system.slice/memory.max":                  "2048\n",
	})
	f(512, map[string]string{
		"proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/b\n",
		"sys/fs/cgroup/memory/b/memory.limit_in_bytes":    "512\n",
		"sys/fs/cgroup/memory/a/memory.limit_in_bytes":    "256\n",
		"sys/fs/cgroup/unified/whatever/that/is/not/read": "1",
	})
}
