package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The whole command in miniature: each network at one row, and what it writes.
func TestMiniature(t *testing.T) {
	out := filepath.Join(t.TempDir(), "engine.json")
	var table strings.Builder
	if err := run([]string{"-batch", "1", "-budget", "1ms", "-sample", "50us", "-json", out}, &table); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var res Result
	if err := json.Unmarshal(data, &res); err != nil {
		t.Fatal(err)
	}
	if len(res.Rows) != len(networks()) {
		t.Errorf("%d rows of %d networks", len(res.Rows), len(networks()))
	}
	for _, r := range res.Rows {
		if r.Ours.Min <= 0 || r.Ours.Median < r.Ours.Min || r.Ours.Max < r.Ours.Median || r.Samples < fewest {
			t.Errorf("%s: %+v of %d samples", r.Case, r.Ours, r.Samples)
		}
		if !strings.Contains(table.String(), r.Name) {
			t.Errorf("the table has no line of %s", r.Name)
		}
	}
}

// The networks are the ones that the limits are about: their sizes are counted
// here by hand.
func TestSizes(t *testing.T) {
	want := map[string][2]int{ // parameters, multiply-adds of a row
		"driving":     {5*64 + 64 + 64*64 + 64 + 64*3 + 3 + 10, 5*64 + 64*64 + 64*3},
		"mlp256":      {71_942, 71_424},
		"lstm256":     {329_728, 327_680},
		"natureconvs": {8_224 + 32_832 + 36_928, 3_276_800 + 2_654_208 + 1_806_336},
	}
	want["nature"] = [2]int{want["natureconvs"][0] + 3136*512 + 512 + 512*6 + 6, want["natureconvs"][1] + 3136*512 + 512*6}
	for _, n := range networks() {
		if w, ok := want[n.key]; ok && w != [2]int{n.weights, n.macs} {
			t.Errorf("%s: %d parameters and %d multiply-adds, want %v", n.key, n.weights, n.macs, w)
		}
	}
}

func TestLimits(t *testing.T) {
	r := &Row{Ratio: 0.5, Ours: Times{Min: 200}, ReadShare: 0.91, ArithmShare: 0.89}
	r.hold(limit{ratio: 0.5, ns: 180, read: 0.9, arithm: 0.9})
	var got []string
	for _, l := range r.Limits {
		got = append(got, l.String())
	}
	want := "ratio <= 0.5 ok; ns <= 180 MISSED; share of bandwidth >= 0.9 ok; share of FMA peak >= 0.9 MISSED"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
	// What was not measured is not within a limit.
	if l := newLimit("ratio", 0, 0.5, true); l.Pass {
		t.Error("a ratio that nobody measured passes")
	}
}

func TestNothingMatches(t *testing.T) {
	for _, args := range [][]string{{"-run", "nobody"}, {"-batch", "7"}, {"-batch", "x"}, {"-run", "("}} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestAnswersAreCompared(t *testing.T) {
	a := [][]float32{{1, 2}}
	if err := same(a, [][]float32{{1, 2.00001}}, 1e-4); err != nil {
		t.Error(err)
	}
	if err := same(a, [][]float32{{1, 2.01}}, 1e-4); err == nil {
		t.Error("2 and 2.01 are the same")
	}
}

func TestNarrowWeightsOfThePlan(t *testing.T) {
	b := &bench{weights: narrowKinds["bf16"]}
	for _, n := range networks() {
		if n.key != "mlp256" && n.key != "driving" {
			continue
		}
		_, _, held, err := b.prepare(&n, 1)
		switch {
		case n.key == "driving" && !errors.Is(err, errNothingNarrow):
			t.Errorf("%s: %v", n.name, err)
		case n.key == "mlp256" && (err != nil || held >= 3*n.weights || held <= 2*n.weights):
			t.Errorf("%s: %d bytes of %d weights: %v", n.name, held, n.weights, err)
		}
	}
}
