package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/spelling"
)

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// unknownKey says that a key is unknown, and which one it may have been.
func unknownKey(key string) error {
	keys := Keys()
	if near := spelling.Nearest(key, keys); near != "" {
		return fmt.Errorf("unknown key, did you mean %s?", near)
	}
	// The right key in the wrong section.
	section, name, _ := strings.Cut(key, ".")
	for _, k := range keys {
		if _, last, _ := strings.Cut(k, "."); last == name {
			return fmt.Errorf("unknown key, did you mean %s?", k)
		}
	}
	var same []string
	for _, k := range keys {
		if s, last, _ := strings.Cut(k, "."); s == section {
			same = append(same, last)
		}
	}
	if len(same) > 0 {
		return fmt.Errorf("unknown key; %s has: %s", section, strings.Join(same, ", "))
	}
	return errors.New("unknown key")
}

func sections() []string {
	var out []string
	for _, k := range Keys() {
		if s, _, _ := strings.Cut(k, "."); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// yaml reads the settings of a file: sections of keys with plain values.
func (l *loader) yaml(name string, data []byte) {
	at := func(n *yaml.Node) Source {
		src := Source{Kind: "file", Name: name}
		if n != nil {
			src.Line = n.Line
		}
		return src
	}
	if !utf8.Valid(data) {
		l.fail(at(nil), "", errors.New("the text is not valid UTF-8"))
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // An empty file says nothing.
			l.fail(at(nil), "", errors.New(strings.TrimPrefix(err.Error(), "yaml: ")))
		}
		return
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		l.fail(at(&second), "", errors.New("the file holds more than one YAML document"))
		return
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return
	}
	if root.Kind != yaml.MappingNode {
		l.fail(at(root), "", errors.New("want sections such as server and model"))
		return
	}
	for section, node := range l.pairs(root, "", at) {
		if !slices.Contains(sections(), section) {
			l.fail(at(node), section, l.unknownSection(section))
			continue
		}
		if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
			continue
		}
		if node.Kind != yaml.MappingNode {
			l.fail(at(node), section, fmt.Errorf("want a section of keys, got %s", kindName(node)))
			continue
		}
		for key, value := range l.pairs(node, section+".", at) {
			full := section + "." + key
			s := l.find(full)
			if s == nil {
				l.fail(at(value), full, unknownKey(full))
				continue
			}
			text, skip, err := scalar(s, value)
			if err != nil {
				l.fail(at(value), full, err)
			} else if !skip {
				l.set(s, at(value), text)
			}
		}
	}
}

func (l *loader) unknownSection(name string) error {
	if near := spelling.Nearest(name, sections()); near != "" {
		return fmt.Errorf("unknown section, did you mean %s?", near)
	}
	for _, k := range Keys() {
		if _, last, _ := strings.Cut(k, "."); last == name {
			return fmt.Errorf("unknown section; the key %s belongs under its section: %s", name, k)
		}
	}
	return fmt.Errorf("unknown section; there are: %s", strings.Join(sections(), ", "))
}

// pairs yields the entries of a mapping and refuses keys that are given twice,
// aliases and merge keys.
func (l *loader) pairs(n *yaml.Node, prefix string, at func(*yaml.Node) Source) iter.Seq2[string, *yaml.Node] {
	return func(yield func(string, *yaml.Node) bool) {
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || value.Kind == yaml.AliasNode {
				l.fail(at(key), prefix+key.Value, errors.New("aliases, merge keys and keys that are not plain text are not allowed"))
				continue
			}
			if line, dup := seen[key.Value]; dup {
				l.fail(at(key), prefix+key.Value, fmt.Errorf("the key is given twice, first on line %d", line))
				continue
			}
			seen[key.Value] = key.Line
			if !yield(key.Value, value) {
				return
			}
		}
	}
}

// scalar returns the text of a value. A key without a value says nothing.
func scalar(s *setting, n *yaml.Node) (text string, skip bool, err error) {
	if n.Style&yaml.TaggedStyle != 0 {
		return "", false, fmt.Errorf("the tag %s is not allowed", n.Tag)
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "", true, nil
		}
		if n.Tag == "!!bool" && typeName(s.dst) == "text" {
			return "", false, fmt.Errorf("want text, got %s: put it in quotes if it is meant", n.Value)
		}
		if n.Value == "" && typeName(s.dst) != "text" && typeName(s.dst) != "secret" {
			return "", true, nil
		}
		return n.Value, false, nil
	case yaml.SequenceNode:
		list, ok := s.dst.(*[]string)
		if !ok {
			return "", false, fmt.Errorf("want a single value, got %s", kindName(n))
		}
		var parts []string
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" || strings.Contains(item.Value, ",") {
				return "", false, fmt.Errorf("entry %d: want plain text, got %s", i+1, kindName(item))
			}
			parts = append(parts, item.Value)
		}
		// An empty list is a value: it takes back what a default says.
		*list = nil
		return strings.Join(parts, ","), false, nil
	}
	return "", false, fmt.Errorf("want a single value, got %s", kindName(n))
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return quote(n.Value)
	}
	return "nothing"
}
