package plan_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// expanded is a graph of one feature that is repeated n times, goes through
// the activation as often as told, and is summed up.
func expanded(t *testing.T, n, times int) *graph.Graph {
	t.Helper()
	g := graph.New("")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 1})
	add := func(op graph.Op, a graph.Attrs, in ...*graph.Value) *graph.Value {
		v, err := g.Add(op, a, in...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := add(graph.OpExpand, graph.Attrs{"shape": []int{graph.Batch, n}}, x)
	for range times {
		v = add(graph.OpTanh, nil, v)
	}
	g.Output("out", add(graph.OpSum, graph.Attrs{"axes": []int{1}, "keepdim": true}, v))
	return g
}

func TestCompileRefusesWhatTakesTooMuch(t *testing.T) {
	f := func(name string, g *graph.Graph, want string) {
		t.Helper()
		_, err := plan.Compile(g, plan.Options{})
		if !errors.Is(err, plan.ErrLimit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: compile = %v, want ErrLimit with %q", name, err, want)
		}
	}
	f("memory", expanded(t, 1<<26, 1), "floats between the steps")
	f("time", expanded(t, 1<<22, 1100), "multiplications")
}

// TestLargeRowsGoInSmallChunks runs rows that together pass the budget of the
// arena: they go through the steps in parts.
func TestLargeRowsGoInSmallChunks(t *testing.T) {
	const width, rows = 1 << 20, 40
	p, err := plan.Compile(expanded(t, width, 1), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := p.ArenaBytes(rows); n > 64<<20 {
		t.Errorf("the arena of %d rows takes %d bytes, more than 64 MiB", rows, n)
	}
	in, out := make([]float32, rows), make([]float32, rows)
	if err := p.NewRunner().Run(rows, [][]float32{in}, [][]float32{out}, plan.Noise{}); err != nil {
		t.Fatal(err)
	}
	for i, v := range out {
		if v != 0 {
			t.Fatalf("row %d = %v, want 0", i, v)
		}
	}
}
