package architecture

import (
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// cutRecurrent returns the prefix of the first weight of a recurrent layer.
func cutRecurrent(name string) (string, bool) {
	if name == "weight_ih_l0" {
		return "", true
	}
	return strings.CutSuffix(name, ".weight_ih_l0")
}

// recurrentPart tells a recurrent layer by the gates of its weights
// [gates·hidden,hidden]: four of an lstm, three of a gru, one of an rnn. The
// name is empty where it is none that runs forward, step by step.
func recurrentPart(key string, shapes map[string]graph.Shape) (op string, in, out int) {
	x, h := shapes[join(key, "weight_ih_l0")], shapes[join(key, "weight_hh_l0")]
	_, reverse := shapes[join(key, "weight_ih_l0_reverse")]
	if len(x) != 2 || len(h) != 2 || h[1] < 1 || h[0] != x[0] || reverse {
		return "", 0, 0
	}
	gates := map[int]string{4: "lstm", 3: "gru", 1: "rnn"}
	if h[0]%h[1] != 0 {
		return "", 0, 0
	}
	return gates[h[0]/h[1]], x[1], h[1]
}

// remembered puts a chain that ends in a recurrent layer before the one that
// takes what it gives, where the file has them the other way around.
func remembered(all []chain, best chain) chain {
	if slices.ContainsFunc(best, part.memory) {
		return best
	}
	for _, c := range all {
		if c[len(c)-1].memory() && c.score() > 0 && c.follows(best[0]) {
			return append(slices.Clone(c), best...)
		}
	}
	return best
}

// statistics finds the statistics of an input of some width, which are a mean
// beside a variance or a standard deviation and belong to no batch norm.
func statistics(tensors torch.StateDict, width int) (Layer, bool) {
	shapes := make(map[string]graph.Shape, len(tensors))
	for _, t := range tensors {
		shapes[t.Name] = t.Tensor.Shape
	}
	of := func(name string) bool {
		s, ok := shapes[name]
		return ok && width > 1 && len(s) > 0 && s[len(s)-1] == width && s.RowElements() == width
	}
	for _, t := range tensors {
		key, ok := strings.CutSuffix(t.Name, "mean")
		if !ok || !of(t.Name) || ofCritic(key) || shapes[key[:strings.LastIndexByte(key, '.')+1]+"num_batches_tracked"] != nil {
			continue
		}
		if _, affine := shapes[strings.TrimSuffix(key, "running_")+"weight"]; affine {
			continue
		}
		l := Layer{Op: "normalize"}
		l.set("mean", t.Name)
		switch {
		case of(key + "std"):
			l.set("std", key+"std")
			l.set("eps", 0.01) // as rsl_rl
		case of(key + "var"):
			l.set("var", key+"var")
			l.set("eps", 1e-5)
			l.set("clip", 5.0) // as rl_games and Sample Factory
		default:
			continue
		}
		return l, true
	}
	return Layer{}, false
}
