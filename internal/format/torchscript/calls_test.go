package torchscript_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestBuild makes a graph of calls: the width of the input is that of the
// weight, which the second attempt knows.
func TestBuild(t *testing.T) {
	w := graph.Float32s([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
	attempts := 0
	g, err := torchscript.Build("calls", torchscript.LowerOptions{}, func(c *torchscript.Calls) error {
		attempts++
		x := c.Input("x", graph.Invalid, nil)
		y := c.Call("linear", []torchscript.Value{c.Call("tanh", []torchscript.Value{x}, nil), c.Parameter("w", w)}, nil)
		parts, ok := c.Call("chunk", []torchscript.Value{y, int64(2), int64(-1)}, nil).([]torchscript.Value)
		if !ok || len(parts) != 2 {
			return errors.New("chunk gives no list of two")
		}
		if shape, ok := c.Shape(parts[0]); !ok || shape.String() != "[B,1]" {
			t.Errorf("a half is %v", shape)
		}
		c.Call("add_", []torchscript.Value{parts[0], 1.0}, nil) // a view of y
		c.Output("y", c.Op(graph.OpMul, nil, y, 2.0))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if attempts != 2 || g.Inputs[0].Shape.String() != "[B,3]" {
		t.Errorf("%d attempts, input %v", attempts, g.Inputs[0].Shape)
	}
	out, err := graph.Evaluate(g, 1, []*graph.Tensor{graph.Float32s([]float32{0, 0, 0}, 1, 3)}, graph.Noise{})
	if err != nil {
		t.Fatal(err)
	}
	if got := out[0].F32; got[0] != 2 || got[1] != 0 {
		t.Errorf("%v", got)
	}
}

// TestBuildRefuses says what is wrong and in what.
func TestBuildRefuses(t *testing.T) {
	f := func(want string, unsupported bool, build func(c *torchscript.Calls) error) {
		t.Helper()
		_, err := torchscript.Build("calls", torchscript.LowerOptions{}, build)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, errors.ErrUnsupported) != unsupported {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("unsupported: operator torch.nonsense in layer 1", true, func(c *torchscript.Calls) error {
		c.At("layer 1")
		c.Call("nonsense", []torchscript.Value{c.Input("x", graph.Float32, graph.Shape{graph.Batch, 2})}, nil)
		return nil
	})
	f("layer 2: no good", false, func(c *torchscript.Calls) error {
		c.At("layer 2")
		c.Errorf("no %s", "good")
		return nil
	})
	f("own", false, func(*torchscript.Calls) error { return errors.New("own") })
	f(`the shape of input "x"`, true, func(c *torchscript.Calls) error {
		c.Output("y", c.Call("tanh", []torchscript.Value{c.Input("x", graph.Invalid, nil)}, nil))
		return nil
	})
	f("two inputs of the name x", true, func(c *torchscript.Calls) error {
		c.Input("x", graph.Float32, graph.Shape{graph.Batch})
		c.Input("x", graph.Float32, graph.Shape{graph.Batch})
		return nil
	})
	f("kept in the module between calls", true, func(c *torchscript.Calls) error {
		p := c.Parameter("state", graph.Float32s([]float32{1, 2}, 2))
		c.Call("add_", []torchscript.Value{p, 1.0}, nil)
		c.Output("y", c.Op(graph.OpAdd, nil, c.Input("x", graph.Float32, graph.Shape{graph.Batch, 2}), p))
		return nil
	})
	f("more than", true, func(c *torchscript.Calls) error {
		for {
			c.At("endless")
		}
	})
}

// TestBuildControl is a loop that doubles x until it is above 100, and a
// branch on the result.
func TestBuildControl(t *testing.T) {
	build := func(rows int) (*graph.Graph, error) {
		return torchscript.Build("control", torchscript.LowerOptions{Rows: rows}, func(c *torchscript.Calls) error {
			x := c.Input("x", graph.Float32, graph.Shape{graph.Batch, 2})
			most := func(x torchscript.Value) torchscript.Value { return c.Call("max", []torchscript.Value{x}, nil) }
			under := func(x torchscript.Value) torchscript.Value {
				return c.Call("lt", []torchscript.Value{most(x), 100.0}, nil)
			}
			out := c.Loop(under(x), []torchscript.Value{x, int64(0)}, func(v []torchscript.Value) (torchscript.Value, []torchscript.Value) {
				y := c.Call("mul", []torchscript.Value{v[0], int64(2)}, nil)
				return under(y), []torchscript.Value{y, c.Call("add", []torchscript.Value{v[1], int64(1)}, nil)}
			})
			odd := c.Call("eq", []torchscript.Value{c.Call("remainder", []torchscript.Value{out[1], int64(2)}, nil), int64(1)}, nil)
			c.Return(c.If(odd, func() []torchscript.Value {
				return []torchscript.Value{c.Call("neg", []torchscript.Value{out[0]}, nil)}
			}, func() []torchscript.Value { return []torchscript.Value{out[0]} })[0])
			return nil
		})
	}
	if _, err := build(0); !errors.Is(err, graph.ErrMixesRows) {
		t.Errorf("many rows: %v", err)
	}
	g, err := build(1)
	if err != nil {
		t.Fatal(err)
	}
	f := func(x, y, want float32) {
		t.Helper()
		out, err := graph.Evaluate(g, 1, []*graph.Tensor{{DType: graph.Float32, Shape: graph.Shape{1, 2}, F32: []float32{x, y}}}, graph.Noise{})
		if err != nil {
			t.Fatal(err)
		}
		if got := out[0].F32[0]; got != want {
			t.Errorf("%v, %v gives %v, want %v", x, y, got, want)
		}
	}
	f(1, 1, -128)
	f(2, 1, 128)
	f(200, 0, 200)
	f(1, 60, -2)
}
