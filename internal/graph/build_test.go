package graph_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

func tensor(dt graph.DType, shape ...int) *graph.Tensor {
	t := &graph.Tensor{DType: dt, Shape: shape}
	n := t.Shape.RowElements()
	switch {
	case dt == graph.Float64:
		t.F64 = make([]float64, n)
	case dt.IsFloat():
		t.F32 = make([]float32, n)
	default:
		t.I64 = make([]int64, n)
	}
	return t
}

// Types and shapes that are inferred, with the attributes as they are stored.
func TestInference(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		g := parse(t, `graph "g"
%x = input "x" f32[B,6]
%y = input "y" f32[B,1]
%i = input "i" i64[B,6]
%u = input "u" u8[B,2,4,4]
%d = input "d" f64[B,6]
%h = input "h" bf16[B,6]
%k = input "k" f16[B,6]
%s = const "" f64[] {2}
%t = const "" i64[] {2}
%c = const "" f32[6] {1,2,3,4,5,6}
%w = const "" f32[3,6] {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18}
%m = const "" f32[1,2,2,2] {1,2,3,4,5,6,7,8}
%v = cast(%u) dtype=f32
`+"%r = "+line+"\noutput \"r\" %r\n")
		lines := strings.Split(strings.TrimSpace(g.String()), "\n")
		_, got, _ := strings.Cut(lines[len(lines)-2], ")")
		if strings.TrimSpace(got) != want {
			t.Errorf("%s is%s, want %s", line, got, want)
		}
	}
	f("linear(%x,%w)", "f32[B,3]")
	f("reshape(%x) shape=[2B,3]", "shape=[2B,3] f32[2B,3]")
	f("reshape(%x) shape=[B,1,2,3]", "shape=[B,1,2,3] f32[B,1,2,3]")
	f("reshape(%y) shape=[B]", "shape=[B] f32[B]")
	f("transpose(%x) perm=[-1,0]", "perm=[1,0] f32[6,B]")
	f("expand(%c) shape=[B,6]", "shape=[B,6] f32[B,6]")
	f("expand(%y) shape=[2,B,6]", "shape=[2,B,6] f32[2,B,6]")
	f("concat(%x,%y,%i) axis=-1", "axis=1 f32[B,13]")
	f("concat(%x,%x,%d) axis=0", "axis=0 f64[3B,6]")
	f("slice(%x) axis=1 start=-2", "axis=1 start=4 end=6 step=1 f32[B,2]")
	f("slice(%x) axis=-1 start=1 end=-1 step=2", "axis=1 start=1 end=5 step=2 f32[B,2]")
	f("slice(%x) axis=1 start=5 end=2", "axis=1 start=5 end=5 step=1 f32[B,0]")
	f("slice(%x) axis=0", "axis=0 start=0 end=9223372036854775807 step=1 f32[B,6]")
	f("conv(%v,%m)", "stride=[1,1] padding=[0,0] dilation=[1,1] groups=1 f32[B,1,3,3]")
	f("conv(%v,%m) stride=[2,1] padding=[1,0] dilation=[1,3]", "stride=[2,1] padding=[1,0] dilation=[1,3] groups=1 f32[B,1,3,1]")
	f("sum(%i) axes=[-1]", "axes=[1] keepdim=false i64[B]")
	f("mean(%v) axes=[3,-3,2] keepdim=true", "axes=[1,2,3] keepdim=true f32[B,1,1,1]")
	f("argmax(%x) axis=-1", "axis=1 keepdim=false i64[B]")
	f("softmax(%h) axis=-1", "axis=1 bf16[B,6]")
	f("elu(%x)", "alpha=1 f32[B,6]")
	f("leaky_relu(%x)", "alpha=0.01 f32[B,6]")
	f("gelu(%x)", `approximate="none" f32[B,6]`)
	f("softplus(%x)", "beta=1 threshold=20 f32[B,6]")
	f("clamp(%i) max=3", "max=3 i64[B,6]")
	f("tanh(%i)", "f32[B,6]")
	f("add(%x,%s)", "f32[B,6]")
	f("add(%i,%s)", "f64[B,6]")
	f("add(%h,%c)", "f32[B,6]")
	f("add(%h,%k)", "f32[B,6]")
	f("add(%d,%h)", "f64[B,6]")
	f("div(%i,%t)", "f32[B,6]")
	f("mul(%u,%t)", "u8[B,2,4,4]")
	f("lt(%x,%y)", "bool[B,6]")
	f("normal(%x) stream=3", "stream=3 f32[B,6]")
	f("beta(%x,%x) stream=4", "stream=4 f32[B,6]")
	f("matmul(%v,%v)", "f32[B,2,4,4]")
}

