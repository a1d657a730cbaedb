package plan_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// controlCases have ifs and loops, inside each other too, with dense layers and
// draws in them.
var controlCases = map[string]string{
	"if": `%x = input "x" f32[4]; %c = input "c" bool[]
%y,%z = if(%c,%x)
then "t"; %x = input "x" f32[4]; %y = exp(%x); output "y" %y; output "z" %x; end
else "e"; %x = input "x" f32[4]; %y = neg(%x); output "y" %y; output "z" %y; end
output "y" %y; output "z" %z`,
	"results of an if are computed with": `%x = input "x" f32[1,4]; %c = input "c" bool[1]
%r = tanh(%x)
%y,%unused = if(%c,%r)
then "t"; %x = input "x" f32[1,4]; %w = const "w" f32[2,4] {1,2,3,4,-1,-2,-3,-4}; %y = linear(%x,%w); %z = relu(%y); output "z" %z; output "x" %x; end
else "e"; %x = input "x" f32[1,4]; %z = const "z" f32[1,2] {7,8}; output "z" %z; output "x" %x; end
%s = sigmoid(%y); %sum = sum(%r) axes=[1]; output "s" %s; output "sum" %sum`,
	"loop": `%x = input "x" f32[3]; %c = input "c" bool[]; %k = input "k" f32[3]
%n0 = const "" i64[] {0}
%n,%y = loop(%c,%n0,%x,%k) carried=2
body "b"; %n = input "n" i64[]; %x = input "x" f32[3]; %k = input "k" f32[3]
%one = const "" i64[] {1}; %m = add(%n,%one); %five = const "" i64[] {5}; %again = lt(%m,%five)
%t = tanh(%x); %y = add(%t,%k); output "again" %again; output "n" %m; output "x" %y; end
output "n" %n; output "y" %y`,
	"if in a loop in a loop": `%x = input "x" f32[3]; %go = const "" bool[] {true}; %n0 = const "" i64[] {0}
%n,%y = loop(%go,%n0,%x) carried=2
body "outer"; %n = input "n" i64[]; %x = input "x" f32[3]; %go = const "" bool[] {true}; %zero = const "" i64[] {0}
%i,%y = loop(%go,%zero,%x,%n) carried=2
body "inner"; %i = input "i" i64[]; %x = input "x" f32[3]; %n = input "n" i64[]
%one = const "" i64[] {1}; %j = add(%i,%one); %again = le(%j,%n); %top = amax(%x) axes=[0]; %half = const "" f32[] {0.5}; %high = gt(%top,%half)
%y = if(%high,%x)
then "t"; %x = input "x" f32[3]; %q = const "" f32[] {4}; %y = div(%x,%q); output "y" %y; end
else "e"; %x = input "x" f32[3]; %d = normal(%x) stream=3; %y = add(%x,%d); output "y" %y; end
output "again" %again; output "i" %j; output "x" %y; end
%one = const "" i64[] {1}; %m = add(%n,%one); %six = const "" i64[] {6}; %again = lt(%m,%six)
%d = normal(%y) stream=1; %w = add(%y,%d)
output "again" %again; output "n" %m; output "x" %w; end
%d = normal(%y) stream=2; %z = add(%d,%y)
output "n" %n; output "z" %z`,
	"values exchanged": `%x = input "x" f32[2]; %y = input "y" f32[2]; %go = const "" bool[] {true}; %n0 = const "" i64[] {0}
%n,%a,%b = loop(%go,%n0,%x,%y) carried=3
body "swap"; %n = input "n" i64[]; %x = input "x" f32[2]; %y = input "y" f32[2]
%one = const "" i64[] {1}; %m = add(%n,%one); %five = const "" i64[] {5}; %again = lt(%m,%five)
output "again" %again; output "n" %m; output "x" %y; output "y" %x; end
output "a" %a; output "b" %b`,
}

