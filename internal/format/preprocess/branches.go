package preprocess

import (
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// branch is a preprocessor of some columns of a row.
type branch struct {
	columns []int // nil for all
	p       *Preprocessor
	weight  float64
}

// branches gives the results of several preprocessors of one row side by side.
type branches struct {
	all []branch
}

// fork makes a preprocessor of branches. Its width is already known.
func (p *Preprocessor) fork(all []branch) error {
	if len(all) == 0 {
		return fmt.Errorf("%w: all columns are dropped", ErrUnsupported)
	}
	for _, b := range all {
		n := p.width
		if b.columns != nil {
			n = len(b.columns)
		}
		switch {
		case b.p.features != nil:
			return fmt.Errorf("%w: %s, which takes named features, beside others", ErrUnsupported, b.p.kind)
		case b.p.width != 0 && b.p.width != n:
			return fmt.Errorf("%s takes %d values, the columns are %d", b.p.kind, b.p.width, n)
		case b.p.out != 0:
			n = b.p.out
		}
		p.values += b.p.values
		p.notes = append(p.notes, b.p.notes...)
		if p.out += n; p.out > maxDerived {
			return fmt.Errorf("%w: more than %d values side by side", pickle.ErrLimit, maxDerived)
		}
	}
	p.steps = []step{&branches{all}}
	return p.bounded()
}

func (s *branches) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	var parts []*graph.Value
	for _, b := range s.all {
		part := x
		var err error
		if b.columns != nil {
			if part, err = take(g, x, b.columns); err != nil {
				return nil, err
			}
		}
		if part, err = lowerAll(g, part, b.p.steps); err != nil {
			return nil, fmt.Errorf("%s: %w", b.p.kind, err)
		}
		if b.weight != 1 {
			if part, err = g.Add(graph.OpMul, nil, part, g.Number(b.weight, part)); err != nil {
				return nil, err
			}
		}
		parts = append(parts, part)
	}
	return concat(g, parts)
}

func (s *branches) String() string {
	var lines []string
	for _, b := range s.all {
		text := "all columns"
		if b.columns != nil {
			text = "columns " + listInts(b.columns)
		}
		for _, s := range b.p.steps {
			text += ", " + s.String()
		}
		if b.weight != 1 {
			text += fmt.Sprintf(", times %g", b.weight)
		}
		lines = append(lines, text)
	}
	return "side by side: " + strings.Join(lines, "; ")
}

// transformer reads an entry of a union: nil where it is dropped.
func transformer(v pickle.Value) (*Preprocessor, error) {
	if v == "drop" {
		return nil, nil
	}
	if passes(v) {
		return &Preprocessor{kind: "passthrough"}, nil
	}
	o, ok := v.(*pickle.Object)
	if !ok {
		return nil, fmt.Errorf("%w: transformer that is a %s", ErrUnsupported, pickle.TypeName(v))
	}
	return fromObject(o)
}

// weightOf reads the weight of a named transformer, 1 where it has none.
func weightOf(o *pickle.Object, name string) (float64, error) {
	v, ok := o.Attr("transformer_weights")
	if !ok || v == (pickle.None{}) {
		return 1, nil
	}
	d, ok := v.(*pickle.Dict)
	if !ok {
		return 0, fmt.Errorf("transformer_weights are a %s, a dict was wanted", pickle.TypeName(v))
	}
	if v, ok = d.Get(name); !ok {
		return 1, nil
	}
	n, ok := pickle.Number(v)
	if !ok || float32(n)-float32(n) != 0 {
		return 0, fmt.Errorf("transformer_weights[%.64q] is a %s, a finite number was wanted", name, pickle.TypeName(v))
	}
	return n, nil
}
