package preprocess

import (
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// columnTransformer reads a ColumnTransformer: transformers of some columns
// each, side by side. A result that would be sparse is given dense.
func columnTransformer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	p, err := s.changing(nil)
	if err != nil {
		return nil, err
	}
	v, ok := o.Attr("transformers_")
	items, isList := pickle.Items(v)
	switch {
	case s.err != nil:
		return nil, s.err
	case !ok:
		return nil, fmt.Errorf("%w: has no transformers_", errNotFitted)
	case !isList || len(items) > maxSteps:
		return nil, fmt.Errorf("transformers_ are a %s, a list of at most %d was wanted", pickle.TypeName(v), maxSteps)
	}
	var all []branch
	for i, item := range items {
		b, err := columnBranch(o, item, p.width)
		if err != nil {
			return nil, fmt.Errorf("transformer %d: %w", i, err)
		}
		if b != nil {
			all = append(all, *b)
		}
	}
	return p, p.fork(all)
}

// columnBranch reads (name, transformer, columns): nil where it gives nothing.
func columnBranch(o *pickle.Object, item pickle.Value, n int) (*branch, error) {
	parts, ok := pickle.Items(item)
	if !ok || len(parts) != 3 {
		return nil, fmt.Errorf("is not a name, a transformer and columns")
	}
	if parts[1] == "drop" {
		return nil, nil
	}
	name, _ := parts[0].(string)
	columns, err := chosenColumns(o, name, parts[2], n)
	if err != nil || len(columns) == 0 { // a transformer of no columns is skipped
		return nil, err
	}
	q, err := transformer(parts[1])
	if err != nil {
		return nil, err
	}
	weight, err := weightOf(o, name)
	if err != nil {
		return nil, err
	}
	return &branch{columns, q, weight}, nil
}

// chosenColumns reads the columns of a transformer. Those that were chosen by
// name, by type or by a function are there in numbers, too. scikit-learn takes
// the ones or the others, as what it is asked has names or not: they are the same.
func chosenColumns(o *pickle.Object, name string, spec pickle.Value, n int) ([]int, error) {
	var columns []int
	spec, ok := namedColumns(o, spec)
	err := fmt.Errorf("%w: columns by names that the file does not have", ErrUnsupported)
	if ok {
		columns, err = columnIndices(spec, n)
	}
	v, _ := o.Attr("_transformer_to_input_indices")
	d, ok := v.(*pickle.Dict)
	if !ok {
		return columns, err
	}
	if v, ok = d.Get(name); !ok {
		return columns, err
	}
	numbers, wrong := columnIndices(v, n)
	switch {
	case wrong != nil:
		return nil, fmt.Errorf("_transformer_to_input_indices[%.64q]: %w", name, wrong)
	case err == nil && !slices.Equal(numbers, columns):
		return nil, fmt.Errorf("_transformer_to_input_indices[%.64q] are %s, and the transformer has the columns %s", name, listInts(numbers), listInts(columns))
	}
	return numbers, nil
}

// namedColumns turns names into numbers: a name, a list of names, or a slice,
// which has its last name too. Older versions keep only them. Other choices
// pass.
func namedColumns(o *pickle.Object, spec pickle.Value) (pickle.Value, bool) {
	v, ok := o.Attr("feature_names_in_")
	if !ok {
		v, _ = o.Attr("_feature_names_in")
	}
	names, _ := objectArray(v)
	number := func(name pickle.Value) (int64, bool) {
		i := slices.Index(names, name)
		return int64(i), i >= 0
	}
	if name, ok := spec.(string); ok {
		i, ok := number(name)
		return pickle.Tuple{i}, ok
	}
	if s, ok := spec.(*pickle.Object); ok && s.Class == sliceClass && len(s.Args) == 3 {
		ends := [2]pickle.Value{s.Args[0], s.Args[1]}
		named := false
		for j, end := range ends {
			if name, ok := end.(string); ok {
				i, ok := number(name)
				if !ok {
					return nil, false
				}
				ends[j], named = i+int64(j), true
			}
		}
		if !named {
			return spec, true
		}
		return &pickle.Object{Class: s.Class, Args: pickle.Tuple{ends[0], ends[1], s.Args[2]}}, true
	}
	items, ok := pickle.Items(spec)
	if !ok {
		if items, _ = objectArray(spec); items == nil {
			return spec, true
		}
	}
	out := make(pickle.Tuple, 0, len(items))
	for _, item := range items {
		if _, ok := item.(string); !ok {
			return spec, true
		}
		i, ok := number(item)
		if !ok {
			return nil, false
		}
		out = append(out, i)
	}
	if len(out) == 0 {
		return spec, true
	}
	return out, true
}