// Nodes that cannot be, each with the kind of its error and words of it.
func TestInferenceErrors(t *testing.T) {
	f := func(line string, kind error, words ...string) {
		t.Helper()
		_, err := graph.Parse(`graph "g"
%x = input "x" f32[B,6]
%y = input "y" f32[B,5]
%i = input "i" i64[B,6]
%b = input "b" bool[B,6]
%d = input "d" f64[B,6]
%p = input "p" f32[B,1,4,4]
%n = const "" f32[] {1}
%c = const "" f32[5] {1,2,3,4,5}
%e = const "" f32[0] {}
%w = const "" f32[2,6] {1,2,3,4,5,6,7,8,9,10,11,12}
%k = const "" f32[1,1,5,5] {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}
%z = input "z" f32[2B,3]
` + "%r = " + line + "\n")
		if !errors.Is(err, kind) {
			t.Errorf("%s: got %v, want an error that is %v", line, err, kind)
			return
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not tell %q", line, err, w)
			}
		}
	}
	f("swish(%x)", graph.ErrUnsupportedOp, "swish")
	f("relu()", graph.ErrOperands, "relu", "got 0, takes 1")
	f("linear(%x)", graph.ErrOperands, "takes 2 to 3")
	f("add(%x,%x,%x)", graph.ErrOperands, "takes 2")
	f("concat() axis=0", graph.ErrOperands)
	f("linear(%y,%w)", graph.ErrShape, "linear(f32[B,5], f32[2,6])", "x has 5 features, the weight takes 6")
	f("linear(%n,%w)", graph.ErrShape)
	f("linear(%x,%x)", graph.ErrShape, "the weight must be [outputs,inputs]")
	f("linear(%x,%w,%c)", graph.ErrShape, "the bias must be [2]")
	f("linear(%d,%w)", graph.ErrDType, "f64 and f32 differ")
	f("linear(%i,%w)", graph.ErrDType, "i64 is not floating point")
	f("matmul(%x,%w)", graph.ErrShape, "the inner dimensions are 6 and 2")
	f("matmul(%x,%c)", graph.ErrShape)
	f("matmul(%p,%z)", graph.ErrShape)
	f("add(%x,%y)", graph.ErrShape, "add(f32[B,6], f32[B,5])")
	f("add(%x,%z)", graph.ErrShape)
	f("where(%x,%x,%x)", graph.ErrDType, "must be bool")
	f("where(%b,%x,%y)", graph.ErrShape)
	f("sub(%b,%b)", graph.ErrDType)
	f("neg(%b)", graph.ErrDType)
	f("relu(%b)", graph.ErrDType)
	f("silu(%i)", graph.ErrDType)
	f("softmax(%i) axis=1", graph.ErrDType)
	f("mean(%i) axes=[1]", graph.ErrDType)
	f("softmax(%x) axis=2", graph.ErrAttribute, "axis is 2, the operand has 2 dimensions")
	f("softmax(%x)", graph.ErrAttribute, "axis is missing")
	f("softmax(%x) axis=0", graph.ErrMixesRows)
	f("sum(%x) axes=[0]", graph.ErrMixesRows)
	f("sum(%x) axes=[1,-1]", graph.ErrAttribute, "axis 1 twice")
	f("sum(%x) axes=[2]", graph.ErrAttribute)
	f("argmax(%x) axis=0", graph.ErrMixesRows)
	f("argmax(%e) axis=0", graph.ErrShape, "empty")
	f("amax(%e) axes=[0]", graph.ErrShape, "empty")
	f("slice(%x) axis=0 start=1", graph.ErrMixesRows)
	f("slice(%x) axis=1 step=0", graph.ErrAttribute)
	f("slice(%x) axis=5", graph.ErrAttribute)
	f("reshape(%x) shape=[B,5]", graph.ErrShape, "6 elements a row cannot become 5 of [B,5]")
	f("reshape(%x) shape=[6]", graph.ErrShape, "batch axis")
	f("reshape(%x) shape=[B,B,6]", graph.ErrAttribute)
	f("expand(%x) shape=[B,12]", graph.ErrShape, "cannot be stretched to [B,12]")
	f("expand(%n) shape=[B,100000,100000]", graph.ErrAttribute, "limit exceeded")
	f("expand(%c) shape=[1,1,1,1,1,1,1,1,5]", graph.ErrAttribute, "at most 8")
	f("transpose(%x) perm=[0]", graph.ErrAttribute)
	f("transpose(%x) perm=[0,0]", graph.ErrAttribute, "dimension 0 twice")
	f("transpose(%x) perm=[0,2]", graph.ErrAttribute)
	f("concat(%x,%y) axis=0", graph.ErrShape, "dimension 1 is 6 and 5")
	f("concat(%x,%c) axis=0", graph.ErrShape)
	f("concat(%x,%w) axis=0", graph.ErrShape, "some a fixed dimension")
	f("conv(%x,%w)", graph.ErrShape)
	f("conv(%p,%k)", graph.ErrShape, "the kernel is larger than dimension 2")
	f("conv(%p,%k) padding=[1]", graph.ErrAttribute, "padding has 1 numbers")
	f("conv(%p,%k) stride=[0,1]", graph.ErrAttribute)
	f("conv(%p,%k) groups=2", graph.ErrAttribute)
	f("conv(%p,%k) padding=[9223372036854775807,1]", graph.ErrAttribute)
	f("clamp(%i) min=0.5", graph.ErrAttribute, "the operand has integers")
	f("clamp(%x) min=nan", graph.ErrAttribute)
	f(`gelu(%x) approximate="erf"`, graph.ErrAttribute, `must be "none" or "tanh"`)
	f("celu(%x) alpha=0", graph.ErrAttribute)
	f("elu(%x) alpha=nan", graph.ErrAttribute)
	f("softplus(%x) beta=0", graph.ErrAttribute)
	f("normal(%z) stream=0", graph.ErrShape, "one row each")
	f("normal(%x) stream=-1", graph.ErrAttribute)
	f("normal(%i) stream=1", graph.ErrDType)
	f("beta(%x,%y) stream=1", graph.ErrShape, "same shape")
	f("beta(%x,%x) stream=-1", graph.ErrAttribute)
	f("beta(%i,%i) stream=1", graph.ErrDType)
	f("beta(%x,%d) stream=1", graph.ErrDType)
	f("beta(%z,%z) stream=1", graph.ErrShape, "one row each")
	f("matmul(%x,%y)", graph.ErrShape)
}

