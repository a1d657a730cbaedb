package preprocess

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// maxKeys bounds the keys of a dict observation.
const maxKeys = 4096

// vecNormalize reads clip((x - mean) / sqrt(var + epsilon)) of
// stable-baselines3, as it is at test time: the statistics stand still,
// whatever `training` says, and rewards do not matter. An observation that is a
// dict has statistics for each of its keys in norm_obs_keys.
func vecNormalize(o *pickle.Object) (*Preprocessor, error) {
	p := &Preprocessor{kind: o.Class.Name}
	on, err := boolAttr(o, "norm_obs")
	if err != nil {
		return nil, err
	}
	if !on {
		p.notes = append(p.notes, "norm_obs is false: only rewards were normalised")
		return p, nil
	}
	epsilon, err := positive(o, "epsilon")
	if err != nil {
		return nil, err
	}
	bound, err := positive(o, "clip_obs")
	if err != nil {
		return nil, err
	}
	v, _ := o.Attr("obs_rms")
	if rms, ok := v.(*pickle.Dict); ok {
		return p, p.namedStatistics(o, rms, epsilon, bound)
	}
	if keys, ok := o.Attr("norm_obs_keys"); ok && keys != (pickle.None{}) {
		return nil, errors.New("norm_obs_keys is set and obs_rms is not a dict")
	}
	p.shape, p.steps, err = runningStatistics(v, "obs_rms", epsilon, bound)
	p.width = product(p.shape)
	return p, err
}

// namedStatistics reads the statistics of the parts of an observation.
func (p *Preprocessor) namedStatistics(o *pickle.Object, rms *pickle.Dict, epsilon, bound float64) error {
	keys, err := normalizedKeys(o, rms)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		v, ok := rms.Get(key)
		switch {
		case !ok:
			return fmt.Errorf("norm_obs_keys names %.64q, which obs_rms has no statistics of", key)
		case seen[key]: // The library would normalise the raw value again, to the same.
			continue
		}
		seen[key] = true
		shape, steps, err := runningStatistics(v, fmt.Sprintf("obs_rms[%.64q]", key), epsilon, bound)
		if err != nil {
			return err
		}
		p.parts = append(p.parts, part{key, shape, product(shape), steps})
	}
	if len(p.parts) == 0 {
		p.notes = append(p.notes, "norm_obs_keys is empty: no part of the observation was normalised")
	}
	return nil
}

// normalizedKeys returns norm_obs_keys. Before version 1.2 there was no such
// attribute, and every key was normalised.
func normalizedKeys(o *pickle.Object, rms *pickle.Dict) ([]string, error) {
	var items []pickle.Value
	if v, ok := o.Attr("norm_obs_keys"); ok && v != (pickle.None{}) {
		if items, ok = pickle.Items(v); !ok {
			return nil, fmt.Errorf("norm_obs_keys is a %s, a list of names was wanted", pickle.TypeName(v))
		}
	} else {
		for _, e := range rms.Entries {
			items = append(items, e.Key)
		}
	}
	if len(items) > maxKeys {
		return nil, fmt.Errorf("%w: %d keys, at most %d are read", pickle.ErrLimit, len(items), maxKeys)
	}
	keys := make([]string, len(items))
	for i, v := range items {
		key, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("a key of the observation is a %s, a text was wanted", pickle.TypeName(v))
		}
		keys[i] = key
	}
	return keys, nil
}

// runningStatistics reads a RunningMeanStd, and the shape of an observation.
// Statistics of images are those of the row that an image makes.
func runningStatistics(v pickle.Value, name string, epsilon, bound float64) ([]int, []step, error) {
	r, ok := v.(*pickle.Object)
	if !ok || r.Class.Name != "RunningMeanStd" {
		return nil, nil, fmt.Errorf("%s is a %s, a RunningMeanStd was wanted", name, pickle.TypeName(v))
	}
	mean, shape, err := running(r, name, "mean")
	if err != nil {
		return nil, nil, err
	}
	variance, of, err := running(r, name, "var")
	if err != nil {
		return nil, nil, err
	}
	if len(mean.values) != len(variance.values) {
		return nil, nil, fmt.Errorf("%s: %d means and %d variances", name, len(mean.values), len(variance.values))
	}
	if !slices.Equal(shape, of) {
		return nil, nil, fmt.Errorf("%s: means of shape %v and variances of shape %v", name, shape, of)
	}
	std := column{fmt.Sprintf("sqrt(%s.var + epsilon)", name), make([]float64, len(variance.values))}
	for i, v := range variance.values {
		std.values[i] = math.Sqrt(v + epsilon)
	}
	if err := std.divisor(); err != nil {
		return nil, nil, err
	}
	if _, err := widthOf(mean); err != nil {
		return nil, nil, err
	}
	steps := []step{&normalize{mean.values, std.values, unvaried(r, mean.values, variance.values, epsilon)}}
	if !math.IsInf(bound, 1) {
		steps = append(steps, &clip{-bound, bound})
	}
	return shape, steps, nil
}

// unvaried tells of which values the variance is what a RunningMeanStd gives
// those that are always the same: it begins with 1e-4 observations of mean 0
// and variance 1, which are never forgotten.
func unvaried(r *pickle.Object, mean, variance []float64, epsilon float64) []bool {
	const first = 1e-4
	v, _ := r.Attr("count")
	count, ok := pickle.Number(v)
	if !ok || !(count > 1) {
		count = math.Inf(1)
	}
	same := make([]bool, len(variance))
	for i, m := range mean {
		same[i] = variance[i] <= max(epsilon, 2*(1+m*m)*first/count)
	}
	return same
}

// running reads a statistic of a RunningMeanStd, flattened to a row, and its
// shape.
func running(r *pickle.Object, name, attr string) (column, []int, error) {
	v, _ := r.Attr(attr)
	a, err := pickle.Numbers(v)
	if err != nil {
		return column{}, nil, fmt.Errorf("%s.%s: %w", name, attr, err)
	}
	c := column{name + "." + attr, a.Values}
	if err := c.offset(); err != nil {
		return column{}, nil, err
	}
	return c, a.Shape, nil
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// positive reads a number of at least 0.
func positive(o *pickle.Object, name string) (float64, error) {
	v, _ := o.Attr(name)
	n, ok := pickle.Number(v)
	if !ok || !(n >= 0) {
		return 0, fmt.Errorf("%s is a %s, a number of at least 0 was wanted", name, pickle.TypeName(v))
	}
	return n, nil
}
