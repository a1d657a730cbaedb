// Package ledger keeps what tests of reliability did: the load that they held,
// the faults and bad inputs that they tried, and what was lost. A test adds one
// row for each thing that it shows; tools/reliability makes docs/reliability.md
// of them.
//
// What enters are rows, what leaves are lines of JSON in the folder that the
// environment names. It must not import anything of the module.
package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// Variables of the environment: the folder of the rows, without which nothing is
// written, the commit of what is tested, and by how much more than the default
// numbers; see Size.
const (
	EnvFolder = "CARLA_RL_LEDGER"
	EnvCommit = "CARLA_RL_LEDGER_COMMIT"
	EnvFactor = "CARLA_RL_CHAOS_FACTOR"
)

// Size is how many of something a test does: few where it runs among all other
// tests, on machines that are slow and busy, and many, times the factor of the
// environment, in make chaos, which sets one.
func Size(few, many int) int {
	factor, err := strconv.ParseFloat(os.Getenv(EnvFactor), 64)
	if err != nil || factor <= 0 {
		return few
	}
	return max(1, int(factor*float64(many)))
}

// Nothing is the word for Row.Lost where nothing was lost.
const Nothing = "nothing"

// Row is one thing that was shown, and at what numbers.
type Row struct {
	// ID is that of the promise, as "A1" or "H4"; several rows may have it.
	ID string `json:"id"`
	// Test says in a few words what was done, as "reloads and rollbacks by 32
	// threads". ID, Test and Subject together name the row: a later one replaces
	// an earlier one.
	Test string `json:"test"`
	// Subject is the server that was tested where it is not this one, with its
	// version, as "MLServer 1.7.1".
	Subject string `json:"subject,omitzero"`
	// Load is the good traffic that was held meanwhile, as "2,000 requests/s for
	// 60 s"; empty where there was none.
	Load string `json:"load,omitzero"`
	// Faults are what was done to the server or its files, Inputs what it was
	// sent or given that is bad.
	Faults Count `json:"faults,omitzero"`
	Inputs Count `json:"inputs,omitzero"`
	// Lost is what good clients or data lost by it: Nothing, or what.
	Lost string `json:"lost"`
	// Figures are what was measured, as "P99.9 7.2 ms (at most 20 ms)".
	Figures []string `json:"figures,omitzero"`

	// What follows is set by Add.

	Failed  bool      `json:"failed,omitzero"` // the test found a promise broken
	Took    float64   `json:"took_s,omitzero"` // seconds since Begin
	Time    time.Time `json:"time"`
	Commit  string    `json:"commit,omitzero"`
	Machine string    `json:"machine"`
	Busy    float64   `json:"busy,omitzero"` // load average of the machine over the last minute
}

// Count is a number of things.
type Count struct {
	N    int64  `json:"n"`
	What string `json:"what"`
}

// N is n of something: N(1000, "bit flips").
func N(n int, what string, args ...any) Count {
	return Count{N: int64(n), What: fmt.Sprintf(what, args...)}
}

// String is "1,000 bit flips", empty for none.
func (c Count) String() string {
	if c == (Count{}) {
		return ""
	}
	return strings.TrimSpace(Thousands(c.N) + " " + c.What)
}

// Thousands is a number with commas.
func Thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// TB is what a row needs of a test: *testing.T and *testing.B are one.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
}

var mu sync.Mutex // held while a row is written

// Add keeps a row once the test has ended: what fails until then fails the row.
// Where the environment names no folder the row is only logged.
func Add(t TB, r Row) {
	t.Helper()
	if r.ID == "" || r.Test == "" || r.Lost == "" {
		t.Errorf("ledger: a row needs ID, Test and Lost, and has %+v", r)
		return
	}
	t.Logf("ledger: %s %s; load %q, faults %q, inputs %q, lost %q; %s", r.ID, r.Test, r.Load, r.Faults, r.Inputs, r.Lost, strings.Join(r.Figures, "; "))
	folder := os.Getenv(EnvFolder)
	if folder == "" {
		return
	}
	begun := began(t)
	t.Cleanup(func() {
		r.Failed, r.Time = t.Failed(), time.Now().UTC().Truncate(time.Second)
		if !begun.IsZero() {
			r.Took = time.Since(begun).Round(100 * time.Millisecond).Seconds()
		}
		r.Commit, r.Machine, r.Busy = os.Getenv(EnvCommit), Machine(), busy()
		if err := write(folder, r); err != nil {
			t.Errorf("ledger: %v", err)
		}
	})
}

// begins are when tests called Begin.
var begins sync.Map // TB -> time.Time

// Begin notes when a test began, so that its rows tell how long it took.
func Begin(t TB) {
	begins.Store(t, time.Now())
	t.Cleanup(func() { begins.Delete(t) })
}

func began(t TB) time.Time {
	if v, ok := begins.Load(t); ok {
		return v.(time.Time)
	}
	return time.Time{}
}

// write appends the row to a file of this process alone.
func write(folder string, r Row) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d.jsonl", strings.TrimSuffix(filepath.Base(os.Args[0]), ".test"), os.Getpid())
	f, err := os.OpenFile(filepath.Join(folder, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// Machine is what the tests run on: system, processor, its number, memory, Go.
func Machine() string {
	parts := []string{runtime.GOOS + "/" + runtime.GOARCH}
	if v := field("/proc/cpuinfo", "model name"); v != "" {
		parts = append(parts, v)
	}
	parts = append(parts, fmt.Sprintf("%d CPUs", runtime.NumCPU()))
	var kb int
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%d kB", &kb); err == nil {
		parts = append(parts, fmt.Sprintf("%d GiB", (kb+1<<19)>>20))
	}
	return strings.Join(append(parts, runtime.Version()), ", ")
}

// field returns the value of a line "name: value" of a file; empty where there
// is none.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// busy is the load average of the last minute, 0 where the system tells none.
func busy() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	var x float64
	if _, err := fmt.Sscan(string(text), &x); err != nil {
		return 0
	}
	return x
}

// Read returns the rows of the files of a folder, each in its order; a folder
// that is not there has none.
func Read(folder string) ([]Row, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			var r Row
			if err := json.Unmarshal([]byte(line), &r, json.RejectUnknownMembers(true)); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// Merge returns the rows in which those of later replace those of before that
// have the same ID, Test and Subject.
func Merge(before, later []Row) []Row {
	type key struct{ id, test, subject string }
	at := map[key]int{}
	var rows []Row
	for _, r := range append(append([]Row{}, before...), later...) {
		k := key{r.ID, r.Test, r.Subject}
		i, ok := at[k]
		switch {
		case !ok:
			at[k], rows = len(rows), append(rows, r)
		case !r.Time.Before(rows[i].Time):
			rows[i] = r
		}
	}
	return rows
}
