package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// vecNormalize reads clip((x - mean) / sqrt(var + epsilon)) of
// stable-baselines3, as it is at test time: the statistics stand still and
// rewards do not matter.
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
	rms, _ := o.Attr("obs_rms")
	if _, ok := rms.(*pickle.Dict); ok {
		return nil, fmt.Errorf("%w: VecNormalize of dict observations", ErrUnsupported)
	}
	r, ok := rms.(*pickle.Object)
	if !ok || r.Class.Name != "RunningMeanStd" {
		return nil, fmt.Errorf("obs_rms is a %s, a RunningMeanStd was wanted", pickle.TypeName(rms))
	}
	mean, err := running(r, "mean")
	if err != nil {
		return nil, err
	}
	variance, err := running(r, "var")
	if err != nil {
		return nil, err
	}
	epsilon, err := positive(o, "epsilon")
	if err != nil {
		return nil, err
	}
	bound, err := positive(o, "clip_obs")
	if err != nil {
		return nil, err
	}
	if len(mean.values) != len(variance.values) {
		return nil, fmt.Errorf("%d means and %d variances", len(mean.values), len(variance.values))
	}
	std := column{"sqrt(obs_rms.var + epsilon)", make([]float64, len(variance.values))}
	for i, v := range variance.values {
		std.values[i] = math.Sqrt(v + epsilon)
	}
	if err := std.divisor(); err != nil {
		return nil, err
	}
	if _, err := widthOf(mean); err != nil {
		return nil, err
	}
	p.width = len(mean.values)
	p.steps = []step{&normalize{mean.values, std.values}}
	if !math.IsInf(bound, 1) {
		p.steps = append(p.steps, &clip{-bound, bound})
	}
	return p, nil
}

// running reads a statistic of a RunningMeanStd, flattened to a row.
func running(r *pickle.Object, name string) (column, error) {
	v, _ := r.Attr(name)
	a, err := pickle.Numbers(v)
	if err != nil {
		return column{}, fmt.Errorf("obs_rms.%s: %w", name, err)
	}
	c := column{"obs_rms." + name, a.Values}
	if err := c.offset(); err != nil {
		return column{}, err
	}
	return c, nil
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
