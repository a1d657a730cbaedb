package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// boundMax is the magnitude from which a bound is no more than the end of a
// number type, as gymnasium writes it, and tells nothing of the values.
const boundMax = 1e6

// span is what is known of one value of an observation.
type span struct {
	low, high float64 // infinite where there is no bound that tells something
	integer   bool
	mean, std float64 // of the data that a normaliser was fitted to; std is 0 where there is none
	must      [2]float64
}

// draw returns a value: of the normaliser's distribution where there is one,
// else evenly between bounds, else of the standard normal distribution.
func (s *span) draw(r *rand.Rand) float64 {
	lowless, highless := math.IsInf(s.low, -1), math.IsInf(s.high, 1)
	var x float64
	switch {
	case s.integer:
		return s.low + float64(r.Int64N(int64(s.high-s.low)+1))
	case s.std > 0:
		x = min(max(s.mean+s.std*r.NormFloat64(), s.low), s.high)
	case lowless && highless:
		x = r.NormFloat64()
	case lowless:
		x = s.high - math.Abs(r.NormFloat64())
	case highless:
		x = s.low + math.Abs(r.NormFloat64())
	default:
		x = s.low + r.Float64()*(s.high-s.low)
	}
	return min(max(x, s.must[0]), s.must[1])
}

// sampler draws observations that a policy may be given: within the bounds of
// its contract and of the spaces of its environment, whole numbers where those
// are categories or pixels, and around the mean of its normaliser.
type sampler struct {
	contract *policy.Contract
	spans    [][]span
	random   *rand.Rand
}

func newSampler(p *policy.Policy, seed uint64) *sampler {
	c := p.Contract()
	s := &sampler{contract: c, random: rand.New(rand.NewPCG(seed, 0))}
	spaces := p.Description().Spaces
	for i := range c.Inputs {
		in := &c.Inputs[i]
		spans := make([]span, in.Width)
		for j := range spans {
			spans[j] = span{low: math.Inf(-1), high: math.Inf(1), must: [2]float64{math.Inf(-1), math.Inf(1)}}
		}
		if spaces != nil {
			within(spans, spaceOf(spaces, c, i), in.Shape)
		}
		statistics(p.Composed(), p.Composed().Inputs[i], spans)
		s.spans = append(s.spans, spans)
	}
	for i := range c.Features {
		f := &c.Features[i]
		for j := range f.Size {
			s.spans[f.Input][f.Offset+j].promise(f.Low, f.High)
		}
	}
	for i := range c.Inputs {
		for j := range s.spans[i] {
			s.spans[i][j].wholeOf(c.Inputs[i].DType)
		}
	}
	return s
}

// promise narrows the span to the bounds of a contract, which no value may
// leave.
func (s *span) promise(low, high float64) {
	s.must = [2]float64{float64(float32(low)), float64(float32(high))}
	if low > -boundMax {
		s.low = max(s.low, low)
	}
	if high < boundMax {
		s.high = min(s.high, high)
	}
}

// wholeOf has the span of a type without fractions hold whole numbers.
func (s *span) wholeOf(dt graph.DType) {
	if dt != graph.Invalid && !dt.IsFloat() && !s.integer {
		s.low, s.high = policy.WholeRange(dt, s.low, s.high)
		s.integer = true
	}
}

// spaceOf finds the space of an input of the contract, by its name or place.
func spaceOf(s *format.Spaces, c *policy.Contract, input int) *format.SpaceDescription {
	for i := range s.Observation {
		if s.Observation[i].Name == c.Inputs[input].Name {
			return &s.Observation[i]
		}
	}
	if len(s.Observation) == len(c.Inputs) {
		return &s.Observation[input]
	}
	return nil
}

// within narrows spans to a space.
func within(spans []span, s *format.SpaceDescription, shape []int) {
	if s == nil {
		return
	}
	several := categories(s.Text)
	const pixels = 3 // dimensions of an image
	for i := range spans {
		p := &spans[i]
		if s.Low > -boundMax {
			p.low = s.Low
		}
		if s.High < boundMax {
			p.high = s.High
		}
		if s.Categories {
			p.low, p.high = s.Low, min(s.High, boundMax)
		}
		bounded := !math.IsInf(p.low, 0) && !math.IsInf(p.high, 0)
		p.integer = bounded && (s.Categories || len(shape) == pixels && p.low == 0 && p.high == math.MaxUint8)
		if len(several) == len(spans) {
			p.high = float64(several[i] - 1)
		}
	}
}

// categories are the numbers of categories of a space that is several choices,
// nil for any other. The text is that of gymnasium: MultiDiscrete([3 2]).
func categories(space string) []int {
	list, ok := strings.CutPrefix(space, "MultiDiscrete([")
	if !ok {
		return nil
	}
	var out []int
	for word := range strings.FieldsSeq(strings.TrimRight(list, "])")) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil
		}
		out = append(out, n)
	}
	return out
}

