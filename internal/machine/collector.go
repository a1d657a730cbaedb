package machine

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// shareOfLimit is how much of the memory limit the Go runtime is told of. The
// rest is for what it does not count: stacks of the system, pages of the program
// and buffers of the kernel's.
const shareOfLimit = 0.9

// quietPercent is GOGC until the first collection, which then comes at 32 MiB:
// the runtime takes no heap for less than 4 MiB at a GOGC of 100. The heap of a
// start is a few MiB, of which little is garbage; without this it would be
// collected at 4, 5 and 7 MiB.
const (
	quietPercent = 800
	quietBytes   = quietPercent / 100 * 4 << 20
)

// Collector is the memory limit that the garbage collector keeps to.
type Collector struct {
	// Limit is in bytes; 0 where there is none.
	Limit int64
	// From says where it comes from: "GOMEMLIMIT", "the memory limit of the
	// control group" or "".
	From string

	awake func()
}

// StartCollector tells the garbage collector of the memory limit of the control
// group, in bytes or +Inf, where GOMEMLIMIT has not told it of another, and
// keeps it quiet until the heap has taken 32 MiB or [Collector.Settle] is called.
func StartCollector(group float64) *Collector {
	c := &Collector{}
	limit := int64(math.MaxInt64)
	switch {
	case os.Getenv("GOMEMLIMIT") != "":
		if limit = debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
			c.Limit, c.From = limit, "GOMEMLIMIT"
		}
	case !math.IsInf(group, 1):
		limit = int64(group * shareOfLimit)
		c.Limit, c.From = limit, "the memory limit of the control group"
	}
	debug.SetMemoryLimit(limit)
	if os.Getenv("GOGC") != "" || limit <= quietBytes { // The operator's word, or no room.
		c.awake = func() {}
		return c
	}
	percent := debug.SetGCPercent(quietPercent)
	awake := sync.OnceFunc(func() { debug.SetGCPercent(percent) })
	c.awake = awake
	// The first collection ends the quiet: a heap of many times what is live is
	// for no more than the start.
	sentinel := new([64]byte)
	runtime.AddCleanup(sentinel, func(struct{}) { awake() }, struct{}{})
	return c
}

// Settle is called once the first load is over: what only the start needed is
// given back, garbage and pages of the program.
func (c *Collector) Settle() error {
	c.awake()
	debug.FreeOSMemory()
	return TrimProgram()
}
