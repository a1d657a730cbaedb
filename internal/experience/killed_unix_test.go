//go:build unix

package experience_test

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// Variables that make this program the child of TestKilledAtEveryStep.
const (
	childStep = "EXPERIENCE_TEST_STEP" // at which it ends, without a word
	childHit  = "EXPERIENCE_TEST_HIT"  // the how-manieth time that it comes there
	childFile = "EXPERIENCE_TEST_FILE"
	childMode = "EXPERIENCE_TEST_MODE"
)

func init() {
	if os.Getenv(childFile) != "" {
		child()
		os.Exit(0)
	}
}

// steps are all that what is written goes through, with how often each comes at
// the start of a process: those that come later are hit among acts.
var steps = []string{
	"before begin", "after begin", "before migration", "before commit", "after commit", "in recovery", "before counting", "after counting",
	"before writing", "after the first step", "after steps", "before settling", "before checkpoint", "after checkpoint", "in prune", "before the end",
}

// child records steps and says of each that was answered which it was, until it
// is killed at the step that the environment names, or has done enough.
func child() {
	fatal := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	hit, err := strconv.Atoi(os.Getenv(childHit))
	fatal(err)
	at := os.Getenv(childStep)
	var mu sync.Mutex
	experience.SetReached(func(step string) {
		mu.Lock()
		defer mu.Unlock()
		if step != at {
			return
		}
		if hit--; hit == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	run := experience.NewRun()
	fmt.Println("run", run)
	store, err := experience.Open(context.Background(), os.Getenv(childFile), experience.WithWALPages(experience.Options{Run: run}, 8))
	fatal(err)
	r := experience.NewRecorder(store, experience.WithPruneEvery(experience.RecorderOptions{
		Run: run, Mode: experience.Mode(os.Getenv(childMode)), OnFailure: experience.Stop, Buffer: 64 << 10, Flush: 2 * time.Millisecond, CommitTimeout: generous, MaxBytes: 40 << 10,
	}, time.Nanosecond))
	s := serving.New(serving.Options{Lanes: 2, MaxQueue: 100, Recorder: r})
	p := driving(childTB{fatal: fatal}, "")
	var all sync.WaitGroup
	for client := range 3 {
		all.Go(func() {
			for i := range 150 {
				req := request(p, 1, float32(i))
				id := fmt.Sprint(client, "-", i)
				req.Origin.Reset([]byte(id), time.Now())
				if s.Act(context.Background(), p, req) == nil {
					fmt.Println("acted", id) // One write, whole or not at all.
				}
			}
		})
	}
	all.Wait()
	fatal(r.Close(context.Background()))
	fmt.Println("closed")
}

// childTB is what helpers need of a test.
type childTB struct {
	testing.TB
	fatal func(error)
}

func (c childTB) Helper()           {}
func (c childTB) Fatal(args ...any) { c.fatal(fmt.Errorf("%s", fmt.Sprint(args...))) }
func (c childTB) Fatalf(format string, args ...any) {
	c.fatal(fmt.Errorf(format, args...))
}

// TestKilledAtEveryStep (D2): a process is killed at each step of what it
// writes: at the start, while it writes, puts its log into the file, deletes and
// ends. In mode durable every step that was answered is there afterwards, once;
// in mode buffered, steps and gaps are all that was answered, to the step.
func TestKilledAtEveryStep(t *testing.T) {
	ledger.Begin(t)
	times := ledger.Size(1, 20)
	kills, acted := 0, 0
	for _, step := range steps {
		t.Run(strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			// A child comes to some steps once and to others all the time: the hit at
			// which it dies gets later, until one ends before it gets there.
			killed, last := 0, math.MaxInt
			for i := 0; killed < times && i < 4*times; i++ {
				mode := []experience.Mode{experience.Durable, experience.Buffered}[i%2]
				if times == 1 && len(step)%2 == 0 && step != "in prune" { // Buffered, all may be written at once, with nothing to delete.
					mode = experience.Buffered
				}
				hit := min(1+i*i/7, last)
				k, n := killedAt(t, step, hit, mode)
				if k == 0 {
					last = max(1, hit/2)
				}
				acted += n
				killed += k
			}
			if killed < times {
				t.Errorf("%d processes of %d were killed there", killed, times)
			}
			kills += killed
		})
	}
	ledger.Add(t, ledger.Row{
		ID: "D2", Test: fmt.Sprintf("a process killed at each of %d steps of what the experience log writes", len(steps)),
		Load: "3 clients, as fast as they can", Faults: ledger.N(kills, "kills"), Lost: ledger.Nothing,
		Figures: []string{ledger.Thousands(int64(acted)) + " answered steps looked up: in mode durable each is there once, in mode buffered gap records are exact", "each file is whole by SQLite's own check"},
	})
}

// killedAt runs a child in a file that has seen another killed before, then
// looks at what there is.
func killedAt(t *testing.T, step string, hit int, mode experience.Mode) (killed, acted int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "e.db")
	if step != "before migration" { // A run before that was killed, for those steps that need one.
		runChild(t, path, "before settling", 1, experience.Buffered)
	}
	run, ids, dead, closed := runChild(t, path, step, hit, mode)
	if !dead && !closed {
		t.Fatalf("%s, hit %d: the child neither was killed nor closed the log", step, hit)
	}
	if run == "" {
		return 0, 0
	}
	// The next process finds what it left.
	store, err := experience.Open(t.Context(), path, experience.Options{Run: "after"})
	if err != nil {
		t.Fatalf("%s, hit %d: %v", step, hit, err)
	}
	defer store.Close()
	if err := store.(interface{ Check(context.Context) error }).Check(t.Context()); err != nil {
		t.Errorf("%s, hit %d: %v", step, hit, err)
	}
	stats, err := store.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var of experience.RunStats
	for _, r := range stats.Runs {
		if r.Run == run {
			of = r
		}
	}
	found, first := map[string]int{}, uint64(0)
	for st, err := range store.Read(t.Context(), experience.Query{Run: run}) {
		if err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			first = st.Sequence
		}
		found[st.RequestID]++
	}
	lost := 0
	for _, id := range ids {
		if found[id] > 1 {
			t.Errorf("%s, hit %d: step %s is there %d times", step, hit, id, found[id])
		}
		if found[id] == 0 {
			lost++
		}
	}
	// What was deleted is known by its number.
	lost -= int(of.Pruned)
	if mode == experience.Durable && lost > 0 {
		t.Errorf("%s, hit %d: %d answered steps of %d are not there", step, hit, lost, len(ids))
	}
	if lost > int(of.Lost) {
		t.Errorf("%s, hit %d: %d answered steps of %d are not there, and the gaps say %d", step, hit, lost, len(ids), of.Lost)
	}
	// Every number up to the highest is a step, a gap or deleted; there are as
	// many as were answered, and one for each client that saw no answer.
	if got := uint64(len(found)) + of.Lost + of.Pruned; got != of.Highest || got < uint64(len(ids)) || dead && got > uint64(len(ids))+3 || closed && got != uint64(len(ids)) {
		t.Errorf("%s, hit %d: %d steps, %d lost and %d deleted of %d; %d were answered", step, hit, len(found), of.Lost, of.Pruned, of.Highest, len(ids))
	}
	if dead {
		killed = 1
	}
	return killed, len(ids)
}

func runChild(t *testing.T, path, step string, hit int, mode experience.Mode) (run string, ids []string, dead, closed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path, childStep+"="+step, childHit+"="+strconv.Itoa(hit), childMode+"="+string(mode))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch word, rest, _ := strings.Cut(lines.Text(), " "); word {
		case "run":
			run = rest
		case "acted":
			ids = append(ids, rest)
		case "closed":
			closed = true
		default:
			t.Errorf("%s, hit %d: the child says %s", step, hit, lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		dead = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
		if !dead {
			t.Fatalf("%s, hit %d: %v", step, hit, err)
		}
	}
	return run, ids, dead, closed
}
