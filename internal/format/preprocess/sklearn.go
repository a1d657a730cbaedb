package preprocess

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// scaler reads the attributes of a fitted scikit-learn scaler. The first error
// stays in err.
type scaler struct {
	o      *pickle.Object
	values int // numbers read so far
	err    error
}

// flag returns a bool attribute, absent where older versions had none.
func (s *scaler) flag(name string, absent bool) bool {
	v, ok := s.o.Attr(name)
	if !ok {
		return absent
	}
	b, ok := boolOf(v)
	if !ok {
		s.fail(fmt.Errorf("%s is a %s, a bool was wanted", name, pickle.TypeName(v)))
	}
	return b
}

// boolOf reads a bool, which is one of numpy where a search over parameters
// chose it.
func boolOf(v pickle.Value) (value, ok bool) {
	if a, err := pickle.NumpyArray(v); err == nil && a.Kind == 'b' && len(a.Values) == 1 {
		return a.Values[0] != 0, true
	}
	value, ok = v.(bool)
	return value, ok
}

// array returns a fitted attribute, one value a column.
func (s *scaler) array(name string) column {
	a := s.numbers(name)
	if len(a.Shape) > 1 {
		s.fail(fmt.Errorf("%s has shape %v, one dimension was wanted", name, a.Shape))
	}
	return column{name, a.Values}
}

// table returns a fitted attribute of two dimensions, its values finite.
func (s *scaler) table(name string) (c column, rows, columns int) {
	a := s.numbers(name)
	c = column{name, a.Values}
	if s.err == nil && len(a.Shape) != 2 {
		s.fail(fmt.Errorf("%s has shape %v, two dimensions were wanted", name, a.Shape))
	}
	s.fail(c.offset())
	if s.err != nil {
		return c, 0, 0
	}
	return c, a.Shape[0], a.Shape[1]
}

// numbers returns a fitted attribute, without values where it is not there.
func (s *scaler) numbers(name string) *pickle.Array {
	v, ok := s.o.Attr(name)
	if !ok {
		s.fail(fmt.Errorf("%w: has no %s", errNotFitted, name))
		return new(pickle.Array)
	}
	a, err := pickle.Numbers(v)
	if err != nil {
		if items, wrong := objectArray(v); wrong == nil {
			a, err = pickle.Numbers(pickle.Tuple(items)) // numbers as objects
		}
	}
	if err != nil {
		s.fail(fmt.Errorf("%s: %w", name, err))
		return new(pickle.Array)
	}
	s.values += len(a.Values)
	return a
}

// number returns an attribute that is a single finite number.
func (s *scaler) number(name string, absent float64) float64 {
	v, ok := s.o.Attr(name)
	if !ok {
		return absent
	}
	n, ok := pickle.Number(v)
	if !ok || n-n != 0 {
		s.fail(fmt.Errorf("%s is a %s, a finite number was wanted", name, pickle.TypeName(v)))
	}
	return n
}

// holdNumber holds an attribute that follows from others to what they say. Where
// the two disagree, scikit-learn computes with one of them here and with the
// other there; older versions do not have it.
func (s *scaler) holdNumber(name string, want int) {
	v, ok := s.o.Attr(name)
	if !ok {
		return
	}
	switch n, ok := pickle.Number(v); {
	case !ok:
		s.fail(fmt.Errorf("%s is a %s, a number was wanted", name, pickle.TypeName(v)))
	case n != float64(want):
		s.fail(fmt.Errorf("%s is %g, and by the rest of the file it is %d", name, n, want))
	}
}

// text returns an attribute that is one of a few texts.
func (s *scaler) text(name string, known ...string) string {
	v, _ := s.o.Attr(name)
	t, ok := textOf(v)
	switch {
	case !ok:
		s.fail(fmt.Errorf("%s is a %s, a text was wanted", name, pickle.TypeName(v)))
	case !slices.Contains(known, t):
		s.fail(fmt.Errorf("%w: %s %.64q; known are %s", ErrUnsupported, name, t, strings.Join(known, ", ")))
	}
	return t
}

// maxTextBytes bounds a text of numpy.
const maxTextBytes = 1 << 10

// textOf reads a text, which is one of numpy where a search over parameters
// chose it: four bytes a character, the rest zeros.
func textOf(v pickle.Value) (string, bool) {
	o, ok := v.(*pickle.Object)
	if !ok || !pickle.IsArray(v) || o.Class.Name != "scalar" || len(o.Args) != 2 {
		t, ok := v.(string)
		return t, ok
	}
	dtype, isDtype := o.Args[0].(*pickle.Object)
	data, isBytes := o.Args[1].([]byte)
	if !isDtype || !isBytes || len(dtype.Args) == 0 || len(data) > maxTextBytes || len(data)%4 != 0 {
		return "", false
	}
	descr, _ := dtype.Args[0].(string)
	state, _ := dtype.State.(pickle.Tuple)
	if !strings.HasPrefix(descr, "U") || len(state) < 2 || state[1] != "<" {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(data); i += 4 {
		if r := binary.LittleEndian.Uint32(data[i:]); r != 0 && r <= unicode.MaxRune {
			b.WriteRune(rune(r))
		}
	}
	return b.String(), true
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
	return &Preprocessor{kind: s.o.Class.Name, width: width, values: s.values, steps: steps}, nil
}

// changing is done for steps that take a known number of columns and give
// another one.
func (s *scaler) changing(steps []step, columns ...column) (*Preprocessor, error) {
	p, err := s.done(steps, columns...)
	if err == nil && p.width == 0 {
		return nil, fmt.Errorf("%w: has no n_features_in_", errNotFitted)
	}
	return p, err
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
		n.std, n.unvaried = c.values, s.unvaried(c.values)
		columns = append(columns, c)
	}
	var steps []step
	if len(columns) > 0 {
		steps = append(steps, &n)
	}
	return s.done(steps, columns...)
}

// unvaried tells which columns did not vary: scikit-learn gives them the scale
// 1. The variance tells them from those that have it, where it is there.
func (s *scaler) unvaried(scale []float64) []bool {
	var variance []float64
	if v, ok := s.o.Attr("var_"); ok {
		if a, err := pickle.Numbers(v); err == nil && len(a.Values) == len(scale) {
			variance = a.Values
		}
	}
	same := make([]bool, len(scale))
	for i, v := range scale {
		same[i] = v == 1 && (variance == nil || variance[i] < 0.5)
	}
	return same
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
