package preprocess

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// Maxima of what a file can be put together from; parts that it names more
// than once count each time.
const (
	maxSteps  = 64
	maxValues = 1 << 24 // numbers that all steps hold
)

// pipeline reads the steps of a Pipeline one after the other.
func pipeline(o *pickle.Object) (*Preprocessor, error) {
	p := &Preprocessor{kind: o.Class.Name}
	v, _ := o.Attr("steps")
	items, ok := pickle.Items(v)
	if !ok || len(items) > maxSteps {
		return nil, fmt.Errorf("steps are a %s, a list of at most %d was wanted", pickle.TypeName(v), maxSteps)
	}
	for i, item := range items {
		pair, ok := pickle.Items(item)
		if !ok || len(pair) != 2 {
			return nil, fmt.Errorf("step %d is not a pair of name and transformer", i)
		}
		if passes(pair[1]) {
			continue
		}
		obj, ok := pair[1].(*pickle.Object)
		if !ok {
			return nil, fmt.Errorf("%w: step %d that is a %s", ErrUnsupported, i, pickle.TypeName(pair[1]))
		}
		q, err := fromObject(obj)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if err := p.then(q); err != nil {
			return nil, fmt.Errorf("step %d %w", i, err)
		}
	}
	return p, nil
}

// passes reports whether a transformer leaves rows as they are.
func passes(v pickle.Value) bool { return v == "passthrough" || v == (pickle.None{}) }

// then appends the steps of another preprocessor.
func (p *Preprocessor) then(q *Preprocessor) error {
	if have := p.gives(); q.width != 0 && have != 0 && q.width != have {
		return fmt.Errorf("takes %d values, the steps before it give %d", q.width, have)
	}
	if q.features != nil && len(p.steps) > 0 {
		return errors.New("takes named features, the steps before it give a row")
	}
	if q.features != nil {
		p.features = q.features
	}
	if p.width == 0 { // all steps so far give as many values as they take
		p.width = q.width
	}
	if q.out != 0 {
		p.out = q.out
	}
	p.values += q.values
	p.steps = append(p.steps, q.steps...)
	p.notes = append(p.notes, q.notes...)
	return p.bounded()
}

// bounded refuses a preprocessor of too many parts.
func (p *Preprocessor) bounded() error {
	switch {
	case countSteps(p.steps) > maxSteps:
		return fmt.Errorf("%w: more than %d steps", pickle.ErrLimit, maxSteps)
	case p.values > maxValues:
		return fmt.Errorf("%w: more than %d numbers in its steps", pickle.ErrLimit, maxValues)
	}
	return nil
}

// countSteps counts also the steps of branches, and the branches.
func countSteps(steps []step) int {
	n := len(steps)
	for _, s := range steps {
		if b, ok := s.(*branches); ok {
			for i := range b.all {
				n += 1 + countSteps(b.all[i].p.steps)
			}
		}
	}
	return n
}
