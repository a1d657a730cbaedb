package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// categories gives for each column which of its numbers it holds: as columns
// of 0 and 1, or as a code.
type categories struct {
	values  [][]float64 // of each column
	groups  [][]int     // of each value, its code; for 0 and 1 the column that it has, or -1
	unknown []float64   // code of any other number; for 0 and 1 the column that it has, or -1
	onehot  bool
	out     int
}

// oneHotEncoder reads a OneHotEncoder of numbers. A result that would be
// sparse is given dense.
func oneHotEncoder(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	t := &categories{onehot: true}
	unknown := s.text("handle_unknown", "error", "ignore", "warn", "infrequent_if_exist")
	drops, err := dropped(o)
	s.fail(err)
	s.readCategories(t)
	p, err := s.encoder(t)
	if err != nil {
		return nil, err
	}
	if err := t.matches(p.width, drops); err != nil {
		return nil, err
	}
	for i, groups := range t.groups {
		count, infrequent := 0, -1
		for _, g := range groups {
			count = max(count, g+1)
		}
		if count < len(groups) && unknown != "ignore" && unknown != "error" { // the last group is that of the rare ones
			infrequent = count - 1
		}
		drop := count
		if drops != nil && drops[i] >= 0 {
			drop = drops[i]
		}
		column := func(g int) int {
			switch {
			case g < 0 || g == drop:
				return -1
			case g > drop:
				g--
			}
			return t.out + g
		}
		for j, g := range groups {
			groups[j] = column(g)
		}
		t.unknown = append(t.unknown, float64(column(infrequent)))
		if t.out += count; drop < count {
			t.out--
		}
	}
	if t.out == 0 {
		return nil, fmt.Errorf("%w: all categories are dropped", ErrUnsupported)
	}
	if unknown == "error" {
		p.notes = append(p.notes, "a number that is no category becomes zeros; scikit-learn would refuse it")
	}
	return t.finish(p, t.out)
}

