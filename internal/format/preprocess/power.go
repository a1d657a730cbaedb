package preprocess

import (
	"errors"
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// power computes the transformation of Box and Cox, (x^λ - 1) / λ, or that of
// Yeo and Johnson, which is the one of x + 1 for positive x and that of -x + 1
// with 2 - λ, negated, for negative x.
type power struct {
	lambdas []float64
	boxCox  bool
}

// smallestLambda stands for λ = 0, the logarithm: closer to it than float32
// shows, and far enough from zero to be divided by.
const smallestLambda = 1e-9

// maxLambda bounds λ. Fitted ones lie between -10 and 10.
const maxLambda = 1e6

// powerTransformer reads a PowerTransformer and the StandardScaler that it
// applies afterwards.
func powerTransformer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	boxCox := s.text("method", "yeo-johnson", "box-cox") == "box-cox"
	lambdas := s.offsets("lambdas_")
	for i, l := range lambdas.values {
		if math.Abs(l) > maxLambda {
			s.fail(fmt.Errorf("lambdas_[%d] is %g", i, l))
		}
	}
	p, err := s.done([]step{&power{lambdas.values, boxCox}}, lambdas)
	if err != nil || !s.flag("standardize", true) {
		return p, errors.Join(err, s.err)
	}
	v, _ := o.Attr("_scaler")
	scaler, ok := v.(*pickle.Object)
	if !ok {
		return nil, fmt.Errorf("%w: _scaler is a %s", errNotFitted, pickle.TypeName(v))
	}
	q, err := fromObject(scaler)
	if err == nil {
		err = p.then(q)
	}
	if err != nil {
		return nil, fmt.Errorf("_scaler: %w", err)
	}
	return p, nil
}

func (s *power) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	b := &builder{g: g}
	lambdas := make([]float32, n)
	mirrored := make([]float32, n)
	for i := range n {
		l := at(s.lambdas, i)
		lambdas[i], mirrored[i] = exponent(l), exponent(2-l)
	}
	if s.boxCox {
		return b.done(b.boxCox(b.add(graph.OpLog, x), "lambda", lambdas))
	}
	// Each half is 0 where the other one counts.
	zero := g.Number(0, x)
	positive := b.add(graph.OpLog1p, b.add(graph.OpMaximum, x, zero))
	negative := b.add(graph.OpLog1p, b.add(graph.OpNeg, b.add(graph.OpMinimum, x, zero)))
	return b.done(b.add(graph.OpSub,
		b.boxCox(positive, "lambda", lambdas),
		b.boxCox(negative, "lambda.negative", mirrored)))
}

// exponent returns λ in float32, never 0.
func exponent(l float64) float32 {
	if math.Abs(l) < smallestLambda {
		return smallestLambda
	}
	return float32(l)
}

// boxCox computes (exp(λ·log) - 1) / λ.
func (b *builder) boxCox(log *graph.Value, name string, lambdas []float32) *graph.Value {
	return b.row(graph.OpDiv, b.add(graph.OpExpm1, b.row(graph.OpMul, log, name, lambdas)), name, lambdas)
}

func (s *power) String() string {
	if s.boxCox {
		return "box-cox, lambda " + list(s.lambdas)
	}
	return "yeo-johnson, lambda " + list(s.lambdas)
}