func TestAddNodeRefusesWrongKinds(t *testing.T) {
	f := func(attrs graph.Attrs, words string) {
		t.Helper()
		g := graph.New("g")
		x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 2})
		_, err := g.AddNode(graph.OpElu, attrs, x)
		if !errors.Is(err, graph.ErrAttribute) || !strings.Contains(err.Error(), words) {
			t.Errorf("%v: got %v, want %q", attrs, err, words)
		}
		if len(g.Nodes) != 0 {
			t.Errorf("%v: a node was added", attrs)
		}
	}
	f(graph.Attrs{"alpha": 1}, "alpha is int, must be float64")
	f(graph.Attrs{"alpha": float32(1)}, "alpha is float32, must be float64")
	f(graph.Attrs{"beta": 1.0}, `"beta" is not one of this operator, which has [alpha]`)

	g := graph.New("g")
	if _, err := g.AddNode(graph.OpRelu, nil, nil); !errors.Is(err, graph.ErrOperands) {
		t.Errorf("nil operand: got %v", err)
	}
	if _, err := g.AddNode(graph.OpCast, graph.Attrs{"dtype": graph.DType(77)}, g.Constant("", tensor(graph.Bool))); !errors.Is(err, graph.ErrAttribute) {
		t.Errorf("cast to nothing: got %v", err)
	}
}

// The caller's attributes are neither changed nor kept.
func TestAddNodeCopiesAttributes(t *testing.T) {
	g := graph.New("g")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 2, 3})
	axes := []int{-1, 1}
	attrs := graph.Attrs{"axes": axes}
	n, err := g.AddNode(graph.OpSum, attrs, x)
	if err != nil {
		t.Fatal(err)
	}
	if axes[0] != -1 || axes[1] != 1 || len(attrs) != 1 {
		t.Errorf("the caller's attributes became %v", attrs)
	}
	axes[0] = 7
	if got := n.Attrs.Ints("axes"); got[0] != 1 || got[1] != 2 {
		t.Errorf("stored axes are %v, want [1 2]", got)
	}
}

func TestAttrsGetters(t *testing.T) {
	a := graph.Attrs{"i": 3, "f": 0.5, "b": true, "s": "x", "v": []int{1}, "d": graph.Int8}
	if a.Int("i") != 3 || a.Float("f") != 0.5 || !a.Bool("b") || a.Text("s") != "x" || a.Ints("v")[0] != 1 || a.DType("d") != graph.Int8 || !a.Has("i") {
		t.Errorf("getters of %v", a)
	}
	if a.Int("f") != 0 || a.Float("i") != 0 || a.Bool("x") || a.Text("x") != "" || a.Ints("x") != nil || a.DType("x") != graph.Invalid || a.Has("x") {
		t.Error("getters of absent or other kinds are not zero")
	}
	if lo, hi := (graph.Attrs{"max": 2.0}).ClampBounds(); !math.IsInf(lo, -1) || hi != 2 {
		t.Errorf("bounds %v to %v", lo, hi)
	}
}

