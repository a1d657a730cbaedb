package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// narrowModel is the name of the model in a folder with narrow weights.
const narrowModel = "model.onnx"

// inGraph are the keys of a card that are true of a model's own files, or are
// computed by the one graph that a policy with narrow weights is.
var inGraph = []string{
	"model_filename", "preprocessor_filename", "artifact_hashes", "model_type", "framework_version", "description",
	"postprocess", "architecture", "distribution", "frame_stack", "recurrent",
}

// writeNarrow writes a folder that holds the whole policy as one model, and a
// card that declares the tolerance to which its golden vectors are replayed.
func (c *convertCmd) writeNarrow(a *artifact.Artifact, p *policy.Policy, shapes *givenShapes, n *narrowing) (*conversion, error) {
	g, _, err := c.policyGraph(a, p, shapes)
	if err != nil {
		return nil, err
	}
	data, err := c.encode(g, n)
	if err != nil {
		return nil, err
	}
	files := []writtenFile{{narrowModel, data}}
	card, more, err := c.narrowCard(a, p, n, files)
	if err != nil {
		return nil, err
	}
	files = append(files, writtenFile{artifact.CardName, card})
	done, err := c.writeFolder(files, func(dir string) error {
		lost, err := c.opensNarrow(dir, p, n)
		more = append(more, lost...)
		return err
	})
	if err != nil {
		return nil, err
	}
	done.lines = append(done.lines, n.lines()...)
	done.notes = more
	return done, nil
}

// narrowCard is the card of the policy in its new form. Its golden vectors are
// those of float32.
func (c *convertCmd) narrowCard(a *artifact.Artifact, p *policy.Policy, n *narrowing, files []writtenFile) ([]byte, []string, error) {
	w, err := newCardWriter(a)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range inGraph {
		w.drop(key)
	}
	name := a.Card.ModelName
	if c.Name != "" {
		name = c.Name
	}
	w.put("model_name", text(name), c.Name != "")
	w.put("version", text(first(c.ModelVersion, "v0.1.0")), c.ModelVersion != "")
	w.put("model_type", text("onnx"), true)
	w.put("description", text(fmt.Sprintf("Converted by carla-rl %s, dense layers with %s weights.", build().Version, weightName(n.to))), true)
	notes := narrowNotes(p.Contract(), c.Masked)
	if note := w.contract(p.Contract(), false); note != "" {
		notes = append(notes, note)
	}
	w.files(files)
	switch {
	case a.Card.Golden != nil:
		dropped, err := w.keepGolden(n, p, a)
		if err != nil {
			return nil, nil, err
		}
		if dropped > 0 {
			notes = append(notes, fmt.Sprintf("%s on which the choice is another one now are not in the card.", counted(dropped, "golden vector")))
		}
	case c.Vectors > 0:
		note, err := c.golden(w, a, p, n)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, note)
	}
	data, err := w.bytes()
	return data, notes, err
}

// narrowNotes tell what the one graph of a folder cannot do.
func narrowNotes(c *policy.Contract, masked bool) []string {
	var notes []string
	if c.Stochastic {
		notes = append(notes, "The action is the deterministic one: the folder draws none.")
	}
	switch {
	case c.Masks > 0 && masked:
		notes = append(notes, "Action masks are an input of the model, action_masks.")
	case c.Masks > 0:
		notes = append(notes, "Action masks are no input of the model, so that everything is allowed.")
	}
	return notes
}

// drop removes a key.
func (w *cardWriter) drop(key string) {
	for i := 0; i+1 < len(w.root.Content); i += 2 {
		if w.root.Content[i].Value == key {
			w.root.Content = slices.Delete(w.root.Content, i, i+2)
			return
		}
	}
}

// node returns the value of a key of a mapping, nil where it is not there.
func node(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// keepGolden gives the card's golden vectors the tolerance of narrow weights,
// and takes out those on which a choice is another one, which is only so where
// that is allowed.
func (w *cardWriter) keepGolden(n *narrowing, p *policy.Policy, a *artifact.Artifact) (dropped int, err error) {
	golden := node(w.root, "golden")
	var vectors *yaml.Node
	if golden != nil && golden.Kind == yaml.MappingNode {
		vectors = node(golden, "vectors")
	}
	if vectors == nil || len(vectors.Content) != len(a.Card.Golden.Vectors) {
		return 0, errors.New("the golden vectors of the card are in a form that convert does not rewrite")
	}
	var kept []*yaml.Node
	for i, v := range vectors.Content {
		o := newObservations(p.Contract(), 1)
		if err := p.Contract().Pack(a.Card.Golden.Vectors[i].Observation, 0, o.in); err != nil {
			return 0, err
		}
		same, err := n.sameChoice(p, o)
		if err != nil {
			return 0, err
		}
		if same {
			kept = append(kept, v)
		}
	}
	dropped = len(vectors.Content) - len(kept)
	if len(kept) == 0 {
		w.drop("golden")
		return dropped, nil
	}
	vectors.Content = kept
	inner := &cardWriter{root: golden}
	inner.put("atol", numberNode(n.tolerance, 64), true)
	inner.put("rtol", numberNode(n.tolerance, 64), true)
	return dropped, nil
}

// sameChoice reports whether narrow weights choose as float32 does on one
// observation, which begins an episode.
func (n *narrowing) sameChoice(p *policy.Policy, o *observations) (bool, error) {
	want, err := ask(p, o, true, 0)
	if err != nil {
		return false, err
	}
	got, err := ask(n.policy, o, true, 0)
	if err != nil {
		return false, err
	}
	c := p.Contract()
	for i := range c.Actions {
		a := &c.Actions[i]
		if a.Discrete && !slices.Equal(actionValues(c, a, 1, got.actions), actionValues(c, a, 1, want.actions)) {
			return false, nil
		}
	}
	return true, nil
}

// without are the lines that are not among others.
func without(lines, others []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return slices.Contains(others, line) })
}

// openedRows is the number of observations on which a folder is compared with
// the policy that it was made of.
const openedRows = 8

// opensNarrow opens the folder that was made, which replays its golden vectors,
// holds it to the policy with narrow weights, and tells what is not in its
// contract any more.
func (c *convertCmd) opensNarrow(dir string, p *policy.Policy, n *narrowing) ([]string, error) {
	a, err := artifact.OpenPath(dir, artifact.Limits{RequireHashes: true})
	if err != nil {
		return nil, err
	}
	defer a.Release()
	q, err := policy.Open(a, policy.Options{})
	if err != nil {
		return nil, err
	}
	if why := askable(p.Contract(), q.Contract()); why != "" {
		return nil, fmt.Errorf("its contract is another: %s", why)
	}
	o, err := (&verification{}).usable(p, newSampler(p, c.Seed).sample(openedRows))
	if err != nil {
		return nil, err
	}
	want, err := ask(n.policy, o, true, 0)
	if err != nil {
		return nil, err
	}
	got, err := ask(q, o, true, 0)
	if err != nil {
		return nil, err
	}
	for _, out := range compareActions(p.Contract(), o.rows, got, want, tolerance{toleranceDefault, toleranceDefault}) {
		if out.Beyond > 0 {
			return nil, fmt.Errorf("%s is %v, with narrow weights it was %v", out.Name, out.got, out.want)
		}
	}
	before, now := contractLines(p.Contract()), contractLines(q.Contract())
	if slices.Equal(before, now) {
		return nil, nil
	}
	return []string{fmt.Sprintf("The contract was: %s. Of the folder it is: %s.", strings.Join(without(before, now), "; "), strings.Join(without(now, before), "; "))}, nil
}
