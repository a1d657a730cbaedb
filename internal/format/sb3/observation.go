package sb3

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// observationInput is the name of the input of a policy whose observation is
// not a Dict.
const observationInput = "obs"

// inputs lists the inputs of the graph. An image is taken as environments have
// it, with the channels last, unless the caller gives its shape as the policy
// stores it, with the channels first.
func (p *Policy) inputs(shapes map[string][]int) []Input {
	one := func(name string, s *Space) Input {
		in := Input{Name: name, Space: s, Shape: append(graph.Shape{graph.Batch}, s.Shape...)}
		if s.Image() && !slices.Equal(shapes[name], []int(in.Shape)) {
			in.Shape = graph.Shape{graph.Batch, s.Shape[1], s.Shape[2], s.Shape[0]}
		}
		return in
	}
	space := p.goalOf(shapes)
	if space.Kind != Dict {
		return []Input{one(observationInput, space)}
	}
	var out []Input
	for i, key := range space.Keys {
		out = append(out, one(key, space.Spaces[i]))
	}
	return out
}

// observe adds the inputs and the library's preprocessing: the values that the
// features extractors take, one for each part of the observation.
func (b *builder) observe(shapes map[string][]int) []*graph.Value {
	var out []*graph.Value
	inputs := b.p.inputs(shapes)
	for _, in := range inputs {
		if want := shapes[in.Name]; len(want) > 0 && product(want[1:]) != product(in.Shape[1:]) {
			b.fail("input %s has the shape %v, %v was given", in.Name, in.Shape, want)
			return nil
		}
		shape := append(graph.Shape{b.rows}, in.Shape[1:]...)
		x := b.input(in.Name, graph.Float32, shape)
		out = append(out, b.preprocess(x, in.Space))
	}
	return b.joinGoal(inputs, out)
}

// preprocess is preprocess_obs: images from 0 to 1 with the channels first,
// one-hot rows of categories, everything as f32.
func (b *builder) preprocess(x *graph.Value, s *Space) *graph.Value {
	switch s.Kind {
	case Discrete:
		return b.oneHot(b.reshape(x, b.rows, 1), s.N[0])
	case MultiDiscrete:
		var parts []*graph.Value
		for i, n := range s.N {
			parts = append(parts, b.oneHot(b.slice(x, i, i+1), n))
		}
		return b.concat(parts...)
	}
	if !s.Image() {
		return x
	}
	if !slices.Equal([]int(x.Shape[1:]), s.Shape) {
		x = b.add(graph.OpTranspose, graph.Attrs{"perm": []int{0, 3, 1, 2}}, x)
	}
	if b.p.options.normalizeImages {
		x = b.add(graph.OpDiv, nil, x, b.number(255))
	}
	return x
}

// oneHot makes of a column of categories rows of 0 and 1.
func (b *builder) oneHot(x *graph.Value, n int) *graph.Value {
	index := make([]float32, n)
	for i := range index {
		index[i] = float32(i)
	}
	hot := b.add(graph.OpEq, nil, x, b.row("", index))
	return b.add(graph.OpCast, graph.Attrs{"dtype": graph.Float32}, hot)
}

// extract applies the features extractor whose weights have a prefix.
func (b *builder) extract(obs []*graph.Value, prefix string) *graph.Value {
	o, space := &b.p.options, b.p.row
	if b.err != nil {
		return nil
	}
	if (space.Kind == Dict) != (o.extractor == combinedExtractor) {
		return b.fail("%w: %s with the features extractor %s on %s", ErrUnsupported, b.p.class.name.Name, o.extractor, space.Kind)
	}
	switch o.extractor {
	case natureCNN:
		return b.natureCNN(obs[0], space, prefix)
	case combinedExtractor:
		var parts []*graph.Value
		for i, key := range space.Keys {
			// With images that are normalised already, everything of three
			// dimensions is one, which depends on the version too: the weights
			// tell.
			name, sub := prefix+".extractors."+key, space.Spaces[i]
			if sub.Image() || sub.Kind == Box && len(sub.Shape) == 3 && b.hasBelow(name+".cnn.") {
				parts = append(parts, b.natureCNN(obs[i], sub, name))
			} else {
				parts = append(parts, b.flatten(obs[i], sub))
			}
		}
		return b.concat(parts...)
	}
	return b.flatten(obs[0], space)
}

func (b *builder) flatten(x *graph.Value, s *Space) *graph.Value {
	return b.reshape(x, b.rows, s.Width())
}

// natureCNN is the network of the DQN paper: three convolutions of strides 4, 2
// and 1, and a linear layer, each followed by ReLU.
func (b *builder) natureCNN(x *graph.Value, s *Space, prefix string) *graph.Value {
	if b.err == nil && len(s.Shape) != 3 {
		return b.fail("%w: %s on an observation of shape %v", ErrUnsupported, natureCNN, s.Shape)
	}
	for i, stride := range []int{4, 2, 1} {
		name := prefix + ".cnn." + string(rune('0'+2*i))
		w, bias := b.parameter(name+".weight", 4), b.parameter(name+".bias", 1)
		x = b.add(graph.OpConv, graph.Attrs{"stride": []int{stride, stride}}, x, w, bias)
		x = b.add(graph.OpRelu, nil, x)
	}
	if b.err != nil {
		return nil
	}
	x = b.reshape(x, b.rows, product(x.Shape[1:]))
	return b.add(graph.OpRelu, nil, b.linear(x, prefix+".linear.0"))
}