func TestControl(t *testing.T) {
	for name, text := range controlCases {
		t.Run(name, func(t *testing.T) {
			g := parse(t, text)
			optimized, err := g.Clone()
			if err != nil {
				t.Fatal(err)
			}
			if err := graph.Optimize(optimized); err != nil {
				t.Fatal(err)
			}
			for _, compiled := range []*graph.Graph{g, optimized} {
				for _, generic := range []bool{false, true} {
					agreeOnRows(t, g, compiled, plan.Options{Generic: generic})
				}
			}
		})
	}
}

// agreeOnRows compares a plan with the reference evaluator on a few rows, one
// after another.
func agreeOnRows(t *testing.T, g, compiled *graph.Graph, o plan.Options) {
	t.Helper()
	p, err := plan.Compile(compiled, o)
	if err != nil {
		t.Fatal(err)
	}
	r := p.NewRunner()
	for row := range uint64(20) {
		noise := graph.Noise{Seed: 5, Step: 2, Row: row}
		tensors, in := inputsFor(rand.New(rand.NewPCG(row, 3)), g, 1)
		want, err := graph.Evaluate(g, 1, tensors, noise)
		if err != nil {
			t.Fatal(err)
		}
		out := outputsFor(g, 1)
		if err := r.Run(1, in, out, noise); err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			for k, v := range out[i] {
				if !near(v, w.At(k), 1e-5) {
					t.Fatalf("row %d, output %d, element %d: got %v, want %v\n%s", row, i, k, v, w.At(k), p.Steps())
				}
			}
		}
	}
	tensors, in := inputsFor(rand.New(rand.NewPCG(1, 3)), g, 1)
	out := outputsFor(g, 1)
	if n := testing.AllocsPerRun(20, func() {
		if err := r.Run(1, in, out, testNoise); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations of %d inputs", n, len(tensors))
	}
}

func TestControlIsDumped(t *testing.T) {
	p, err := plan.Compile(parse(t, controlCases["if in a loop in a loop"]), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"loop", "          0  ", "up to 1000000 turns", "else", "stream 3"} {
		if !strings.Contains(p.Steps(), words) {
			t.Errorf("no %q in\n%s", words, p.Steps())
		}
	}
	if p.ArenaBytes(1) == 0 {
		t.Error("the memory of the plans inside is not counted")
	}
}

func TestStepBudget(t *testing.T) {
	f := func(text string) {
		t.Helper()
		p, err := plan.Compile(parse(t, text), plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := p.NewRunner()
		for range 2 { // The budget is one of each run.
			out := [][]float32{{0}}
			if err := r.Run(1, [][]float32{{0}}, out, plan.Noise{}); !errors.Is(err, graph.ErrStepBudget) {
				t.Errorf("got %v, want %v", err, graph.ErrStepBudget)
			}
		}
		// With a condition that does not hold it does not begin.
		if err := r.Run(1, [][]float32{{1}}, [][]float32{{0}}, plan.Noise{}); err != nil {
			t.Error(err)
		}
	}
	f(`%x = input "x" f32[]; %c = not(%x)
%y = loop(%c,%x) carried=1 limit=100
body "b"; %x = input "x" f32[]; %again = not(%x); output "again" %again; output "x" %x; end
output "y" %y`)
	f(`%x = input "x" f32[]; %c = not(%x)
%y = loop(%c,%x) carried=1
body "b"; %x = input "x" f32[]; %c = not(%x)
%y = loop(%c,%x) carried=1 limit=100000
body "b"; %x = input "x" f32[]; %one = const "" f32[] {1}; %y = add(%x,%one); %top = const "" f32[] {90000}; %again = lt(%y,%top); output "again" %again; output "x" %y; end
%z = sub(%y,%y); %again = not(%z); output "again" %again; output "x" %z; end
output "y" %y`)
}

// A state is an input and an output like any other.
func TestStatesPassThrough(t *testing.T) {
	g := parse(t, `%x = input "x" f32[B,2]; %h = input "h" f32[B,2]; %y = add(%x,%h)
output "y" %y; output "h_out" %y; state "h" "h_out" initial f32[1,2] {1,2}`)
	agree(t, g, exact)
}
