package graph_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// collatz counts the steps of 3n+1 down to 1: an if inside a loop.
const collatz = `graph "collatz"
%0 = input "n" i64[]
%1 = const "" i64[] {1}
%2 = gt(%0,%1) bool[]
%3 = const "" i64[] {0}
%4,%5 = loop(%2,%0,%3) carried=2 limit=1000 i64[],i64[]
  body "step"
  %0 = input "n" i64[]
  %1 = input "count" i64[]
  %2 = const "" i64[] {1}
  %3 = add(%1,%2) i64[]
  %4 = const "" i64[] {2}
  %5 = remainder(%0,%4) i64[]
  %6 = eq(%5,%2) bool[]
  %7 = if(%6,%0) i64[]
    then "odd"
    %0 = input "n" i64[]
    %1 = const "" i64[] {3}
    %2 = mul(%0,%1) i64[]
    %3 = const "" i64[] {1}
    %4 = add(%2,%3) i64[]
    output "next" %4
    end
    else "even"
    %0 = input "n" i64[]
    %1 = const "" i64[] {2}
    %2 = floor_div(%0,%1) i64[]
    output "next" %2
    end
  %8 = gt(%7,%2) bool[]
  output "again" %8
  output "n" %7
  output "count" %3
  end
output "n" %4
output "count" %5
`

// random walks for three turns with two draws a turn.
const walk = `graph "walk"
%x = input "x" f32[2]
%n0 = const "" i64[] {0}
%go = const "" bool[] {true}
%n,%y = loop(%go,%n0,%x) carried=2
body "turn"
  %n = input "n" i64[]
  %x = input "x" f32[2]
  %one = const "" i64[] {1}
  %next = add(%n,%one)
  %three = const "" i64[] {3}
  %again = lt(%next,%three)
  %a = normal(%x) stream=1
  %b = normal(%x) stream=2
  %y = add(%x,%a)
  %z = add(%y,%b)
  output "again" %again
  output "n" %next
  output "x" %z
end
output "y" %y
`

func ints(x ...int64) *graph.Tensor {
	return &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: x}
}

