package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// givenShapes are the shapes of --input-shape, each of one observation.
type givenShapes struct {
	only  []int // of the one input
	named []namedShape
}

type namedShape struct {
	name  string
	shape []int
}

// parseShapes reads N,... for the one input of a network, or NAME=N,... for
// each of several.
func parseShapes(texts []string) (*givenShapes, error) {
	g := &givenShapes{}
	for _, text := range texts {
		name, list, named := strings.Cut(text, "=")
		if !named {
			name, list = "", text
		}
		shape, err := parseShape(list)
		switch {
		case err != nil, named && name == "":
			return nil, usage(fmt.Errorf("--input-shape: %s is no shape of an observation: expected N,... or NAME=N,... with whole numbers from 1", text))
		case named && g.of(name) != nil:
			return nil, usage(fmt.Errorf("--input-shape: %s is given twice", name))
		case named:
			g.named = append(g.named, namedShape{name, shape})
		case g.only != nil:
			return nil, usage(errors.New("--input-shape: a second shape needs names: NAME=N,... for each input"))
		default:
			g.only = shape
		}
	}
	if g.only != nil && g.named != nil {
		return nil, usage(errors.New("--input-shape: give a name to each shape, or to none where the network has one input"))
	}
	return g, nil
}

func parseShape(list string) ([]int, error) {
	var shape []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		if n < 1 {
			return nil, strconv.ErrRange
		}
		shape = append(shape, n)
	}
	return shape, nil
}

// of returns the shape that was given for the name, nil where none was.
func (g *givenShapes) of(name string) []int {
	i := slices.IndexFunc(g.named, func(s namedShape) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return g.named[i].shape
}

func (g *givenShapes) empty() bool { return g.only == nil && len(g.named) == 0 }

// forInputs gives the inputs of a network their shapes, with the batch axis
// first.
func (g *givenShapes) forInputs(inputs []format.InputDescription) (map[string][]int, error) {
	shapes := map[string][]int{}
	var names []string
	for _, in := range inputs {
		names = append(names, in.Name)
		if s := g.of(in.Name); s != nil {
			shapes[in.Name] = append([]int{graph.Batch}, s...)
		}
	}
	for _, s := range g.named {
		if len(inputs) == 0 { // It takes a dict, of whose keys the file says nothing.
			shapes[s.name] = append([]int{graph.Batch}, s.shape...)
			continue
		}
		if !slices.Contains(names, s.name) {
			return nil, usage(fmt.Errorf("--input-shape: %s is no input of the network, which takes %s", s.name, strings.Join(names, ", ")))
		}
	}
	if g.only != nil && len(inputs) > 1 {
		return nil, usage(fmt.Errorf("--input-shape: the network has several inputs: say NAME=N,... for each of %s", strings.Join(names, ", ")))
	}
	if g.only != nil && len(inputs) > 0 {
		shapes[inputs[0].Name] = append([]int{graph.Batch}, g.only...)
	}
	return shapes, nil
}

// giveShape says of an artifact what its file does not: the shape of one
// observation, or of each part of it.
func (g *givenShapes) giveShape(a *artifact.Artifact) error {
	switch {
	case g.empty():
		return nil
	case a.Card.Present:
		return usage(errors.New("--input-shape is for a file without a card: say input_shape in the card"))
	case g.only != nil:
		a.Card.InputShape = g.only
		return nil
	}
	n, err := readNetwork(a)
	if err != nil {
		return err
	}
	inputs := n.Describe().Inputs
	if _, err := g.forInputs(inputs); err != nil {
		return err
	}
	if len(inputs) == 1 {
		a.Card.InputShape = g.named[0].shape
		return nil
	}
	if len(inputs) == 0 {
		for _, s := range g.named {
			a.Card.Observation = append(a.Card.Observation, artifact.FeatureSpec{Name: s.name, Shape: s.shape})
		}
		return nil
	}
	for _, in := range inputs {
		shape := g.of(in.Name)
		if shape == nil && len(in.Shape) > 0 && in.Shape[0] == graph.Batch && graph.Shape(in.Shape[1:]).Fixed() {
			shape = in.Shape[1:] // which the file tells
		}
		if shape == nil {
			return usage(fmt.Errorf("--input-shape: the shape of input %s is not given: say %s=N,... as well", in.Name, in.Name))
		}
		a.Card.Observation = append(a.Card.Observation, artifact.FeatureSpec{Name: in.Name, Shape: shape})
	}
	return nil
}
