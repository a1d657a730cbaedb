package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// transform runs a preprocessor on rows of features, or on an object of rows
// for one whose observations have parts.
func (c *predictCmd) transform(rows jsontext.Value) ([]byte, error) {
	p, err := c.preprocessor()
	if err != nil {
		return nil, err
	}
	if p.Identity() && rows.Kind() == '{' {
		return c.passed(rows)
	}
	given, err := transformRows(p, rows)
	if err != nil {
		return nil, fmt.Errorf("input: transform: %w", err)
	}
	g, err := p.Graph(given[0].shape[1])
	if err != nil {
		return nil, err
	}
	engine, err := openEngine(c.Engine)
	if err != nil {
		return nil, err
	}
	run, err := newProgram(engine, g)
	if err != nil {
		return nil, err
	}
	n, err := rowsOf(g, given)
	if err != nil {
		return nil, err
	}
	outs, err := run.run(n, given, graph.Noise{})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(g.Outputs))
	for i, o := range g.Outputs {
		names[i] = o.Name
	}
	return c.outputsAnswer(names, outs)
}

// passed answers with the parts of an observation as they are.
func (c *predictCmd) passed(rows jsontext.Value) ([]byte, error) {
	var parts ordered
	if err := json.Unmarshal(rows, &parts); err != nil {
		return nil, fmt.Errorf("input: transform: %w", err)
	}
	var outs []values
	names := slices.Sorted(maps.Keys(parts))
	for _, name := range names {
		t, err := parseTensor(parts[name])
		if err != nil {
			return nil, fmt.Errorf("input: transform: %s: %w", name, err)
		}
		outs = append(outs, values{shape: t.shape, dtype: graph.Float32, data: t.data})
	}
	return c.outputsAnswer(names, outs)
}

// transformRows reads the rows of each input of the preprocessor's graph.
func transformRows(p *preprocess.Preprocessor, rows jsontext.Value) ([]*tensor, error) {
	keys := p.Keys()
	if len(keys) == 0 {
		t, err := parseTensor(rows)
		switch {
		case err != nil:
			return nil, err
		case len(t.shape) != 2:
			return nil, fmt.Errorf("expected rows of numbers, got the shape %v", t.shape)
		case p.Width() > 0 && p.Width() != t.shape[1]:
			return nil, fmt.Errorf("expected %d features a row, got %d", p.Width(), t.shape[1])
		}
		return []*tensor{t}, nil
	}
	var parts ordered
	if err := json.Unmarshal(rows, &parts); err != nil {
		return nil, fmt.Errorf("expected an object of %s with rows of each", strings.Join(keys, ", "))
	}
	given := make([]*tensor, len(keys))
	for i, key := range keys {
		if parts[key] == nil {
			return nil, fmt.Errorf("%s: expected rows of %d numbers, got nothing", key, p.KeyWidth(key))
		}
		t, err := parseTensor(parts[key])
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", key, err)
		case len(t.shape) != 2 || t.shape[1] != p.KeyWidth(key):
			return nil, fmt.Errorf("%s: expected rows of %d numbers, got the shape %v", key, p.KeyWidth(key), t.shape)
		}
		given[i] = t
		delete(parts, key)
	}
	for name := range parts {
		return nil, fmt.Errorf("%s: expected one of %s", name, strings.Join(keys, ", "))
	}
	return given, nil
}

// preprocessor decodes the preprocessor: the file that the flags name, or that
// of the artifact.
func (c *predictCmd) preprocessor() (*preprocess.Preprocessor, error) {
	path := c.Model
	switch {
	case c.Preprocessor != "":
		path = c.Preprocessor
	case c.VecNormalize != "":
		path = c.VecNormalize
	}
	dir, _, err := artifactFolder(path)
	if err != nil {
		return nil, err
	}
	if isFolder(dir) {
		return artifactPreprocessor(dir)
	}
	o, err := openPath(dir)
	if err != nil {
		return nil, err
	}
	if o.preprocessor == nil {
		// torch.save keeps statistics in the container of weights; only the
		// question tells which of the two a file is.
		if data, err := os.ReadFile(path); err == nil {
			if p, err := preprocess.Decode(data); err == nil {
				return p, nil
			}
		}
	}
	if o.preprocessor == nil {
		return nil, fmt.Errorf("%s is %s, not a preprocessor", o.name, o.what())
	}
	return o.preprocessor, nil
}

// artifactPreprocessor decodes that of an artifact.
func artifactPreprocessor(dir string) (*preprocess.Preprocessor, error) {
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	for _, role := range []artifact.Role{artifact.RolePreprocessor, artifact.RoleVecNormalize} {
		m := a.Member(role)
		if m == nil {
			continue
		}
		data, err := a.Read(role)
		if err != nil {
			return nil, err
		}
		p, err := preprocess.Decode(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		return p, nil
	}
	return nil, fmt.Errorf("%s has no preprocessor", dir)
}