func evaluateOne(t *testing.T, g *graph.Graph, noise graph.Noise, in ...*graph.Tensor) []*graph.Tensor {
	t.Helper()
	out, err := graph.Evaluate(g, 1, in, noise)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestControlReadsBack(t *testing.T) {
	g := parse(t, collatz)
	if d := cmp.Diff(collatz, g.String()); d != "" {
		t.Errorf("(-text +read and printed)\n%s", d)
	}
	c, err := g.Clone()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(collatz, c.String()); d != "" {
		t.Errorf("the clone (-text +clone)\n%s", d)
	}
}

func TestLoopAndIf(t *testing.T) {
	optimized := parse(t, collatz)
	if err := graph.Optimize(optimized); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*graph.Graph{parse(t, collatz), optimized} {
		for n, want := range map[int64]int64{1: 0, 2: 1, 6: 8, 27: 111} {
			out := evaluateOne(t, g, graph.Noise{}, ints(n))
			if out[0].I64[0] != 1 || out[1].I64[0] != want {
				t.Errorf("from %d: %d after %d turns, want 1 after %d", n, out[0].I64[0], out[1].I64[0], want)
			}
		}
	}
}

func TestTurnsDrawDifferently(t *testing.T) {
	g := parse(t, walk)
	x := graph.Float32s([]float32{0, 0}, 2)
	noise := graph.Noise{Seed: 7, Step: 3, Row: 5}
	got := evaluateOne(t, g, noise, x)[0]
	want := [2]float32{}
	for turn := range 3 {
		for stream := range 2 {
			for e := range want {
				want[e] += graph.Normal(noise.Key().Turn(turn), uint32(1+stream), 5, uint32(e))
			}
		}
	}
	if got.F32[0] != want[0] || got.F32[1] != want[1] {
		t.Errorf("got %v, want %v", got.F32, want)
	}
	if again := evaluateOne(t, g, graph.Noise{Seed: 7, Step: 4, Row: 5}, x)[0]; again.F32[0] == got.F32[0] {
		t.Error("another step draws the same")
	}
}

func TestCost(t *testing.T) {
	f := func(node string, want int) {
		t.Helper()
		g := parse(t, "graph \"g\"\n%x = input \"x\" f32[1,4096]\n%y = "+node+"\noutput \"y\" %y\n")
		if got := g.Cost(); got != want {
			t.Errorf("%s costs %d, want %d", node, got, want)
		}
	}
	f("relu(%x)", 2+4096/16)
	f("sum(%x) axes=[1] keepdim=true", 2+4097/16)
	f("slice(%x) axis=1 end=16", 2+1)
}

func TestStepBudget(t *testing.T) {
	f := func(text string, in ...*graph.Tensor) {
		t.Helper()
		if _, err := graph.Evaluate(parse(t, text), 1, in, graph.Noise{}); !errors.Is(err, graph.ErrStepBudget) {
			t.Errorf("got %v, want %v", err, graph.ErrStepBudget)
		}
	}
	f(strings.Replace(collatz, "limit=1000", "limit=110", 1), ints(27))
	// 64 times 65536 turns are beyond what all loops may do together.
	f(`graph "forever"
%x = input "x" i64[]
%go = const "" bool[] {true}
%y = loop(%go,%x) carried=1
body "outer"
  %x = input "x" i64[]
  %go = const "" bool[] {true}
  %y = loop(%go,%x) carried=1
  body "inner"
    %x = input "x" i64[]
    %one = const "" i64[] {1}
    %y = add(%x,%one)
    %n = const "" i64[] {65536}
    %r = remainder(%y,%n)
    %zero = const "" i64[] {0}
    %again = ne(%r,%zero)
    output "again" %again
    output "x" %y
  end
  output "again" %go
  output "x" %y
end
output "y" %y
`, ints(0))
	if out := evaluateOne(t, parse(t, strings.Replace(collatz, "limit=1000", "limit=111", 1)), graph.Noise{}, ints(27)); out[1].I64[0] != 111 {
		t.Errorf("the limit itself is refused: %v", out[1].I64)
	}
}

func TestControlRefuses(t *testing.T) {
	const body = `body "b"
%0 = input "x" f32[2]
%1 = const "" bool[] {false}
output "again" %1
output "x" %0
end
`
	f := func(lines string, kind error, words string) {
		t.Helper()
		_, err := graph.Parse("graph \"g\"\n%x = input \"x\" f32[2]\n%b = input \"b\" f32[B]\n%c = input \"c\" bool[1]\n" + lines)
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s\ngot %v, want %v with %q", lines, err, kind, words)
		}
	}
	f("%y = loop(%x,%x) carried=1\n"+body, graph.ErrDType, "one bool")
	f("%y = loop(%c,%x) carried=2\n"+body, graph.ErrAttribute, "carried is 2")
	f("%y = loop(%c,%x) carried=0\n"+body, graph.ErrAttribute, "carried is 0")
	f("%y = loop(%c,%x) carried=1 limit=0\n"+body, graph.ErrAttribute, "limit is 0")
	f("%y = loop(%c,%x,%x) carried=1\n"+body, graph.ErrAttribute, "1 inputs")
	f("%y = loop(%c,%b) carried=1\n"+body, graph.ErrMixesRows, "operand 1")
	f("%y = loop(%c,%c) carried=1\n"+body, graph.ErrAttribute, "bool[1]")
	f("%y = loop(%c,%x) carried=1\n"+strings.Replace(body, "output \"x\" %0\n", "", 1), graph.ErrAttribute, "1 outputs")
	f("%y = loop(%c,%x) carried=1\n"+strings.Replace(body, "again\" %1", "again\" %0", 1), graph.ErrAttribute, "condition of body")
	f("%y = loop(%c,%x) carried=1\n"+strings.Replace(body, "end", "", 1), graph.ErrSyntax, "no end")
	f("%y = loop(%c,%x) carried=1\n", graph.ErrSyntax, "body")
	f("%y = loop(%c,%x) carried=1 body=1\n"+body, graph.ErrSyntax, "body")
	f("%y = if(%c,%x)\nthen \"t\"\n%0 = input \"x\" f32[2]\noutput \"y\" %0\nend\nelse \"e\"\n%0 = input \"x\" f32[2]\noutput \"y\" %0\noutput \"z\" %0\nend\n", graph.ErrAttribute, "then has 1 outputs and else 2")
	f("%y = if(%c,%x)\nthen \"t\"\n%0 = input \"x\" f32[2]\noutput \"y\" %0\nend\nelse \"e\"\n%0 = input \"x\" f32[2]\n%1 = reshape(%0) shape=[2,1]\noutput \"y\" %1\nend\n", graph.ErrAttribute, "output 0")
	f("%y = if(%c,%x)\nthen \"t\"\n%0 = input \"x\" f32[2]\n%1 = expand(%0) shape=[B,2]\noutput \"y\" %0\nend\nelse \"e\"\n%0 = input \"x\" f32[2]\noutput \"y\" %0\nend\n", graph.ErrMixesRows, "batch axis")
	f("%y = if(%c,%x)\nthen \"t\"\n%0 = input \"x\" f32[2]\n%1 = normal(%0) stream=1\noutput \"y\" %1\nend\nelse \"e\"\n%0 = input \"x\" f32[2]\n%1 = normal(%0) stream=1\noutput \"y\" %1\nend\n", graph.ErrInvalid, "stream 1")

	deep := "%y = if(%c,%c)\n" + strings.Repeat("then \"t\"\n%c = input \"c\" bool[1]\n%y = if(%c,%c)\n", 40)
	f(deep, graph.ErrLimit, "inside each other")
}

