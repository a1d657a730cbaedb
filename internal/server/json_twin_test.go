package server

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// twin is the slow twin of the decoder: a body becomes a tree by jsontext,
// which is strict JSON, and the tree is held to the contract. It knows named
// contracts and unnamed ones of one axis.
type twin struct {
	malformed     bool
	fields        map[string]bool // of the violations
	rows          [][]float32     // the inputs' values of each row, one after another
	deterministic bool
}

// treeMember is a member of an object; the twin keeps duplicates.
type treeMember struct {
	name  string
	value any
}

func decodeTwin(data []byte, c *policy.Contract, maxRows int) twin {
	t := twin{fields: map[string]bool{}, deterministic: c.DeterministicDefault}
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	root, err := tree(d, 0)
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
		t.fields["body"] = true
		return t
	}
	seen := map[string]bool{}
	for _, m := range body {
		name := m.name
		if name == "obs" && !c.Named {
			name = "observations" // one member under two names
		}
		switch {
		case name == "observations":
			if seen[name] {
				t.fields["body."+m.name] = true
			}
			if m.name == "obs" {
				t.obs(m.value, c, maxRows)
			} else {
				t.observations(m.value, c, maxRows)
			}
		case name == "deterministic":
			if seen[name] {
				t.fields["body."+name] = true
			}
			switch v := m.value.(type) {
			case nil:
			case bool:
				t.deterministic = v
			default:
				t.fields["body.deterministic"] = true
			}
		default:
			t.fields["body."+clip([]byte(name))] = true
		}
		seen[name] = true
	}
	if !seen["observations"] {
		t.fields["body.observations"] = true
	}
	return t
}

func (t *twin) observations(v any, c *policy.Contract, maxRows int) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > maxRows {
		t.fields["body.observations"] = true
	}
	t.rows = nil
	for i, row := range list {
		t.row("body.observations."+strconv.Itoa(i), row, c)
	}
}

// obs takes one row or several of a contract of one axis.
func (t *twin) obs(v any, c *policy.Contract, maxRows int) {
	list, ok := v.([]any)
	nested := false
	if ok && len(list) > 0 {
		_, nested = list[0].([]any)
	}
	t.rows = nil
	switch {
	case ok && !nested:
		t.row("body.obs.0", v, c)
	case !ok || len(list) > maxRows:
		t.fields["body.obs"] = true
	default:
		for i, row := range list {
			t.row("body.obs."+strconv.Itoa(i), row, c)
		}
	}
}

func (t *twin) row(at string, v any, c *policy.Contract) {
	values := make([]float32, 0, 8)
	if !c.Named {
		t.rows = append(t.rows, t.list(at, v, &c.Features[0], values))
		return
	}
	members, ok := v.([]treeMember)
	if !ok {
		t.fields[at] = true
		return
	}
	given := map[string]any{}
	for _, m := range members {
		known := false
		for i := range c.Features {
			known = known || c.Features[i].Name == m.name
		}
		if _, twice := given[m.name]; twice || !known {
			t.fields[at+"."+clip([]byte(m.name))] = true
			continue
		}
		given[m.name] = m.value
	}
	for i := range c.Features {
		f := &c.Features[i]
		v, ok := given[f.Name]
		switch {
		case !ok:
			t.fields[at+"."+f.Name] = true
		case f.Shape == nil:
			values = t.number(at+"."+f.Name, v, f, values)
		default:
			values = t.list(at+"."+f.Name, v, f, values)
		}
	}
	t.rows = append(t.rows, values)
}

func (t *twin) list(at string, v any, f *policy.Feature, values []float32) []float32 {
	list, ok := v.([]any)
	if !ok || len(list) != f.Size {
		t.fields[at] = true
	}
	for i, e := range list {
		if _, isNumber := e.(float64); i >= f.Size && isNumber {
			continue // told by the length
		}
		values = t.number(at+"."+strconv.Itoa(i), e, f, values)
	}
	return values
}

func (t *twin) number(at string, v any, f *policy.Feature, values []float32) []float32 {
	n, ok := v.(float64)
	x := float32(n)
	if !ok || math.IsNaN(n) || math.Abs(n) > math.MaxFloat32 || x < float32(f.Low) || x > float32(f.High) {
		t.fields[at] = true
	}
	return append(values, x)
}

// tree reads one value: nil, bool, float64, string, []any or []treeMember.
func tree(d *jsontext.Decoder, depth int) (any, error) {
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
		v, err := strconv.ParseFloat(tok.String(), 64)
		if err != nil && !math.IsInf(v, 0) {
			return nil, err
		}
		return v, nil
	}
	if depth >= maxDepth {
		return nil, errors.New("too deep")
	}
	if tok.Kind() == '[' {
		list := []any{}
		for d.PeekKind() != ']' {
			v, err := tree(d, depth+1)
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
		if m.value, err = tree(d, depth+1); err != nil {
			return nil, err
		}
		object = append(object, m)
	}
	_, err = d.ReadToken()
	return object, err
}
