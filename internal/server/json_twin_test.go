package server

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// twin is the slow twin of the decoder: a body becomes a tree by jsontext,
// which is strict JSON, and the tree is held to the contract.
type twin struct {
	c       *policy.Contract
	form    *actForm
	maxRows int

	malformed bool
	fields    map[string]bool // of the violations
	given     map[string]bool
	rows      [][][]float32 // the values of each feature of each row

	deterministic bool
	numbers       map[string]uint64
	times         map[string]float64
	priority      int
	masks         []float32
	maskRows      int
	state         any
	starts        []bool
	startList     bool
	returns       []string
}

// treeMember is a member of an object; the twin keeps duplicates.
type treeMember struct {
	name  string
	value any
}

// numeral is a number as it was written.
type numeral struct {
	v    float64
	text string
}

func (t *twin) wrong(field string) { t.fields[field] = true }

func decodeTwin(data []byte, form *actForm, c *policy.Contract, maxRows int) *twin {
	t := &twin{
		c: c, form: form, maxRows: maxRows, fields: map[string]bool{}, given: map[string]bool{},
		deterministic: c.DeterministicDefault, numbers: map[string]uint64{}, times: map[string]float64{},
	}
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	root, err := treeOf(d, 0, func(v float64, text string) any { return numeral{v, text} })
	if err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("trailing")
		}
	}
	if err != nil {
		t.malformed = true
		return t
	}
	body, ok := root.([]treeMember)
	if !ok {
		t.wrong("body")
		return t
	}
	for _, m := range body {
		name := m.name
		switch {
		case name == "obs" && c.Named, name == "observation" && !form.single, name == "seq" && form != formStream,
			slices.Contains([]string{"seed", "row", "state"}, name) && form != formPredict:
			t.wrong("body." + name)
			continue
		case name == "obs", name == "observation":
			name = "observations" // one member under three names
		}
		if t.given[name] {
			t.wrong("body." + m.name)
		}
		t.given[name] = true
		t.member(m.name, m.value)
	}
	if !t.given["observations"] {
		if form.single {
			t.wrong("body.observation")
		} else {
			t.wrong("body.observations")
		}
	}
	if len(t.fields) == 0 {
		t.settle()
	}
	return t
}

func (t *twin) member(name string, v any) {
	field := "body." + name
	list, isList := v.([]any)
	switch name {
	case "observations":
		if !isList {
			t.wrong(field)
		}
		t.list(field, list, func(at string, e any) { t.row(at, e, false) })
	case "observation":
		t.rows = nil
		t.row(field, v, false)
	case "obs":
		f := &t.c.Features[0]
		t.rows = nil
		switch {
		case depth(v) == len(f.Shape) || len(f.Shape) > 0 && isPacked(v, f):
			t.row("body.obs.0", v, true)
		case !isList:
			t.wrong(field)
		default:
			t.list(field, list, func(at string, e any) { t.row(at, e, true) })
		}
	case "deterministic":
		b, ok := v.(bool)
		if !ok && v != nil {
			t.wrong(field)
		} else if ok {
			t.deterministic = b
		}
	case "seed", "step", "row", "seq":
		n, ok := v.(numeral)
		i, whole := new(big.Int).SetString(n.text, 10)
		if !ok || !whole || strings.HasPrefix(n.text, "-") || i.BitLen() > 53 {
			t.wrong(field)
			return
		}
		t.numbers[name] = i.Uint64()
	case "deadline_ms", "observed_at":
		n, ok := v.(numeral)
		if !ok || !(n.v > 0) || math.IsInf(n.v, 0) {
			t.wrong(field)
		}
		t.times[name] = n.v
	case "priority":
		word, _ := v.(string)
		if t.priority = slices.Index(serving.Priorities[:], word); t.priority < 0 {
			t.wrong(field)
			t.priority = 0
		}
	case "state":
		if _, ok := v.(string); !ok && v != nil {
			t.wrong(field)
		}
		t.state = v
	case "episode_start":
		t.starts, t.startList = nil, isList
		if !isList {
			list = []any{v}
		}
		for i, e := range list {
			b, ok := e.(bool)
			if at := field + "." + strconv.Itoa(i); !ok && isList {
				t.wrong(at)
			} else if !ok {
				t.wrong(field)
			}
			t.starts = append(t.starts, b)
		}
		if len(list) > t.maxRows {
			t.wrong(field)
		}
	case "return":
		t.returns = nil
		if !isList {
			t.wrong(field)
		}
		for i, e := range list {
			name, ok := e.(string)
			if !ok || slices.Contains(t.returns, name) || !slices.ContainsFunc(t.c.Extras, func(e policy.ExtraSpec) bool { return e.Name == name || strings.HasPrefix(e.Name, name+".") }) {
				t.wrong(field + "." + strconv.Itoa(i))
			}
			t.returns = append(t.returns, name)
		}
	case "action_masks":
		t.actionMasks(field, list, isList)
	default:
		t.wrong("body." + clip([]byte(name)))
	}
}

