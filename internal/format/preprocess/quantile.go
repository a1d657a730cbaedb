package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// quantiles gives the share of the fitted values that lie below a value, or
// the normal deviate of that share.
type quantiles struct {
	columns []distribution
	points  int
	normal  bool
}

// distribution is the share of one column: ramps between neighbouring
// quantiles, and steps where quantiles are equal.
type distribution struct {
	ramps       []ramp
	steps       []jump
	first, last float64 // quantiles
}

// ramp rises by rise from one quantile to the next.
type ramp struct {
	from, to, rise float64
}

// jump rises by rise at a quantile that is there more than once: by half of it
// for values of at least reached, by the other half from passed on.
type jump struct {
	reached, passed float32
	rise            float64
}

// quantileTransformer reads a QuantileTransformer.
func quantileTransformer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	normal := s.text("output_distribution", "uniform", "normal") == "normal"
	shares := s.offsets("references_")
	points, rows, n := s.table("quantiles_")
	switch {
	case s.err != nil:
		return nil, s.err
	case rows < 2 || n < 1 || len(shares.values) != rows:
		return nil, fmt.Errorf("quantiles_ has shape [%d %d] and references_ %d values", rows, n, len(shares.values))
	}
	for i := 1; i < rows; i++ {
		if shares.values[i] <= shares.values[i-1] {
			return nil, fmt.Errorf("references_[%d] does not rise", i)
		}
	}
	t := &quantiles{normal: normal, points: rows}
	for c := range n {
		column := make([]float64, rows)
		for i := range column {
			column[i] = points.values[i*n+c]
			if i > 0 && column[i] < column[i-1] {
				return nil, fmt.Errorf("quantiles_ of column %d do not rise", c)
			}
			if column[i]-column[0] > math.MaxFloat32 {
				return nil, fmt.Errorf("quantiles_ of column %d reach from %g to %g", c, column[0], column[i])
			}
		}
		t.columns = append(t.columns, distributionOf(column, shares.values))
	}
	p, err := s.changing([]step{t}, column{"quantiles_", make([]float64, n)})
	if err == nil && p.width != n {
		err = fmt.Errorf("quantiles_ has %d columns and n_features_in_ is %d", n, p.width)
	}
	return p, err
}

// distributionOf makes ramps and steps of quantiles and their shares. The
// first step begins above its quantile, which has the share 0; the last one
// ends at its quantile, which has the share 1.
func distributionOf(column, shares []float64) distribution {
	last := len(column) - 1
	d := distribution{first: column[0], last: column[last]}
	for i := 0; i < last; {
		j := i // the last one that float32 does not tell from i
		for j < last && column[j+1]-column[i] < math.SmallestNonzeroFloat32*0x1p24 {
			j++
		}
		if j == i {
			d.ramps = append(d.ramps, ramp{column[i], column[i+1], shares[i+1] - shares[i]})
			i++
			continue
		}
		reached := ceil32(column[i])
		passed := reached
		if float64(reached) == column[i] {
			passed = math.Nextafter32(reached, float32(math.Inf(1)))
		}
		switch {
		case i == 0:
			reached = passed
		case j == last:
			passed = reached
		}
		d.steps = append(d.steps, jump{reached, passed, shares[j] - shares[i]})
		if j < last {
			d.ramps = append(d.ramps, ramp{column[j], column[j+1], shares[j+1] - shares[j]})
		}
		i = j + 1
	}
	return d
}

func (s *quantiles) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	b := &builder{g: g}
	deep := b.with(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, n, 1}}, x)
	below := s.share(b, deep, n, true)
	if !s.normal {
		return b.done(below)
	}
	// Both tails are summed up for themselves: 1 less a share near 1 would have
	// lost most of its digits.
	above := s.share(b, deep, n, false)
	z := b.deviate(below, above)
	low, high := make([]float32, n), make([]float32, n)
	for i, d := range s.columns {
		low[i], high[i] = ceil32(d.first+edgeShare), floor32(d.last-edgeShare)
	}
	z = b.add(graph.OpWhere, b.row(graph.OpGt, x, "quantiles.high", high), g.Number(maxDeviate, x), z)
	z = b.add(graph.OpWhere, b.row(graph.OpLt, x, "quantiles.low", low), g.Number(-maxDeviate, x), z)
	return b.done(z)
}

