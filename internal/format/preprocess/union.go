package preprocess

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// featureUnion reads a FeatureUnion: the results of its transformers of the
// same row, side by side.
func featureUnion(o *pickle.Object) (*Preprocessor, error) {
	p := &Preprocessor{kind: o.Class.Name}
	v, _ := o.Attr("transformer_list")
	items, ok := pickle.Items(v)
	if !ok || len(items) > maxSteps {
		return nil, fmt.Errorf("transformer_list is a %s, a list of at most %d was wanted", pickle.TypeName(v), maxSteps)
	}
	var all []branch
	for i, item := range items {
		pair, ok := pickle.Items(item)
		if !ok || len(pair) != 2 {
			return nil, fmt.Errorf("transformer %d is not a pair of name and transformer", i)
		}
		q, err := transformer(pair[1])
		if err != nil {
			return nil, fmt.Errorf("transformer %d: %w", i, err)
		}
		if q == nil {
			continue
		}
		if q.width != 0 && p.width != 0 && q.width != p.width {
			return nil, fmt.Errorf("transformer %d takes %d values, those before it take %d", i, q.width, p.width)
		}
		p.width = max(p.width, q.width)
		name, _ := pair[0].(string)
		weight, err := weightOf(o, name)
		if err != nil {
			return nil, err
		}
		all = append(all, branch{p: q, weight: weight})
	}
	if p.width == 0 {
		return nil, fmt.Errorf("%w: no transformer says how many columns it takes", errNotFitted)
	}
	return p, p.fork(all)
}
