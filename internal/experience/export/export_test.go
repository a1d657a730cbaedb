package export_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/experience/export"
)

var layout = experience.Layout{
	Model: "highway", Version: "v1.0.0", Digest: "d1", Masks: 3,
	Inputs:   []experience.Input{{Name: "observation", Shape: []int{7}, Width: 7}},
	Features: []experience.Part{{Name: "speed", Size: 1}, {Name: "grid", Shape: []int{2, 3}, Offset: 1, Size: 6}},
	Actions:  []experience.Part{{Name: "throttle", Size: 1}, {Name: "gear", Offset: 1, Size: 1, Discrete: true}},
}

func at(n int) time.Time { return time.Unix(1_795_000_000, int64(n)*1_000_000).UTC() }

// store has ten steps of two sessions and what came of them.
func store(t *testing.T) experience.Store {
	t.Helper()
	s, err := experience.Open(t.Context(), filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := &experience.Batch{Layouts: []experience.Layout{layout}}
	for i := 1; i <= 10; i++ {
		st := experience.Step{
			Run: "r", Sequence: uint64(i), Time: at(i), Mono: time.Duration(i), RequestID: fmt.Sprint("q", i), Model: "highway", Version: "v1.0.0", Digest: "d1",
			Observation: []float32{float32(i) / 3, 1, 2, 3, 4, 5, 6}, Action: []float32{-0.5, float32(i)}, Queue: 7, Infer: 8, Deterministic: true,
		}
		if i > 2 {
			st.Session, st.SessionStep, st.First = "s\"ü\n", uint64(i-3), i == 3
		}
		if i == 4 {
			st.Raw = []float32{float32(math.NaN()), 4}
			st.Interventions = []experience.Intervention{{Value: 0, Kind: "not_finite", Fallback: "brake", Feature: -1}}
			st.Value, st.HasValue = 1.5, true
			st.Masks = []float32{1, 0, 1}
			st.Seed = math.MaxUint64
		}
		b.Steps = append(b.Steps, st)
	}
	one, two := 1.0, 2.0
	b.Outcomes = []experience.Outcome{
		{Run: "r", ID: "1", Session: "s\"ü\n", SessionStep: 1, Reward: &one, Time: at(20)},
		{Run: "r", ID: "2", Session: "s\"ü\n", SessionStep: 1, Reward: &two, Terminated: true, Info: []byte(`{"lap":1}`), Time: at(21)},
		{Run: "r", ID: "3", Session: "other", SessionStep: 1, Reward: &two, Time: at(22)},
	}
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, s experience.Store, o export.Options) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "out."+string(o.Format))
	if _, err := export.Write(t.Context(), s, name, o); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestJSONLines(t *testing.T) {
	data, err := os.ReadFile(write(t, store(t), export.Options{Format: export.JSONLines}))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) != 10 {
		t.Fatalf("%d lines", len(lines))
	}
	type step struct {
		Sequence    uint64 `json:"sequence"`
		Time        string `json:"time"`
		Session     string `json:"session"`
		Seed        uint64 `json:"seed"`
		Observation struct {
			Speed float32     `json:"speed"`
			Grid  [][]float32 `json:"grid"`
		} `json:"observation"`
		Action struct {
			Throttle float32 `json:"throttle"`
			Gear     int     `json:"gear"`
		} `json:"action"`
		Raw struct {
			Throttle any `json:"throttle"`
		} `json:"raw_action"`
		Value         *float64 `json:"value"`
		Masks         []int    `json:"action_masks"`
		Interventions []struct {
			Kind string `json:"kind"`
		} `json:"interventions"`
		Reward     *float64       `json:"reward"`
		Terminated bool           `json:"terminated"`
		Info       map[string]int `json:"info"`
	}
	var got [10]step
	for i := range lines {
		if err := json.Unmarshal([]byte(lines[i]), &got[i]); err != nil {
			t.Fatalf("line %d: %v: %s", i, err, lines[i])
		}
	}
	a, b := got[0], got[3]
	if a.Sequence != 1 || a.Time != "2026-11-18T11:06:40.001000Z" || a.Session != "" || a.Observation.Speed != float32(1)/3 || a.Observation.Grid[1][2] != 6 ||
		a.Action.Gear != 1 || a.Raw.Throttle != -0.5 || a.Value != nil || !slices.Equal(a.Masks, []int{1, 1, 1}) || a.Reward != nil || a.Interventions != nil {
		t.Errorf("first %+v: %s", a, lines[0])
	}
	if b.Session != "s\"ü\n" || b.Seed != math.MaxUint64 || b.Raw.Throttle != "NaN" || *b.Value != 1.5 || !slices.Equal(b.Masks, []int{1, 0, 1}) || b.Interventions[0].Kind != "not_finite" ||
		*b.Reward != 3 || !b.Terminated || b.Info["lap"] != 1 {
		t.Errorf("fourth %+v: %s", b, lines[3])
	}
}

