package main

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// The engines that the tools can use.
const (
	enginePlan        = "plan"        // the compiled plan, as the server uses it
	engineReference   = "reference"   // plain loops in float64, rounded as the file says
	engineONNXRuntime = "onnxruntime" // in the build that has it
	engineAuto        = "auto"        // of the server: the plan, and onnxruntime for what it lacks
)

// openONNXRuntime opens the engine of that name; nil in a build without it.
var openONNXRuntime func() (policy.Engine, error)

// runONNXFile runs the bytes of an ONNX model on ONNX Runtime, operators that
// this program does not know included; nil in a build without it.
var runONNXFile func(path string, given map[string]*tensor) ([]string, []values, error)

// openEngine returns the engine of a name.
func openEngine(name string) (policy.Engine, error) {
	switch {
	case name == engineReference:
		return policy.Reference, nil
	case name != engineONNXRuntime:
		return policy.Plan, nil
	case openONNXRuntime == nil:
		return nil, usage(errors.New("--engine onnxruntime: unsupported: this build has no ONNX Runtime: use the build with it (tag ort, image tag :ort)"))
	}
	return openONNXRuntime()
}

// program runs a graph on tensors in the order of its inputs, and gives its
// outputs in their order.
type program interface {
	run(rows int, in []*tensor, noise graph.Noise) ([]values, error)
}

// newProgram makes the program of a graph, which it does not change.
func newProgram(engine policy.Engine, g *graph.Graph) (program, error) {
	if engine == policy.Reference {
		return referenceProgram{g}, nil
	}
	p, err := engine.Compile(g)
	if err != nil {
		return nil, err
	}
	return &engineProgram{g, p.NewRunner()}, nil
}

// referenceProgram computes in the types of the file.
type referenceProgram struct{ g *graph.Graph }

func (p referenceProgram) run(rows int, in []*tensor, noise graph.Noise) ([]values, error) {
	tensors := make([]*graph.Tensor, len(in))
	for i, t := range in {
		tensors[i] = typed(t, p.g.Inputs[i].DType)
	}
	outs, err := graph.Evaluate(p.g, rows, tensors, noise)
	if err != nil {
		return nil, err
	}
	results := make([]values, len(outs))
	for i, t := range outs {
		v := values{shape: t.Shape, dtype: t.DType, data: make([]float64, t.Len())}
		for j := range v.data {
			v.data[j] = t.At(j)
		}
		results[i] = v
	}
	return results, nil
}

// typed converts JSON numbers to the element type of an input.
func typed(t *tensor, dt graph.DType) *graph.Tensor {
	out := &graph.Tensor{DType: dt, Shape: slices.Clone(t.shape)}
	switch {
	case dt == graph.Float64:
		out.F64 = t.data
	case dt == graph.Float16 || dt == graph.BFloat16:
		return rounded(t, dt)
	case dt.IsFloat():
		out.F32 = float32s(t.data)
	default:
		out.I64 = make([]int64, len(t.data))
		for i, f := range t.data {
			out.I64[i] = int64(f)
		}
	}
	return out
}

// rounded converts to a type of half precision, as a cast does.
func rounded(t *tensor, dt graph.DType) *graph.Tensor {
	g := graph.New("cast")
	y, err := g.Add(graph.OpCast, graph.Attrs{"dtype": dt}, g.Input("x", graph.Float64, t.shape))
	if err == nil {
		g.Output("y", y)
		var outs []*graph.Tensor
		if outs, err = graph.Evaluate(g, 1, []*graph.Tensor{typed(t, graph.Float64)}, graph.Noise{}); err == nil {
			return outs[0]
		}
	}
	panic("carla-rl: a cast of an input: " + err.Error()) // The shape was held to the graph's before.
}

func float32s(in []float64) []float32 {
	out := make([]float32, len(in))
	for i, f := range in {
		out[i] = float32(f)
	}
	return out
}

