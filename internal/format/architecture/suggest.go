package architecture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Suggest makes a spec that fits the tensors, to be edited: the activations in
// it, and what else leaves no tensor, are a guess. It is nil where the tensors
// make no chain of layers. The notes say what was guessed, one sentence each.
func Suggest(tensors torch.StateDict) (*Spec, []string) {
	all := chains(tensors)
	if len(all) == 0 {
		return nil, nil
	}
	best := all[0]
	for _, c := range all[1:] {
		if c.score() > best.score() {
			best = c
		}
	}
	best = remembered(all, best)
	s := best.spec()
	notes := []string{"Activations are not in the file: those in the architecture are a guess to be checked."}
	if len(all) > 1 {
		notes = append(notes, fmt.Sprintf("The weights make %d chains of layers; the architecture is the one that ends in %s.", len(all), best[len(best)-1].key))
	}
	if n, ok := statistics(tensors, best[0].in); ok && best[0].op != "conv" {
		s.Layers = slices.Insert(s.Layers, 0, n)
		notes = append(notes, "The statistics are taken to be of the input; eps and clip of normalize are not in the file: check them.")
	}
	if slices.ContainsFunc(best, part.image) {
		notes = append(notes, "Stride and padding of convolutions, and pooling, are not in the file: add them, and give the shape of the input.")
	}
	return s, notes
}

// part is a layer that its tensors show.
type part struct {
	op      string // linear, conv, conv_transpose, layer_norm, batch_norm, lstm, gru, rnn
	key     string
	parent  string // of network.0: network
	index   int    // of network.0: 0; -1 where the last part is no number
	in, out int
	bias    bool
}

// image reports whether a part takes images.
func (p part) image() bool { return p.op == "conv" || p.op == "conv_transpose" }

// memory reports whether a part carries state.
func (p part) memory() bool { return p.op == "lstm" || p.op == "gru" || p.op == "rnn" }

// norm reports whether a part only scales what it takes.
func (p part) norm() bool { return p.op == "layer_norm" || p.op == "batch_norm" }

// chain is layers each of which takes what the one before gives.
type chain []part

// parts lists the layers of a file in its order.
func parts(tensors torch.StateDict) []part {
	shapes := make(map[string]graph.Shape, len(tensors))
	for _, t := range tensors {
		shapes[t.Name] = t.Tensor.Shape
	}
	var list []part
	for _, t := range tensors {
		s := t.Tensor.Shape
		key, ok := cutWeight(t.Name)
		step, recurrent := cutRecurrent(t.Name)
		if recurrent {
			key = step
		}
		if !ok && !recurrent || !t.Tensor.DType.IsFloat() {
			continue
		}
		p := part{key: key, index: -1}
		_, running := shapes[join(key, "running_mean")]
		b, bias := shapes[join(key, "bias")]
		p.bias = bias
		switch {
		case recurrent:
			p.op, p.in, p.out = recurrentPart(key, shapes)
			if p.op == "" {
				continue
			}
		case len(s) == 2:
			p.op, p.out, p.in = "linear", s[0], s[1]
		case len(s) >= 3 && len(s) <= 5:
			p.op, p.out, p.in = "conv", s[0], s[1]
			// The weight of a transposed one begins with what it takes.
			if len(b) == 1 && b[0] != s[0] && s[1] > 0 && b[0]%s[1] == 0 {
				p.op, p.in, p.out = "conv_transpose", s[0], b[0]
			}
		case len(s) == 1 && running:
			p.op, p.in, p.out = "batch_norm", s[0], s[0]
		case len(s) == 1 && bias:
			p.op, p.in, p.out = "layer_norm", s[0], s[0]
		default:
			continue
		}
		last := key
		if i := strings.LastIndexByte(key, '.'); i >= 0 {
			p.parent, last = key[:i], key[i+1:]
		}
		if n, err := strconv.Atoi(last); err == nil && n >= 0 {
			p.index = n
		}
		list = append(list, p)
	}
	return list
}

// cutWeight returns the prefix of the name of a weight, in any of its forms.
func cutWeight(name string) (string, bool) {
	for _, end := range []string{"weight", "weight_v", "weight_orig", "parametrizations.weight.original1", "parametrizations.weight.original"} {
		if name == end {
			return "", true
		}
		if key, ok := strings.CutSuffix(name, "."+end); ok {
			return key, true
		}
	}
	return "", false
}

