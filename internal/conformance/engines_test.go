package conformance_test

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// engine is one way to compute a graph. The result of compile computes the
// given number of rows; numbers go in and out in the order of the graph.
type engine struct {
	name    string
	compile func(g *graph.Graph) (compute, error)
}

type compute func(rows int, in [][]float64, noise graph.Noise) ([][]float64, error)

// engines begin with the reference evaluator. With the build tag noasm both
// plans have the Go kernels.
var engines = []engine{
	{"reference", compileReference},
	{"plan", func(g *graph.Graph) (compute, error) { return compilePlan(g, plan.Options{}) }},
	{"plan without assembly", func(g *graph.Graph) (compute, error) { return compilePlan(g, plan.Options{Generic: true}) }},
}

func compileReference(g *graph.Graph) (compute, error) {
	return func(rows int, in [][]float64, noise graph.Noise) ([][]float64, error) {
		tensors := make([]*graph.Tensor, len(in))
		for i, v := range g.Inputs {
			tensors[i] = tensor(v.DType, v.Shape.For(rows), in[i])
		}
		outs, err := graph.Evaluate(g, rows, tensors, noise)
		if err != nil {
			return nil, err
		}
		results := make([][]float64, len(outs))
		for i, t := range outs {
			results[i] = make([]float64, t.Len())
			for j := range results[i] {
				results[i][j] = t.At(j)
			}
		}
		return results, nil
	}, nil
}

func tensor(dt graph.DType, shape graph.Shape, x []float64) *graph.Tensor {
	t := &graph.Tensor{DType: dt, Shape: shape}
	switch {
	case dt == graph.Float64:
		t.F64 = x
	case dt.IsFloat():
		t.F32 = float32s(x)
	default:
		t.I64 = make([]int64, len(x))
		for i, v := range x {
			t.I64[i] = int64(v)
		}
	}
	return t
}

func float32s(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

func compilePlan(g *graph.Graph, o plan.Options) (compute, error) {
	optimized, err := g.Clone()
	if err != nil {
		return nil, err
	}
	if err := graph.Optimize(optimized); err != nil {
		return nil, err
	}
	p, err := plan.Compile(optimized, o)
	if err != nil {
		return nil, err
	}
	return narrow(g, p.NewRunner()), nil
}

// runner is a plan's runner, or another engine's of the same form.
type runner interface {
	Run(rows int, in, out [][]float32, n graph.Noise) error
}

// narrow makes float32 of the numbers, as these engines take them.
func narrow(g *graph.Graph, r runner) compute {
	return func(rows int, in [][]float64, noise graph.Noise) ([][]float64, error) {
		args := make([][]float32, len(in))
		for i, x := range in {
			args[i] = float32s(x)
		}
		outs := make([][]float32, len(g.Outputs))
		for i, o := range g.Outputs {
			outs[i] = make([]float32, o.Value.Shape.For(rows).RowElements())
		}
		if err := r.Run(rows, args, outs, noise); err != nil {
			return nil, err
		}
		results := make([][]float64, len(outs))
		for i, y := range outs {
			results[i] = make([]float64, len(y))
			for j, v := range y {
				results[i][j] = float64(v)
			}
		}
		return results, nil
	}
}
