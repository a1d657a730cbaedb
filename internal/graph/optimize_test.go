package graph

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A whole policy in the words of its decoders: a scaler in double precision,
// two heads with a shared trunk, a squashed action brought to its range.
func TestOptimizePolicy(t *testing.T) {
	c := passCase{
		pass: func(g *Graph) (bool, error) { return true, Optimize(g) },
		tol:  1e-6,
		before: `graph "policy"
%obs = input "obs" f32[B,2]
%mask = input "mask" f32[B,2]
%wide = cast(%obs) dtype=f64
%mean = const "mean" f64[1,2] {40,0.5}
%a = sub(%wide,%mean)
%scale = const "scale" f64[2] {20,0.25}
%b = div(%a,%scale)
%z = cast(%b) dtype=f32
%flat = reshape(%z) shape=[B,2]
%w1 = const "trunk.weight" f32[2,2] {1,0.5,-1,1}
%wt = transpose(%w1) perm=[1,0]
%h0 = matmul(%flat,%wt)
%b1 = const "trunk.bias" f32[2] {0.5,0.25}
%h1 = add(%h0,%b1)
%h = tanh(%h1)
%w2 = const "pi.weight" f32[1,2] {2,-3}
%b2 = const "pi.bias" f32[1] {0.125}
%p = linear(%h,%w2,%b2)
%q = tanh(%p)
%one = const "" f32[] {1}
%half = const "" f32[] {0.5}
%r = add(%q,%one)
%s = mul(%r,%half)
%high = const "" f32[1] {4}
%u = mul(%s,%high)
%low = const "" f32[1] {-2}
%v = add(%u,%low)
%c1 = clamp(%v) min=-2
%c2 = clamp(%c1) max=2
%w3 = const "vf.weight" f32[1,2] {1,1}
%again = tanh(%h1)
%value = linear(%again,%w3)
%sd = const "std" f32[1] {3}
%val = mul(%value,%sd)
%unused = exp(%mask)
output "action" %c2
output "value" %val
`,
		after: `graph "policy"
%obs = input "obs" f32[B,2]
%mask = input "mask" f32[B,2]
%w1 = const "trunk.weight" f32[2,2] {0.05,2,-0.05,4}
%b1 = const "trunk.bias" f32[2] {-2.5,0.25}
%h1 = linear(%obs,%w1,%b1)
%h = tanh(%h1)
%w2 = const "pi.weight" f32[1,2] {2,-3}
%b2 = const "pi.bias" f32[1] {0.125}
%p = linear(%h,%w2,%b2)
%q = tanh(%p)
%high = const "" f32[] {2}
%u = mul(%q,%high)
%c2 = clamp(%u) min=-2 max=2
%w3 = const "vf.weight" f32[1,2] {3,3}
%value = linear(%h,%w3)
output "action" %c2
output "value" %value
`,
	}
	c.run(t)
}

// Random policies of many kinds compute the same before and after each pass
// of Optimize, and a second Optimize finds nothing.
func TestOptimizeKeepsResults(t *testing.T) {
	fewer := 0
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 17))
		want := randomPolicy(rng)
		if err := want.Verify(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		text := want.String()
		g, err := want.Clone()
		if err != nil || g.String() != text {
			t.Fatalf("seed %d: a clone is another graph: %v\n%s", seed, err, cmp.Diff(text, g.String()))
		}
		for _, p := range passes() {
			if _, err := p.run(g); err != nil {
				t.Fatalf("seed %d: pass %q: %v\n%s", seed, p.name, err, text)
			}
			if err := g.Verify(); err != nil {
				t.Fatalf("seed %d: after pass %q: %v\n%s", seed, p.name, err, text)
			}
		}
		if err := Optimize(g); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if len(g.Nodes) < len(want.Nodes) {
			fewer++
		}
		settled := g.String()
		if err := Optimize(g); err != nil || g.String() != settled {
			t.Errorf("seed %d: a second Optimize changes the graph: %v\n%s", seed, err, cmp.Diff(settled, g.String()))
		}
		sameResults(t, want, g, 4, tolerance(want), rng)
		if want.String() != text {
			t.Errorf("seed %d: optimizing the clone changed the graph", seed)
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s\nbecame\n%s", seed, text, g)
		}
	}
	if fewer < 200 {
		t.Errorf("only %d of 300 graphs became smaller", fewer)
	}
}

// tolerance of a graph, relative to its largest result. Each layer multiplies
// what float32 rounds before it by the gain of its random weights, at most 4
// here; half precision is exact, as no pass may touch it, but for a value in
// float32 that falls on another side of a rounding.
func tolerance(g *Graph) float64 {
	for _, n := range g.Nodes {
		if dt := n.Out[0].DType; dt == Float16 || dt == BFloat16 {
			return 0.05
		}
	}
	return 2e-5
}

// policyMaker builds random graphs; an operator that does not fit its
// operand is a bug of the maker.
type policyMaker struct {
	g   *Graph
	rng *rand.Rand
}