// statistics finds the mean and deviation that an input is normalised with:
// as long as the graph does nothing to it but y = a·x + b with constants of one
// number a value, x is distributed as the inverse of a standard normal y.
func statistics(g *graph.Graph, in *graph.Value, spans []span) {
	a, b := make([]float64, len(spans)), make([]float64, len(spans))
	for i := range a {
		a[i] = 1
	}
	found := false
	for v := in; ; {
		n := onlyUse(g, v)
		if n == nil {
			break
		}
		next, constant := affineStep(n, v, a, b)
		if next == nil {
			break
		}
		found = found || constant
		v = next
	}
	if !found {
		return
	}
	for i := range spans {
		if mean, std := -b[i]/a[i], 1/math.Abs(a[i]); !spans[i].integer && std > 0 && mean-mean == 0 && std-std == 0 {
			spans[i].mean, spans[i].std = mean, std
		}
	}
}

// onlyUse returns the node that takes the value, if there is exactly one.
func onlyUse(g *graph.Graph, v *graph.Value) *graph.Node {
	var only *graph.Node
	for _, n := range g.Nodes {
		if slices.Contains(n.In, v) {
			if only != nil {
				return nil
			}
			only = n
		}
	}
	return only
}

// affineStep applies a node to a·x + b and returns its result; nil where it is
// no such node. It tells whether it has constants of one number a value.
func affineStep(n *graph.Node, v *graph.Value, a, b []float64) (next *graph.Value, constant bool) {
	switch n.Op {
	case graph.OpReshape:
		return n.Out[0], false
	case graph.OpCast:
		if !n.Out[0].DType.IsFloat() {
			return nil, false
		}
		return n.Out[0], false
	case graph.OpAdd, graph.OpSub, graph.OpMul, graph.OpDiv:
	default:
		return nil, false
	}
	other := n.In[0]
	first := other == v
	if first {
		other = n.In[1]
	}
	k := other.Const
	if k == nil || k.Len() != len(a) && k.Len() != 1 || !first && n.Op == graph.OpDiv {
		return nil, false
	}
	for i := range a {
		c := k.At(i % k.Len())
		switch {
		case n.Op == graph.OpAdd:
			b[i] += c
		case n.Op == graph.OpSub && first:
			b[i] -= c
		case n.Op == graph.OpSub:
			a[i], b[i] = -a[i], c-b[i]
		case n.Op == graph.OpMul:
			a[i], b[i] = a[i]*c, b[i]*c
		default:
			a[i], b[i] = a[i]/c, b[i]/c
		}
	}
	return n.Out[0], k.Len() == len(a)
}

// sample draws rows. Those of a policy with state are one sequence of two
// episodes.
func (s *sampler) sample(rows int) *observations {
	o := newObservations(s.contract, rows)
	for row := range rows {
		for i, spans := range s.spans {
			for j := range spans {
				o.in[i][row*len(spans)+j] = float32(spans[j].draw(s.random))
			}
			if in := &s.contract.Inputs[i]; in.DType == graph.Bool {
				policy.DrawBools(o.in[i][row*in.Width:][:in.Width], in.Shape, s.random)
			}
		}
	}
	if len(s.contract.State) > 0 {
		o.episodes()
	}
	return o
}

// episodes makes of the rows a sequence in which a second episode begins in the
// middle.
func (o *observations) episodes() {
	o.episodeStart = make([]bool, o.rows)
	o.episodeStart[0] = true
	o.episodeStart[o.rows/2] = true
}

// mask draws action masks that leave a choice.
func (s *sampler) mask(o *observations) {
	o.masks = make([]float32, o.rows*s.contract.Masks)
	for row := range o.rows {
		masks := o.masks[row*s.contract.Masks:][:s.contract.Masks]
		for _, n := range s.contract.MaskParts {
			for i := range n {
				masks[i] = float32(s.random.IntN(2))
			}
			masks[s.random.IntN(n)] = 1
			masks = masks[n:]
		}
	}
}

// sampleInputs draws values for the inputs of a bare network.
func sampleInputs(g *graph.Graph, rows int, r *rand.Rand) []*tensor {
	in := make([]*tensor, len(g.Inputs))
	for i, v := range g.Inputs {
		t := &tensor{shape: sized(v.Shape, rows)}
		t.data = make([]float64, count(t.shape))
		spans := make([]span, count(sized(v.Shape, 1)))
		for j := range spans {
			s := span{low: math.Inf(-1), high: math.Inf(1)}
			s.wholeOf(v.DType)
			s.must = [2]float64{s.low, s.high}
			spans[j] = s
		}
		statistics(g, v, spans)
		for j := range t.data {
			t.data[j] = spans[j%len(spans)].draw(r)
		}
		if v.DType == graph.Bool {
			policy.DrawBools(t.data, t.shape, r)
		}
		if v.DType.IsFloat() {
			exact := typed(t, v.DType)
			if v.DType == graph.Float64 {
				exact = typed(t, graph.Float32) // which is what every engine takes
			}
			for j := range t.data {
				t.data[j] = exact.At(j)
			}
		}
		in[i] = t
	}
	return in
}
