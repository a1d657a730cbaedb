package plan_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// testNoise keys the draws of all runs of these tests.
var testNoise = graph.Noise{Seed: 7, Step: 3, Row: 11}

func parse(t testing.TB, text string) *graph.Graph {
	t.Helper()
	g, err := graph.Parse("graph \"test\"\n" + strings.ReplaceAll(text, ";", "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// inputsFor makes input tensors: numbers around zero with a few exact ones,
// small integers, booleans.
func inputsFor(r *rand.Rand, g *graph.Graph, rows int) ([]*graph.Tensor, [][]float32) {
	var ts []*graph.Tensor
	var fs [][]float32
	for _, v := range g.Inputs {
		shape := v.Shape.For(rows)
		t := &graph.Tensor{DType: v.DType, Shape: shape}
		f := make([]float32, shape.RowElements())
		for i := range f {
			switch {
			case v.DType == graph.Bool:
				f[i] = float32(r.IntN(2))
			case v.DType == graph.Uint8:
				f[i] = float32(r.IntN(256))
			case v.DType.IsInt():
				f[i] = float32(r.IntN(7) - 3)
			default:
				f[i] = float32(r.NormFloat64() * 2)
				if r.IntN(6) == 0 {
					f[i] = []float32{0, 1, -1, 0.5, 2.5, -2.5, 30, -30}[r.IntN(8)]
				}
			}
		}
		switch {
		case v.DType == graph.Float64:
			t.F64 = make([]float64, len(f))
			for i := range f {
				t.F64[i] = float64(f[i])
			}
		case v.DType.IsFloat():
			t.F32 = f
		default:
			t.I64 = make([]int64, len(f))
			for i := range f {
				t.I64[i] = int64(f[i])
			}
		}
		ts, fs = append(ts, t), append(fs, f)
	}
	return ts, fs
}

func outputsFor(g *graph.Graph, rows int) [][]float32 {
	var out [][]float32
	for _, o := range g.Outputs {
		s := make([]float32, o.Value.Shape.For(rows).RowElements())
		for i := range s {
			s[i] = -12345
		}
		out = append(out, s)
	}
	return out
}

// near allows two float32 roundings of a sum of ordinary size; what is exact
// is compared by tolerances of zero.
func near(got float32, want, tolerance float64) bool {
	g := float64(got)
	if math.IsNaN(want) || math.IsInf(want, 0) || math.IsNaN(g) {
		return g == want || math.IsNaN(g) && math.IsNaN(want)
	}
	return math.Abs(g-want) <= tolerance*max(1, math.Abs(want))
}

// agree compiles the graph for the kernels of this CPU and for their Go twins
// and compares both with the reference evaluator on several batches; and each
// row with the same row run alone, to the bit.
func agree(t *testing.T, g *graph.Graph, tolerance float64) {
	t.Helper()
	agreeOnBatches(t, g, tolerance, 1, 2, 7, 1, 100)
}

func agreeOnBatches(t *testing.T, g *graph.Graph, tolerance float64, batches ...int) {
	t.Helper()
	for _, k := range kernel.Impls() {
		p, err := plan.Compile(g, plan.Options{Kernels: k.String()})
		if err != nil {
			t.Fatalf("%v\n%v", err, g)
		}
		r := p.NewRunner()
		for _, rows := range batches {
			rng := rand.New(rand.NewPCG(uint64(rows), 1))
			tensors, in := inputsFor(rng, g, rows)
			want, err := graph.Evaluate(g, rows, tensors, testNoise)
			if err != nil {
				t.Fatal(err)
			}
			before := fmt.Sprint(in)
			out := outputsFor(g, rows)
			if err := r.Run(rows, in, out, testNoise); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(in) != before {
				t.Fatalf("inputs changed\n%s", p.Steps())
			}
			for o := range want {
				for i := range out[o] {
					if w := want[o].At(i); !near(out[o][i], w, tolerance) {
						t.Fatalf("%d rows, output %d, element %d: got %v, want %v\n%v\n%s", rows, o, i, out[o][i], w, g, p.Steps())
					}
				}
			}
			sameAlone(t, g, p, rows, in, out)
		}
	}
}

// sameAlone runs a few rows one by one; draws differ by row and are left out.
func sameAlone(t *testing.T, g *graph.Graph, p *plan.Plan, rows int, in, out [][]float32) {
	t.Helper()
	for _, v := range g.Inputs {
		if v.Shape.BatchAxis() > 0 {
			return
		}
	}
	for _, o := range g.Outputs {
		if o.Value.Shape.BatchAxis() != 0 {
			return
		}
	}
	for _, n := range g.Nodes {
		if n.Op == graph.OpNormal || n.Op == graph.OpBeta || n.Op == graph.OpConcat && n.In[0].Shape[n.Attrs.Int("axis")] < 0 {
			return
		}
	}
	r := p.NewRunner()
	for _, row := range []int{0, rows / 2, rows - 1} {
		one := make([][]float32, len(in))
		for i, v := range g.Inputs {
			one[i] = in[i]
			if n := v.Shape.RowElements(); !v.Shape.Fixed() {
				one[i] = in[i][row*n : (row+1)*n]
			}
		}
		got := outputsFor(g, 1)
		if err := r.Run(1, one, got, testNoise); err != nil {
			t.Fatal(err)
		}
		for o := range got {
			for i, v := range got[o] {
				if b := out[o][row*len(got[o])+i]; math.Float32bits(v) != math.Float32bits(b) {
					t.Fatalf("row %d of %d, output %d, element %d: %v, alone %v\n%s", row, rows, o, i, b, v, p.Steps())
				}
			}
		}
	}
}

const (
	exact = 0
	fine  = 2e-6 // a few units in the last place
	sums  = 2e-5 // sums of tens of terms of size 10
)

// opCases holds graphs for every operator. ";" ends a line.
var opCases = map[graph.Op][]struct {
	text      string
	tolerance float64
}{
	graph.OpLinear: {
		{`%x = input "x" f32[B,3]; %w = const "w" f32[2,3] {1,2,3,-4,5,6}; %b = const "b" f32[2] {0.5,-1}; %y = linear(%x,%w,%b); output "y" %y`, sums},
		{`%x = input "x" f32[B,3]; %w = const "w" f32[2,3] {1,2,3,-4,5,6}; %y = linear(%x,%w); %z = relu(%y); output "z" %z`, sums},
		{`%x = input "x" f32[B,3]; %w = const "w" f32[2,3] {1,2,3,-4,5,6}; %y = linear(%x,%w); %z = tanh(%y); output "z" %z; output "y" %y`, sums},
		{`%x = input "x" f32[B,4,3]; %w = const "w" f32[2,3] {1,2,3,-4,5,6}; %y = linear(%x,%w); output "y" %y`, sums},
		{`%x = input "x" f32[3]; %w = const "w" f32[2,3] {1,2,3,-4,5,6}; %y = linear(%x,%w); output "y" %y`, sums},
		{`%x = input "x" f32[B,2]; %w = input "w" f32[3,2]; %b = const "b" f32[3] {1,2,3}; %y = linear(%x,%w,%b); output "y" %y`, sums},
		{`%x = input "x" f32[B,2]; %w = const "w" f32[3,2] {1,2,3,4,5,6}; %b = input "b" f32[3]; %y = linear(%x,%w,%b); %z = relu(%y); output "z" %z`, sums},
		{`%x = input "x" f64[B,3]; %w = const "w" f64[2,3] {1,2,3,-4,5,6}; %b = const "b" f64[2] {0.5,-1}; %y = linear(%x,%w,%b); output "y" %y`, sums},
	},
	graph.OpMatMul: {
		{`%x = input "x" f32[B,3]; %w = const "w" f32[3,2] {1,2,3,-4,5,6}; %y = matmul(%x,%w); output "y" %y`, sums},
		{`%x = input "x" f32[B,2,3]; %w = const "w" f32[1,3,2] {1,2,3,-4,5,6}; %y = matmul(%x,%w); %z = sigmoid(%y); output "z" %z`, sums},
		{`%x = input "x" f32[B,1,4,3]; %w = const "w" f32[2,3,1] {1,2,3,-4,5,6}; %y = matmul(%x,%w); output "y" %y`, sums},
		{`%x = input "x" f32[B,2,3]; %w = input "w" f32[B,3,4]; %y = matmul(%x,%w); output "y" %y`, sums},
		{`%x = input "x" f32[B,3]; %w = input "w" f32[3,4]; %y = matmul(%x,%w); output "y" %y`, sums},
		{`%x = input "x" f32[B,3]; %w = input "w" f32[2,3,4]; %y = matmul(%x,%w); output "y" %y`, sums},
		{`%x = const "x" f32[2,3] {1,2,3,4,5,6}; %w = input "w" f32[B,3,4]; %y = matmul(%x,%w); output "y" %y`, sums},
	},
	graph.OpConv: {
		{`%x = input "x" f32[B,2,7]; %w = const "w" f32[2,2,3] {1,2,3,4,5,6,-1,-2,-3,-4,-5,-6}; %b = const "b" f32[2] {1,-1}; %y = conv(%x,%w,%b); output "y" %y`, sums},
		{`%x = input "x" f32[B,2,9]; %w = const "w" f32[2,1,3] {1,2,3,4,5,6}; %y = conv(%x,%w) stride=[2] padding=[3] dilation=[2] groups=2; output "y" %y`, sums},
		{`%x = input "x" f32[B,1,5,6]; %w = const "w" f32[2,1,2,3] {1,2,3,4,5,6,-1,-2,-3,-4,-5,-6}; %y = conv(%x,%w) stride=[2,1] padding=[1,2] dilation=[1,2]; %z = relu(%y); output "z" %z`, sums},
		{`%x = input "x" f32[B,1,2,3,4]; %w = const "w" f32[1,1,2,2,2] {1,2,3,4,5,6,7,8}; %y = conv(%x,%w) padding=[1,0,1] stride=[1,1,2]; output "y" %y`, sums},
	},
	graph.OpConvTranspose: {
		{`%x = input "x" f32[B,2,4]; %w = const "w" f32[2,2,3] {1,2,3,4,5,6,-1,-2,-3,-4,-5,-6}; %b = const "b" f32[2] {1,-1}; %y = conv_transpose(%x,%w,%b); output "y" %y`, sums},
		{`%x = input "x" f32[B,2,4]; %w = const "w" f32[2,2,3] {1,2,3,4,5,6,-1,-2,-3,-4,-5,-6}; %y = conv_transpose(%x,%w) stride=[3] padding=[1] output_padding=[2] dilation=[2] groups=2; output "y" %y`, sums},
		{`%x = input "x" f32[B,1,3,2]; %w = const "w" f32[1,2,2,3] {1,2,3,4,5,6,-1,-2,-3,-4,-5,-6}; %y = conv_transpose(%x,%w) stride=[2,1] padding=[1,0]; %z = relu(%y); output "z" %z`, sums},
		{`%x = input "x" f32[B,1,2,3,2]; %w = const "w" f32[1,1,2,2,2] {1,2,3,4,5,6,7,8}; %y = conv_transpose(%x,%w) padding=[1,0,1] stride=[2,1,2] output_padding=[1,0,0]; output "y" %y`, sums},
	},
	graph.OpAdd: {
		{`%x = input "x" f32[B,3]; %y = add(%x,%x); output "y" %y`, exact},
		{`%x = input "x" f32[B,3]; %c = const "c" f32[3] {1,2,3}; %y = add(%c,%x); output "y" %y`, exact},
		{`%x = input "x" f32[B,3]; %c = const "c" f32[] {0.5}; %y = add(%x,%c); output "y" %y`, exact},
		{`%x = input "x" f32[B,3]; %c = input "c" f32[B,1]; %y = add(%x,%c); output "y" %y`, exact},
		{`%x = input "x" f32[B,1]; %c = const "c" f32[1,4] {1,2,3,4}; %y = add(%x,%c); output "y" %y`, exact},
		{`%x = input "x" f32[B,3,2]; %c = const "c" f32[3,1] {1,2,3}; %y = add(%x,%c); output "y" %y`, exact},
		{`%x = input "x" f32[B,3,9]; %c = const "c" f32[3,1] {1,2,3}; %y = add(%x,%c); %z = sub(%c,%x); %w = sub(%x,%c); %v = mul(%c,%x); output "y" %y; output "z" %z; output "w" %w; output "v" %v`, exact},
		{`%x = input "x" f32[B,3,3,3]; %c = input "c" f32[B,3,1,1]; %y = add(%x,%c); %z = sub(%c,%x); %r = relu(%z); output "y" %y; output "r" %r`, exact},
		{`%x = input "x" f32[B,9]; %c = input "c" f32[B,1]; %d = input "d" f32[1,1]; %y = mul(%x,%c); %z = add(%y,%d); output "z" %z`, exact},
		{`%x = input "x" f32[2,B,9]; %c = input "c" f32[B,1]; %y = sub(%x,%c); output "y" %y`, exact},
		{`%x = input "x" bool[B,3]; %c = input "c" bool[B,3]; %y = add(%x,%c); output "y" %y`, exact},
		{`%x = input "x" u8[B,3]; %c = input "c" u8[B,3]; %y = add(%x,%c); output "y" %y`, exact},
		{`%x = input "x" f32[B,3]; %c = input "c" f32[3]; %y = add(%x,%c); output "y" %y`, exact},
	},
	graph.OpSub: {
		{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {1,2,3,4,5}; %y = sub(%x,%c); %z = sub(%c,%x); output "y" %y; output "z" %z`, exact},
		{`%x = input "x" u8[B,5]; %c = const "c" u8[5] {1,2,3,4,255}; %y = sub(%x,%c); output "y" %y`, exact},
		{`%x = input "x" f32[B,17,31]; %c = input "c" f32[B,17,31]; %y = sub(%x,%c); output "y" %y`, exact},
	},
	graph.OpMul: {
		{`%x = input "x" f32[B,5]; %c = const "c" f32[1,5] {1,2,3,4,5}; %y = mul(%x,%c); output "y" %y`, exact},
		{`%x = input "x" bool[B,5]; %c = input "c" bool[B,1]; %y = mul(%x,%c); output "y" %y`, exact},
		{`%x = input "x" i64[B,5]; %c = const "c" i64[] {3}; %y = mul(%x,%c); output "y" %y`, exact},
		{`%x = input "x" i8[B,5]; %c = const "c" i8[] {100}; %y = mul(%x,%c); output "y" %y`, exact},
	},
	graph.OpDiv: {
		{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {1,2,3,0,5}; %y = div(%x,%c); %z = div(%c,%x); output "y" %y; output "z" %z`, exact},
		{`%x = input "x" i64[B,5]; %c = const "c" i64[] {3}; %y = div(%x,%c); output "y" %y`, fine},
	},
	graph.OpPow: {
		{`%x = input "x" f32[B,5]; %c = const "c" f32[] {2}; %y = pow(%x,%c); output "y" %y`, fine},
		{`%x = input "x" f32[B,5]; %c = const "c" f32[] {0.5}; %y = pow(%x,%c); output "y" %y`, fine},
		{`%x = input "x" f32[B,5]; %c = const "c" f32[1] {-0.5}; %y = pow(%x,%c); output "y" %y`, fine},
		{`%x = input "x" f32[B,5]; %c = const "c" i64[] {-1}; %y = pow(%x,%c); output "y" %y`, fine},
		{`%x = input "x" f32[B,5]; %c = const "c" f32[1,1,1] {2}; %y = pow(%x,%c); output "y" %y`, fine},
		{`%x = input "x" f32[B,5]; %c = const "c" f32[] {3}; %y = pow(%x,%c); output "y" %y`, fine},
		{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {nan,inf,-inf,0,1.7}; %y = pow(%x,%c); output "y" %y`, fine},
		{`%x = input "x" i64[B,5]; %c = input "c" i64[B,5]; %y = pow(%x,%c); output "y" %y`, exact},
	},
	graph.OpAtan2: {{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {1,nan,-1,inf,-inf}; %y = atan2(%x,%c); %z = atan2(%c,%x); output "y" %y; output "z" %z`, fine}},
	graph.OpFmod: {
		{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {1,nan,-0.75,inf,0}; %y = fmod(%x,%c); output "y" %y`, exact},
		{`%x = input "x" i64[B,5]; %c = input "c" i64[B,5]; %y = fmod(%x,%c); output "y" %y`, exact},
	},
	graph.OpRemainder: {
		{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {1,nan,-0.75,inf,0}; %y = remainder(%x,%c); output "y" %y`, fine},
		{`%x = input "x" i64[B,5]; %c = input "c" i64[B,5]; %y = remainder(%x,%c); output "y" %y`, exact},
	},
	graph.OpFloorDiv: {
		{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {0.1,nan,-0.75,inf,0}; %y = floor_div(%x,%c); output "y" %y`, exact},
		{`%x = input "x" i64[B,5]; %c = input "c" i64[B,5]; %y = floor_div(%x,%c); output "y" %y`, exact},
	},
	graph.OpMinimum: {{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {1,nan,-1,inf,-inf}; %y = minimum(%x,%c); output "y" %y`, exact}},
	graph.OpMaximum: {{`%x = input "x" f32[B,5]; %c = const "c" f32[5] {1,nan,-1,inf,-inf}; %y = maximum(%x,%c); output "y" %y`, exact}},
	graph.OpWhere: {
		{`%c = input "c" bool[B,1]; %x = input "x" f32[B,5]; %z = const "z" f32[] {-7}; %y = where(%c,%x,%z); output "y" %y`, exact},
		{`%c = input "c" bool[B,5]; %x = input "x" f32[B,5]; %y = where(%c,%x,%x); output "y" %y`, exact},
	},
	graph.OpNot: {{`%x = input "x" f32[B,5]; %y = not(%x); output "y" %y`, exact}},
	graph.OpClamp: {
		{`%x = input "x" f32[B,5]; %y = clamp(%x) min=-1 max=1; output "y" %y`, exact},
		{`%x = input "x" f32[B,5]; %y = clamp(%x) min=0.5; output "y" %y`, exact},
		{`%x = input "x" f32[B,5]; %y = clamp(%x) max=0.5; output "y" %y`, exact},
		{`%x = input "x" f32[B,5]; %y = clamp(%x) min=2 max=1; output "y" %y`, exact},
		{`%x = input "x" i64[B,5]; %y = clamp(%x) min=-1 max=1; output "y" %y`, exact},
	},
	graph.OpElu: {
		{`%x = input "x" f32[B,19]; %y = elu(%x); output "y" %y`, fine},
		{`%x = input "x" f32[B,19]; %y = elu(%x) alpha=-2; output "y" %y`, fine},
	},
	graph.OpCelu: {
		{`%x = input "x" f32[B,19]; %y = celu(%x) alpha=0.7; output "y" %y`, fine},
		{`%x = input "x" f32[B,19]; %y = celu(%x) alpha=-9; output "y" %y`, sums},
	},
	graph.OpLeakyRelu: {{`%x = input "x" f32[B,19]; %y = leaky_relu(%x) alpha=0.2; output "y" %y`, fine}},
	graph.OpGelu: {
		{`%x = input "x" f32[B,19]; %y = gelu(%x); output "y" %y`, fine},
		{`%x = input "x" f32[B,19]; %y = gelu(%x) approximate="tanh"; output "y" %y`, fine},
	},
	graph.OpSoftplus: {
		{`%x = input "x" f32[B,19]; %y = softplus(%x); output "y" %y`, fine},
		{`%x = input "x" f32[B,19]; %y = softplus(%x) beta=2 threshold=1; output "y" %y`, fine},
	},
	graph.OpCast: {
		{`%x = input "x" f32[B,5]; %y = cast(%x) dtype=i64; output "y" %y`, exact},
		{`%x = input "x" f32[B,5]; %y = cast(%x) dtype=u8; output "y" %y`, exact},
		{`%x = input "x" f32[B,5]; %y = cast(%x) dtype=bool; output "y" %y`, exact},
		{`%x = input "x" i64[B,5]; %y = cast(%x) dtype=i8; %z = cast(%x) dtype=u8; output "y" %y; output "z" %z`, exact},
		{`%x = input "x" u8[B,5]; %y = cast(%x) dtype=f32; %z = cast(%x) dtype=i64; %w = cast(%x) dtype=i8; output "y" %y; output "z" %z; output "w" %w`, exact},
		{`%x = input "x" bool[B,5]; %y = cast(%x) dtype=f32; output "y" %y`, exact},
		{`%x = input "x" f64[B,5]; %y = cast(%x) dtype=f32; output "y" %y`, exact},
	},
	graph.OpReshape: {
		{`%x = input "x" f32[B,6]; %y = reshape(%x) shape=[B,2,3]; output "y" %y`, exact},
		{`%x = input "x" f32[B,6]; %r = relu(%x); %y = reshape(%r) shape=[2B,3]; output "y" %y; output "r" %r`, exact},
	},
	graph.OpTranspose: {
		{`%x = input "x" f32[B,2,3]; %y = transpose(%x) perm=[0,2,1]; output "y" %y`, exact},
		{`%x = input "x" f32[B,2,3]; %y = transpose(%x) perm=[2,0,1]; output "y" %y`, exact},
		{`%x = input "x" f32[2,B,3]; %y = transpose(%x) perm=[1,0,2]; output "y" %y`, exact},
		{`%x = input "x" f32[B,1,3]; %y = transpose(%x) perm=[1,0,2]; output "y" %y`, exact},
	},
	graph.OpExpand: {
		{`%x = input "x" f32[B,1,3]; %y = expand(%x) shape=[B,4,3]; output "y" %y`, exact},
		{`%x = const "x" f32[3] {1,2,3}; %y = expand(%x) shape=[B,3]; output "y" %y`, exact},
		{`%x = input "x" f32[B,1]; %y = expand(%x) shape=[2,B,3]; output "y" %y`, exact},
	},
	graph.OpConcat: {
		{`%x = input "x" f32[B,2]; %z = input "z" f32[B,3]; %y = concat(%x,%z,%x) axis=1; output "y" %y`, exact},
		{`%x = input "x" f32[B,2,2]; %z = input "z" f32[B,1,2]; %y = concat(%x,%z) axis=1; output "y" %y`, exact},
		{`%x = input "x" f32[B,2]; %z = input "z" f32[B,2]; %y = concat(%x,%z) axis=0; output "y" %y`, exact},
		{`%x = input "x" f32[2,B]; %z = input "z" f32[3,B]; %y = concat(%x,%z) axis=0; output "y" %y`, exact},
		{`%x = input "x" i64[B,2]; %z = input "z" f32[B,2]; %y = concat(%x,%z) axis=1; output "y" %y`, exact},
	},
	graph.OpSlice: {
		{`%x = input "x" f32[B,7]; %y = slice(%x) axis=1 start=2 end=5; output "y" %y`, exact},
		{`%x = input "x" f32[B,7]; %y = slice(%x) axis=1 start=1 step=3; output "y" %y`, exact},
		{`%x = input "x" f32[B,3,4]; %y = slice(%x) axis=1 start=-2; output "y" %y`, exact},
		{`%x = input "x" f32[4,B]; %y = slice(%x) axis=0 start=1 end=4 step=2; output "y" %y`, exact},
		{`%x = input "x" f32[B,4]; %y = slice(%x) axis=1 start=3 end=3; output "y" %y`, exact},
		{`%x = input "x" f32[B,4]; %y = slice(%x) axis=0; output "y" %y`, exact},
	},
	graph.OpSoftmax: {
		{`%x = input "x" f32[B,5]; %y = softmax(%x) axis=1; output "y" %y`, fine},
		{`%x = input "x" f32[B,3,2]; %y = softmax(%x) axis=1; output "y" %y`, fine},
	},
	graph.OpLogSoftmax: {{`%x = input "x" f32[B,5]; %y = log_softmax(%x) axis=-1; output "y" %y`, fine}},
	graph.OpSum: {
		{`%x = input "x" f32[B,5]; %y = sum(%x) axes=[1]; output "y" %y`, fine},
		{`%x = input "x" f32[B,3,4]; %y = sum(%x) axes=[1] keepdim=true; output "y" %y`, fine},
		{`%x = input "x" f32[2,B,4]; %y = sum(%x) axes=[0,2]; output "y" %y`, fine},
		{`%x = input "x" f32[B,4]; %y = sum(%x) axes=[]; output "y" %y`, fine},
		{`%x = input "x" bool[B,4]; %y = sum(%x) axes=[1]; output "y" %y`, exact},
	},
	graph.OpMean: {
		{`%x = input "x" f32[B,5]; %y = mean(%x) axes=[1]; output "y" %y`, fine},
		{`%x = input "x" f32[B,5,0]; %y = mean(%x) axes=[2]; output "y" %y`, fine},
	},
	graph.OpAmax:   {{`%x = input "x" f32[B,5,2]; %y = amax(%x) axes=[1]; output "y" %y`, exact}},
	graph.OpAmin:   {{`%x = input "x" f32[B,5,2]; %y = amin(%x) axes=[1,2]; output "y" %y`, exact}},
	graph.OpArgmax: {{`%x = input "x" f32[B,5,2]; %y = argmax(%x) axis=1; %z = argmax(%x) axis=2 keepdim=true; output "y" %y; output "z" %z`, exact}},
	graph.OpProd: {
		{`%x = input "x" f32[B,5]; %y = prod(%x) axes=[1]; output "y" %y`, fine},
		{`%x = input "x" i64[B,2,3]; %y = prod(%x) axes=[1] keepdim=true; output "y" %y`, exact},
	},
	graph.OpCumsum: {
		{`%x = input "x" f32[B,5]; %y = cumsum(%x) axis=1; output "y" %y`, fine},
		{`%x = input "x" bool[B,3,2]; %y = cumsum(%x) axis=1; output "y" %y`, exact},
		{`%x = input "x" f32[3,B]; %y = cumsum(%x) axis=0; output "y" %y`, fine},
	},
	graph.OpCumprod: {{`%x = input "x" f32[B,5]; %y = cumprod(%x) axis=1; output "y" %y`, fine}},
	graph.OpArgsort: {
		{`%x = input "x" f32[B,15]; %y = argsort(%x) axis=1; %z = argsort(%x) axis=1 descending=true; output "y" %y; output "z" %z`, exact},
		{`%x = input "x" i64[B,6,2]; %y = argsort(%x) axis=1; output "y" %y`, exact},
		{`%x = input "x" f32[B,15]; %o = argsort(%x) axis=1 descending=true; %y = slice(%o) axis=1 end=4; %z = slice(%o) axis=1 start=1 end=3; output "y" %y; output "z" %z`, exact},
	},
	graph.OpTake: {
		{`%x = const "x" f32[3,2] {1,2,3,4,5,6}; %i = input "i" i64[B]; %y = take(%x,%i) axis=0; output "y" %y`, exact},
		{`%x = const "x" f32[3,2] {1,2,3,4,5,6}; %i = input "i" i64[B,4]; %y = take(%x,%i) axis=1; output "y" %y`, exact},
		{`%x = input "x" f32[B,3,2]; %i = const "i" i64[4] {0,2,-1,7}; %y = take(%x,%i) axis=1; output "y" %y`, exact},
		{`%x = input "x" i64[B,3,2]; %i = const "i" i64[] {3}; %y = take(%x,%i) axis=1; output "y" %y`, exact},
		{`%x = input "x" i8[B,3]; %i = const "i" i64[2] {3,1}; %y = take(%x,%i) axis=1; output "y" %y`, exact},
		{`%x = input "x" f32[3,B]; %i = input "i" i64[4]; %y = take(%x,%i) axis=0; output "y" %y`, exact},
	},
	graph.OpGather: {
		{`%x = input "x" f32[B,3]; %i = input "i" i64[B,5]; %y = gather(%x,%i) axis=1; output "y" %y`, exact},
		{`%x = input "x" bool[B,3,2]; %i = input "i" i64[B,4,2]; %y = gather(%x,%i) axis=1; output "y" %y`, exact},
		{`%x = const "x" f32[3] {1,2,3}; %i = input "i" i64[B]; %y = gather(%x,%i) axis=0; output "y" %y`, exact},
	},
	graph.OpNormal: {
		{`%x = input "x" f32[B,5]; %y = normal(%x) stream=0; %z = normal(%x) stream=9; output "y" %y; output "z" %z`, exact},
		{`%x = input "x" f32[6]; %y = normal(%x) stream=1; output "y" %y`, exact},
		{`%x = input "x" f32[B]; %y = normal(%x) stream=1; output "y" %y`, exact},
	},
	graph.OpBeta: {
		{`%x = input "x" f32[B,9]; %z = input "z" f32[B,9]; %a = abs(%x); %b = abs(%z); %y = beta(%a,%b) stream=0; %w = beta(%x,%b) stream=9; output "y" %y; output "w" %w`, exact},
		{`%x = input "x" f32[6]; %a = abs(%x); %y = beta(%a,%a) stream=1; output "y" %y`, exact},
		{`%a = const "a" f32[3] {0.01,1,200}; %b = const "b" f32[3] {0.02,1,3}; %y = beta(%a,%b) stream=1; output "y" %y`, exact},
	},
}

// caseOf gives an operator without a case of its own one: of one operand on a
// vector of features, of two on numbers that meet now and then.
func caseOf(op graph.Op) (text string, tolerance float64) {
	one, err := graph.Parse(fmt.Sprintf("graph \"t\"\n%%x = input \"x\" f32[B,19]\n%%y = %s(%%x)\noutput \"y\" %%y", op))
	if err == nil && len(one.Nodes) == 1 {
		return fmt.Sprintf(`%%x = input "x" f32[B,19]; %%y = %s(%%x); output "y" %%y`, op), fine
	}
	return fmt.Sprintf(`%%x = input "x" i64[B,5]; %%z = input "z" i64[B,5]; %%f = input "f" f32[B,5]; %%y = %s(%%x,%%z); %%w = %s(%%f,%%x); output "y" %%y; output "w" %%w`, op, op), exact
}

func TestEveryOperator(t *testing.T) {
	for _, op := range graph.Ops() {
		if op == graph.OpIf || op == graph.OpLoop {
			continue // control_test.go has them
		}
		t.Run(string(op), func(t *testing.T) {
			cases := opCases[op]
			if cases == nil {
				text, tolerance := caseOf(op)
				agree(t, parse(t, text), tolerance)
			}
			for _, c := range cases {
				agree(t, parse(t, c.text), c.tolerance)
			}
		})
	}
	for op := range maps.Keys(opCases) {
		if !slices.Contains(graph.Ops(), op) {
			t.Errorf("cases for %q, which is no operator", op)
		}
	}
}

// An unrolled layer multiplies by the same weights again and again: they are
// packed once.
func TestWeightsArePackedOnce(t *testing.T) {
	bytes := func(text string) int {
		p, err := plan.Compile(parse(t, text), plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p.ConstantBytes()
	}
	const head = `%x = input "x" f32[B,2]; %w = const "w" f32[2,2] {1,2,3,4}; %b = const "b" f32[2] {1,2}; %y = linear(%x,%w,%b); `
	once := bytes(head + `output "y" %y`)
	if twice := bytes(head + `%z = linear(%y,%w,%b); output "z" %z`); twice != once {
		t.Errorf("%d bytes of two layers with the same weights, %d of one", twice, once)
	}
	if other := bytes(head + `%z = linear(%y,%w); output "z" %z`); other == once {
		t.Error("a layer without the bias takes that of the other")
	}
	if turned := bytes(head + `%z = matmul(%y,%w); output "z" %z`); turned == once {
		t.Error("a product takes the weights of a layer, which are the other way round")
	}
}