func TestInferDim(t *testing.T) {
	f := func(s graph.Shape, shape []int, at, want int) {
		t.Helper()
		got, err := graph.InferDim(s, shape, at)
		if err != nil || got != want {
			t.Errorf("%v to %v at %d: got %d, %v, want %d", s, shape, at, got, err, want)
		}
	}
	f(graph.Shape{-1, 2, 3}, []int{-1, 0}, 1, 6)
	f(graph.Shape{-1, 2, 3}, []int{0, 6}, 0, -1)
	f(graph.Shape{-1, 2, 3}, []int{0, 3}, 0, -2)
	f(graph.Shape{-2, 3}, []int{-1, 0}, 1, 6)
	f(graph.Shape{4, 3}, []int{2, 0}, 1, 6)
	f(graph.Shape{-1}, []int{0}, 0, -1)

	g := func(s graph.Shape, shape []int, at int) {
		t.Helper()
		if got, err := graph.InferDim(s, shape, at); !errors.Is(err, graph.ErrShape) && !errors.Is(err, graph.ErrLimit) {
			t.Errorf("%v to %v at %d: got %d, %v", s, shape, at, got, err)
		}
	}
	g(graph.Shape{-1, 5}, []int{-1, 0, 2}, 1)
	g(graph.Shape{6}, []int{-1, 0}, 1)
	g(graph.Shape{6}, []int{0, 0}, 1)
	g(graph.Shape{6}, []int{0}, 1)
	g(graph.Shape{6}, []int{0, 1 << 40, 1 << 40}, 0)
}

func TestBroadcast(t *testing.T) {
	f := func(a, b, want graph.Shape) {
		t.Helper()
		for range 2 {
			if got, ok := graph.Broadcast(a, b); !ok || !got.Equal(want) {
				t.Errorf("%v and %v: got %v %v, want %v", a, b, got, ok, want)
			}
			a, b = b, a
		}
	}
	f(graph.Shape{-1, 5}, graph.Shape{5}, graph.Shape{-1, 5})
	f(graph.Shape{-1, 1}, graph.Shape{1, 5}, graph.Shape{-1, 5})
	f(graph.Shape{1, 5}, graph.Shape{-3, 5}, graph.Shape{-3, 5})
	f(graph.Shape{}, graph.Shape{2, 3}, graph.Shape{2, 3})
	f(graph.Shape{0}, graph.Shape{1}, graph.Shape{0})
	for _, p := range [][2]graph.Shape{{{-1}, {5}}, {{-1}, {-2}}, {{2}, {3}}, {{-1, 5}, {-1}}} {
		if got, ok := graph.Broadcast(p[0], p[1]); ok {
			t.Errorf("%v and %v: got %v, want none", p[0], p[1], got)
		}
	}
}

// Number gives what a number in a program does beside a tensor: the tensor's
// type stays, and integers become float32.
func TestNumber(t *testing.T) {
	f := func(dt graph.DType, shape graph.Shape, want graph.DType, value float64) {
		t.Helper()
		g := graph.New("g")
		x := g.Input("x", dt, shape)
		c := g.Number(0.1, x)
		y, err := g.Add(graph.OpMul, nil, x, c)
		if err != nil {
			t.Fatal(err)
		}
		if y.DType != want || c.Const.At(0) != value {
			t.Errorf("%v%v times 0.1: %v by %v, want %v by %v", dt, shape, y.DType, c.Const.At(0), want, value)
		}
	}
	row := graph.Shape{graph.Batch}
	f(graph.Float32, row, graph.Float32, float64(float32(0.1)))
	f(graph.Float64, row, graph.Float64, 0.1)
	f(graph.BFloat16, row, graph.BFloat16, float64(float32(0.1)))
	f(graph.BFloat16, graph.Shape{}, graph.BFloat16, 0.10009765625)
	f(graph.Int64, row, graph.Float32, float64(float32(0.1)))
	f(graph.Float32, graph.Shape{}, graph.Float32, float64(float32(0.1)))

	g := graph.New("g")
	x := g.Input("x", graph.Uint8, row)
	y, err := g.Add(graph.OpAdd, nil, x, g.Integer(300))
	if err != nil || y.DType != graph.Uint8 {
		t.Errorf("u8 + 300: %v, %v", y, err)
	}
}

func TestOpsAreAllSpecified(t *testing.T) {
	if n := len(graph.Ops()); n < 60 {
		t.Errorf("%d operators", n)
	}
	for _, op := range graph.Ops() {
		g := graph.New("g")
		if _, err := g.AddNode(op, nil); err == nil {
			t.Errorf("%s without operands is no error", op)
		}
	}
}
