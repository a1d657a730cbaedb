//go:build e2e

// Package hostile_test gives the readers of model files what nobody should: by
// the million, in processes of their own whose memory is measured, with an oracle
// that is not theirs.
//
//	make hostile
//
// runs all of it at its full numbers, FACTOR times.
package hostile_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/e2e/running"
)

// How many files each of the generators makes; see ledger.Size.
const (
	few  = 6_000
	many = 1_000_000
)

var (
	first  = flag.Uint64("seed", 0, "number of the first file; 0 draws one, where there are many")
	worker = flag.String("worker", "", "what this process does for another one: a generator, the first number, how many")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *worker != "" {
		work(*worker)
		return
	}
	code := m.Run()
	if name, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(name))
	}
	os.Exit(code)
}

// outcome is what became of the files of one worker.
type outcome struct {
	Files, Refused, Read int
	Sound                int            // files that are to be read
	Kinds                map[string]int // files of each kind
	KindsRead            map[string]int // and how many of them were read
	Wrong                []string       // the first of those that should have ended otherwise
	CPU                  time.Duration  // the most that one took
	Slowest              string
	Bytes                uint64 // the most that were allocated for one, those freed again too
	Largest              string
	Idle, Peak           int64 // bytes of memory of the process before the first file, and the most: garbage of all files is in it
}

// result is what one file came to: its kind, whether it was read, and what is
// wrong with that.
type result struct {
	kind  string
	read  bool
	sound bool // it is to be read
	wrong string
}

// generators make and read file number n. The first function prepares a process;
// what is measured is the second one that comes back with a file.
var generators = map[string]func() func(n uint64) (try func() result){
	"pickles": pickleWorker,
	"zips":    zipWorker,
}