var sliceClass = pickle.Global{Module: "builtins", Name: "slice"}

// columnIndices reads a choice of columns: their indices, negative ones from
// the end, a bool for each, or a slice.
func columnIndices(v pickle.Value, n int) ([]int, error) {
	if o, ok := v.(*pickle.Object); ok {
		switch o.Class {
		case sliceClass:
			return sliceIndices(o, n)
		case pickle.Global{Module: "sklearn.compose._column_transformer", Name: "_RemainderColsList"}:
			v, _ = o.Attr("data")
		}
	}
	var out []int
	add := func(i int64) error {
		if i < 0 {
			i += int64(n)
		}
		if i < 0 || i >= int64(n) || len(out) == maxDerived {
			return fmt.Errorf("columns are not at most %d numbers below %d", maxDerived, n)
		}
		out = append(out, int(i))
		return nil
	}
	mask, values, err := columnNumbers(v)
	if err != nil {
		return nil, err
	}
	for i, c := range values {
		switch {
		case mask && len(values) != n:
			return nil, fmt.Errorf("columns are %d bools, %d were wanted", len(values), n)
		case mask && c == 0:
			continue
		case mask:
			c = int64(i)
		}
		if err := add(c); err != nil {
			return nil, err
		}
	}
	if len(runs(out)) > maxParts {
		return nil, fmt.Errorf("%w: columns in more than %d ranges", pickle.ErrLimit, maxParts)
	}
	return out, nil
}

// columnNumbers reads integers or bools, which are a mask, from a list or an
// array.
func columnNumbers(v pickle.Value) (mask bool, values []int64, err error) {
	unknown := fmt.Errorf("%w: columns that are a %s of something else than numbers", ErrUnsupported, pickle.TypeName(v))
	if pickle.IsArray(v) {
		a, err := pickle.NumpyArray(v)
		if err != nil || len(a.Shape) != 1 || a.Kind == 'f' {
			return false, nil, unknown
		}
		for _, c := range a.Values {
			values = append(values, int64(c))
		}
		return a.Kind == 'b', values, nil
	}
	items, ok := pickle.Items(v)
	if !ok {
		return false, nil, unknown
	}
	for i, item := range items {
		b, isBool := item.(bool)
		c, isInt := pickle.Int(item)
		if n, ok := pickle.Number(item); ok && !isInt && n == float64(int64(n)) {
			c, isInt = int64(n), true // of numpy
		}
		if !isBool && !isInt || i > 0 && isBool != mask {
			return false, nil, unknown
		}
		if mask = isBool; b {
			c = 1
		}
		values = append(values, c)
	}
	return mask, values, nil
}

// sliceIndices reads slice(start, stop, step) as Python does, steps forward.
func sliceIndices(o *pickle.Object, n int) ([]int, error) {
	bad := fmt.Errorf("%w: columns of a slice that is not of numbers with a step forward", ErrUnsupported)
	if len(o.Args) != 3 {
		return nil, bad
	}
	at := [3]int{0, n, 1}
	for i, v := range o.Args {
		if v == (pickle.None{}) {
			continue
		}
		c, ok := pickle.Int(v)
		if !ok {
			return nil, bad
		}
		if i < 2 && c < 0 {
			c += int64(n)
		}
		at[i] = int(min(max(c, 0), int64(n)))
		if i == 2 && c < 1 {
			return nil, bad
		}
	}
	var out []int
	for i := at[0]; i < at[1]; i += at[2] {
		out = append(out, i)
	}
	if len(out) > maxDerived || len(runs(out)) > maxParts {
		return nil, fmt.Errorf("%w: a slice of %d columns", pickle.ErrLimit, len(out))
	}
	return out, nil
}