func (t *twin) actionMasks(field string, list []any, isList bool) {
	t.masks, t.maskRows = []float32{}, len(list)
	if !isList || t.c.Masks == 0 || len(list) > t.maxRows && !(t.form.single && depth(list) == 1) {
		t.wrong(field)
	}
	if t.c.Masks == 0 {
		return
	}
	if t.form.single && isList && depth(list) == 1 {
		t.maskRows = 1
		t.maskRow(field, list)
		return
	}
	for i, e := range list {
		at := field + "." + strconv.Itoa(i)
		row, ok := e.([]any)
		if !ok {
			t.wrong(at)
			continue
		}
		t.maskRow(at, row)
	}
}

func (t *twin) maskRow(at string, row []any) {
	if len(row) != t.c.Masks {
		t.wrong(at)
	}
	for i, e := range row {
		n, isNumber := e.(numeral)
		switch {
		case e == true, isNumber && n.v == 1:
			t.masks = append(t.masks, 1)
		case e == false, isNumber && n.v == 0:
			t.masks = append(t.masks, 0)
		default:
			t.wrong(at + "." + strconv.Itoa(i))
		}
	}
}

// settle is what the decoder judges once all else is right.
func (t *twin) settle() {
	if t.given["action_masks"] && t.maskRows != len(t.rows) {
		t.wrong("body.action_masks")
	}
	if t.startList && len(t.starts) != len(t.rows) {
		t.wrong("body.episode_start")
	}
	if n := uint64(len(t.rows)); n > 0 && t.numbers["row"]+n-1 >= 1<<53 {
		t.wrong("body.row")
	}
	keeps := len(t.c.State) > 0
	if t.form == formPredict && (keeps && !t.given["state"] || !keeps && t.state != nil) {
		t.wrong("body.state")
	}
}

// list reads rows.
func (t *twin) list(field string, list []any, row func(at string, e any)) {
	t.rows = nil
	if len(list) == 0 || len(list) > t.maxRows || t.form.single && len(list) != 1 {
		t.wrong(field)
	}
	for i, e := range list {
		row(field+"."+strconv.Itoa(i), e)
	}
}

// row reads one observation; of a policy without names it is nested to the
// shape, and may be flat but under "obs".
func (t *twin) row(at string, v any, nested bool) {
	if !t.c.Named {
		f := &t.c.Features[0]
		if !nested && len(f.Shape) > 0 && !isPacked(v, f) && depth(v) != len(f.Shape) {
			t.rows = append(t.rows, [][]float32{t.flat(at, v, f, f.Size, nil)})
			return
		}
		if list, ok := v.([]any); !nested && f.Shape == nil && ok { // a single number in a list
			t.rows = append(t.rows, [][]float32{t.flat(at, list, f, 1, nil)})
			return
		}
		t.rows = append(t.rows, [][]float32{t.feature(at, v, f)})
		return
	}
	members, ok := v.([]treeMember)
	if !ok {
		t.wrong(at)
		return
	}
	given := map[string]any{}
	for _, m := range members {
		known := slices.ContainsFunc(t.c.Features, func(f policy.Feature) bool { return f.Name == m.name })
		if _, twice := given[m.name]; twice || !known {
			t.wrong(at + "." + clip([]byte(m.name)))
			continue
		}
		given[m.name] = m.value
	}
	var row [][]float32
	for i := range t.c.Features {
		f := &t.c.Features[i]
		v, ok := given[f.Name]
		if !ok {
			t.wrong(at + "." + f.Name)
			continue
		}
		row = append(row, t.feature(at+"."+f.Name, v, f))
	}
	t.rows = append(t.rows, row)
}

