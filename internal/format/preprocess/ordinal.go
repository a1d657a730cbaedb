package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// ordinalEncoder reads an OrdinalEncoder of numbers.
func ordinalEncoder(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	t := &categories{}
	code := math.NaN()
	if _, ok := o.Attr("handle_unknown"); ok && s.text("handle_unknown", "error", "use_encoded_value") == "use_encoded_value" {
		v, _ := o.Attr("unknown_value")
		if code, ok = pickle.Number(v); !ok || code != math.Trunc(code) || math.IsInf(code, 0) {
			return nil, fmt.Errorf("%w: unknown_value that is no whole number", ErrUnsupported)
		}
	}
	s.readCategories(t)
	s.holdMissing(t)
	p, err := s.encoder(t)
	if err != nil {
		return nil, err
	}
	if err := t.matches(p.width, nil); err != nil {
		return nil, err
	}
	if err := s.holdCodes(t, code); err != nil {
		return nil, err
	}
	if math.IsNaN(code) {
		code = 0
		p.notes = append(p.notes, "a number that is no category becomes 0; scikit-learn would refuse it")
	}
	for range t.values {
		t.unknown = append(t.unknown, code)
	}
	t.out = p.width
	return t.finish(p, 0)
}

// holdMissing holds the places of NaN among the categories, which
// scikit-learn keeps of each column that has it, to the categories: the code at
// that place becomes encoded_missing_value, whatever it is of.
func (s *scaler) holdMissing(t *categories) {
	const name = "_missing_indices"
	v, ok := s.o.Attr(name)
	if !ok || s.err != nil { // not there in older versions
		return
	}
	d, ok := v.(*pickle.Dict)
	if !ok {
		s.fail(fmt.Errorf("%s is a %s, a dict was wanted", name, pickle.TypeName(v)))
		return
	}
	for _, e := range d.Entries {
		column, ok := pickle.Number(e.Key)
		place, whole := pickle.Number(e.Value)
		switch i := int(column); {
		case !ok || float64(i) != column || i < 0 || i >= len(t.values):
			s.fail(fmt.Errorf("%s has a key that is none of %d columns", name, len(t.values)))
		case !whole || place != float64(len(t.values[i])-1) || !math.IsNaN(t.values[i][len(t.values[i])-1]):
			s.fail(fmt.Errorf("%s[%d] is not the place of NaN at the end of the categories", name, i))
		}
	}
}

// wholeNumbers are the types of numpy that codes can have, with the least and
// the greatest whole number up to which each has all.
var wholeNumbers = map[string][2]float64{
	"float64": {-1 << 53, 1 << 53}, "float32": {-1 << 24, 1 << 24}, "float16": {-1 << 11, 1 << 11},
	"int64": {-1 << 53, 1 << 53}, "int32": {math.MinInt32, math.MaxInt32}, "int16": {math.MinInt16, math.MaxInt16}, "int8": {math.MinInt8, math.MaxInt8},
	"uint8": {0, math.MaxUint8},
}

// holdCodes holds the codes, and that of what is no category where there is
// one, to what the type of the encoder's result has, and to what float32 adds
// exactly.
func (s *scaler) holdCodes(t *categories, unknown float64) error {
	all := wholeNumbers["float32"]
	low, high := 0.0, float64(t.widest()-1)
	if !math.IsNaN(unknown) {
		low, high = min(low, unknown), max(high, unknown)
	}
	if low < all[0] || high > all[1] || high-low > all[1] {
		return fmt.Errorf("%w: unknown_value %g, which is not exact in float32 beside %d codes", ErrUnsupported, unknown, t.widest())
	}
	v, ok := s.o.Attr("dtype")
	if !ok {
		return nil
	}
	name := ""
	switch v := v.(type) {
	case pickle.Global:
		if v.Module == "numpy" {
			name = v.Name
		}
	case string:
		name = v
	}
	if r, ok := wholeNumbers[name]; !ok || low < r[0] || high > r[1] {
		return fmt.Errorf("%w: codes from %g to %g as dtype %s", ErrUnsupported, low, high, dtypeName(v, name))
	}
	return nil
}

// dtypeName names the type of a result for messages.
func dtypeName(v pickle.Value, name string) string {
	if g, ok := v.(pickle.Global); ok && name == "" {
		name = g.String()
	}
	if name == "" {
		name = pickle.TypeName(v)
	}
	return fmt.Sprintf("%.64s", name)
}
