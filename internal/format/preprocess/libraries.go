package preprocess

import (
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// library is a normaliser whose state is told by its keys, and whose constants
// are not in the file.
type library struct {
	name     string
	keys     []string // all that it has
	mean     string
	variance string
	outside  bool    // (x - mean) / (sqrt(variance) + eps), not sqrt(variance + eps)
	eps      float64 // the library's default
	clip     float64 // 0 for none
}

// libraries are the normalisers that are known, with the defaults of
// skrl.resources.preprocessors.torch.RunningStandardScaler,
// rsl_rl.modules.EmpiricalNormalization, and the RunningMeanStd of
// sample-factory, each read from its state_dict.
var libraries = []library{
	{name: "skrl's RunningStandardScaler", keys: []string{"running_mean", "running_variance", "current_count"},
		mean: "running_mean", variance: "running_variance", outside: true, eps: 1e-8, clip: 5},
	{name: "rsl_rl's EmpiricalNormalization", keys: []string{"_mean", "_var", "_std", "count"},
		mean: "_mean", variance: "_var", outside: true, eps: 1e-2},
	{name: "rsl_rl's EmpiricalNormalization", keys: []string{"_mean", "_var", "_std"},
		mean: "_mean", variance: "_var", outside: true, eps: 1e-2},
	{name: "sample-factory's RunningMeanStd", keys: []string{"running_mean_std.running_mean_std.obs.running_mean",
		"running_mean_std.running_mean_std.obs.running_var", "running_mean_std.running_mean_std.obs.count"},
		mean: "running_mean_std.running_mean_std.obs.running_mean", variance: "running_mean_std.running_mean_std.obs.running_var", eps: 1e-5, clip: 5},
}

// wrote reports whether a dict has exactly the keys of the library.
func (l *library) wrote(d *pickle.Dict) bool {
	for _, key := range l.keys {
		if !d.Has(key) {
			return false
		}
	}
	return d.Len() == len(l.keys)
}

func (l *library) read(d *pickle.Dict) (*Preprocessor, error) {
	m, err := statistic(d, l.mean)
	if err != nil {
		return nil, err
	}
	v, err := statistic(d, l.variance)
	if err != nil {
		return nil, err
	}
	deviations, err := l.deviations(d, v.values)
	if err != nil {
		return nil, err
	}
	p := &Preprocessor{kind: l.name}
	p.notes = append(p.notes, fmt.Sprintf("eps %g is the default of the library: the file does not have it", l.eps))
	s := column{name: "sqrt(" + l.variance + ")"}
	for i, v := range v.values {
		if l.outside {
			s.values = append(s.values, deviations[i]+l.eps)
		} else {
			s.values = append(s.values, math.Sqrt(v+l.eps))
		}
	}
	if err := s.divisor(); err != nil {
		return nil, err
	}
	if p.width, err = widthOf(m, s); err != nil {
		return nil, err
	}
	p.steps = []step{&normalize{mean: m.values, std: s.values}}
	if l.clip > 0 {
		p.steps = append(p.steps, &clip{-l.clip, l.clip})
		p.notes = append(p.notes, fmt.Sprintf("clip %g is the default of the library: the file does not have it", l.clip))
	}
	return p, nil
}

// deviations returns the roots of the variances, or what rsl_rl keeps of these
// beside the variances, and divides by. Such a file may be of bfloat16, whose
// rounding moves the two apart by 3/1024, or of float16, which has no variance
// below 2^-25.
func (l *library) deviations(d *pickle.Dict, variance []float64) ([]float64, error) {
	const key, relative, absolute = "_std", 1. / 256, 0x1p-12
	roots := make([]float64, len(variance))
	for i, v := range variance {
		roots[i] = math.Sqrt(v)
	}
	if !slices.Contains(l.keys, key) {
		return roots, nil
	}
	std, err := statistic(d, key)
	if err != nil {
		return nil, err
	}
	if len(std.values) != len(roots) {
		return nil, fmt.Errorf("%s has %d values, %s has %d", key, len(std.values), l.variance, len(roots))
	}
	for i, v := range std.values {
		if !(math.Abs(v-roots[i]) <= relative*roots[i]+absolute) {
			return nil, fmt.Errorf("%s[%d] is %g, and the root of %s[%d] is %g", key, i, v, l.variance, i, roots[i])
		}
	}
	return std.values, nil
}

// statistic reads an array or a tensor under a key.
func statistic(d *pickle.Dict, key string) (column, error) {
	v, _ := d.Get(key)
	a, err := statArray(v)
	if err != nil {
		return column{}, fmt.Errorf("%s: %w", key, err)
	}
	c := column{key, a.Values}
	return c, c.offset()
}

// gymnasiumEps is the epsilon of gymnasium's NormalizeObservation.
const gymnasiumEps = 1e-8

// runningMeanStd reads the RunningMeanStd of gymnasium's NormalizeObservation,
// which people pickle: (x - mean) / sqrt(var + 1e-8).
func runningMeanStd(o *pickle.Object) (*Preprocessor, error) {
	p := &Preprocessor{kind: o.Class.Name}
	p.notes = append(p.notes, fmt.Sprintf("epsilon %g is the default of NormalizeObservation: the file does not have it; nothing is clipped", gymnasiumEps))
	var err error
	p.shape, p.steps, err = runningStatistics(o, "obs_rms", gymnasiumEps, math.Inf(1))
	p.width = product(p.shape)
	return p, err
}
