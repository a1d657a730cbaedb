package preprocess

import "github.com/carla-rl/carla-rl-serving/internal/graph"

// builder adds nodes that make up a formula. The first error stays in err, and
// nothing is added after it.
type builder struct {
	g   *graph.Graph
	err error
}

func (b *builder) add(op graph.Op, in ...*graph.Value) *graph.Value { return b.with(op, nil, in...) }

func (b *builder) with(op graph.Op, attrs graph.Attrs, in ...*graph.Value) *graph.Value {
	if b.err != nil {
		return nil
	}
	v, err := b.g.Add(op, attrs, in...)
	b.err = err
	return v
}

// row applies an operator to x and a row of constants.
func (b *builder) row(op graph.Op, x *graph.Value, name string, values []float32) *graph.Value {
	if b.err != nil {
		return nil
	}
	v, err := withConstant(b.g, op, x, name, values)
	b.err = err
	return v
}

// number applies an operator to x and a number.
func (b *builder) number(op graph.Op, x *graph.Value, n float64) *graph.Value {
	if b.err != nil {
		return nil
	}
	return b.add(op, x, b.g.Number(n, x))
}

// clamp bounds x.
func (b *builder) clamp(x *graph.Value, low, high float64) *graph.Value {
	return b.with(graph.OpClamp, graph.Attrs{"min": low, "max": high}, x)
}

// polynomial computes c[0] + c[1]·x + c[2]·x² and so on.
func (b *builder) polynomial(x *graph.Value, c ...float64) *graph.Value {
	y := b.number(graph.OpMul, x, c[len(c)-1])
	for i := len(c) - 2; i >= 0; i-- {
		y = b.number(graph.OpAdd, y, c[i])
		if i > 0 {
			y = b.add(graph.OpMul, y, x)
		}
	}
	return y
}

// done returns the result of the formula or the first error.
func (b *builder) done(v *graph.Value) (*graph.Value, error) {
	if b.err != nil {
		return nil, b.err
	}
	return v, nil
}
