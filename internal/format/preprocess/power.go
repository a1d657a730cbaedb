package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// power computes the transformation of Box and Cox, f(x) = (x^λ - 1) / λ, or
// that of Yeo and Johnson, which is the one of x + 1 for positive x and that of
// -x + 1 with 2 - λ, negated, for negative x; then (f(x) - mean) / scale.
//
// Fitted λ may be far from 1, where f(x) is huge or hardly moves, and float32
// has not the digits for the difference. It is computed from x₀ = f⁻¹(mean)
// instead, with v the argument of the power:
//
//	(f(x) - mean) / scale = C·expm1(λ·log(v/v₀)),  C = v₀^λ / (λ·scale)
type power struct {
	lambdas     []float64
	mean, scale []float64 // nil for 0 and 1
	boxCox      bool
}

// smallestLambda stands for λ = 0, the logarithm: closer to it than float32
// shows, and far enough from zero to be divided by.
const smallestLambda = 1e-9

// maxLambda bounds λ. Fitted ones lie between -10 and 10 where columns are
// well-behaved.
const maxLambda = 1e6

// powerTransformer reads a PowerTransformer and the StandardScaler that it
// applies afterwards.
func powerTransformer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	t := &power{boxCox: s.text("method", "yeo-johnson", "box-cox") == "box-cox"}
	lambdas := s.offsets("lambdas_")
	for i, l := range lambdas.values {
		if math.Abs(l) > maxLambda {
			s.fail(fmt.Errorf("lambdas_[%d] is %g", i, l))
		}
	}
	t.lambdas = lambdas.values
	standardize := s.flag("standardize", true)
	p, err := s.done([]step{t}, lambdas)
	if err != nil || !standardize {
		return p, err
	}
	v, _ := o.Attr("_scaler")
	scaled, ok := v.(*pickle.Object)
	if !ok {
		return nil, fmt.Errorf("%w: _scaler is a %s", errNotFitted, pickle.TypeName(v))
	}
	if err := t.standardize(scaled, len(lambdas.values), &p.values); err != nil {
		return nil, fmt.Errorf("_scaler: %w", err)
	}
	return p, nil
}

// standardize reads the StandardScaler of the result, whose numbers may be
// beyond float32.
func (t *power) standardize(o *pickle.Object, n int, values *int) error {
	if o.Class.Name != "StandardScaler" {
		return fmt.Errorf("is a %s, a StandardScaler was wanted", o.Class)
	}
	s := &scaler{o: o}
	for _, c := range []struct {
		flag, name string
		to         *[]float64
		valid      func(v float64) bool
	}{
		{"with_mean", "mean_", &t.mean, func(v float64) bool { return v-v == 0 }},
		{"with_std", "scale_", &t.scale, func(v float64) bool { return v > 0 && v-v == 0 }},
	} {
		if !s.flag(c.flag, true) {
			continue
		}
		a := s.array(c.name)
		for i, v := range a.values {
			if !c.valid(v) {
				s.fail(fmt.Errorf("%s[%d] is %g", c.name, i, v))
			}
		}
		if len(a.values) != n && s.err == nil {
			s.fail(fmt.Errorf("takes %d values, %d were wanted", len(a.values), n))
		}
		*c.to = a.values
	}
	*values += s.values
	return s.err
}

// half is the constants of one branch of the formula, for each column.
type half struct {
	lambda     []float32
	from, unit []float64 // x₀, and what moves the result by about 1 there
	near       []float32 // v₀/2 in those units
	ratio      []float32 // unit / v₀
	log        []float32 // logarithm of v₀
	factor     []float32 // C
	offset     []float32 // of a branch that does not reach the mean
	shifted    bool      // whether there is an x₀ at all, and an offset
	hasOffsets bool
}

// smallestUnit is the part of v₀ below which float32 has no digits of it.
const smallestUnit = 1e-7

