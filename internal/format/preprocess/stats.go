package preprocess

import (
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// statNames are the keys under which plain statistics are kept, by what they
// mean. Counts are there for continued training.
var statNames = map[string]string{
	"mean": "mean", "mean_": "mean", "obs_mean": "mean", "running_mean": "mean",
	"std": "std", "std_": "std", "scale": "std", "scale_": "std", "obs_std": "std",
	"var": "var", "var_": "var", "variance": "var", "obs_var": "var", "running_var": "var", "running_variance": "var",
	"eps": "eps", "epsilon": "eps",
	"clip": "clip", "clip_obs": "clip", "clip_range": "clip",
	"count": "count", "n": "count", "n_samples": "count", "n_samples_seen_": "count",
}

// fromStatistics reads a dict of arrays or numbers:
//
//	(x - mean) / (std + eps)       or       (x - mean) / sqrt(var + eps)
//
// clipped where it says so. Keys that mean nothing here are refused.
func fromStatistics(d *pickle.Dict) (*Preprocessor, error) {
	for _, l := range libraries {
		if l.wrote(d) {
			return l.read(d)
		}
	}
	found := make(map[string]*pickle.Array)
	for i := range d.Entries {
		key, ok := d.Entries[i].Key.(string)
		meaning, known := statNames[key]
		if !ok || !known {
			return nil, fmt.Errorf("%w: key %.64q in a dict of statistics; known are %s", ErrUnsupported, fmt.Sprint(d.Entries[i].Key), statKeys())
		}
		if _, twice := found[meaning]; twice {
			return nil, fmt.Errorf("key %q says again what another key says", key)
		}
		a, err := statArray(d.Entries[i].Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		found[meaning] = a
	}
	return statistics(found)
}

// statArray reads an array, a tensor, a list or a number.
func statArray(v pickle.Value) (*pickle.Array, error) {
	t, ok := v.(*graph.Tensor)
	if !ok {
		return pickle.Numbers(v)
	}
	a := &pickle.Array{Kind: 'f', Shape: t.Shape, Values: make([]float64, t.Len())}
	for i := range a.Values {
		a.Values[i] = t.At(i)
	}
	return a, nil
}

// statistics makes the preprocessor of arrays by their meaning.
func statistics(found map[string]*pickle.Array) (*Preprocessor, error) {
	p := &Preprocessor{kind: "statistics"}
	mean, hasMean := found["mean"]
	std, hasStd := found["std"]
	variance, hasVar := found["var"]
	switch {
	case !hasMean:
		return nil, fmt.Errorf("%w: statistics without a mean; known keys are %s", ErrUnsupported, statKeys())
	case hasStd == hasVar:
		return nil, fmt.Errorf("statistics need one of std and var; known keys are %s", statKeys())
	}
	eps := 0.0
	if a, ok := found["eps"]; ok {
		if len(a.Values) != 1 || !(a.Values[0] >= 0) {
			return nil, fmt.Errorf("eps is not a single number of at least 0")
		}
		eps = a.Values[0]
	}
	m := column{"mean", mean.Values}
	s := column{name: "std"}
	if hasStd {
		for _, v := range std.Values {
			s.values = append(s.values, v+eps)
		}
	} else {
		s.name = "sqrt(var)"
		for _, v := range variance.Values {
			s.values = append(s.values, math.Sqrt(v+eps))
		}
	}
	if err := m.offset(); err != nil {
		return nil, err
	}
	if err := s.divisor(); err != nil {
		return nil, err
	}
	var err error
	if p.width, err = widthOf(m, s); err != nil {
		return nil, err
	}
	p.steps = []step{&normalize{mean: m.values, std: s.values}}
	if a, ok := found["clip"]; ok {
		c, err := statClip(a.Values)
		if err != nil {
			return nil, err
		}
		p.steps = append(p.steps, c)
	}
	return p, nil
}

// statClip reads one limit for both sides, or two.
func statClip(v []float64) (*clip, error) {
	switch {
	case len(v) == 1 && v[0] > 0:
		return &clip{-v[0], v[0]}, nil
	case len(v) == 2 && v[0] <= v[1]:
		return &clip{v[0], v[1]}, nil
	}
	return nil, fmt.Errorf("clip is neither a positive number nor a pair of limits")
}

func statKeys() string {
	keys := make([]string, 0, len(statNames))
	for k := range statNames {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return strings.Join(keys, ", ")
}

// fromNPZ reads statistics from the arrays of an .npz archive.
func fromNPZ(z *torch.Zip) (*Preprocessor, error) {
	found := make(map[string]*pickle.Array)
	for _, name := range z.Names() {
		key, ok := strings.CutSuffix(name, ".npy")
		meaning, known := statNames[key]
		if !ok || !known {
			return nil, fmt.Errorf("%w: member %.64q in an archive of statistics; known arrays are %s", ErrUnsupported, name, statKeys())
		}
		if _, twice := found[meaning]; twice {
			return nil, fmt.Errorf("array %q says again what another array says", key)
		}
		b, err := z.Read(name)
		if err != nil {
			return nil, err
		}
		if found[meaning], err = decodeNPY(b); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return statistics(found)
}
