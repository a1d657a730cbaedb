package torchscript_test

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestLowerCounter is a module that counts its calls in an int, from 5, and
// from 1 after reset().
func TestLowerCounter(t *testing.T) {
	code := class("  n : int\n" +
		"  def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n    n = self.n\n    self.n = torch.add(n, 1)\n" +
		"    if torch.gt(n, 5):\n      y = torch.neg(x)\n    else:\n      y = torch.mul(x, n)\n    return y\n" +
		"  def reset(self: __torch__.m.M) -> NoneType:\n    self.n = 1\n    return None\n")
	m, err := decode(t, code, objectWith("n", "K\x05"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.Lower(torchscript.LowerOptions{InputShapes: map[string][]int{"x": {graph.Batch, 1}}, Rows: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.States) != 1 || g.States[0].Initial.I64[0] != 5 || g.States[0].Reset == nil || g.States[0].Reset.I64[0] != 1 {
		t.Fatalf("states are %v", g.States)
	}
	f := func(n int64, want float64) {
		t.Helper()
		out, err := graph.Evaluate(g, 1, []*graph.Tensor{
			{DType: graph.Float32, Shape: graph.Shape{1, 1}, F32: []float32{2}},
			{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{n}},
		}, graph.Noise{})
		if err != nil {
			t.Fatal(err)
		}
		if out[0].At(0) != want || out[1].I64[0] != n+1 {
			t.Errorf("call %d gives %v and %d, want %v", n, out[0].At(0), out[1].I64[0], want)
		}
	}
	f(5, 10)
	f(6, -2)
	f(1, 2)
}

// TestLowerCounterOfNoUse is a module that counts its calls and gives what does
// not depend on them.
func TestLowerCounterOfNoUse(t *testing.T) {
	code := class("  n : int\n" +
		"  def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n    self.n = torch.add(self.n, 1)\n" +
		"    _0 = torch.add(torch.mul(x, self.n), 2)\n    return torch.neg(x)\n")
	m, err := decode(t, code, objectWith("n", "K\x05"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.Lower(torchscript.LowerOptions{InputShapes: map[string][]int{"x": {graph.Batch, 1}}, Rows: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.States) != 0 || len(g.Inputs) != 1 || len(g.Outputs) != 1 {
		t.Errorf("the graph has %d states, %d inputs and %d outputs", len(g.States), len(g.Inputs), len(g.Outputs))
	}
	if out := run(t, g, 2)[0]; out.At(0) != -2 {
		t.Errorf("gives %v, want -2", out.At(0))
	}
}

// TestLowerSetBeforeRead is a module with a reset() that keeps one number and sets
// another before it ever reads it: only the first is a state.
func TestLowerSetBeforeRead(t *testing.T) {
	code := class("  n : int\n  last : int\n" +
		"  def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n    n = self.n\n    self.last = torch.add(n, 3)\n    self.n = torch.add(n, 1)\n" +
		"    return torch.mul(x, self.last)\n" +
		"  def reset(self: __torch__.m.M) -> NoneType:\n    self.n = 1\n    self.last = 0\n    return None\n")
	m, err := decode(t, code, objectWith("n", "K\x05", "last", "K\x00"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.Lower(torchscript.LowerOptions{InputShapes: map[string][]int{"x": {graph.Batch, 1}}, Rows: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.States) != 1 || g.States[0].Initial.I64[0] != 5 || g.States[0].Reset == nil || g.States[0].Reset.I64[0] != 1 {
		t.Errorf("states are %v", g.States)
	}
}
