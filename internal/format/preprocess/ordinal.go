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
		case !whole || place != math.Trunc(place) || place < 0 || place >= float64(len(t.values[i])) || !math.IsNaN(t.values[i][int(place)]):
			s.fail(fmt.Errorf("%s[%d] is not the place of NaN among the categories", name, i))
		}
	}
}

// greatestCode returns the greatest code of what is not missing.
func (t *categories) greatestCode() float64 {
	greatest := 0
	for i, groups := range t.groups {
		for j, code := range groups {
			if !math.IsNaN(t.values[i][j]) {
				greatest = max(greatest, code)
			}
		}
	}
	return float64(greatest)
}

// holdCodes holds the codes, and that of what is no category where there is
// one, to what the type of the encoder's result has, and to what float32 adds
// exactly.
func (s *scaler) holdCodes(t *categories, unknown float64) error {
	all := wholeNumbers["f4"]
	low, high := 0.0, t.greatestCode()
	if !math.IsNaN(unknown) {
		low, high = min(low, unknown), max(high, unknown)
	}
	if low < all[0] || high > all[1] || high-low > all[1] {
		return fmt.Errorf("%w: unknown_value %g, which is not exact in float32 beside codes up to %g", ErrUnsupported, unknown, t.greatestCode())
	}
	v, ok := s.o.Attr("dtype")
	if !ok {
		return nil
	}
	if name, kind := typeOf(v); kind == "" || low < wholeNumbers[kind][0] || high > wholeNumbers[kind][1] {
		return fmt.Errorf("%w: codes from %g to %g as dtype %.64s", ErrUnsupported, low, high, name)
	}
	return nil
}