func TestStates(t *testing.T) {
	const text = `graph "counter"
%0 = input "x" f32[B,2]
%1 = input "h" f32[1,B,2]
%2 = add(%0,%1) f32[1,B,2]
output "y" %2
output "h_out" %2
state "h" "h_out" initial f32[1,1,2] {1,2} reset f32[1,1,2] {0,0}
`
	g := parse(t, text)
	if d := cmp.Diff(text, g.String()); d != "" {
		t.Errorf("(-text +read and printed)\n%s", d)
	}
	c, err := g.Clone()
	if err != nil {
		t.Fatal(err)
	}
	if err := graph.Optimize(c); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(text, c.String()); d != "" {
		t.Errorf("clone, optimized (-text +clone)\n%s", d)
	}
}

func TestStatesRefused(t *testing.T) {
	f := func(line string, kind error, words string) {
		t.Helper()
		_, err := graph.Parse(fmt.Sprintf(`graph "counter"
%%0 = input "h" f32[B,2]
%%1 = input "i" f32[B,3]
output "h_out" %%0
output "i_out" %%1
%s
`, line))
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want %v with %q", line, err, kind, words)
		}
	}
	f(`state "h"`, graph.ErrSyntax, "quoted")
	f(`state "h" "no"`, graph.ErrSyntax, `"no"`)
	f(`state "h" "i_out"`, graph.ErrInvalid, "f32[B,3]")
	f("state \"h\" \"h_out\"\nstate \"h\" \"h_out\"", graph.ErrInvalid, "another state")
	f(`state "h" "h_out" initial f32[2,2] {1,2,3,4}`, graph.ErrInvalid, "must be f32[1,2]")
	f(`state "h" "h_out" reset f64[1,2] {1,2}`, graph.ErrInvalid, "must be f32[1,2]")
	f(`state "h" "h_out" more`, graph.ErrSyntax, "left over")
}

// What is decided before the run is decided by the optimizer.
func TestOptimizeControl(t *testing.T) {
	f := func(before, after string) {
		t.Helper()
		g := parse(t, before)
		if err := graph.Optimize(g); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(parse(t, after).String(), g.String()); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	f(`graph "if"
%x = input "x" f32[2]
%c = const "" bool[] {true}
%y,%z = if(%c,%x)
then "t"
  %x = input "x" f32[2]
  %y = exp(%x)
  output "y" %y
  output "z" %x
end
else "e"
  %x = input "x" f32[2]
  output "y" %x
  output "z" %x
end
output "y" %y
output "z" %z
`, `graph "if"
%x = input "x" f32[2]
%y = exp(%x)
output "y" %y
output "z" %x
`)
	f(`graph "loop"
%x = input "x" f32[2]
%c = input "c" bool[]
%k = const "k" f32[2] {2,3}
%unused = exp(%x)
%y,%w = loop(%c,%x,%k,%unused) carried=2
body "b"
  %x = input "x" f32[2]
  %k = input "k" f32[2]
  %unused = input "u" f32[2]
  %y = mul(%x,%k)
  %five = const "" f32[] {5}
  %top = amax(%y) axes=[0]
  %again = lt(%top,%five)
  %again2 = and(%again,%again)
  output "again" %again
  output "x" %y
  output "k" %k
end
output "y" %y
output "w" %w
`, `graph "loop"
%x = input "x" f32[2]
%c = input "c" bool[]
%y = loop(%c,%x) carried=1
body "b"
  %x = input "x" f32[2]
  %k = const "k" f32[2] {2,3}
  %y = mul(%x,%k)
  %top = amax(%y) axes=[0]
  %five = const "" f32[] {5}
  %again = lt(%top,%five)
  output "again" %again
  output "x" %y
end
%k = const "k" f32[2] {2,3}
output "y" %y
output "w" %k
`)
	f(`graph "never"
%x = input "x" f32[2]
%c = const "" bool[1] {false}
%y = loop(%c,%x) carried=1
body "b"
  %x = input "x" f32[2]
  %y = exp(%x)
  %again = const "" bool[] {true}
  output "again" %again
  output "x" %y
end
output "y" %y
`, `graph "never"
%x = input "x" f32[2]
output "y" %x
`)
}

// Streams of graphs inside are numbered together with those outside.
func TestInlineControl(t *testing.T) {
	sub := parse(t, walk)
	dst := graph.New("dst")
	x := dst.Input("x", graph.Float32, graph.Shape{2})
	var outs []*graph.Value
	for range 2 {
		o, err := graph.Inline(dst, sub, []*graph.Value{x})
		if err != nil {
			t.Fatal(err)
		}
		outs = append(outs, o...)
	}
	dst.Output("a", outs[0])
	dst.Output("b", outs[1])
	if err := dst.Verify(); err != nil {
		t.Fatal(err)
	}
	if s := dst.Stats(); !s.Stochastic || s.Nodes != 2*7 {
		t.Errorf("%+v", s)
	}
	if !dst.Draws() || parse(t, collatz).Draws() {
		t.Error("which graph draws is told wrongly")
	}
}
