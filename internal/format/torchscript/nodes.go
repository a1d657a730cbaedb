package torchscript

import (
	"errors"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// add appends a node with one result. Its errors are refusals where the
// operator cannot be served, else errors of the code.
func (in *interp) add(op graph.Op, attrs graph.Attrs, operands ...*graph.Value) *graph.Value {
	v := in.addNode(op, attrs, operands...).Out[0]
	if op != graph.OpReshape {
		in.follow(v, operands)
	}
	return v
}

// addNode appends a node.
func (in *interp) addNode(op graph.Op, attrs graph.Attrs, operands ...*graph.Value) *graph.Node {
	in.cost(8) // a node costs more than a step
	own := make([]*graph.Value, len(operands))
	for i, v := range operands {
		own[i] = in.use(v)
	}
	n, err := in.g.AddNode(op, attrs, own...)
	switch {
	case errors.Is(err, graph.ErrMixesRows):
		in.mixes("%v", err)
	case errors.Is(err, graph.ErrUnsupportedOp):
		in.unsupported("%v", err)
	case err != nil:
		in.fail(&RunError{Pos: in.pos, Err: err})
	}
	for _, v := range n.Out {
		in.here(v)
	}
	return n
}

// constant adds a constant that the code made.
func (in *interp) constant(t *graph.Tensor) *graph.Value {
	if in.made += t.Len(); in.made > maxMadeElements {
		in.limit("constants of more than %d elements made by the code", maxMadeElements)
	}
	return in.here(in.g.Constant("", t))
}

// area is the number of elements of a constant that the code makes, which is
// refused before anything is allocated. The code may give any two numbers:
// each is looked at on its own, since their product may overflow.
func (in *interp) area(rows, cols int) int {
	const most = maxMadeElements
	if rows < 0 || cols < 0 || rows > most || cols > most || rows*cols > most {
		in.limit("a constant of %d by %d elements, above %d", rows, cols, most)
	}
	return rows * cols
}

// number adds a Python number as an operand beside like.
func (in *interp) number(v value, like *graph.Value) *graph.Value {
	switch n := v.(type) {
	case float64:
		return in.here(in.g.Number(n, like))
	case int64:
		return in.here(in.g.Integer(n))
	case bool:
		return in.numberTensor(n)
	case *scalar:
		return n.beside(in, like)
	}
	in.mixes("the number of rows as a value of the computation")
	return nil
}

// cast converts v to an element type.
func (in *interp) cast(v *graph.Value, dt graph.DType) *graph.Value {
	if v.DType == dt {
		return v
	}
	return in.add(graph.OpCast, graph.Attrs{"dtype": dt}, v)
}

// reshape gives v another shape; the same shape is no node. One that moves the
// batch axis past other elements would deal elements of one row to others.
func (in *interp) reshape(v *graph.Value, shape graph.Shape) *graph.Value {
	if v.Shape.Equal(shape) {
		return v
	}
	major := 1
	if a := shape.BatchAxis(); a >= 0 && !v.Shape.Fixed() {
		lead, rest := in.leading(v), before(shape)
		if rest == 0 || lead%rest != 0 || -shape[a]%max(lead/rest, 1) != 0 {
			in.mixes("a reshape of %v to %v: rows of the batch would be mixed", v.Shape, shape)
		}
		major = lead / rest
	}
	out := in.add(graph.OpReshape, graph.Attrs{"shape": []int(shape)}, v)
	if major > 1 {
		in.majors[out] = major
	}
	return out
}

// before returns the number of elements that the dimensions before the batch
// axis count.
func before(s graph.Shape) int {
	n := 1
	for _, d := range s[:max(0, s.BatchAxis())] {
		n *= d
	}
	return n
}

// leading returns the number of elements that lie before those of one row and
// the next: the dimensions before the batch axis, and what was merged into it
// from before.
func (in *interp) leading(v *graph.Value) int { return before(v.Shape) * max(1, in.majors[v]) }

// follow notes what was merged into the batch axis of a result, which is what
// was merged into those of its operands.
func (in *interp) follow(out *graph.Value, operands []*graph.Value) {
	if len(in.majors) == 0 || out.Shape.Fixed() {
		return
	}
	major, seen := 1, false
	for _, v := range operands {
		a := v.Shape.BatchAxis()
		if a < 0 {
			continue
		}
		m := max(1, in.majors[v])
		if seen && m != major {
			in.mixes("an operation on rows in two orders: rows of the batch would be mixed")
		}
		major, seen = m, true
	}
	if major > 1 {
		in.majors[out] = major
	}
}

// expandTo stretches v to a shape.
func (in *interp) expandTo(v *graph.Value, shape graph.Shape) *graph.Value {
	if v.Shape.Equal(shape) {
		return v
	}
	return in.add(graph.OpExpand, graph.Attrs{"shape": []int(shape)}, v)
}

// axis counts an axis from the front.
func (in *interp) axis(a, rank int) int {
	if rank == 0 && (a == 0 || a == -1) {
		return 0
	}
	if a < -rank || a >= rank {
		in.errorf("dimension %d of a tensor of %d dimensions", a, rank)
	}
	if a < 0 {
		a += rank
	}
	return a
}