func TestCSV(t *testing.T) {
	f, err := os.Open(write(t, store(t), export.Options{Format: export.CSV}))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 11 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	cell := func(row int, name string) string {
		i := slices.Index(rows[0], name)
		if i < 0 {
			t.Fatalf("no column %s of %v", name, rows[0])
		}
		return rows[row][i]
	}
	for name, want := range map[string]string{
		"observation.speed": "1.3333334", "observation.grid.5": "6", "action.gear": "4", "raw_action.throttle": "NaN", "value": "1.5", "log_prob": "",
		"reward": "3", "terminated": "true", "info": `{"lap":1}`, "session": "s\"ü\n", "seed": "18446744073709551615", "action_masks.1": "0",
	} {
		if got := cell(4, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestQueriesAndLimits narrows an export.
func TestQueriesAndLimits(t *testing.T) {
	s := store(t)
	f := func(want uint64, o export.Options) {
		t.Helper()
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		told := uint64(0)
		o.Progress = func(n uint64) { told = n }
		n, err := export.To(t.Context(), s, w, o)
		if err != nil || n != want || told != want {
			t.Errorf("%+v: %d steps, told %d, %v; want %d", o, n, told, err, want)
		}
	}
	for _, format := range export.Formats {
		f(10, export.Options{Format: format})
		f(8, export.Options{Format: format, Query: experience.Query{Session: "s\"ü\n"}})
		f(3, export.Options{Format: format, Query: experience.Query{Limit: 3}})
		f(0, export.Options{Format: format, Query: experience.Query{Model: "none"}})
	}
}

// TestANameThatIsUsedAgain has a second session of the same name take steps of
// the same numbers: an outcome is that of the one that was there when it was told.
func TestANameThatIsUsedAgain(t *testing.T) {
	s := store(t)
	b := &experience.Batch{}
	for i := range 3 {
		b.Steps = append(b.Steps, experience.Step{Run: "r", Sequence: uint64(11 + i), Time: at(100 + i), Model: "highway", Version: "v1.0.0", Digest: "d1",
			Observation: make([]float32, 7), Action: make([]float32, 2), Session: "s\"ü\n", SessionStep: uint64(i)})
	}
	five := 5.0
	b.Outcomes = []experience.Outcome{{Run: "r", ID: "9", Session: "s\"ü\n", SessionStep: 1, Reward: &five, Time: at(200)}}
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(write(t, s, export.Options{Format: export.JSONLines}))
	if err != nil {
		t.Fatal(err)
	}
	rewards := map[int]string{}
	for i, line := range strings.Split(string(data), "\n") {
		if _, rest, ok := strings.Cut(line, `"reward":`); ok && !strings.HasPrefix(rest, "null") {
			rewards[i+1], _, _ = strings.Cut(rest, ",")
		}
	}
	if len(rewards) != 2 || rewards[4] != "3" || rewards[12] != "5" {
		t.Errorf("rewards by step: %v, want 3 of step 4 and 5 of step 12", rewards)
	}
}

// TestLayoutsThatDiffer has steps of a policy with other features: columns cannot
// hold both.
func TestLayoutsThatDiffer(t *testing.T) {
	s := store(t)
	other := layout
	other.Version, other.Digest = "v2.0.0", "d2"
	other.Features = []experience.Part{{Name: "speed", Size: 1}, {Name: "grid", Shape: []int{6}, Offset: 1, Size: 6}}
	same := layout
	same.Version, same.Digest = "v1.0.1", "d3"
	step := func(n uint64, l *experience.Layout) experience.Step {
		return experience.Step{Run: "r", Sequence: n, Time: at(int(n)), Model: l.Model, Version: l.Version, Digest: l.Digest, Observation: make([]float32, 7), Action: make([]float32, 2)}
	}
	b := &experience.Batch{Layouts: []experience.Layout{other, same}, Steps: []experience.Step{step(11, &same), step(12, &other)}}
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, format := range export.Formats {
		name := filepath.Join(t.TempDir(), "x")
		n, err := export.Write(t.Context(), s, name, export.Options{Format: format})
		if format == export.JSONLines {
			if err != nil || n != 12 {
				t.Errorf("%s: %d, %v", format, n, err)
			}
			continue
		}
		if !errors.Is(err, export.ErrLayouts) || !strings.Contains(err.Error(), "v2.0.0") {
			t.Errorf("%s: want ErrLayouts with the version, got %v", format, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 0 {
			t.Errorf("%s: left %v", format, left)
		}
	}
	write(t, s, export.Options{Format: export.Parquet, Query: experience.Query{Version: "v2.0.0"}})
}

// TestFilesAreWholeOrNotThere cuts an export off, and writes over a file only
// where that is asked for.
func TestFilesAreWholeOrNotThere(t *testing.T) {
	s := store(t)
	for _, format := range export.Formats {
		dir := t.TempDir()
		name := filepath.Join(dir, "out")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := export.Write(ctx, s, name, export.Options{Format: format}); err == nil {
			t.Errorf("%s: no error", format)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: left %v", format, left)
		}
		if err := os.WriteFile(name, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := export.Write(t.Context(), s, name, export.Options{Format: format}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: want ErrExist, got %v", format, err)
		}
		if got, _ := os.ReadFile(name); string(got) != "mine" {
			t.Errorf("%s: it was written over", format)
		}
		if _, err := export.Write(t.Context(), s, name, export.Options{Format: format, Force: true}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("%s: left %v", format, left)
		}
	}
}

// TestNumPy reads the arrays back, by the documents of the format.
func TestNumPy(t *testing.T) {
	arrays := readNumPy(t, write(t, store(t), export.Options{Format: export.NumPy}))
	for name, want := range map[string]string{
		"observation.speed": "<f4 (10,)", "observation.grid": "<f4 (10, 2, 3,)", "action.gear": "<i8 (10,)", "action_masks": "<f4 (10, 3,)", "time": "<M8[us] (10,)",
		"sequence": "<u8 (10,)", "first": "|b1 (10,)", "session": "<U4 (10,)", "reward": "<f8 (10,)", "layout": "<U" + strconv.Itoa(len([]rune(arrays["layout"].text()))) + " ()",
	} {
		if got := arrays[name].dtype + " " + arrays[name].shape; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := arrays["observation.speed"].float32(3); got != float32(4)/3 {
		t.Errorf("speed %v", got)
	}
	if got := arrays["reward"].float64(3); got != 3 || !math.IsNaN(arrays["reward"].float64(0)) {
		t.Errorf("reward %v", got)
	}
	if got := arrays["session"].text(); got != strings.Repeat("s\"ü\n", 8) { // of those that have one
		t.Errorf("sessions %q", got)
	}
	var l experience.Layout
	if err := json.Unmarshal([]byte(arrays["layout"].text()), &l); err != nil || l.Features[1].Name != "grid" {
		t.Errorf("layout %+v, %v", l, err)
	}
}
