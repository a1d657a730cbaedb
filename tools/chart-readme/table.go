package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	begin = "<!-- The table is written by: go run ./tools/chart-readme -->\n"
	end   = "<!-- End of the table. -->\n"

	// describes marks where in the comment of a value its description begins.
	describes = "# -- "
	// longestDefault is what a default may take of the table's width, in letters.
	longestDefault = 72
)

// row is one value of the chart.
type row struct {
	key, fallback, doc string
}

// update returns readme with the table of values between its two marks.
func update(readme string, values []byte) (string, error) {
	before, rest, ok := strings.Cut(readme, begin)
	if !ok {
		return "", fmt.Errorf("README.md lacks the line %q", strings.TrimSpace(begin))
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("README.md lacks the line %q", strings.TrimSpace(end))
	}
	rows, err := read(values)
	if err != nil {
		return "", fmt.Errorf("values.yaml: %w", err)
	}
	var b strings.Builder
	b.WriteString(before + begin + "\n| value | default | meaning |\n|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.key, r.fallback, strings.ReplaceAll(r.doc, "|", `\|`))
	}
	b.WriteString("\n" + end + after)
	return b.String(), nil
}

// read returns the rows of a values.yaml, in its order.
func read(values []byte) ([]row, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(values, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("is no mapping")
	}
	return walk("", doc.Content[0])
}

// walk returns the rows below the mapping m. A key that has a description is a
// row; one that has none must be a mapping, whose keys have.
func walk(prefix string, m *yaml.Node) ([]row, error) {
	var rows []row
	for i := 0; i < len(m.Content); i += 2 {
		k, v := m.Content[i], m.Content[i+1]
		key := prefix + k.Value
		_, doc, described := strings.Cut(k.HeadComment, describes)
		switch {
		case described:
			fallback, err := written(v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			rows = append(rows, row{key, fallback, strings.ReplaceAll(doc, "\n# ", " ")})
		case v.Kind == yaml.MappingNode && len(v.Content) > 0:
			below, err := walk(key+".", v)
			if err != nil {
				return nil, err
			}
			rows = append(rows, below...)
		default:
			return nil, fmt.Errorf("line %d: %s has no comment that begins with %q", k.Line, key, describes)
		}
	}
	return rows, nil
}

// written returns a default as the table shows it.
func written(v *yaml.Node) (string, error) {
	var value any
	if err := v.Decode(&value); err != nil {
		return "", err
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "", err
	}
	text := strings.TrimSpace(b.String())
	if len(text) > longestDefault || strings.Contains(text, "|") {
		return "see values.yaml", nil
	}
	return "`" + text + "`", nil
}
