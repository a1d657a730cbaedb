package main

import (
	"bytes"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// cardWriter adds keys to a card. Those that are there stay as they are, but
// for what is said of files.
type cardWriter struct {
	root *yaml.Node
}

// card makes the card of the artifact: that which was read, with what was
// inferred beside it.
func (c *convertCmd) card(a *artifact.Artifact, p *policy.Policy, files []writtenFile) ([]byte, []string, error) {
	w, err := newCardWriter(a)
	if err != nil {
		return nil, nil, err
	}
	var notes []string
	d := p.Description()
	name := a.Card.ModelName
	if c.Name != "" {
		name = c.Name
	}
	w.put("model_name", text(name), c.Name != "")
	w.put("version", text(first(c.ModelVersion, "v0.1.0")), c.ModelVersion != "")
	w.put("model_type", text(d.Format), false)
	w.put("description", text(fmt.Sprintf("Converted from %s by carla-rl %s.", path.Base(c.In), build().Version)), false)
	if d.Producer != "" {
		w.put("framework_version", text(d.Producer), false)
	}
	if note := w.contract(p.Contract(), d.Spaces != nil); note != "" {
		notes = append(notes, note)
	}
	w.files(files)
	if a.Card.Golden == nil && c.Vectors > 0 {
		note, err := c.golden(w, a, p, nil)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, note)
	}
	data, err := w.bytes()
	return data, notes, err
}

func newCardWriter(a *artifact.Artifact) (*cardWriter, error) {
	w := &cardWriter{root: &yaml.Node{Kind: yaml.MappingNode}}
	if !a.Card.Present {
		return w, nil
	}
	data, err := a.Read(artifact.RoleCard)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	w.root = doc.Content[0]
	return w, nil
}

func (w *cardWriter) bytes() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(w.root); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// put sets a key, one that is there only where it is to be replaced.
func (w *cardWriter) put(key string, value *yaml.Node, replace bool) {
	for i := 0; i+1 < len(w.root.Content); i += 2 {
		if w.root.Content[i].Value == key {
			if replace {
				w.root.Content[i+1] = value
			}
			return
		}
	}
	w.root.Content = append(w.root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
}

// ancestorFeatures and ancestorActions are the numbers of features and actions
// from which a card without either is read as that of the Python ancestor.
const (
	ancestorFeatures = 3
	ancestorActions  = 3
)

// contract writes what was understood of observation and action. Rows without
// names stay rows, but where a card that names nothing would be read as the
// ancestor's: then the observation gets the name of the input, and the note
// says so.
func (w *cardWriter) contract(c *policy.Contract, spaces bool) (note string) {
	ancestral := !c.Named && !spaces && len(c.Inputs) == 1 && len(c.Inputs[0].Shape) == 1 &&
		c.Inputs[0].Width >= ancestorFeatures && c.ActionWidth() == ancestorActions
	if ancestral {
		note = fmt.Sprintf("Observations are objects of %s in this artifact: a card that names nothing would be read as speed, steering and sensors.", c.Features[0].Name)
	}
	if c.Named || ancestral {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range c.Features {
			f := &c.Features[i]
			list.Content = append(list.Content, feature(f.Name, f.Shape, f.Unit, f.Low, f.High))
		}
		w.put("observation", list, false)
	} else {
		w.put("input_shape", shapeNode(c.Inputs[0].Shape), false)
	}
	switch {
	case len(c.Actions) > 1 || c.Actions[0].Name != "":
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range c.Actions {
			a := &c.Actions[i]
			n := feature(a.Name, a.Shape, "", a.Low, a.High)
			if a.Discrete {
				n.Content = append(n.Content, text("discrete"), boolean(true))
			}
			list.Content = append(list.Content, n)
		}
		w.put("action", list, false)
	case c.Actions[0].Shape != nil:
		w.put("output_shape", shapeNode(c.Actions[0].Shape), false)
	}
	w.put("deterministic_default", boolean(c.DeterministicDefault), false)
	return note
}

// feature is {name: x, shape: [3], unit: m, low: 0, high: 1} without what is not
// known.
func feature(name string, shape []int, unit string, low, high float64) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{text("name"), text(name)}}
	if shape != nil {
		n.Content = append(n.Content, text("shape"), shapeNode(shape))
	}
	if unit != "" {
		n.Content = append(n.Content, text("unit"), text(unit))
	}
	for _, b := range []struct {
		key   string
		value float64
	}{{"low", low}, {"high", high}} {
		if !math.IsInf(b.value, 0) {
			n.Content = append(n.Content, text(b.key), numberNode(b.value, 64))
		}
	}
	return n
}

// files names the files and their digests.
func (w *cardWriter) files(files []writtenFile) {
	hashes := &yaml.Node{Kind: yaml.MappingNode}
	for i, f := range files {
		hashes.Content = append(hashes.Content, text(f.name), text("sha256:"+sha256Hex(f.data)))
		if i == 0 { // the model
			w.put("model_filename", text(f.name), true)
		}
		if strings.HasPrefix(f.name, "preprocessor.") || f.name == "vecnormalize.pkl" {
			w.put("preprocessor_filename", text(f.name), true)
		}
	}
	w.put("artifact_hashes", hashes, true)
}

