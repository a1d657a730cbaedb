package main

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

func TestParseTensor(t *testing.T) {
	f := func(text string, shape []int, data ...float64) {
		t.Helper()
		got, err := parseTensor(jsontext.Value(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
		if !slices.Equal(got.shape, shape) || !slices.EqualFunc(got.data, data, same) {
			t.Errorf("%s: got %v %v, want %v %v", text, got.shape, got.data, shape, data)
		}
	}
	f(`1.5`, nil, 1.5)
	f(`[1, 2]`, []int{2}, 1, 2)
	f(`[[1, 2, 3], [4, 5, 6]]`, []int{2, 3}, 1, 2, 3, 4, 5, 6)
	f(`[[[1]], [[2]]]`, []int{2, 1, 1}, 1, 2)
	f(`[]`, []int{0})
	f(`[true, false]`, []int{2}, 1, 0)
	f(`["NaN", "Infinity", "-Infinity"]`, []int{3}, math.NaN(), math.Inf(1), math.Inf(-1))
}

func TestParseTensorRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got, err := parseTensor(jsontext.Value(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want an error with %q", text, got, err, want)
		}
	}
	f(`[[1, 2], [3]]`, "differ in length: expected 2, got 1")
	f(`[[1], 2]`, "differ in depth")
	f(`[1, [2]]`, "differ in depth")
	f(`[null]`, "expected a number, got null")
	f(`["12"]`, `expected a number, got "12"`)
	f(`[{"a": 1}]`, "expected a number, got an object")
	f(strings.Repeat("[", 40)+"1"+strings.Repeat("]", 40), "more than 16 dimensions")
}

func TestParseTensorsTakesADictApart(t *testing.T) {
	got, err := parseTensors(ordered{"obs": jsontext.Value(`{"state": [[1, 2]], "goal": [[3]]}`), "x": jsontext.Value(`[4]`)})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got["state"] == nil || got["goal"] == nil || got["x"] == nil {
		t.Errorf("got %v, want state, goal and x", got)
	}
	if _, err := parseTensors(ordered{"obs": jsontext.Value(`{"x": [1]}`), "x": jsontext.Value(`[4]`)}); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("got %v, want an error for x given twice", err)
	}
	if _, err := parseTensors(ordered{"obs": jsontext.Value(`{"a": {"b": [1]}}`)}); err == nil || !strings.Contains(err.Error(), "expected a number, got an object") {
		t.Errorf("got %v, want an error for a dict of dicts", err)
	}
}

func TestValuesAppend(t *testing.T) {
	f := func(v values, want string) {
		t.Helper()
		if got := string(v.append(nil)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(values{shape: []int{2, 2}, dtype: graph.Float32, data: []float64{0.5, float64(float32(0.1)), -1, 3}}, "[[0.5,0.1],[-1,3]]")
	f(values{shape: []int{1}, dtype: graph.Float64, data: []float64{0.1}}, "[0.1]")
	f(values{shape: []int{2}, dtype: graph.Int64, data: []float64{3, -1}}, "[3,-1]")
	f(values{shape: []int{2}, dtype: graph.Bool, data: []float64{1, 0}}, "[true,false]")
	f(values{shape: []int{3}, dtype: graph.Float32, data: []float64{math.NaN(), math.Inf(1), math.Inf(-1)}}, `["NaN","Infinity","-Infinity"]`)
	f(values{dtype: graph.Float32, data: []float64{float64(float32(1e-10))}}, "1e-10")
	f(values{shape: []int{0, 3}, dtype: graph.Float32}, "[]")
}

func TestRowsOf(t *testing.T) {
	g := graph.New("g")
	g.Input("a", graph.Float32, graph.Shape{graph.Batch, 3})
	g.Input("b", graph.Float32, graph.Shape{2 * graph.Batch})
	f := func(a, b []int, want int, wantErr string) {
		t.Helper()
		got, err := rowsOf(g, []*tensor{{shape: a}, {shape: b}})
		switch {
		case wantErr == "" && (err != nil || got != want):
			t.Errorf("%v, %v: got %d, %v, want %d rows", a, b, got, err, want)
		case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
			t.Errorf("%v, %v: got %d, %v, want an error with %q", a, b, got, err, wantErr)
		}
	}
	f([]int{4, 3}, []int{8}, 4, "")
	f([]int{4, 3}, []int{6}, 0, "input b: expected the shape [2B], got [6]")
	f([]int{4, 2}, []int{8}, 0, "input a: expected the shape [B,3], got [4 2]")
	f([]int{0, 3}, []int{0}, 0, "input a")
	f([]int{3}, []int{2}, 0, "input a")
}

func TestIntegersAreWhole(t *testing.T) {
	g := graph.New("g")
	for _, dt := range []graph.DType{graph.Int64, graph.Uint8, graph.Bool, graph.Float32} {
		g.Input(dt.String(), dt, graph.Shape{1})
	}
	one := func(f float64) *tensor { return &tensor{shape: []int{1}, data: []float64{f}} }
	f := func(at int, v float64, want string) {
		t.Helper()
		in := []*tensor{one(1), one(1), one(1), one(1)}
		in[at] = one(v)
		_, err := rowsOf(g, in)
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(0, -7, "")
	f(1, 255, "")
	f(2, 0, "")
	f(3, 0.5, "")
	f(0, 0.5, "input i64: expected i64, got 0.5")
	f(0, math.NaN(), "input i64: expected i64, got NaN")
	f(0, 1e300, "input i64: expected i64, got 1e+300")
	f(1, 256, "input u8: expected u8, got 256")
	f(1, -1, "input u8: expected u8, got -1")
	f(2, 2, "input bool: expected bool, got 2")
}

func TestIntegersBeyondFloat32(t *testing.T) {
	g := graph.New("g")
	g.Output("y", g.Input("x", graph.Int64, graph.Shape{1}))
	in := []*tensor{{shape: []int{1}, data: []float64{1<<24 + 1}}}
	for _, engine := range []policy.Engine{policy.Plan, policy.Reference} {
		p, err := newProgram(engine, g)
		if err != nil {
			t.Fatal(err)
		}
		outs, err := p.run(1, in, graph.Noise{})
		switch {
		case engine == policy.Plan && (err == nil || !strings.Contains(err.Error(), "16777217, which float32 does not hold")):
			t.Errorf("plan: got %v, %v, want a refusal", outs, err)
		case engine == policy.Reference && (err != nil || outs[0].data[0] != 1<<24+1):
			t.Errorf("reference: got %v, %v", outs, err)
		}
	}
}

func TestTensorDType(t *testing.T) {
	f := func(text string, want graph.DType) {
		t.Helper()
		x, err := parseTensor(jsontext.Value(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := x.dtype(); got != want {
			t.Errorf("%s is of %v, want %v", text, got, want)
		}
	}
	f("[[true,false]]", graph.Bool)
	f("true", graph.Bool)
	f("[true,0]", graph.Invalid)
	f("[1,-2]", graph.Invalid)
	f("[]", graph.Invalid)
	f("[1.0,2]", graph.Float32)
	f("[1e3]", graph.Float32)
	f(`[1,"-Infinity"]`, graph.Float32)
}
