package preprocess

import (
	"errors"
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// ancestorFeatures are the parts of an observation of the Python ancestor, in
// the order of its feature row: speed, steering, then all sensors.
var ancestorFeatures = []string{"speed", "steering", "sensors"}

// carStep is what StandardFeaturePreprocessor does once it is fitted. Speed
// and steering have a mean and a deviation each, all sensors share one; a part
// that is not normalised passes, and sensors are clipped only where they are
// normalised.
type carStep struct {
	mean, std [3]float64 // speed, steering, sensors; 0 and 1 for a part that passes
	clip      bool
	low, high float64
}

// standardFeatures reads the ancestor's StandardFeaturePreprocessor.
func standardFeatures(o *pickle.Object) (*Preprocessor, error) {
	p := &Preprocessor{kind: o.Class.Name, features: ancestorFeatures}
	fitted, err := boolAttr(o, "is_fitted")
	if err != nil {
		return nil, err
	}
	if !fitted {
		p.notes = append(p.notes, "was never fitted: observations pass as they are")
		return p, nil
	}
	s := &carStep{std: [3]float64{1, 1, 1}}
	acts := false
	for i, part := range []struct{ flag, stats string }{
		{"normalize_speed", "speed_stats"},
		{"normalize_steering", "steering_stats"},
		{"normalize_sensors", "sensor_stats"},
	} {
		on, err := boolAttr(o, part.flag)
		if err != nil {
			return nil, err
		}
		if !on {
			continue
		}
		acts = true
		if s.mean[i], s.std[i], err = carStatistics(o, part.stats); err != nil {
			return nil, err
		}
		if part.stats == "sensor_stats" {
			if s.low, s.high, err = clipRange(o); err != nil {
				return nil, err
			}
			s.clip = true
		}
	}
	if acts {
		p.steps = append(p.steps, s)
	}
	if shape, ok := o.Attr("input_shape"); ok {
		if items, ok := pickle.Items(shape); ok && len(items) == 1 {
			if n, ok := pickle.Int(items[0]); ok {
				p.notes = append(p.notes, fmt.Sprintf("was fitted on %d values", n))
			}
		}
	}
	return p, nil
}

// minimalFeatures reads the ancestor's MinimalPreprocessor, which only puts
// the parts in a row.
func minimalFeatures(o *pickle.Object) (*Preprocessor, error) {
	return &Preprocessor{kind: o.Class.Name, features: ancestorFeatures}, nil
}

// carStatistics reads {"mean": m, "std": s}.
func carStatistics(o *pickle.Object, name string) (mean, std float64, err error) {
	v, _ := o.Attr(name)
	d, ok := v.(*pickle.Dict)
	if !ok {
		return 0, 0, fmt.Errorf("%s is a %s, a dict of mean and std was wanted", name, pickle.TypeName(v))
	}
	m, _ := d.Get("mean")
	s, _ := d.Get("std")
	mean, ok1 := pickle.Number(m)
	std, ok2 := pickle.Number(s)
	if !ok1 || !ok2 {
		return 0, 0, fmt.Errorf("%s: mean is a %s and std a %s, two numbers were wanted", name, pickle.TypeName(m), pickle.TypeName(s))
	}
	if err := (column{name + `["mean"]`, []float64{mean}}).offset(); err != nil {
		return 0, 0, err
	}
	return mean, std, column{name + `["std"]`, []float64{std}}.divisor()
}

// clipRange reads the limits of the sensors.
func clipRange(o *pickle.Object) (low, high float64, err error) {
	v, _ := o.Attr("sensor_clip_range")
	return limits("sensor_clip_range", v)
}

// limits reads a pair of numbers, the smaller one first.
func limits(name string, v pickle.Value) (low, high float64, err error) {
	items, ok := pickle.Items(v)
	if ok && len(items) == 2 {
		var ok1, ok2 bool
		low, ok1 = pickle.Number(items[0])
		high, ok2 = pickle.Number(items[1])
		if ok1 && ok2 && low <= high {
			return low, high, nil
		}
	}
	return 0, 0, fmt.Errorf("%s is not a pair of numbers, the smaller first", name)
}

// boolAttr reads a flag that must be there.
func boolAttr(o *pickle.Object, name string) (bool, error) {
	v, _ := o.Attr(name)
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s is %s, a bool was wanted", name, pickle.TypeName(v))
	}
	return b, nil
}

// lower computes in float32 throughout, as the ancestor does.
func (s *carStep) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	if n < len(ancestorFeatures) {
		return nil, fmt.Errorf("takes speed, steering and at least one sensor, got %d values", n)
	}
	mean, std := make([]float32, n), make([]float32, n)
	low, high := make([]float32, n), make([]float32, n)
	for i := range n {
		part := min(i, 2)
		mean[i], std[i] = float32(s.mean[part]), float32(s.std[part])
		low[i], high[i] = -math.MaxFloat32, math.MaxFloat32
		if part == 2 && s.clip {
			low[i], high[i] = bound(s.low), bound(s.high)
		}
	}
	var err error
	if s.clip {
		if x, err = withConstant(g, graph.OpMaximum, x, "low", low); err != nil {
			return nil, err
		}
		if x, err = withConstant(g, graph.OpMinimum, x, "high", high); err != nil {
			return nil, err
		}
	}
	if x, err = withConstant(g, graph.OpSub, x, "mean", mean); err != nil {
		return nil, err
	}
	return withConstant(g, graph.OpDiv, x, "std", std)
}

// bound returns a limit in float32, the largest where it is infinite.
func bound(v float64) float32 {
	return float32(min(max(v, -math.MaxFloat32), math.MaxFloat32))
}

func (s *carStep) String() string {
	text := fmt.Sprintf("speed (x - %g) / %g, steering (x - %g) / %g, sensors ", s.mean[0], s.std[0], s.mean[1], s.std[1])
	if !s.clip {
		return text + "as they are"
	}
	return text + fmt.Sprintf("clip to [%g, %g], then (x - %g) / %g", s.low, s.high, s.mean[2], s.std[2])
}

// errNotFitted refuses a scaler without its statistics.
var errNotFitted = errors.New("was never fitted")
