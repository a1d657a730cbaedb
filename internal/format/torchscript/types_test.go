package torchscript_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// typed lowers a forward of x [B,3] and m [B,3], of types that nothing but the
// options tells.
func typed(t *testing.T, body string, types map[string]graph.DType) (*graph.Graph, error) {
	t.Helper()
	code := class("  def forward(self: __torch__.m.M,\n    x: Tensor,\n    m: Tensor) -> Tensor:\n" + indent(body))
	m, err := decode(t, code, objectPickle)
	if err != nil {
		t.Fatal(err)
	}
	shape := []int{graph.Batch, 3}
	return m.Lower(torchscript.LowerOptions{InputShapes: map[string][]int{"x": shape, "m": shape}, InputTypes: types})
}

// TestInferTypes gives x = [1,-2,3] and m = [true,false,true], or [1,0,1].
func TestInferTypes(t *testing.T) {
	f := func(body string, told, want graph.DType, wants ...float32) {
		t.Helper()
		g, err := typed(t, body, map[string]graph.DType{"m": told})
		if err != nil {
			t.Errorf("%s\n%v", body, err)
			return
		}
		if got := g.Inputs[1].DType; got != want {
			t.Errorf("%s\ntakes m of %v, want %v", body, got, want)
			return
		}
		m := &graph.Tensor{DType: want, Shape: graph.Shape{1, 3}, I64: []int64{1, 0, 1}}
		if want == graph.Float32 {
			m = graph.Float32s([]float32{1, 0, 1}, 1, 3)
		}
		outs, err := graph.Evaluate(g, 1, []*graph.Tensor{graph.Float32s([]float32{1, -2, 3}, 1, 3), m}, graph.Noise{})
		if err != nil {
			t.Fatal(err)
		}
		var got []float32
		for i := range outs[0].Len() {
			got = append(got, float32(outs[0].At(i)))
		}
		if !slices.Equal(got, wants) {
			t.Errorf("%s\ngives %v, want %v", body, got, wants)
		}
	}
	none := graph.Invalid
	f("return torch.masked_fill(x, m, 9.)", none, graph.Bool, 9, -2, 9)
	f("return torch.masked_fill(x, torch.bitwise_not(m), 9.)", none, graph.Bool, 1, 9, 3)
	f("return torch.where(m, x, torch.neg(x))", none, graph.Bool, 1, 2, 3)
	f("return torch.where(torch.__and__(m, torch.gt(x, 2)), x, torch.neg(x))", none, graph.Bool, -1, 2, 3)
	f("y = torch.mul(x, 1)\n_0 = torch.index_put_(y, [m], torch.tensor(9.))\nreturn y", none, graph.Bool, 9, -2, 9)
	f("y = torch.mul(x, 1)\n_0 = torch.index_put_(y, [torch.bitwise_not(m)], torch.tensor(9.))\nreturn y", none, graph.Bool, 1, 9, 3)
	f("return torch.add(x, torch.__and__(m, 1))", none, graph.Int64, 2, -2, 4)
	f("return torch.mul(x, m)", none, graph.Float32, 1, 0, 3)

	dtype := "if torch.eq(ops.prim.dtype(m), 11):\n  y = x\nelse:\n  y = torch.neg(x)\nreturn y"
	f(dtype, graph.Bool, graph.Bool, 1, -2, 3)
	f(dtype, graph.Uint8, graph.Uint8, -1, 2, -3)
	f(dtype, graph.Float32, graph.Float32, -1, 2, -3)
	f("if torch.is_floating_point(m):\n  y = x\nelse:\n  y = torch.neg(x)\nreturn y", graph.Float64, graph.Float32, 1, -2, 3)
	f("if torch.ne(ops.prim.dtype(m), 6):\n  y = torch.neg(x)\nelse:\n  y = x\nreturn y", none, graph.Float32, 1, -2, 3)
	f("return torch.add(x, torch.to(m, ops.prim.dtype(x)))", graph.Bool, graph.Bool, 2, -2, 4)
}

func TestInferTypesErrors(t *testing.T) {
	f := func(body string, told graph.DType, want string) {
		t.Helper()
		if _, err := typed(t, body, map[string]graph.DType{"m": told}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror is %v, wanted %q", body, err, want)
		}
	}
	f("return torch.masked_fill(x, torch.bitwise_not(m), 9.)", graph.Float32, "bitwise_not of f32")
	f("return torch.masked_fill(x, m, 9.)", graph.Float32, "with a mask of f32, booleans are needed")
	f("return torch.masked_fill(x, torch.__and__(m, 1), 9.)", graph.Invalid, "with a mask of i64, booleans are needed")
	f("return torch.where(torch.mul(m, 2), x, x)", graph.Invalid, "with a mask of f32, booleans are needed")
	f("return torch.index_select(x, 1, m)", graph.Bool, "index of booleans")

	_, err := typed(t, "if torch.eq(ops.prim.dtype(m), 0):\n  y = x\nelse:\n  y = torch.neg(x)\nreturn y", nil)
	var need *torchscript.NeedTypeError
	if !errors.As(err, &need) || need.Input != "m" || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error is %v, wanted a request for the type of m", err)
	}
}

// The layers of torch ask for the type of masks alone.
func TestInferTypeOfAttentionMask(t *testing.T) {
	code := class("  def forward(self: __torch__.m.M,\n    x: Tensor,\n    m: Tensor) -> Tensor:\n    return __torch__.torch.nn.functional._canonical_mask(x, m, )\n")
	mask := "def _canonical_mask(x: Tensor,\n    m: Tensor) -> Tensor:\n" +
		"  if torch.is_floating_point(m):\n    y = torch.add(x, m)\n  else:\n    y = torch.masked_fill(x, m, -inf)\n  return y\n"
	m, err := decodeMembers(t, "data.pkl", objectPickle, "constants.pkl", emptyPickle, "code/__torch__/m.py", code, "code/__torch__/torch/nn/functional.py", mask)
	if err != nil {
		t.Fatal(err)
	}
	shape := []int{graph.Batch, 3}
	o := torchscript.LowerOptions{InputShapes: map[string][]int{"x": shape, "m": shape}}
	f := func(want graph.DType) {
		t.Helper()
		g, err := m.Lower(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Inputs[1].DType; got != want {
			t.Errorf("the mask is of %v, want %v", got, want)
		}
	}
	f(graph.Bool)
	o.InputTypes = map[string]graph.DType{"m": graph.Float32}
	f(graph.Float32)
}

// A tuple may have a dict in it.
func TestOutputsOfDictInTuple(t *testing.T) {
	g := mustLower(t, forward("return (x, {\"aux\": torch.neg(x), \"more\": [x, x]})"), objectPickle)
	var names []string
	for _, o := range g.Outputs {
		names = append(names, o.Name)
	}
	if want := []string{"out0", "aux", "out2", "out3"}; !slices.Equal(names, want) {
		t.Errorf("outputs are %v, want %v", names, want)
	}
	fails(t, forward("return ({\"a\": x}, {\"a\": x})"), objectPickle, "two outputs of the name a", errors.ErrUnsupported)
}