// work makes and reads the files of one worker and prints the outcome.
func work(task string) {
	name, rest, _ := strings.Cut(task, ",")
	from, many, _ := strings.Cut(rest, ",")
	start, err1 := strconv.ParseUint(from, 10, 64)
	count, err2 := strconv.Atoi(many)
	prepare, ok := generators[name]
	if err1 != nil || err2 != nil || !ok {
		fmt.Fprintf(os.Stderr, "worker %q: a generator, a number and a count were wanted\n", task)
		os.Exit(2)
	}
	next := prepare()
	runtime.LockOSThread() // whose time is measured: that of the collector depends on the machine
	o := outcome{Kinds: map[string]int{}, KindsRead: map[string]int{}}
	debug.FreeOSMemory()
	o.Idle = memory("VmRSS")
	for n := start; n < start+uint64(count); n++ {
		try := next(n)
		held, before := allocated(), processor()
		res := guarded(try)
		took := processor() - before
		if bytes := allocated() - held; bytes > o.Bytes {
			o.Bytes, o.Largest = bytes, fmt.Sprintf("%d (%s)", n, res.kind)
		}
		o.Files++
		o.Kinds[res.kind]++
		if res.sound {
			o.Sound++
		}
		if res.read {
			o.Read++
			o.KindsRead[res.kind]++
		} else {
			o.Refused++
		}
		if took > o.CPU {
			o.CPU, o.Slowest = took, fmt.Sprintf("%d (%s)", n, res.kind)
		}
		if res.wrong != "" && len(o.Wrong) < 5 {
			o.Wrong = append(o.Wrong, fmt.Sprintf("file %d (%s): %s", n, res.kind, res.wrong))
		}
	}
	o.Peak = memory("VmHWM")
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// guarded makes a wrong result of a panic.
func guarded(try func() result) (res result) {
	defer func() {
		if p := recover(); p != nil {
			res.wrong = fmt.Sprintf("panic: %v", p)
		}
	}()
	return try()
}

// processor is the time that this thread has had of processors.
func processor() time.Duration {
	const rusageThread = 1 // RUSAGE_THREAD, getrusage(2)
	var u syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// allocated is what was ever allocated: no less than what was held at any time.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// memory is a figure of this process, in bytes.
func memory(field string) int64 {
	kib, err := running.Status(os.Getpid(), field)
	if err != nil {
		panic(err)
	}
	return kib << 10
}

// generate has files of a generator made and read, by processes each of which has
// a part of them, and adds up what they say.
func generate(t *testing.T, name string) outcome {
	t.Helper()
	const each = 10_000
	count := ledger.Size(few, many)
	start := *first
	switch {
	case start == 0 && count == few:
		start = 1 // the same files in every run beside all other tests
	case start == 0:
		start = uint64(time.Now().UnixNano()) >> 12 << 12
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	sum := outcome{Kinds: map[string]int{}, KindsRead: map[string]int{}}
	tasks := make(chan string)
	var workers sync.WaitGroup
	for range min(2, runtime.NumCPU()) {
		workers.Go(func() {
			for task := range tasks {
				var stderr strings.Builder
				cmd := exec.Command(self, "-worker", task)
				cmd.Stderr = &stderr
				cmd.Env = append(os.Environ(), "GOTRACEBACK=single")
				out, err := cmd.Output()
				var o outcome
				if err == nil {
					err = json.Unmarshal(out, &o)
				}
				mu.Lock()
				if err != nil {
					t.Errorf("-worker %s: %v\n%.4000s", task, err, stderr.String())
				} else {
					sum.add(o)
				}
				mu.Unlock()
			}
		})
	}
	for done := 0; done < count; done += each {
		tasks <- fmt.Sprintf("%s,%d,%d", name, start+uint64(done), min(each, count-done))
	}
	close(tasks)
	workers.Wait()
	for _, w := range sum.Wrong {
		t.Errorf("%s (-worker %s,NUMBER,1)", w, name)
	}
	if sum.Files != count {
		t.Errorf("%d files, %d were wanted", sum.Files, count)
	}
	return sum
}

func (o *outcome) add(p outcome) {
	o.Files += p.Files
	o.Refused += p.Refused
	o.Sound += p.Sound
	o.Read += p.Read
	for k, n := range p.Kinds {
		o.Kinds[k] += n
	}
	for k, n := range p.KindsRead {
		o.KindsRead[k] += n
	}
	o.Wrong = append(o.Wrong, p.Wrong...)
	o.Wrong = o.Wrong[:min(len(o.Wrong), 20)]
	if p.CPU > o.CPU {
		o.CPU, o.Slowest = p.CPU, p.Slowest
	}
	if p.Bytes > o.Bytes {
		o.Bytes, o.Largest = p.Bytes, p.Largest
	}
	if p.Peak-p.Idle > o.Peak-o.Idle {
		o.Peak, o.Idle = p.Peak, p.Idle
	}
}

// within holds an outcome to what one file may take.
func (o *outcome) within(t *testing.T, took time.Duration, bytes uint64) {
	t.Helper()
	if o.CPU > took {
		t.Errorf("file %s took %v of the processor, at most %v was wanted", o.Slowest, o.CPU, took)
	}
	if o.Bytes > bytes {
		t.Errorf("file %s took %d MiB, at most %d were wanted", o.Largest, o.Bytes>>20, bytes>>20)
	}
	// What files left behind is collected when the machine has time for it.
	const leak = 512 << 20
	if o.Peak-o.Idle > leak {
		t.Errorf("a process grew by %d MiB", (o.Peak-o.Idle)>>20)
	}
}

// row prints an outcome and keeps it.
func (o *outcome) row(t *testing.T, id, test, what string) {
	t.Helper()
	kinds := make([]string, 0, len(o.Kinds))
	for k, n := range o.Kinds {
		kinds = append(kinds, fmt.Sprintf("%s %d/%d", k, o.KindsRead[k], n))
	}
	slices.Sort(kinds)
	ledger.Add(t, ledger.Row{
		ID: id, Test: test, Inputs: ledger.N(o.Files-o.Sound, "%s", what), Lost: ledger.Nothing,
		Figures: []string{
			fmt.Sprintf("%s sound files among them, all read", ledger.Thousands(int64(o.Sound))),
			fmt.Sprintf("%v of processor for the slowest (%s)", o.CPU.Round(time.Millisecond), o.Slowest),
			fmt.Sprintf("%.1f MiB allocated for the largest (%s)", float64(o.Bytes)/(1<<20), o.Largest),
			fmt.Sprintf("%.0f MiB beyond the idle process, after 10,000 files and with what they left to the collector", float64(o.Peak-o.Idle)/(1<<20)),
		},
	})
	t.Logf("read of tried: %s", strings.Join(kinds, ", "))
}