// ordinalEncoder reads an OrdinalEncoder of numbers.
func ordinalEncoder(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	t := &categories{}
	code := math.NaN()
	if _, ok := o.Attr("handle_unknown"); ok && s.text("handle_unknown", "error", "use_encoded_value") == "use_encoded_value" {
		v, _ := o.Attr("unknown_value")
		if code, ok = pickle.Number(v); !ok || code-code != 0 {
			return nil, fmt.Errorf("%w: unknown_value that is no finite number", ErrUnsupported)
		}
	}
	s.readCategories(t)
	p, err := s.encoder(t)
	if err != nil {
		return nil, err
	}
	if err := t.matches(p.width, nil); err != nil {
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

// readCategories reads the numbers of each column, and their groups where rare
// ones were put together.
func (s *scaler) readCategories(t *categories) {
	v, ok := s.o.Attr("categories_")
	if !ok {
		s.fail(fmt.Errorf("%w: has no categories_", errNotFitted))
		return
	}
	columns, ok := pickle.Items(v)
	if !ok || len(columns) == 0 {
		s.fail(fmt.Errorf("categories_ is a %s, a list of arrays was wanted", pickle.TypeName(v)))
		return
	}
	var mappings []pickle.Value
	if v, ok := s.o.Attr("_default_to_infrequent_mappings"); ok {
		if mappings, ok = pickle.Items(v); !ok || len(mappings) != len(columns) {
			s.fail(fmt.Errorf("_default_to_infrequent_mappings are a %s, a list of %d was wanted", pickle.TypeName(v), len(columns)))
			return
		}
	}
	all := 0
	for i, v := range columns {
		values, err := categoryNumbers(v)
		if err != nil {
			s.fail(fmt.Errorf("categories_[%d]: %w", i, err))
			return
		}
		if all += len(values); all > maxDerived {
			s.fail(fmt.Errorf("%w: more than %d categories", pickle.ErrLimit, maxDerived))
			return
		}
		groups := make([]int, len(values))
		for j := range groups {
			groups[j] = j
		}
		if mappings != nil && mappings[i] != (pickle.None{}) {
			a, err := pickle.Numbers(mappings[i])
			if err != nil || len(a.Values) != len(values) {
				s.fail(fmt.Errorf("_default_to_infrequent_mappings[%d] is not a group for each of %d categories", i, len(values)))
				return
			}
			for j, g := range a.Values {
				if groups[j] = int(g); float64(groups[j]) != g || g < 0 || groups[j] >= len(values) {
					s.fail(fmt.Errorf("_default_to_infrequent_mappings[%d][%d] is %g", i, j, g))
					return
				}
			}
		}
		t.values, t.groups = append(t.values, values), append(t.groups, groups)
	}
	s.values += 2 * all
}

// categoryNumbers reads the categories of one column.
func categoryNumbers(v pickle.Value) ([]float64, error) {
	if items, err := objectArray(v); err == nil {
		v = pickle.Tuple(items)
		for _, item := range items {
			if _, ok := item.(string); ok {
				return nil, fmt.Errorf("%w: categories that are texts", ErrUnsupported)
			}
		}
	}
	a, err := pickle.Numbers(v)
	if err != nil {
		return nil, fmt.Errorf("%w: categories that are no numbers (%w)", ErrUnsupported, err)
	}
	if len(a.Shape) != 1 || len(a.Values) == 0 {
		return nil, fmt.Errorf("categories of shape %v", a.Shape)
	}
	return a.Values, nil
}

// dropped returns for each column which of its groups is left out, -1 for
// none; nil where none is at all.
func dropped(o *pickle.Object) ([]int, error) {
	v, ok := o.Attr("_drop_idx_after_grouping")
	if !ok {
		v, ok = o.Attr("drop_idx_")
	}
	if !ok || v == (pickle.None{}) {
		return nil, nil
	}
	items, err := objectArray(v)
	if err != nil {
		a, err := pickle.Numbers(v)
		if err != nil {
			return nil, fmt.Errorf("drop_idx_: %w", err)
		}
		for _, n := range a.Values {
			items = append(items, n)
		}
	}
	out := make([]int, len(items))
	for i, item := range items {
		out[i] = -1
		if item == (pickle.None{}) {
			continue
		}
		n, ok := pickle.Number(item)
		if out[i] = int(n); !ok || float64(out[i]) != n || n < 0 || n > maxDerived {
			return nil, fmt.Errorf("drop_idx_[%d] is a %s, a number was wanted", i, pickle.TypeName(item))
		}
	}
	return out, nil
}

// encoder is done for a step that has categories for each column, which older
// versions do not count.
func (s *scaler) encoder(t *categories) (*Preprocessor, error) {
	p, err := s.done(nil)
	if err == nil && p.width == 0 {
		p.width = len(t.values)
	}
	return p, err
}

// matches holds the columns against each other.
func (t *categories) matches(width int, drops []int) error {
	switch {
	case width != len(t.values):
		return fmt.Errorf("categories_ has %d columns and n_features_in_ is %d", len(t.values), width)
	case drops != nil && len(drops) != width:
		return fmt.Errorf("drop_idx_ has %d columns, %d were wanted", len(drops), width)
	case width*t.widest() > maxDerived:
		return fmt.Errorf("%w: %d categories of %d columns", pickle.ErrLimit, t.widest(), width)
	}
	return nil
}

func (t *categories) widest() int {
	k := 0
	for _, v := range t.values {
		k = max(k, len(v))
	}
	return k
}

// maxWeights bounds the matrix that puts categories into columns.
const maxWeights = 1 << 22

func (t *categories) finish(p *Preprocessor, out int) (*Preprocessor, error) {
	if n := len(t.values) * t.widest(); t.onehot && n > 0 && t.out > maxWeights/n {
		return nil, fmt.Errorf("%w: %d columns of %d categories", pickle.ErrLimit, t.out, n)
	}
	p.out = out
	p.steps = []step{t}
	return p, nil
}

// lower compares with every category, and multiplies what holds with codes, or
// with the matrix that puts it into its column. A category stands for the
// float32 nearest to it, which is what an observation of that number holds.
func (t *categories) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	k := t.widest()
	nan := float32(math.NaN()) // equal to nothing
	values := make([]float32, n*k)
	for i := range values {
		values[i] = nan
	}
	for i, column := range t.values {
		for j, v := range column {
			values[i*k+j] = float32(v)
		}
	}
	b := &builder{g: g}
	x = b.with(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, n, 1}}, x)
	holds := b.with(graph.OpCast, graph.Attrs{"dtype": graph.Float32}, b.add(graph.OpEq, x, table(g, "categories", values, n, k)))
	if !t.onehot {
		codes := make([]float32, n*k)
		unknown := make([]float32, n)
		for i, groups := range t.groups {
			unknown[i] = float32(t.unknown[i])
			for j, c := range groups {
				codes[i*k+j] = float32(c) - unknown[i]
			}
		}
		sum := b.with(graph.OpSum, graph.Attrs{"axes": []int{2}}, b.add(graph.OpMul, holds, table(g, "codes", codes, n, k)))
		return b.done(b.add(graph.OpAdd, sum, table(g, "codes.unknown", unknown, n)))
	}
	weights := make([]float32, t.out*n*k)
	offsets := make([]float32, t.out)
	for i, groups := range t.groups {
		rest := int(t.unknown[i]) // the column of what is none of the categories: 1 - their sum
		if rest >= 0 {
			offsets[rest] = 1
		}
		for j, c := range groups {
			if c >= 0 {
				weights[c*n*k+i*k+j]++
			}
			if rest >= 0 {
				weights[rest*n*k+i*k+j]--
			}
		}
	}
	row := b.with(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, n * k}}, holds)
	return b.done(b.add(graph.OpLinear, row, table(g, "categories.columns", weights, t.out, n*k), table(g, "categories.rest", offsets, t.out)))
}

func (t *categories) String() string {
	n := make([]int, len(t.values))
	for i, v := range t.values {
		n[i] = len(v)
	}
	if t.onehot {
		return fmt.Sprintf("%s categories, one-hot in %d columns", listInts(n), t.out)
	}
	return listInts(n) + " categories, by number"
}