// feature reads one feature, in whatever form it comes.
func (t *twin) feature(at string, v any, f *policy.Feature) []float32 {
	if f.Shape == nil {
		return t.number(at, v, f, nil)
	}
	if isPacked(v, f) {
		return t.packed(at, v, f)
	}
	if list, ok := v.([]any); ok && f.Image && f.Shape[1] != f.Shape[2] {
		if rows, ok := first(list).([]any); ok {
			if columns, ok := first(rows).([]any); ok && len(columns) == f.Shape[1] {
				return channelsLast(t.level(at, v, f, []int{f.Shape[2], f.Shape[0], f.Shape[1]}, nil), f)
			}
		}
	}
	return t.level(at, v, f, f.Shape, nil)
}

func first(list []any) any {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// channelsLast brings channels, rows, columns into the order of the contract.
func channelsLast(x []float32, f *policy.Feature) []float32 {
	rows, columns, channels := f.Shape[0], f.Shape[1], f.Shape[2]
	if len(x) != f.Size {
		return x
	}
	var out []float32
	for i := range rows {
		for j := range columns {
			for c := range channels {
				out = append(out, x[(c*rows+i)*columns+j])
			}
		}
	}
	return out
}

func (t *twin) level(at string, v any, f *policy.Feature, shape []int, values []float32) []float32 {
	if len(shape) == 1 {
		return t.flat(at, v, f, shape[0], values)
	}
	list, ok := v.([]any)
	if !ok || len(list) != shape[0] {
		t.wrong(at)
	}
	for i, e := range list {
		if i < shape[0] {
			values = t.level(at+"."+strconv.Itoa(i), e, f, shape[1:], values)
		}
	}
	return values
}

func (t *twin) flat(at string, v any, f *policy.Feature, size int, values []float32) []float32 {
	list, ok := v.([]any)
	if !ok || len(list) != size {
		t.wrong(at)
	}
	for i, e := range list {
		if _, isNumber := e.(numeral); i >= size && isNumber {
			continue // told by the length
		}
		values = t.number(at+"."+strconv.Itoa(i), e, f, values)
	}
	return values
}

func (t *twin) number(at string, v any, f *policy.Feature, values []float32) []float32 {
	n, ok := v.(numeral)
	return t.value(at, n.v, ok, f, values)
}

func (t *twin) value(at string, v float64, ok bool, f *policy.Feature, values []float32) []float32 {
	x := float32(v)
	if !ok || math.IsNaN(v) || math.Abs(v) > math.MaxFloat32 || x < float32(f.Low) || x > float32(f.High) {
		t.wrong(at)
	}
	return append(values, x)
}

// depth is the number of arrays that begin where a value does.
func depth(v any) int {
	list, ok := v.([]any)
	if !ok {
		return 0
	}
	return 1 + depth(first(list))
}

// rowField is the field of a whole row, which the decoder tells beside that of
// the array which has another size.
var rowField = regexp.MustCompile(`^body\.(observations\.[0-9]+|obs\.[0-9]+|observation)$`)

// tree reads one value: nil, bool, float64, string, []any or []treeMember.
func tree(d *jsontext.Decoder, depth int) (any, error) {
	return treeOf(d, depth, func(v float64, _ string) any { return v })
}

// treeOf is tree with numbers of another type.
func treeOf(d *jsontext.Decoder, depth int, number func(v float64, text string) any) (any, error) {
	tok, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return tok.Bool(), nil
	case '"':
		return tok.String(), nil
	case '0':
		text := tok.String()
		v, err := strconv.ParseFloat(text, 64)
		if err != nil && !math.IsInf(v, 0) {
			return nil, err
		}
		return number(v, text), nil
	}
	if depth >= maxDepth {
		return nil, errors.New("too deep")
	}
	if tok.Kind() == '[' {
		list := []any{}
		for d.PeekKind() != ']' {
			v, err := treeOf(d, depth+1, number)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.ReadToken()
		return list, err
	}
	object := []treeMember{}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		m := treeMember{name: name.String()}
		if m.value, err = treeOf(d, depth+1, number); err != nil {
			return nil, err
		}
		object = append(object, m)
	}
	_, err = d.ReadToken()
	return object, err
}
