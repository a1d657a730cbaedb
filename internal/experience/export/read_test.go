package export_test

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/experience/export"
)

// TestWhatIsExportedIsRead compares the steps of a file with those of the store
// that it is of, as far as a file has them.
func TestWhatIsExportedIsRead(t *testing.T) {
	s := store(t)
	name := write(t, s, export.Options{Format: export.JSONLines})
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := export.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if o := r.Observation(); len(o) != 2 || o[0].Name != "speed" || o[1].Name != "grid" || o[1].Offset != 1 || o[1].Size != 6 {
		t.Errorf("%+v", o)
	}
	if a := r.Action(); len(a) != 2 || a[1].Name != "gear" || a[1].Offset != 1 {
		t.Errorf("%+v", a)
	}
	var got []experience.Step
	for st, err := range r.Steps() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, keep(st))
	}
	i := 0
	for st, err := range s.Read(t.Context(), experience.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		want := keep(st)
		want.Mono, want.Queue, want.Infer, want.Value, want.HasValue = 0, 0, 0, 0, false
		for j, v := range want.Interventions { // By value and kind alone.
			want.Interventions[j] = experience.Intervention{Value: v.Value, Kind: v.Kind, Feature: -1}
		}
		same := cmp.Comparer(func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
		if i == len(got) || cmp.Diff(want, got[i], same) != "" {
			t.Fatalf("step %d of %d: %s", i, len(got), cmp.Diff(want, got[min(i, len(got)-1)], same))
		}
		i++
	}
	if i != len(got) || i != 10 {
		t.Errorf("%d steps of %d", len(got), i)
	}
}

// keep is a step with memory of its own.
func keep(s *experience.Step) experience.Step {
	k := *s
	k.Observation, k.Action, k.Raw, k.Masks = slices.Clone(s.Observation), slices.Clone(s.Action), slices.Clone(s.Raw), slices.Clone(s.Masks)
	k.Interventions = append([]experience.Intervention(nil), s.Interventions...)
	return k
}

func TestWhatIsNoExportIsRefused(t *testing.T) {
	const good = `{"run":"r","sequence":1,"observation":[1,2],"action":{"x":1}}` + "\n"
	for text, want := range map[string]string{
		`[]`:         "line 1: expected a JSON object, got a list",
		`{"run":"r"`: "line 1: ",
		`{"run":5}`:  "line 1: run: expected a string, got another number",
		`{"run":"r","observation":[1],"action":[true]}`:           "line 1: action: expected numbers, got true or false",
		`{"run":"r","observation":["one"],"action":[1]}`:          `line 1: observation: expected numbers, got "one"`,
		`{"run":"r","observation":[1e99],"action":[1]}`:           "line 1: observation: expected a number of float32, got 1e99",
		`{"run":"r","observation":{"a":{}},"action":[1]}`:         "line 1: observation: a: expected numbers, got an object",
		`{"run":"r","sequence":-1}`:                               "line 1: sequence: expected a whole number",
		`{"run":"r","sequence":1,"first":0}`:                      "line 1: first: expected true or false",
		`{"sequence":1,"observation":[1],"action":[1]}`:           "line 1: it has no run",
		good + `{"run":"r","observation":[1],"action":{"x":1}}`:   "line 2: it has other features or actions than the first",
		good + `{"run":"r","observation":[1,2],"action":{"y":1}}`: "line 2: it has other features or actions than the first",
		good + "{}": "line 2: it has no run",
	} {
		r, err := export.NewReader(strings.NewReader(text))
		if err == nil {
			for _, e := range r.Steps() {
				err = e
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	r, err := export.NewReader(strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	for range r.Steps() {
		t.Error("an empty file has a step")
	}
}
