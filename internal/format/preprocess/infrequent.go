package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// infrequent reads which categories of each column were rare in the training:
// they share a code, the last one. scikit-learn keeps that twice, as the places
// of the rare ones (_infrequent_indices) and as the code of each category
// (_default_to_infrequent_mappings), and looks at neither where
// _infrequent_enabled is false: an encoder that was fitted again without rare
// ones still has those of before. It computes with a file in which the two
// disagree, as neither says; such a file is refused here.
func (s *scaler) infrequent(t *categories) {
	t.rare = make([]int, len(t.values))
	for i := range t.rare {
		t.rare[i] = -1
	}
	if _, ok := s.o.Attr("_infrequent_enabled"); !ok { // as in versions that knew of none
		for _, name := range []string{"_infrequent_indices", "_default_to_infrequent_mappings"} {
			if _, ok := s.o.Attr(name); ok {
				s.fail(fmt.Errorf("%s is there and _infrequent_enabled is not", name))
			}
		}
		return
	}
	if !s.flag("_infrequent_enabled", false) || s.err != nil {
		return
	}
	indices := s.columnsOf("_infrequent_indices", len(t.values))
	mappings := s.columnsOf("_default_to_infrequent_mappings", len(t.values))
	for i := 0; i < len(t.values) && s.err == nil; i++ {
		if none := indices[i] == (pickle.None{}); none || mappings[i] == (pickle.None{}) {
			if none != (mappings[i] == pickle.None{}) {
				s.fail(fmt.Errorf("_infrequent_indices[%d] is a %s and _default_to_infrequent_mappings[%d] is a %s",
					i, pickle.TypeName(indices[i]), i, pickle.TypeName(mappings[i])))
			}
			continue
		}
		n := len(t.values[i])
		if !t.onehot && math.IsNaN(t.values[i][n-1]) {
			n-- // what is missing has a code of its own there
		}
		rare := s.places(fmt.Sprintf("_infrequent_indices[%d]", i), indices[i], n)
		codes := s.places(fmt.Sprintf("_default_to_infrequent_mappings[%d]", i), mappings[i], n)
		if s.err == nil {
			s.group(t, i, rare, codes, n)
		}
	}
}

// columnsOf returns an attribute that is a list with an item for each column.
func (s *scaler) columnsOf(name string, n int) []pickle.Value {
	v, ok := s.o.Attr(name)
	if !ok {
		s.fail(fmt.Errorf("%w: has no %s", errNotFitted, name))
		return nil
	}
	items, ok := pickle.Items(v)
	if !ok || len(items) != n {
		s.fail(fmt.Errorf("%s are a %s, a list of %d was wanted", name, pickle.TypeName(v), n))
		return nil
	}
	return items
}

// places reads an array of whole numbers below n.
func (s *scaler) places(name string, v pickle.Value, n int) []int {
	a, err := pickle.Numbers(v)
	if err != nil {
		s.fail(fmt.Errorf("%s: %w", name, err))
		return nil
	}
	if len(a.Shape) != 1 || len(a.Values) > n {
		s.fail(fmt.Errorf("%s has shape %v, at most %d numbers were wanted", name, a.Shape, n))
		return nil
	}
	places := make([]int, len(a.Values))
	for j, x := range a.Values {
		if places[j] = int(x); float64(places[j]) != x || x < 0 || places[j] >= n {
			s.fail(fmt.Errorf("%s[%d] is %g, a whole number below %d was wanted", name, j, x, n))
			return nil
		}
	}
	return places
}

// group gives the first n categories of a column their codes: those that are
// not rare in their order, and the rare ones the next.
func (s *scaler) group(t *categories, column int, rare, codes []int, n int) {
	switch {
	case len(rare) == 0:
		s.fail(fmt.Errorf("_infrequent_indices[%d] is empty, None was wanted", column))
		return
	case len(codes) != n:
		s.fail(fmt.Errorf("_default_to_infrequent_mappings[%d] has %d codes for %d categories", column, len(codes), n))
		return
	}
	for k := 1; k < len(rare); k++ {
		if rare[k] <= rare[k-1] {
			s.fail(fmt.Errorf("_infrequent_indices[%d][%d] is %d behind %d, rising numbers were wanted", column, k, rare[k], rare[k-1]))
			return
		}
	}
	frequent, last := 0, n-len(rare)
	for j := range n {
		want := last
		if len(rare) > 0 && rare[0] == j {
			rare = rare[1:]
		} else {
			want = frequent
			frequent++
		}
		if codes[j] != want {
			s.fail(fmt.Errorf("_default_to_infrequent_mappings[%d][%d] is %d, and by _infrequent_indices[%d] it is %d", column, j, codes[j], column, want))
			return
		}
	}
	copy(t.groups[column], codes)
	t.rare[column] = last
}
