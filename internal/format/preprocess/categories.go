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
	rare    []int       // of each column, the code that rare values share, or -1
	unknown []float64   // code of any other number; for 0 and 1 the column that it has, or -1
	onehot  bool
	out     int
}

// oneHotEncoder reads a OneHotEncoder of numbers. A result that would be
// sparse is given dense.
func oneHotEncoder(o *pickle.Object) (*Preprocessor, error) {
	t, p, err := readOneHot(o)
	if err != nil {
		return nil, err
	}
	if t.out == 0 {
		return nil, fmt.Errorf("%w: all categories are dropped", ErrUnsupported)
	}
	return t.finish(p, t.out)
}

// readOneHot reads what a OneHotEncoder puts where, and makes the preprocessor
// that has no steps yet.
func readOneHot(o *pickle.Object) (*categories, *Preprocessor, error) {
	s := &scaler{o: o}
	t := &categories{onehot: true}
	unknown := s.text("handle_unknown", "error", "ignore", "warn", "infrequent_if_exist")
	drops := s.dropped()
	s.readCategories(t)
	p, err := s.encoder(t)
	if err != nil {
		return nil, nil, err
	}
	if err := t.matches(p.width, drops); err != nil {
		return nil, nil, err
	}
	wide := make([]int, 0, p.width)
	for i, groups := range t.groups {
		count, rest := 0, -1
		for _, g := range groups {
			count = max(count, g+1)
		}
		if unknown != "ignore" && unknown != "error" {
			rest = t.rare[i]
		}
		drop := -1
		if drops != nil && drops.groups[i] >= 0 {
			if drop, err = drops.of(i, count); err != nil {
				return nil, nil, err
			}
		}
		column := func(g int) int {
			switch {
			case g < 0 || g == drop:
				return -1
			case drop >= 0 && g > drop:
				g--
			}
			return t.out + g
		}
		for j, g := range groups {
			groups[j] = column(g)
		}
		t.unknown = append(t.unknown, float64(column(rest)))
		if drop >= 0 {
			count--
		}
		wide = append(wide, count)
		t.out += count
	}
	if s.holdWidths(wide); s.err != nil {
		return nil, nil, s.err
	}
	if unknown == "error" {
		p.notes = append(p.notes, "a number that is no category becomes zeros; scikit-learn would refuse it")
	}
	return t, p, nil
}

// holdWidths holds the columns that each column becomes to those that
// scikit-learn counted, where it did: it gives them that room, whatever falls
// into it.
func (s *scaler) holdWidths(wide []int) {
	const name = "_n_features_outs"
	if _, ok := s.o.Attr(name); !ok { // as in older versions
		return
	}
	for i, v := range s.columnsOf(name, len(wide)) {
		switch n, ok := pickle.Number(v); {
		case !ok:
			s.fail(fmt.Errorf("%s[%d] is a %s, a number of columns was wanted", name, i, pickle.TypeName(v)))
		case n != float64(wide[i]):
			s.fail(fmt.Errorf("%s[%d] is %g, and its categories have %d columns", name, i, n, wide[i]))
		}
	}
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
		t.values, t.groups = append(t.values, values), append(t.groups, groups)
	}
	s.values += 2 * all
	s.infrequent(t)
}

// categoryNumbers reads the categories of one column.
func categoryNumbers(v pickle.Value) ([]float64, error) {
	sorted := true
	if items, err := objectArray(v); err == nil {
		v, sorted = pickle.Tuple(items), false
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
	return a.Values, distinct(a.Values, sorted)
}

// distinct holds the categories of a column to what scikit-learn takes them for:
// each is another one, and an array of numbers rises, as it is searched by
// halves; NaN is the last. An observation is float32, so they differ there, too.
func distinct(values []float64, sorted bool) error {
	first := make(map[float32]float64, len(values))
	for j, v := range values {
		if j > 0 && sorted && !(values[j-1] < v) && !(math.IsNaN(v) && values[j-1] == values[j-1]) {
			return fmt.Errorf("[%d] is %g behind %g, rising numbers were wanted", j, v, values[j-1])
		}
		if same, twice := first[float32(v)]; twice {
			if same == v {
				return fmt.Errorf("%g is there twice", v)
			}
			return fmt.Errorf("%w: %g and %g, which are one number in float32", ErrUnsupported, same, v)
		}
		first[float32(v)] = v
	}
	return nil
}

// drops are the categories of an encoder that have no column.
type drops struct {
	name   string // of the attribute
	groups []int  // of each column its code, behind the grouping of rare ones, or -1
}

// dropped reads which categories are left out; nil where none is at all. Since
// scikit-learn 1.2.2 has _drop_idx_after_grouping, drop_idx_ is the place of a
// category; before, it was the code itself.
func (s *scaler) dropped() *drops {
	d := &drops{name: "_drop_idx_after_grouping"}
	v, ok := s.o.Attr(d.name)
	if !ok {
		d.name = "drop_idx_"
		v, ok = s.o.Attr(d.name)
	}
	if !ok || v == (pickle.None{}) {
		return nil
	}
	items, err := objectArray(v)
	if err != nil {
		a, err := pickle.Numbers(v)
		if err != nil || len(a.Shape) != 1 {
			s.fail(fmt.Errorf("%s: a %s, an array of one dimension was wanted", d.name, pickle.TypeName(v)))
			return nil
		}
		for _, n := range a.Values {
			items = append(items, n)
		}
	}
	d.groups = make([]int, len(items))
	for i, item := range items {
		d.groups[i] = -1
		if item == (pickle.None{}) {
			continue
		}
		n, ok := pickle.Number(item)
		if d.groups[i] = int(n); !ok || float64(d.groups[i]) != n || n < 0 || n > maxDerived {
			s.fail(fmt.Errorf("%s[%d] is a %s, a number was wanted", d.name, i, pickle.TypeName(item)))
			return nil
		}
	}
	return d
}

// of returns the code that a column of some codes leaves out.
func (d *drops) of(column, count int) (int, error) {
	g := d.groups[column]
	if g >= count {
		return 0, fmt.Errorf("%s[%d] is %d, and there are %d categories", d.name, column, g, count)
	}
	return g, nil
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
func (t *categories) matches(width int, d *drops) error {
	switch {
	case width != len(t.values):
		return fmt.Errorf("categories_ has %d columns and n_features_in_ is %d", len(t.values), width)
	case d != nil && len(d.groups) != width:
		return fmt.Errorf("%s has %d columns, %d were wanted", d.name, len(d.groups), width)
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
