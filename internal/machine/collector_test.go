package machine_test

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

// keep puts the settings of the collector back.
func keep(t *testing.T) {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
}

func TestCollectorFollowsTheGroup(t *testing.T) {
	f := func(group float64, gomemlimit string, limit int64, from string, settled int64) {
		t.Helper()
		keep(t)
		t.Setenv("GOMEMLIMIT", gomemlimit)
		c := machine.StartCollector(group)
		if c.Limit != limit || c.From != from {
			t.Errorf("of %v with GOMEMLIMIT=%q: %d from %q, want %d from %q", group, gomemlimit, c.Limit, c.From, limit, from)
		}
		if err := c.Settle(); err != nil {
			t.Error(err)
		}
		if got := debug.SetMemoryLimit(-1); got != settled {
			t.Errorf("of %v with GOMEMLIMIT=%q: the limit is %d in the end, want %d", group, gomemlimit, got, settled)
		}
		if got := debug.SetGCPercent(100); got != 100 {
			t.Errorf("of %v with GOMEMLIMIT=%q: GOGC is %d in the end", group, gomemlimit, got)
		}
	}
	f(math.Inf(1), "", 0, "", math.MaxInt64)
	f(1<<30, "", 966367641, "the memory limit of the control group", 966367641)
	f(16<<20, "", 15099494, "the memory limit of the control group", 15099494)
	debug.SetMemoryLimit(500 << 20) // as the runtime read it at its start
	f(1<<30, "500MiB", 500<<20, "GOMEMLIMIT", 500<<20)
}

// ballast keeps what the test allocates from being left out.
var ballast [][]byte

// A start that takes more than the quiet allows is collected as usual from
// there on.
func TestCollectorAwakesByItself(t *testing.T) {
	keep(t)
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	machine.StartCollector(math.Inf(1))
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		t.Errorf("the limit is %d", limit)
	}
	for range 1000 { // The cleanup runs on a goroutine of its own, soon.
		for range 16 {
			ballast = append(ballast, make([]byte, 1<<20))
		}
		gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}} // which it is read by without being set
		metrics.Read(gogc)
		if gogc[0].Value.Uint64() == 100 {
			ballast = nil
			return
		}
		if len(ballast) > 256 {
			ballast = nil
		}
	}
	t.Error("the heap grows to many times what is live")
}