// share sums up how far each ramp and step of a column has been climbed, or
// how far it has not.
func (s *quantiles) share(b *builder, deep *graph.Value, n int, below bool) *graph.Value {
	ramps, steps := 0, 0
	for _, d := range s.columns {
		ramps, steps = max(ramps, len(d.ramps)), max(steps, len(d.steps))
	}
	high, low := make([]float32, n*ramps), make([]float32, n*ramps)
	width, rise := make([]float32, n*ramps), make([]float32, n*ramps)
	reached, passed, half := make([]float32, n*steps), make([]float32, n*steps), make([]float32, n*steps)
	for i := range width {
		width[i] = 1
	}
	for c, d := range s.columns {
		for i, r := range d.ramps {
			k := c*ramps + i
			foot := r.from
			if !below {
				foot = r.to
			}
			high[k] = float32(foot)
			low[k] = float32(foot - float64(high[k]))
			width[k], rise[k] = float32(r.to-r.from), float32(r.rise)
			if !below {
				width[k] = -width[k]
			}
		}
		for i, j := range d.steps {
			k := c*steps + i
			reached[k], passed[k], half[k] = j.reached, j.passed, float32(j.rise/2)
		}
	}
	sum := graph.Attrs{"axes": []int{2}}
	var total *graph.Value
	if ramps > 0 {
		// A quantile in two parts, as a mean in normalize.
		at := b.add(graph.OpSub, deep, table(b.g, "quantiles", high, n, ramps))
		at = b.add(graph.OpSub, at, table(b.g, "quantiles.low", low, n, ramps))
		at = b.clamp(b.add(graph.OpDiv, at, table(b.g, "quantiles.width", width, n, ramps)), 0, 1)
		total = b.with(graph.OpSum, sum, b.add(graph.OpMul, at, table(b.g, "quantiles.rise", rise, n, ramps)))
	}
	if steps > 0 {
		op := graph.OpGe
		if !below {
			op = graph.OpLt
		}
		for _, edge := range [][]float32{reached, passed} {
			on := b.with(graph.OpCast, graph.Attrs{"dtype": graph.Float32}, b.add(op, deep, table(b.g, "quantiles.step", edge, n, steps)))
			part := b.with(graph.OpSum, sum, b.add(graph.OpMul, on, table(b.g, "quantiles.half", half, n, steps)))
			if total == nil {
				total = part
			} else {
				total = b.add(graph.OpAdd, total, part)
			}
		}
	}
	return total
}

// scikit-learn takes values closer than edgeShare to the outermost quantiles
// for these, and bounds deviates by that of edgeShare.
const (
	edgeShare  = 1e-7
	maxDeviate = 5.199337582605575
)

// deviate computes the normal deviate of a share, given from both sides, by
// the rational functions of Wichura's algorithm AS 241 (1988, PPND7), whose
// error is below that of float32.
func (b *builder) deviate(below, above *graph.Value) *graph.Value {
	if b.err != nil {
		return nil
	}
	const split = 0.425
	q := b.number(graph.OpMul, b.add(graph.OpSub, below, above), 0.5)
	r := b.number(graph.OpAdd, b.add(graph.OpNeg, b.add(graph.OpMul, q, q)), split*split)
	middle := b.add(graph.OpMul, q, b.add(graph.OpDiv,
		b.polynomial(r, 3.3871327179, 50.434271938, 159.29113202, 59.109374720),
		b.polynomial(r, 1, 17.895169469, 78.757757664, 67.187563600)))
	tail := b.clamp(b.add(graph.OpMinimum, below, above), edgeShare/2, 0.5)
	r = b.number(graph.OpSub, b.add(graph.OpSqrt, b.add(graph.OpNeg, b.add(graph.OpLog, tail))), 1.6)
	outer := b.add(graph.OpDiv,
		b.polynomial(r, 1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
		b.polynomial(r, 1, 0.73700164250, 0.12021132975))
	outer = b.add(graph.OpMul, outer, b.add(graph.OpSign, q))
	inside := b.number(graph.OpLe, b.add(graph.OpAbs, q), split)
	return b.clamp(b.add(graph.OpWhere, inside, middle, outer), -maxDeviate, maxDeviate)
}

func (s *quantiles) String() string {
	text := fmt.Sprintf("share by %d quantiles", s.points)
	if s.normal {
		text += ", as a normal deviate"
	}
	return text
}