func float64s(in []float32) []float64 {
	out := make([]float64, len(in))
	for i, f := range in {
		out[i] = float64(f)
	}
	return out
}

// engineProgram computes in float32.
type engineProgram struct {
	g      *graph.Graph
	runner policy.ProgramRunner
}

func (p *engineProgram) run(rows int, in []*tensor, noise graph.Noise) ([]values, error) {
	flat := make([][]float32, len(in))
	for i, t := range in {
		flat[i] = float32s(t.data)
		if p.g.Inputs[i].DType.IsFloat() {
			continue
		}
		for j, f := range t.data {
			if float64(flat[i][j]) != f {
				return nil, fmt.Errorf("input %s: unsupported: the integer %.0f, which float32 does not hold exactly; --engine reference takes it", p.g.Inputs[i].Name, f)
			}
		}
	}
	results := make([]values, len(p.g.Outputs))
	out := make([][]float32, len(p.g.Outputs))
	for i, o := range p.g.Outputs {
		shape := sized(o.Value.Shape, rows)
		results[i] = values{shape: shape, dtype: o.Value.DType}
		out[i] = make([]float32, count(shape))
	}
	if err := p.runner.Run(rows, flat, out, noise); err != nil {
		return nil, err
	}
	for i := range results {
		results[i].data = float64s(out[i])
		if results[i].dtype == graph.Float64 {
			results[i].dtype = graph.Float32 // It was computed in float32; more digits would be noise.
		}
	}
	return results, nil
}

// sized puts the number of rows into a shape.
func sized(s graph.Shape, rows int) []int {
	out := slices.Clone([]int(s))
	for i, d := range out {
		if d < 0 {
			out[i] = -d * rows
		}
	}
	return out
}

func count(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// rowsOf finds the number of rows in tensors that are to fit the inputs of a
// graph, and refuses those that do not: by their shape, or because they hold
// what is no number of the input's type.
func rowsOf(g *graph.Graph, in []*tensor) (int, error) {
	rows := -1
	for i, v := range g.Inputs {
		got := in[i].shape
		if len(got) != len(v.Shape) {
			return 0, fmt.Errorf("input %s: expected the shape %v, got %v", v.Name, v.Shape, got)
		}
		for d, want := range v.Shape {
			switch {
			case want >= 0 && want != got[d],
				want < 0 && (got[d] == 0 || got[d]%-want != 0),
				want < 0 && rows >= 0 && got[d] != -want*rows:
				return 0, fmt.Errorf("input %s: expected the shape %v, got %v", v.Name, v.Shape, got)
			case want < 0:
				rows = got[d] / -want
			}
		}
		if err := holds(v.DType, in[i].data); err != nil {
			return 0, &notOfType{v.Name, v.DType, err}
		}
	}
	if rows < 0 {
		rows = 1
	}
	return rows, nil
}

// notOfType says that an input holds a number which its type does not have.
type notOfType struct {
	input string
	dtype graph.DType
	err   error
}

func (e *notOfType) Error() string { return fmt.Sprintf("input %s: %v", e.input, e.err) }

func (e *notOfType) Unwrap() error { return e.err }

// holds refuses numbers that an integer type does not have.
func holds(dt graph.DType, data []float64) error {
	const exact = 1 << 53 // to which a JSON number is read without rounding
	var low, high float64
	switch dt {
	case graph.Int64:
		low, high = -exact, exact
	case graph.Int32:
		low, high = math.MinInt32, math.MaxInt32
	case graph.Int16:
		low, high = math.MinInt16, math.MaxInt16
	case graph.Int8:
		low, high = math.MinInt8, math.MaxInt8
	case graph.Uint8:
		high = math.MaxUint8
	case graph.Bool:
		high = 1
	default:
		return nil
	}
	for _, f := range data {
		if !(f >= low && f <= high) || f != math.Trunc(f) {
			return fmt.Errorf("expected %v, got %v", dt, f)
		}
	}
	return nil
}
