package machine_test

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

// pinChild tells the test binary to pin itself and to say what came of it: the
// tests themselves are not to be left pinned.
const pinChild = "MACHINE_TEST_PIN"

func TestMain(m *testing.M) {
	if spec := os.Getenv(pinChild); spec != "" {
		pinned(spec)
		return
	}
	os.Exit(m.Run())
}

func pinned(spec string) {
	p, err := machine.Pin(spec, 1)
	if err != nil {
		println("error:", err.Error())
		return
	}
	println("note:", p.Note)
	println("cores:", machine.Cores(p.Cores))
	println("procs:", runtime.GOMAXPROCS(0))
	done := make(chan bool)
	go func() { // on a thread that is surely another
		runtime.LockOSThread()
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err == nil {
			println("thread:", set.Count())
		}
		close(done)
	}()
	<-done
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		id, _ := strconv.Atoi(t.Name())
		var set unix.CPUSet
		if unix.SchedGetaffinity(id, &set) == nil && set.Count() != max(1, len(p.Cores)) {
			println("thread", id, "may use", set.Count())
		}
	}
}

func pinIn(t *testing.T, spec string) string {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), pinChild+"="+spec)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// Every thread keeps to the cores, those that begin later too, and Go runs on
// as many.
func TestPin(t *testing.T) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	var last int
	for c := range 1024 {
		if set.IsSet(c) {
			last = c
		}
	}
	want := "note: \ncores: " + strconv.Itoa(last) + "\nprocs: 1\nthread: 1\n"
	if got := pinIn(t, strconv.Itoa(last)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	got := pinIn(t, machine.PinAuto)
	if set.Count() > 1 && got != want || set.Count() == 1 && !strings.Contains(got, "nothing is pinned") {
		t.Errorf("auto: %s", got)
	}
}

func TestPinRefuses(t *testing.T) {
	if got := pinIn(t, "8000"); !strings.Contains(got, "error: core 8000 is none that the process may use, which are ") && !strings.Contains(got, "invalid argument") {
		t.Error(got)
	}
	if got := pinIn(t, "none"); !strings.Contains(got, "expected off, auto or a list of cores such as 2,4-7") {
		t.Error(got)
	}
}