// follows reports whether a layer can take what the chain gives.
func (c chain) follows(p part) bool {
	last := c[len(c)-1]
	switch {
	case (p.op == "linear" || p.memory()) && c.spatial(): // a flatten between them
		return p.in >= last.out && p.in%max(last.out, 1) == 0
	case p.op == "conv":
		// A conv in groups takes a part of the channels.
		return c.spatial() && p.in > 0 && last.out%p.in == 0
	case p.op == "conv_transpose":
		return c.spatial() && p.in == last.out
	}
	return p.in == last.out
}

// spatial reports whether the chain is at an image still.
func (c chain) spatial() bool {
	for _, p := range slices.Backward(c) {
		switch {
		case p.image():
			return true
		case p.op == "linear", p.memory():
			return false
		}
	}
	return false
}

// chains puts layers together: one goes to the chain of its own parent, or to
// the first that it follows; a numbered list that takes what another chain
// takes begins a new one, as a critic beside an actor.
func chains(tensors torch.StateDict) []chain {
	var all []chain
next:
	for _, p := range parts(tensors) {
		for i, c := range all {
			if c[len(c)-1].parent != p.parent {
				continue
			}
			if c.follows(p) {
				all[i] = append(c, p)
				continue next
			}
			// Of a convolution without bias only the place tells which one it is.
			if turned := p; p.op == "conv" && !p.bias {
				turned.op, turned.in, turned.out = "conv_transpose", p.out, p.in
				if c.follows(turned) {
					all[i] = append(c, turned)
					continue next
				}
			}
		}
		for i, c := range all {
			if c[len(c)-1].parent != p.parent && c.follows(p) && !(p.index == 0 && !p.image() && !c.spatial() && p.in == all[0][0].in) {
				all[i] = append(c, p)
				continue next
			}
		}
		if p.norm() {
			continue
		}
		if b := branch(all, p); b != nil {
			all = append(all, b)
		} else {
			all = append(all, chain{p})
		}
	}
	return all
}

// branch is a second head on the trunk of a chain, which ends in another: the
// trunk with the layer; nil where it fits on none.
func branch(all []chain, p part) chain {
	if len(all) == 0 || p.index == 0 && p.in == all[0][0].in {
		return nil
	}
	for _, c := range all {
		for k := len(c) - 1; k > 0; k-- {
			if trunk := c[:k]; trunk.follows(p) && trunk[k-1].parent != p.parent {
				return append(slices.Clone(trunk), p)
			}
		}
	}
	return nil
}

// score prefers long chains, and those of an actor to those of a critic.
func (c chain) score() int {
	for _, p := range c {
		if ofCritic(p.key) {
			return len(c) - 1000
		}
	}
	return len(c)
}

// ofCritic reports whether a key is one of what judges and does not act.
func ofCritic(key string) bool {
	words := strings.FieldsFunc(strings.ToLower(key), func(r rune) bool { return r == '.' || r == '_' || r >= '0' && r <= '9' })
	return slices.ContainsFunc(words, func(word string) bool {
		switch word {
		case "critic", "value", "vf", "qf", "target", "qnet", "v":
			return true
		}
		return false
	})
}

// spec writes the chain with an activation wherever the numbers of the layers
// leave room for a module without tensors, or between all where they have
// none, and a flatten between images and rows.
func (c chain) spec() *Spec {
	s := &Spec{}
	add := func(op string) { s.Layers = append(s.Layers, Layer{Op: op}) }
	for i, p := range c {
		if i > 0 {
			last := c[i-1]
			numbered := last.parent == p.parent && last.index >= 0 && p.index >= 0
			if numbered && p.index-last.index > 1 || !numbered && !p.norm() && !last.memory() {
				add("relu")
			}
			if (p.op == "linear" || p.memory()) && c[:i].spatial() {
				add("flatten")
			}
		}
		l := Layer{Op: p.op, Key: p.key}
		if p.op == "conv" && i > 0 && c[i-1].out != p.in {
			l.set("groups", int64(c[i-1].out/p.in))
		}
		s.Layers = append(s.Layers, l)
	}
	return s
}
