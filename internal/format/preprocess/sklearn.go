package preprocess

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// scaler reads the attributes of a fitted scikit-learn scaler. The first error
// stays in err.
type scaler struct {
	o   *pickle.Object
	err error
}

// flag returns a bool attribute, absent where older versions had none.
func (s *scaler) flag(name string, absent bool) bool {
	v, ok := s.o.Attr(name)
	if !ok {
		return absent
	}
	b, ok := v.(bool)
	if !ok {
		s.fail(fmt.Errorf("%s is a %s, a bool was wanted", name, pickle.TypeName(v)))
	}
	return b
}

// array returns a fitted attribute, one value a column.
func (s *scaler) array(name string) column {
	v, ok := s.o.Attr(name)
	if !ok {
		s.fail(fmt.Errorf("%w: has no %s", errNotFitted, name))
		return column{name: name}
	}
	a, err := pickle.Numbers(v)
	if err != nil {
		s.fail(fmt.Errorf("%s: %w", name, err))
		return column{name: name}
	}
	if len(a.Shape) > 1 {
		s.fail(fmt.Errorf("%s has shape %v, one dimension was wanted", name, a.Shape))
	}
	return column{name, a.Values}
}

// offsets is array for values that are added, divisors for those by which is
// divided.
func (s *scaler) offsets(name string) column {
	c := s.array(name)
	s.fail(c.offset())
	return c
}

func (s *scaler) divisors(name string) column {
	c := s.array(name)
	s.fail(c.divisor())
	return c
}

func (s *scaler) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// done makes the preprocessor, whose width is that of its columns and of
// n_features_in_, which older versions do not have.
func (s *scaler) done(steps []step, columns ...column) (*Preprocessor, error) {
	if s.err != nil {
		return nil, s.err
	}
	width, err := widthOf(columns...)
	if err != nil {
		return nil, err
	}
	if v, ok := s.o.Attr("n_features_in_"); ok {
		n, ok := pickle.Int(v)
		if !ok || n < 1 || n > maxWidth {
			return nil, errors.New("n_features_in_ is not a number of columns")
		}
		for _, c := range columns {
			if len(c.values) != int(n) {
				return nil, fmt.Errorf("%s has %d values and n_features_in_ is %d", c.name, len(c.values), n)
			}
		}
		width = int(n)
	} else if width == 0 && len(columns) > 0 {
		width = 1
	}
	return &Preprocessor{kind: s.o.Class.Name, width: width, steps: steps}, nil
}

// standardScaler reads (x - mean_) / scale_.
func standardScaler(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	return s.centred("with_mean", "mean_", "with_std")
}

// robustScaler reads (x - center_) / scale_.
func robustScaler(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	return s.centred("with_centering", "center_", "with_scaling")
}

// centred reads a scaler that subtracts one attribute and divides by scale_,
// each of which it can leave out.
func (s *scaler) centred(withCentre, centre, withScale string) (*Preprocessor, error) {
	var n normalize
	var columns []column
	if s.flag(withCentre, true) {
		c := s.offsets(centre)
		n.mean = c.values
		columns = append(columns, c)
	}
	if s.flag(withScale, true) {
		c := s.divisors("scale_")
		n.std = c.values
		columns = append(columns, c)
	}
	var steps []step
	if len(columns) > 0 {
		steps = append(steps, &n)
	}
	return s.done(steps, columns...)
}

// minMaxScaler reads x * scale_ + min_, clipped to the range where it says so.
func minMaxScaler(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	scale, offset := s.offsets("scale_"), s.offsets("min_")
	steps := []step{&affine{scale.values, offset.values}}
	if s.flag("clip", false) {
		v, _ := o.Attr("feature_range")
		low, high, err := limits("feature_range", v)
		s.fail(err)
		steps = append(steps, &clip{low, high})
	}
	return s.done(steps, scale, offset)
}

// maxAbsScaler reads x / scale_, clipped to [-1, 1] where it says so.
func maxAbsScaler(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	scale := s.divisors("scale_")
	steps := []step{&normalize{std: scale.values}}
	if s.flag("clip", false) {
		steps = append(steps, &clip{-1, 1})
	}
	return s.done(steps, scale)
}

// maxSteps bounds the steps of a pipeline, those of nested ones counted.
const maxSteps = 64

// pipeline reads the steps of a Pipeline one after the other.
func pipeline(o *pickle.Object) (*Preprocessor, error) {
	p := &Preprocessor{kind: o.Class.Name}
	v, _ := o.Attr("steps")
	items, ok := pickle.Items(v)
	if !ok || len(items) > maxSteps {
		return nil, fmt.Errorf("steps are a %s, a list of at most %d was wanted", pickle.TypeName(v), maxSteps)
	}
	for i, item := range items {
		pair, ok := pickle.Items(item)
		if !ok || len(pair) != 2 {
			return nil, fmt.Errorf("step %d is not a pair of name and transformer", i)
		}
		if pair[1] == "passthrough" || pair[1] == (pickle.None{}) {
			continue
		}
		obj, ok := pair[1].(*pickle.Object)
		if !ok {
			return nil, fmt.Errorf("%w: step %d that is a %s", ErrUnsupported, i, pickle.TypeName(pair[1]))
		}
		q, err := fromObject(obj)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if q.width != 0 && p.width != 0 && q.width != p.width {
			return nil, fmt.Errorf("step %d takes %d values, the steps before it give %d", i, q.width, p.width)
		}
		if q.features != nil && len(p.steps) > 0 {
			return nil, fmt.Errorf("step %d takes named features, the steps before it give a row", i)
		}
		if q.features != nil {
			p.features = q.features
		}
		p.width = max(p.width, q.width)
		p.steps = append(p.steps, q.steps...)
		if len(p.steps) > maxSteps {
			return nil, fmt.Errorf("%w: more than %d steps", pickle.ErrLimit, maxSteps)
		}
	}
	return p, nil
}
