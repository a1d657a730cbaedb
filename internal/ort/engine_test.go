//go:build ort && cgo

package ort_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

func openEngine(t testing.TB) *ort.Engine {
	t.Helper()
	e, err := ort.Open(ort.Options{})
	if err != nil {
		t.Fatalf("%v (make test-ort puts the library into the cache)", err)
	}
	return e
}

func parse(t testing.TB, text string) *graph.Graph {
	t.Helper()
	g, err := graph.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func compile(t testing.TB, e policy.Engine, g *graph.Graph) policy.ProgramRunner {
	t.Helper()
	p, err := e.Compile(g)
	if err != nil {
		t.Fatal(err)
	}
	return p.NewRunner()
}

const small = `graph "small"
%0 = input "obs" f32[B,3]
%1 = const "w" f32[2,3] {0.5,-1,2,1,0.25,-0.5}
%2 = const "b" f32[2] {0.1,-0.2}
%3 = linear(%0,%1,%2) f32[B,2]
%4 = tanh(%3) f32[B,2]
output "action" %4
`

// sampled is small with draws, in a batch and without one.
const sampled = `graph "sampled"
%0 = input "obs" f32[B,3]
%1 = normal(%0) stream=1 f32[B,3]
%2 = add(%0,%1) f32[B,3]
%3 = const "one" f32[5] {1,1,1,1,1}
%4 = normal(%3) stream=2 f32[5]
output "action" %2
output "shared" %4
`

func numbers(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = r.Float32()*4 - 2
	}
	return x
}

func same(t *testing.T, got, want []float32, within float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d numbers, want %d", len(got), len(want))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= within) {
			t.Fatalf("number %d is %v, the evaluator has %v", i, got[i], want[i])
		}
	}
}

func TestRowsInAnyNumber(t *testing.T) {
	run, slow := compile(t, openEngine(t), parse(t, small)), compile(t, policy.Reference, parse(t, small))
	r := rand.New(rand.NewPCG(1, 2))
	for _, rows := range []int{1, 7, 2, 300, 7, 1} {
		in := numbers(r, rows*3)
		got, want := make([]float32, rows*2+3), make([]float32, rows*2)
		got[rows*2] = 42
		if err := run.Run(rows, [][]float32{in}, [][]float32{got}, graph.Noise{}); err != nil {
			t.Fatal(err)
		}
		if err := slow.Run(rows, [][]float32{in}, [][]float32{want}, graph.Noise{}); err != nil {
			t.Fatal(err)
		}
		same(t, got[:rows*2], want, 1e-6)
		if got[rows*2] != 42 {
			t.Error("what is behind the rows was written")
		}
	}
	if err := run.Run(0, [][]float32{nil}, [][]float32{nil}, graph.Noise{}); err != nil {
		t.Errorf("no rows: %v", err)
	}
}

func TestDrawsAreOurs(t *testing.T) {
	run, slow := compile(t, openEngine(t), parse(t, sampled)), compile(t, policy.Reference, parse(t, sampled))
	in := numbers(rand.New(rand.NewPCG(3, 4)), 4*3)
	for _, noise := range []graph.Noise{{}, {Seed: 7, Step: 3}, {Seed: 1 << 60, Row: 12}} {
		got, want := [][]float32{make([]float32, 12), make([]float32, 5)}, [][]float32{make([]float32, 12), make([]float32, 5)}
		if err := run.Run(4, [][]float32{in}, got, noise); err != nil {
			t.Fatal(err)
		}
		if err := slow.Run(4, [][]float32{in}, want, noise); err != nil {
			t.Fatal(err)
		}
		same(t, got[0], want[0], 1e-6)
		same(t, got[1], want[1], 0)
	}
}