// column works out the constants of a column whose mean is m, where v = x + add.
func (h *half) column(lambda, m, s, add float64) {
	if math.Abs(lambda) < smallestLambda {
		lambda = smallestLambda
	}
	x0, c, k := 1-add, 1/(lambda*s), -m/s // from f = 0
	if reach := lambda*m + 1; reach > 0 && (m >= 0 || add == 0) {
		if at := math.Exp(math.Log1p(lambda*m)/lambda) - add; at-at == 0 && at <= math.MaxFloat32 {
			x0, c, k = at, reach/(lambda*s), 0
		}
	}
	v := x0 + add
	unit := min(max(v/(lambda*c), smallestUnit*v), v)
	h.lambda = append(h.lambda, float32(lambda))
	h.from, h.unit = append(h.from, x0), append(h.unit, unit)
	h.near = append(h.near, float32(v/2/unit))
	h.ratio = append(h.ratio, float32(unit/v))
	h.log = append(h.log, float32(math.Log(v)))
	h.factor = append(h.factor, float32(c))
	h.offset = append(h.offset, float32(k))
	h.shifted = h.shifted || x0+add != 1
	h.hasOffsets = h.hasOffsets || k != 0
}

// lower computes C·expm1(λ·log(v/v₀)) + K of a row of x. Near x₀ the logarithm
// is that of 1 + (x-x₀)/v₀, whose difference loses nothing; far from it, the
// difference of two logarithms. The difference from x₀ is that of a normalised
// feature, so that the passes treat it as one.
func (h *half) lower(b *builder, name string, x, log *graph.Value) *graph.Value {
	if h.shifted && b.err == nil {
		var d *graph.Value
		if d, b.err = (&normalize{mean: h.from, std: h.unit}).lower(b.g, x, len(h.from)); b.err != nil {
			return nil
		}
		far := make([]float32, len(h.near))
		for i, v := range h.near {
			far[i] = -v
		}
		clamped := b.row(graph.OpMaximum, b.row(graph.OpMinimum, d, name+".near", h.near), name+".near.below", far)
		r := b.add(graph.OpLog1p, b.row(graph.OpMul, clamped, name+".ratio", h.ratio))
		log = b.add(graph.OpWhere, b.add(graph.OpEq, d, clamped), r, b.row(graph.OpSub, log, name+".log", h.log))
	}
	y := b.row(graph.OpMul, b.add(graph.OpExpm1, b.row(graph.OpMul, log, name, h.lambda)), name+".factor", h.factor)
	if h.hasOffsets {
		y = b.row(graph.OpAdd, y, name+".offset", h.offset)
	}
	return y
}

func (t *power) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	b := &builder{g: g}
	var positive, negative half
	for i := range n {
		l, m, s := at(t.lambdas, i), 0., 1.
		if t.mean != nil {
			m = at(t.mean, i)
		}
		if t.scale != nil {
			s = at(t.scale, i)
		}
		if t.boxCox {
			positive.column(l, m, s, 0)
			continue
		}
		positive.column(l, m, s, 1)
		negative.column(2-l, -m, s, 1)
	}
	if t.boxCox {
		return b.done(positive.lower(b, "lambda", x, b.add(graph.OpLog, x)))
	}
	zero := g.Number(0, x)
	above := b.add(graph.OpMaximum, x, zero)
	below := b.add(graph.OpNeg, b.add(graph.OpMinimum, x, zero))
	y := positive.lower(b, "lambda", above, b.add(graph.OpLog1p, above))
	z := negative.lower(b, "lambda.negative", below, b.add(graph.OpLog1p, below))
	return b.done(b.add(graph.OpWhere, b.number(graph.OpLt, x, 0), b.add(graph.OpNeg, z), y))
}

func (t *power) String() string {
	text := "yeo-johnson, lambda " + list(t.lambdas)
	if t.boxCox {
		text = "box-cox, lambda " + list(t.lambdas)
	}
	if t.mean != nil || t.scale != nil {
		text += ", then " + (&normalize{mean: t.mean, std: t.scale}).String()
	}
	return text
}
