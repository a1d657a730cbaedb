package artifact

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DistributionKinds are the distributions that a card may name. A gsde is only
// that of an agent whose file says so itself.
var DistributionKinds = []string{"gaussian", "squashed_gaussian", "gsde", "categorical", "multi_categorical", "bernoulli", "beta"}

// Distribution says what the actions are drawn from, of a policy whose file
// gives only the parameters.
type Distribution struct {
	Kind string // one of DistributionKinds
	// Params says where the parameters are, by their names (mean, std, log_std,
	// scale, shift, logits, probs, alpha, beta). What is not there is to be found.
	Params map[string]ParamSource
	// Sizes are the numbers of categories of each part of a multi_categorical;
	// nil where they are to be found.
	Sizes []int
	// Deterministic is "mean" or "mode": the action without a draw; empty where
	// the card does not say.
	Deterministic string
	// Low and High are the range of a beta, one number for all actions or one
	// each; nil where it is that of the actions.
	Low, High []float64
	// Masks tells whether requests may say which categories are allowed.
	Masks bool
	Line  int // of the card
}

// ParamSource says where a parameter of a distribution is. One of Name, Names,
// Output, Tensor and Constant is given.
type ParamSource struct {
	Name     string   // of an output of the network, or of a tensor of the file
	Names    []string // of outputs that are joined
	Output   *int     // position among the outputs, from 0
	Tensor   string   // of the file
	Constant []float64

	// Start and End are the part of the output's values that is the parameter;
	// nil for the first and behind the last.
	Start, End *int
	// Transform is applied to it: "softplus", "softplus_plus_one", "exp" or empty.
	Transform string
	// Min and Max are the range that it is cut to, behind the transformation; nil for none.
	Min, Max *float64
}

// paramsOf are the parameters of each kind.
var paramsOf = map[string][]string{
	"gaussian":          {"mean", "std", "log_std"},
	"squashed_gaussian": {"mean", "std", "log_std", "scale", "shift"},
	"categorical":       {"logits", "probs"},
	"multi_categorical": {"logits", "probs"},
	"bernoulli":         {"logits", "probs"},
	"beta":              {"alpha", "beta"},
}

// exclusive are parameters of which one says what the other would.
var exclusive = [][2]string{{"std", "log_std"}, {"logits", "probs"}}

var sourceKeys = []string{"output", "tensor", "start", "end", "transform", "min", "max"}

// distribution reads a word, or a mapping with the kind and its parameters.
func (r *cardReader) distribution(n *yaml.Node, field string) *Distribution {
	d := &Distribution{Line: n.Line, Params: map[string]ParamSource{}}
	if n.Kind != yaml.MappingNode {
		d.Kind = r.oneOf(n, field, DistributionKinds...)
		return d
	}
	m := r.mapping(n, field)
	kind, ok := find(m, "kind")
	if !ok {
		r.fail(n, dotted(field, "kind"), "this key is required and is not there")
		return nil
	}
	if d.Kind = r.oneOf(kind.value, dotted(field, "kind"), DistributionKinds...); d.Kind == "" {
		return nil
	}
	known := slices.Concat([]string{"kind", "deterministic"}, paramsOf[d.Kind])
	switch d.Kind {
	case "categorical":
		known = append(known, "masks")
	case "multi_categorical":
		known = append(known, "masks", "sizes")
	case "beta":
		known = append(known, "low", "high")
	}
	for _, p := range m {
		sub := dotted(field, p.name)
		switch {
		case !slices.Contains(known, p.name):
			r.unknown(p.key, sub, known, false)
		case p.name == "kind":
		case p.name == "deterministic":
			d.Deterministic = r.oneOf(p.value, sub, "mean", "mode")
		case p.name == "masks":
			d.Masks = r.boolean(p.value, sub)
		case p.name == "sizes":
			d.Sizes = r.sizes(p.value, sub)
		case p.name == "low":
			d.Low = flat(nil, r.values(p.value, sub))
		case p.name == "high":
			d.High = flat(nil, r.values(p.value, sub))
		default:
			d.Params[p.name] = r.source(p.value, sub)
		}
	}
	for _, pair := range exclusive {
		_, first := d.Params[pair[0]]
		if _, second := d.Params[pair[1]]; first && second {
			r.fail(n, field, "%s and %s say the same; give one of them", pair[0], pair[1])
		}
	}
	if d.Deterministic == "mean" && slices.Contains([]string{"categorical", "multi_categorical", "bernoulli"}, d.Kind) {
		r.fail(n, dotted(field, "deterministic"), "the mean of categories is none of them; want mode")
	}
	if (d.Low == nil) != (d.High == nil) {
		r.fail(n, field, "low and high go together")
	}
	return d
}

func (r *cardReader) sizes(n *yaml.Node, field string) []int {
	var out []int
	for i, item := range r.sequence(n, field, maxFeatures) {
		out = append(out, r.integer(item, field+"["+strconv.Itoa(i)+"]", 1, maxShapeSize))
	}
	if len(out) == 0 {
		r.fail(n, field, "want at least one number of categories")
	}
	return out
}

// source reads where a parameter is: a name, names, numbers, or a mapping.
func (r *cardReader) source(n *yaml.Node, field string) ParamSource {
	var s ParamSource
	switch {
	case n.Kind == yaml.MappingNode:
		return r.sourceMapping(n, field)
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0 && n.Content[0].Tag == "!!str":
		for i, item := range r.sequence(n, field, maxFeatures) {
			s.Names = append(s.Names, r.text(item, field+"["+strconv.Itoa(i)+"]"))
		}
	case n.Kind == yaml.SequenceNode || n.Tag != "!!str":
		s.Constant = flat(nil, r.values(n, field))
	default:
		s.Name = r.text(n, field)
	}
	return s
}

func (r *cardReader) sourceMapping(n *yaml.Node, field string) ParamSource {
	var s ParamSource
	given := 0
	for _, p := range r.mapping(n, field) {
		sub := dotted(field, p.name)
		switch p.name {
		case "output":
			given++
			if p.value.Tag == "!!int" {
				at := r.integer(p.value, sub, 0, maxFeatures)
				s.Output = &at
			} else {
				s.Names = []string{r.text(p.value, sub)}
			}
		case "tensor":
			given++
			s.Tensor = r.text(p.value, sub)
		case "start":
			at := r.integer(p.value, sub, 0, maxShapeSize)
			s.Start = &at
		case "end":
			at := r.integer(p.value, sub, 1, maxShapeSize)
			s.End = &at
		case "transform":
			s.Transform = r.oneOf(p.value, sub, "softplus", "softplus_plus_one", "exp")
		case "min":
			s.Min = r.bound(p.value, sub)
		case "max":
			s.Max = r.bound(p.value, sub)
		default:
			r.unknown(p.key, sub, sourceKeys, false)
		}
	}
	if given != 1 {
		r.fail(n, field, "want one of %s", strings.Join(sourceKeys[:2], ", "))
	}
	if s.Min != nil && s.Max != nil && *s.Min > *s.Max {
		r.fail(n, field, "min is above max: %v > %v", *s.Min, *s.Max)
	}
	return s
}