func TestLanesShareAProgram(t *testing.T) {
	p, err := openEngine(t).Compile(parse(t, small))
	if err != nil {
		t.Fatal(err)
	}
	slow := compile(t, policy.Reference, parse(t, small))
	var wg sync.WaitGroup
	for lane := range 4 {
		wg.Go(func() {
			run, r := p.NewRunner(), rand.New(rand.NewPCG(5, uint64(lane)))
			for range 50 {
				rows := 1 + r.IntN(5)
				in, got, want := numbers(r, rows*3), make([]float32, rows*2), make([]float32, rows*2)
				if err := run.Run(rows, [][]float32{in}, [][]float32{got}, graph.Noise{}); err != nil {
					t.Error(err)
					return
				}
				if err := slow.Run(rows, [][]float32{in}, [][]float32{want}, graph.Noise{}); err != nil {
					t.Error(err)
					return
				}
				for i := range want {
					if math.Abs(float64(got[i]-want[i])) > 1e-6 {
						t.Errorf("lane %d: %v, want %v", lane, got, want)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestRunAllocatesNothing(t *testing.T) {
	run := compile(t, openEngine(t), parse(t, sampled))
	in, out := [][]float32{make([]float32, 6)}, [][]float32{make([]float32, 6), make([]float32, 5)}
	n := testing.AllocsPerRun(100, func() {
		if err := run.Run(2, in, out, graph.Noise{Seed: 1}); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a run", n)
	}
}

// everyType casts its input to each type and back.
const everyType = `graph "types"
%0 = input "f32" f32[B,3]
%1 = input "f64" f64[B,3]
%2 = input "f16" f16[B,3]
%3 = input "i64" i64[B,3]
%4 = input "i32" i32[B,3]
%5 = input "u8" u8[B,3]
%6 = input "bool" bool[B,3]
%7 = input "scalar" f32[]
%8 = mul(%0,%7) f32[B,3]
%9 = neg(%1) f64[B,3]
%10 = neg(%2) f16[B,3]
%11 = neg(%3) i64[B,3]
%12 = add(%4,%4) i32[B,3]
%13 = not(%6) bool[B,3]
output "a" %8
output "b" %9
output "c" %10
output "d" %11
output "e" %12
output "f" %5
output "g" %13
`

func TestElementTypes(t *testing.T) {
	run := compile(t, openEngine(t), parse(t, everyType))
	x := []float32{1, -2, 3}
	bits := []float32{1, 0, 1}
	positive := []float32{0, 7, 255}
	halves := []float32{0.333251953125, -65504, 5.9604645e-08}
	for _, scale := range []float32{3, -1} {
		out := make([][]float32, 7)
		for i := range out {
			out[i] = make([]float32, 3)
		}
		in := [][]float32{x, x, halves, x, x, positive, bits, {scale}}
		if err := run.Run(1, in, out, graph.Noise{}); err != nil {
			t.Fatal(err)
		}
		want := [][]float32{
			{scale, -2 * scale, 3 * scale}, {-1, 2, -3}, {-halves[0], -halves[1], -halves[2]},
			{-1, 2, -3}, {2, -4, 6}, positive, {0, 1, 0},
		}
		for i := range want {
			same(t, out[i], want[i], 0)
		}
	}
}

func TestRefusals(t *testing.T) {
	e := openEngine(t)
	if _, err := e.Load([]byte("not a model")); !errors.Is(err, ort.ErrModel) {
		t.Errorf("no model: %v", err)
	}
	if _, err := e.Load(nil); !errors.Is(err, ort.ErrModel) {
		t.Errorf("no bytes: %v", err)
	}
	if _, err := ort.Open(ort.Options{Library: "/nowhere/libonnxruntime.so"}); !errors.Is(err, ort.ErrLibrary) {
		t.Errorf("no library: %v", err)
	}
	run := compile(t, e, parse(t, small))
	f := func(rows int, in, out [][]float32) {
		t.Helper()
		if err := run.Run(rows, in, out, graph.Noise{}); !errors.Is(err, ort.ErrArguments) {
			t.Errorf("%v", err)
		}
	}
	f(1, nil, [][]float32{make([]float32, 2)})
	f(1, [][]float32{make([]float32, 3)}, nil)
	f(2, [][]float32{make([]float32, 3)}, [][]float32{make([]float32, 4)})
	f(2, [][]float32{make([]float32, 6)}, [][]float32{make([]float32, 3)})
	f(-1, [][]float32{make([]float32, 6)}, [][]float32{make([]float32, 3)})
}

// A library without CUDA is refused when the engine is opened, not when the
// first model loads.
func TestGPUNeedsItsLibrary(t *testing.T) {
	cpu := openEngine(t).Library()
	if _, err := ort.Open(ort.Options{Library: cpu, GPU: true}); !errors.Is(err, ort.ErrLibrary) || !strings.Contains(err.Error(), "onnxruntime-gpu") {
		t.Errorf("%v", err)
	}
}