func randomPolicy(rng *rand.Rand) *Graph {
	m := policyMaker{New("random"), rng}
	width := 1 + rng.IntN(6)
	x := m.g.Input("obs", Float32, Shape{Batch, width})
	if rng.IntN(3) == 0 {
		x = m.add(OpCast, Attrs{"dtype": Float64}, x)
		x = m.affine(x)
		x = m.add(OpCast, Attrs{"dtype": Float32}, x)
	} else if rng.IntN(3) > 0 {
		x = m.affine(x)
	}
	if rng.IntN(4) == 0 {
		x = m.add(OpClamp, Attrs{"min": -5.0, "max": 5.0}, x)
	}
	if rng.IntN(6) == 0 {
		x = m.add(OpCast, Attrs{"dtype": []DType{BFloat16, Float16, Float64}[rng.IntN(3)]}, x)
	}
	for range 1 + rng.IntN(3) {
		x = m.activation(m.noise(m.layer(x)))
	}
	for i := range 1 + rng.IntN(2) {
		y := m.squash(m.layer(x))
		m.g.Output(fmt.Sprintf("y%d", i), m.reshaped(y))
	}
	return m.g
}

func (m *policyMaker) add(op Op, attrs Attrs, in ...*Value) *Value {
	v, err := m.g.Add(op, attrs, in...)
	if err != nil {
		panic(err)
	}
	return v
}

// constant has numbers around a centre.
func (m *policyMaker) constant(dt DType, centre, spread float64, shape ...int) *Value {
	t := newTensor(dt, shape)
	for i := range t.Len() {
		t.set(i, centre+spread*m.rng.NormFloat64())
	}
	return m.g.Constant(fmt.Sprintf("c%d", m.rng.IntN(1000)), t)
}

// affine is a chain of sums and products with constants of all the shapes
// that broadcast.
func (m *policyMaker) affine(x *Value) *Value {
	for range m.rng.IntN(5) {
		n := x.Shape[len(x.Shape)-1]
		shape := [][]int{{}, {n}, {1, n}, {1}}[m.rng.IntN(4)]
		shift := m.constant(x.DType, []float64{0, 1, 30, -400}[m.rng.IntN(4)], 1, shape...)
		scale := m.constant(x.DType, []float64{2, -1, 3}[m.rng.IntN(3)], 0.1, shape...)
		switch m.rng.IntN(7) {
		case 0:
			x = m.add(OpAdd, nil, x, shift)
		case 1:
			x = m.add(OpAdd, nil, shift, x)
		case 2:
			x = m.add(OpSub, nil, x, shift)
		case 3:
			x = m.add(OpSub, nil, shift, x)
		case 4:
			x = m.add(OpMul, nil, x, scale)
		case 5:
			x = m.add(OpDiv, nil, x, scale)
		default:
			x = m.add(OpNeg, nil, x)
		}
	}
	return x
}

// layer is a linear layer in one of the forms that files have.
func (m *policyMaker) layer(x *Value) *Value {
	ins, outs := x.Shape[len(x.Shape)-1], 1+m.rng.IntN(5)
	w := m.constant(x.DType, 0, 1, outs, ins)
	b := m.constant(x.DType, 0, 1, outs)
	switch m.rng.IntN(4) {
	case 0:
		return m.add(OpLinear, nil, x, w, b)
	case 1:
		return m.add(OpLinear, nil, x, w)
	case 2:
		return m.add(OpAdd, nil, m.add(OpMatMul, nil, x, m.add(OpTranspose, Attrs{"perm": []int{1, 0}}, w)), b)
	default:
		double := m.add(OpMul, nil, w, m.constant(x.DType, 2, 0))
		return m.affine(m.add(OpLinear, nil, x, double, b))
	}
}

func (m *policyMaker) activation(x *Value) *Value {
	switch m.rng.IntN(6) {
	case 0:
		return m.add(OpTanh, nil, x)
	case 1:
		return m.add(OpElu, nil, x)
	case 2:
		return m.add(OpClamp, Attrs{"max": 6.0}, m.add(OpRelu, nil, x))
	case 3:
		return m.add(OpMaximum, nil, x, m.constant(x.DType, 0, 0))
	case 4:
		return m.add(OpSilu, nil, m.reshaped(x))
	default:
		return x
	}
}

// noise adds a draw now and then.
func (m *policyMaker) noise(x *Value) *Value {
	if m.rng.IntN(5) > 0 {
		return x
	}
	return m.add(OpAdd, nil, x, m.add(OpNormal, Attrs{"stream": len(m.g.Nodes)}, x))
}

// squash is the end of an action: bounded, then brought to its range.
func (m *policyMaker) squash(x *Value) *Value {
	if m.rng.IntN(2) == 0 {
		x = m.add(OpTanh, nil, x)
	}
	x = m.affine(x)
	for range m.rng.IntN(3) {
		a := m.rng.NormFloat64()
		x = m.add(OpClamp, []Attrs{{"min": a}, {"max": a}, {"min": a, "max": a + 1}}[m.rng.IntN(3)], x)
	}
	return x
}

// reshaped goes through other shapes and back.
func (m *policyMaker) reshaped(x *Value) *Value {
	n := x.Shape[1]
	for range m.rng.IntN(3) {
		switch m.rng.IntN(4) {
		case 0:
			x = m.add(OpReshape, Attrs{"shape": []int{-1, n}}, m.add(OpReshape, Attrs{"shape": []int{-n}}, x))
		case 1:
			x = m.add(OpTranspose, Attrs{"perm": []int{1, 0}}, m.add(OpTranspose, Attrs{"perm": []int{1, 0}}, x))
		case 2:
			x = m.add(OpAdd, nil, x, m.add(OpExpand, Attrs{"shape": []int{-1, n}}, m.constant(x.DType, 0, 1, n)))
		default:
			x = m.add(OpSlice, Attrs{"axis": 1}, m.add(OpConcat, Attrs{"axis": 1}, x))
		}
	}
	return x
}
