package doctor

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxStreamBytes bounds a stream of manifests: far more than a release has.
const maxStreamBytes = 64 << 20

// maxObjects bounds the objects of a stream.
const maxObjects = 20_000

// Object is one Kubernetes object.
type Object struct {
	Source string // file
	Line   int
	m      map[string]any
}

// Decode reads a stream of YAML documents, or JSON, of which each is an object,
// a list of objects, or empty.
func Decode(source string, r io.Reader) ([]*Object, error) {
	limited := &io.LimitedReader{R: r, N: maxStreamBytes + 1}
	dec := yaml.NewDecoder(limited)
	var out []*Object
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if limited.N <= 0 {
			return nil, fmt.Errorf("%s: more than %d bytes", source, maxStreamBytes)
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		if v == nil {
			continue
		}
		if out, err = appendObjects(out, source, n.Line, &n, v); err != nil {
			return nil, err
		}
	}
}

// appendObjects adds an object, or the items of a list.
func appendObjects(out []*Object, source string, line int, n *yaml.Node, v any) ([]*Object, error) {
	if n != nil && len(n.Content) > 0 {
		line = n.Content[0].Line
	}
	o := &Object{Source: source, Line: line, m: mapping(v)}
	if o.m == nil || o.Kind() == "" {
		return nil, fmt.Errorf("%s:%d: no Kubernetes object: kind is missing", source, line)
	}
	if items, ok := o.m["items"].([]any); ok && strings.HasSuffix(o.Kind(), "List") {
		for _, item := range items {
			var err error
			if out, err = appendObjects(out, source, line, nil, item); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if len(out) == maxObjects {
		return nil, fmt.Errorf("%s: more than %d objects", source, maxObjects)
	}
	return append(out, o), nil
}

// Kind is the object's kind.
func (o *Object) Kind() string { return text(o.m["kind"]) }

// Name is the object's name.
func (o *Object) Name() string { return text(at(o.m, "metadata", "name")) }

// Namespace is the object's namespace, or "".
func (o *Object) Namespace() string { return text(at(o.m, "metadata", "namespace")) }

// labels are the object's own.
func (o *Object) labels() map[string]string { return words(at(o.m, "metadata", "labels")) }

// annotations are the object's own.
func (o *Object) annotations() map[string]string { return words(at(o.m, "metadata", "annotations")) }

// where names the object, and a place in it.
func (o *Object) where(path ...string) string {
	name := o.Name()
	if ns := o.Namespace(); ns != "" {
		name = ns + "/" + name
	}
	s := fmt.Sprintf("%s:%d: %s %s", o.Source, o.Line, o.Kind(), name)
	if len(path) > 0 {
		s += ": " + strings.Join(path, ".")
	}
	return s
}

// at walks a value by keys; nil where one is not there.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m := mapping(v)
		if m == nil {
			return nil
		}
		v = m[k]
	}
	return v
}

// mapping returns v as a mapping; keys that are no text are written as text.
func mapping(v any) map[string]any {
	switch m := v.(type) {
	case map[string]any:
		return m
	case map[any]any:
		out := make(map[string]any, len(m))
		for k, v := range m {
			out[fmt.Sprint(k)] = v
		}
		return out
	}
	return nil
}

// list returns v as a list, or nil.
func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// text returns a scalar as it would be written, or "".
func text(v any) string {
	switch v.(type) {
	case nil, []any, map[string]any, map[any]any:
		return ""
	}
	return fmt.Sprint(v)
}

// texts returns a list of scalars.
func texts(v any) []string {
	var out []string
	for _, x := range list(v) {
		out = append(out, text(x))
	}
	return out
}

// words returns a mapping of scalars.
func words(v any) map[string]string {
	out := map[string]string{}
	for k, x := range mapping(v) {
		out[k] = text(x)
	}
	return out
}

// number returns a whole number, or otherwise where v is none.
func number(v any, otherwise int) int {
	switch n := v.(type) {
	case int:
		return n
	case int64:
		return int(n)
	case float64:
		return int(n)
	}
	return otherwise
}