// The numbers of golden vectors are bounded: a card is text that every load
// reads. One vector may have more than all of several.
const (
	goldenNumbersMax = 20_000
	goldenVectorMax  = 100_000
)

// golden computes vectors with the reference evaluator on drawn observations.
// With narrow weights they are declared with the tolerance of these, and a
// choice that these change is an error or, where that is allowed, no vector.
func (c *convertCmd) golden(w *cardWriter, a *artifact.Artifact, p *policy.Policy, narrow *narrowing) (string, error) {
	contract := p.Contract()
	width := contract.ActionWidth()
	for i := range contract.Inputs {
		width += contract.Inputs[i].Width
	}
	vectors := min(c.Vectors, max(1, goldenNumbersMax/width))
	if width > goldenVectorMax {
		return fmt.Sprintf("The card has no golden vectors: one would have %d numbers.", width), nil
	}
	reference, err := policy.Open(a, policy.Options{Engine: policy.Reference})
	if err != nil {
		return "", err
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	s := newSampler(p, c.Seed)
	for tries := 0; len(list.Content) < vectors && tries < 16*vectors; tries++ {
		o := s.sample(1)
		v, err := goldenVector(p, reference, o)
		if err != nil {
			return "", err
		}
		if v != nil && narrow != nil {
			same, err := narrow.sameChoice(p, o)
			if err != nil {
				return "", err
			}
			if !same && !c.AllowChangedChoices {
				return "", fmt.Errorf("%s weights choose otherwise on one of the drawn golden vectors; --allow-changed-choices leaves such out, and nothing was written", weightName(narrow.to))
			}
			if !same {
				continue
			}
		}
		if v != nil {
			list.Content = append(list.Content, v)
		}
	}
	if len(list.Content) == 0 {
		return "The card has no golden vectors: on no observation that was drawn do plan and reference evaluator agree.", nil
	}
	declared := toleranceOf(p.Description())
	if narrow != nil {
		declared = max(declared, narrow.tolerance)
	}
	tol := strconv.FormatFloat(declared, 'g', -1, 64)
	n := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
		text("atol"), plainNumber(tol), text("rtol"), plainNumber(tol), text("vectors"), list,
	}}
	n.HeadComment = "Computed by the reference evaluator of carla-rl on drawn observations, not by the\n" +
		"framework that trained the policy: they prove that the numbers stay what they are."
	w.put("golden", n, false)
	return fmt.Sprintf("%d golden vectors were computed by the reference evaluator of this program, not by the framework that trained the policy.", len(list.Content)), nil
}

// goldenVector is one observation with its action; nil where plan and
// reference do not agree on it, as where two choices are equally good.
func goldenVector(p, reference *policy.Policy, o *observations) (*yaml.Node, error) {
	want, err := ask(reference, o, true, 0)
	if err != nil {
		return nil, nil //nolint:nilerr // No usable action for an observation that nobody may ever send.
	}
	got, err := ask(p, o, true, 0)
	if err != nil {
		return nil, nil //nolint:nilerr // As above.
	}
	t := tolerance{atol: toleranceOf(p.Description()) / 2}
	for _, c := range compareActions(p.Contract(), 1, got, want, t) {
		if c.Beyond > 0 || c.Ties > 0 {
			return nil, nil
		}
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
		text("observation"), observationNode(p.Contract(), o), text("action"), actionNode(p.Contract(), want.actions),
	}}
	return n, nil
}

// observationNode writes the first row of observations as the contract has it.
func observationNode(c *policy.Contract, o *observations) *yaml.Node {
	if !c.Named {
		return list(o.in[0], c.Inputs[0].Shape == nil)
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	for i := range c.Features {
		f := &c.Features[i]
		n.Content = append(n.Content, text(f.Name), list(o.in[f.Input][f.Offset:][:f.Size], f.Shape == nil))
	}
	return n
}

func actionNode(c *policy.Contract, action []float32) *yaml.Node {
	if len(c.Actions) == 1 && c.Actions[0].Name == "" {
		return list(action, false)
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	for i := range c.Actions {
		a := &c.Actions[i]
		n.Content = append(n.Content, text(a.Name), list(action[a.Offset:][:a.Size], a.Shape == nil))
	}
	return n
}

func list(data []float32, single bool) *yaml.Node {
	if single && len(data) == 1 {
		return numberNode(float64(data[0]), 32)
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, f := range data {
		n.Content = append(n.Content, numberNode(float64(f), 32))
	}
	return n
}

func shapeNode(shape []int) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, d := range shape {
		n.Content = append(n.Content, plainNumber(strconv.Itoa(d)))
	}
	return n
}

// text is a string, quoted where it would be read as something else.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func boolean(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(b)}
}

func numberNode(f float64, bits int) *yaml.Node {
	return plainNumber(strconv.FormatFloat(f, 'g', -1, bits))
}

func plainNumber(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
