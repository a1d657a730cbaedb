// Package hot is where tests say which paths are hot. A test gives a path's
// name and one operation of it. In an ordinary run the operation is held to
// what it may allocate; under callgrind (`make counts`) its instructions are
// counted, function by function, and compared with those that are recorded.
//
// It imports no package of this module, and only tests import it.
package hot

import (
	"flag"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"unsafe"
)

// Requests of valgrind and of callgrind, as valgrind.h and callgrind.h number
// them.
const (
	runningOnValgrind = 0x1001
	callgrind         = 'C'<<24 | 'T'<<16
	zeroStats         = callgrind + 1
	dumpStatsAt       = callgrind + 3
	startCounting     = callgrind + 4
)

var start sync.Once

var which = flag.String("paths", "", "count the hot paths alone whose name matches this expression")

// Counting reports whether the process runs under valgrind.
func Counting() bool { return request(&[6]uintptr{runningOnValgrind}, 0) > 0 }

// Path holds op, one operation of the hot path of that name, to no more than
// allocs allocations. Under callgrind it counts the instructions of n of them
// instead, three times: the fewest count, as what a timer or the scheduler adds
// to one batch is not the path's. Under the race detector, which allocates, op only runs.
func Path(t *testing.T, name string, n int, allocs float64, op func()) {
	t.Helper()
	path(t, name, n, allocs, 2, op)
}

// Load is Path for work whose instructions depend on the order in which maps
// are walked, which each process draws anew: it may rise by 5 % instead of 2.
func Load(t *testing.T, name string, n int, allocs float64, op func()) {
	t.Helper()
	path(t, name, n, allocs, 5, op)
}

func path(t *testing.T, name string, n int, allocs float64, percent int, op func()) {
	t.Helper()
	if ok, err := regexp.MatchString(*which, name); err != nil {
		t.Fatal(err)
	} else if !ok {
		return
	}
	if Counting() {
		count(name, n, percent, op)
		return
	}
	for range 10 { // what is made at first use
		op()
	}
	if got := testing.AllocsPerRun(max(n/10, 10), op); got > allocs && !raced {
		t.Errorf("%s: %v allocations an operation, %v allowed", name, got, allocs)
	}
}

// count dumps what callgrind counted for n operations, once a batch, under the
// name, n and the percent by which it may rise. One operation alone is counted once: it is a long one, of which
// what disturbs is a small part.
func count(name string, n, percent int, op func()) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	// What leads to the first path runs several times as fast without the
	// counts, so a test prepares its paths before it gives the first. Ending
	// them would throw away what valgrind has translated.
	start.Do(func() { request(&[6]uintptr{startCounting}, 0) })
	batches := 3
	if n == 1 {
		batches = 1
	} else {
		for range max(n/10, 2) { // what is made at first use
			op()
		}
	}
	label := append([]byte(name+"\t"+strconv.Itoa(n)+"\t"+strconv.Itoa(percent)), 0)
	for range batches {
		runtime.GC()
		op()
		request(&[6]uintptr{zeroStats}, 0)
		for range n {
			op()
		}
		request(&[6]uintptr{dumpStatsAt, uintptr(unsafe.Pointer(&label[0]))}, 0)
	}
	runtime.KeepAlive(label)
}
