package plan_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

func must(t testing.TB) func(v *graph.Value, err error) *graph.Value {
	return func(v *graph.Value, err error) *graph.Value {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func randomTensor(r *rand.Rand, scale float64, shape ...int) *graph.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]float32, n)
	for i := range data {
		data[i] = float32(r.NormFloat64() * scale)
	}
	return graph.Float32s(data, shape...)
}

// mlp is a policy as a trainer leaves it: an affine map of the observation,
// dense layers of the given widths with an activation between them, and a
// clip of the action.
func mlp(t testing.TB, r *rand.Rand, act graph.Op, widths ...int) *graph.Graph {
	g := graph.New("mlp")
	add := must(t)
	x := g.Input("obs", graph.Float32, graph.Shape{graph.Batch, widths[0]})
	scale := randomTensor(r, 1, widths[0])
	for i := range scale.F32 {
		scale.F32[i] = scale.F32[i]*scale.F32[i] + 0.5
	}
	v := add(g.Add(graph.OpSub, nil, x, g.Constant("mean", randomTensor(r, 1, widths[0]))))
	v = add(g.Add(graph.OpDiv, nil, v, g.Constant("scale", scale)))
	for i := 1; i < len(widths); i++ {
		w := g.Constant("weight", randomTensor(r, 1/math.Sqrt(float64(widths[i-1])), widths[i], widths[i-1]))
		b := g.Constant("bias", randomTensor(r, 0.1, widths[i]))
		v = add(g.Add(graph.OpLinear, nil, v, w, b))
		if i < len(widths)-1 {
			v = add(g.Add(act, nil, v))
		}
	}
	v = add(g.Add(graph.OpClamp, graph.Attrs{"min": -1.0, "max": 1.0}, v))
	g.Output("action", v)
	if err := g.Verify(); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestRandomMLPs(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	acts := []graph.Op{graph.OpRelu, graph.OpTanh, graph.OpSilu, graph.OpElu, graph.OpSigmoid, graph.OpGelu, graph.OpMish}
	for i := range 21 {
		widths := []int{1 + r.IntN(40)}
		for range 1 + r.IntN(3) {
			widths = append(widths, 1+r.IntN(90))
		}
		g := mlp(t, r, acts[i%len(acts)], append(widths, 1+r.IntN(14))...)
		agree(t, g, 1e-5)
		if err := graph.Optimize(g); err != nil {
			t.Fatal(err)
		}
		agree(t, g, 1e-5)
	}
}

// NaN in an observation reaches every action; nothing turns it into a number.
func TestNaNGoesThrough(t *testing.T) {
	for _, act := range []graph.Op{graph.OpRelu, graph.OpTanh, graph.OpSigmoid, graph.OpElu} {
		for _, generic := range []bool{false, true} {
			g := mlp(t, rand.New(rand.NewPCG(1, 1)), act, 5, 64, 64, 3)
			p, err := plan.Compile(g, plan.Options{Generic: generic})
			if err != nil {
				t.Fatal(err)
			}
			out := make([]float32, 6)
			nan := float32(math.NaN())
			if err := p.NewRunner().Run(2, [][]float32{{1, 2, nan, 4, 5, 1, 2, 3, 4, 5}}, [][]float32{out}, plan.Noise{}); err != nil {
				t.Fatal(err)
			}
			for i, v := range out {
				if (i < 3) != math.IsNaN(float64(v)) {
					t.Errorf("%s, generic %v: action %d of row %d is %v", act, generic, i%3, i/3, v)
				}
			}
		}
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	p, err := plan.Compile(mlp(t, rand.New(rand.NewPCG(1, 1)), graph.OpTanh, 5, 64, 64, 3), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := func(p *plan.Plan, width, rows int) {
		t.Helper()
		r := p.NewRunner()
		in, out := [][]float32{make([]float32, p.InputWidth(0)*rows)}, [][]float32{make([]float32, width*rows)}
		run := func() {
			for n := rows; n > 0; n /= 2 {
				if err := r.Run(n, in, out, plan.Noise{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		run() // the arena grows to its size
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%d rows: %v allocations a run", rows, n)
		}
	}
	f(p, 3, 1)
	f(p, 3, 32)
	f(p, 3, 1000)
	g := parse(t, `%x = input "x" f32[B,2,6]; %y = transpose(%x) perm=[0,2,1]; %s = softmax(%y) axis=1; %n = normal(%s) stream=1; %z = add(%s,%n); %a = amax(%z) axes=[2]; %m = mean(%z) axes=[1,2] keepdim=true; %q = reshape(%m) shape=[B,1]; %c = concat(%a,%q) axis=1; %w = gelu(%c); output "y" %w`)
	if p, err = plan.Compile(g, plan.Options{}); err != nil {
		t.Fatal(err)
	}
	f(p, 7, 1)
	f(p, 7, 500)
}

// What lies beyond the rows is neither read nor written.
func TestRunStaysInside(t *testing.T) {
	g := mlp(t, rand.New(rand.NewPCG(1, 1)), graph.OpRelu, 5, 20, 3)
	p, err := plan.Compile(g, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := p.NewRunner()
	for _, rows := range []int{0, 1, 3, 97} {
		in, out := make([]float32, rows*5+4), make([]float32, rows*3+4)
		for i := range out {
			out[i] = -7
		}
		if err := r.Run(rows, [][]float32{in[:rows*5]}, [][]float32{out[:rows*3]}, plan.Noise{}); err != nil {
			t.Fatal(err)
		}
		for i, v := range out {
			if (i >= rows*3) != (v == -7) {
				t.Fatalf("%d rows: number %d of the output is %v", rows, i, v)
			}
		}
	}
}

func TestRunRefusesWrongArguments(t *testing.T) {
	p, err := plan.Compile(mlp(t, rand.New(rand.NewPCG(1, 1)), graph.OpRelu, 5, 20, 3), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := func(rows int, in, out [][]float32, want string) {
		t.Helper()
		err := p.NewRunner().Run(rows, in, out, plan.Noise{})
		if !errors.Is(err, plan.ErrArguments) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrArguments with %q", err, want)
		}
	}
	five, three := [][]float32{make([]float32, 5)}, [][]float32{make([]float32, 3)}
	f(-1, five, three, "-1 rows")
	f(1, nil, three, "0 inputs of 1")
	f(1, five, nil, "0 outputs of 1")
	f(2, five, [][]float32{make([]float32, 6)}, `input "obs" has 5 numbers, 2 rows need 10`)
	f(1, five, [][]float32{make([]float32, 2)}, `output "action" has room for 2 numbers, 1 rows need 3`)
}

func TestCompileRefusesLargeIntegers(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := plan.Compile(parse(t, text), plan.Options{})
		if !errors.Is(err, plan.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrUnsupported with %q", err, want)
		}
	}
	f(`%x = input "x" i64[B,1]; %c = const "c" i64[] {16777217}; %y = add(%x,%c); output "y" %y`, "16777217")
	f(`%x = input "x" i64[B,1]; %c = const "c" i64[] {-16777217}; %y = add(%x,%c); output "y" %y`, "-16777217")
}

// The dump is what `inspect --stage plan` prints.
func TestSteps(t *testing.T) {
	g := mlp(t, rand.New(rand.NewPCG(1, 1)), graph.OpTanh, 5, 64, 64, 3)
	p, err := plan.Compile(g, plan.Options{Generic: true})
	if err != nil {
		t.Fatal(err)
	}
	want := `plan: go, 5 steps, 41000 bytes of constants, arena 0 bytes + 576 a row, up to 96 rows at a time
  0  sub                      in0[B,5], c2[5] -> t3[B,5]  repeated
  1  div                      t3[B,5], c5[5] -> t6[B,5]  repeated
  2  linear+tanh              t6[B,5] -> t7[B,64]  64x5 panel16+wide64, 2816 bytes
  3  linear+tanh              t7[B,64] -> t8[B,64]  64x64 panel16+wide64, 33024 bytes
  4  linear+clamp(-1,1)       t8[B,64] -> out0[B,3]  3x64 dot4, 1040 bytes
`
	if got := p.Steps(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// An output that is an input, a constant, another output or a view of one is a
// copy; each is whole.
func TestOutputsThatAreNotComputed(t *testing.T) {
	agree(t, parse(t, `%x = input "x" f32[B,4]; %c = const "c" f32[2] {1,2}; %r = relu(%x); %v = reshape(%r) shape=[B,2,2]; output "x" %x; output "c" %c; output "r" %r; output "r2" %r; output "v" %v`), exact)
}

// A value that is read again after an elementwise step keeps its memory.
func TestResultsDoNotOverwriteWhatIsReadLater(t *testing.T) {
	agree(t, parse(t, `%x = input "x" f32[B,4]; %a = abs(%x); %b = neg(%a); %c = mul(%a,%b); %d = add(%c,%a); %e = sub(%d,%b); %f = maximum(%e,%c); output "f" %f`), fine)
	agree(t, parse(t, `%x = input "x" f32[3]; %a = abs(%x); %b = neg(%a); %c = mul(%a,%b); %d = add(%c,%a); %y = input "y" f32[B,3]; %e = add(%y,%d); output "e" %e; output "d" %d`), fine)
}

// What no output needs is not computed.
func TestDeadNodesHaveNoSteps(t *testing.T) {
	p, err := plan.Compile(parse(t, `%x = input "x" f32[B,4]; %a = abs(%x); %b = exp(%a); %c = neg(%x); output "c" %c`), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Steps(); !strings.Contains(got, " 1 steps") || !strings.Contains(got, "neg") {
		t.Error(got)
	}
}
