package graph_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

const half = `graph "half"
%x = input "x" f32[B,1]
%c = const "c" f32[] {0.5}
%a = mul(%x,%c)
%n = normal(%a) stream=0
%y = add(%a,%n)
output "y" %y
output "x" %x
output "c" %c
`

func TestInline(t *testing.T) {
	g := graph.New("outer")
	x := g.Input("obs", graph.Float32, graph.Shape{graph.Batch, 1})
	if _, err := g.Add(graph.OpNormal, graph.Attrs{"stream": 1}, x); err != nil {
		t.Fatal(err)
	}
	sub := parse(t, half)
	before := sub.String()
	first, err := graph.Inline(g, sub, []*graph.Value{x})
	if err != nil {
		t.Fatal(err)
	}
	if first[1] != x {
		t.Error("an output that is an input does not come back as the argument")
	}
	second, err := graph.Inline(g, sub, first[:1])
	if err != nil {
		t.Fatal(err)
	}
	g.Output("y", second[0])
	g.Output("c", second[2])
	if err := g.Verify(); err != nil {
		t.Fatal(err)
	}
	want := `graph "outer"
%0 = input "obs" f32[B,1]
%1 = normal(%0) stream=1 f32[B,1]
%2 = const "c" f32[] {0.5}
%3 = mul(%0,%2) f32[B,1]
%4 = normal(%3) stream=0 f32[B,1]
%5 = add(%3,%4) f32[B,1]
%6 = const "c" f32[] {0.5}
%7 = mul(%5,%6) f32[B,1]
%8 = normal(%7) stream=2 f32[B,1]
%9 = add(%7,%8) f32[B,1]
output "y" %9
output "c" %6
`
	if d := cmp.Diff(want, g.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if sub.String() != before {
		t.Error("the inlined graph changed")
	}
}

func TestInlineRefuses(t *testing.T) {
	sub := parse(t, half)
	f := func(kind error, args func(g *graph.Graph) []*graph.Value) {
		t.Helper()
		g := graph.New("outer")
		if _, err := graph.Inline(g, sub, args(g)); !errors.Is(err, kind) {
			t.Errorf("got %v, want %v", err, kind)
		}
	}
	f(graph.ErrOperands, func(*graph.Graph) []*graph.Value { return nil })
	f(graph.ErrDType, func(*graph.Graph) []*graph.Value { return []*graph.Value{nil} })
	f(graph.ErrDType, func(g *graph.Graph) []*graph.Value {
		return []*graph.Value{g.Input("x", graph.Float64, graph.Shape{graph.Batch, 1})}
	})
	f(graph.ErrShape, func(g *graph.Graph) []*graph.Value {
		return []*graph.Value{g.Input("x", graph.Float32, graph.Shape{graph.Batch, 2})}
	})
}
