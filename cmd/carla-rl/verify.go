package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// verifyCmd holds the numbers of a path to those of other engines and of its
// card.
type verifyCmd struct {
	Path         string   `arg:"" help:"Artifact folder, model file or preprocessor file."`
	Observations string   `placeholder:"FILE" help:"Observations to compare on, as predict reads them, instead of drawn ones."`
	InputShape   []string `name:"input-shape" sep:"none" placeholder:"[NAME=]N,..." help:"Shape of one observation, where a file without a card does not tell it; of a network with several inputs once for each, with its name."`
	Rows         int      `default:"64" help:"How many observations to draw."`
	Seed         uint64   `default:"1" help:"Seed of the observations that are drawn."`
	Atol         float64  `placeholder:"NUMBER" help:"Largest absolute difference; by default 1e-5, more for float16 and bfloat16."`
	Rtol         float64  `placeholder:"NUMBER" help:"Largest difference relative to the largest value of an output; by default as --atol."`
	JSON         bool     `name:"json" help:"Print JSON."`
}

// Help tells what is compared.
func (c *verifyCmd) Help() string {
	return `Replays the golden vectors of the card, and compares what the server computes (the
plan) with the reference evaluator and, in the build that has it, with ONNX Runtime.
The observations are drawn from the contract, the spaces and the statistics of the
normaliser, or read from --observations. Actions that are choices must be equal,
numbers must agree within atol + rtol·|largest|.
Exit code 0: all agree; 1: something differs, or the path is refused.

Example:
  carla-rl verify ./artifacts --rows 1000`
}

// verification is what verify prints.
type verification struct {
	Path        string         `json:"path"`
	Kind        string         `json:"kind"`
	OK          bool           `json:"ok"`
	Golden      int            `json:"golden_vectors"`
	Weights     []weightReport `json:"weights,omitempty"` // where some are narrow
	Comparisons []*comparison  `json:"comparisons"`
	Notes       []string       `json:"notes,omitempty"`

	atol, rtol float64 // of the golden vectors
}

// comparison is one form of a computation on two engines.
type comparison struct {
	Engine  string              `json:"engine"`
	Against string              `json:"against"`
	Form    string              `json:"form"`
	Rows    int                 `json:"rows"`
	Outputs []*outputComparison `json:"outputs"`
}

// outputComparison is one output, or one action, of a comparison.
type outputComparison struct {
	Name    string  `json:"name"`
	Values  int     `json:"values"`
	Max     float64 `json:"max_difference"`
	Mean    float64 `json:"mean_difference"`
	Beyond  int     `json:"beyond_tolerance"`
	Ties    int     `json:"ties,omitzero"`    // choices that differ where both are as good
	Excused int     `json:"excused,omitzero"` // values that are made of rounding

	got, want float64 // of the largest difference
}

// Run verifies and prints.
func (c *verifyCmd) Run(s stdio) error {
	if c.Rows < 1 {
		return usage(errors.New("--rows must be at least 1"))
	}
	v, err := c.verify()
	if err != nil {
		return err
	}
	v.OK = v.failure() == nil
	if c.JSON {
		err = writeJSON(s.out, v)
	} else {
		w := &strings.Builder{}
		v.print(w)
		_, err = io.WriteString(s.out, printable(w.String()))
	}
	if err != nil {
		return err
	}
	return v.failure()
}

func (c *verifyCmd) verify() (*verification, error) {
	dir, note, err := artifactFolder(c.Path)
	if err != nil {
		return nil, err
	}
	v := &verification{Path: c.Path}
	if note != "" {
		v.Notes = append(v.Notes, note)
	}
	if isFolder(dir) {
		v.Kind = "an artifact folder"
		return v, c.policy(v, dir)
	}
	o, err := openPath(c.Path)
	if err != nil {
		return nil, err
	}
	v.Kind = o.what()
	switch {
	case o.card != nil:
		return nil, fmt.Errorf("%s is a model card, which has no numbers: name its folder", c.Path)
	case o.preprocessor != nil:
		g, err := o.preprocessor.Graph(anyWidth)
		if err != nil {
			return nil, err
		}
		return v, c.graph(v, g, tolerance{atol: toleranceDefault, rtol: toleranceDefault})
	case o.network.Describe().Spaces != nil || c.Observations != "":
		return v, c.policy(v, dir)
	}
	return v, c.network(v, o.network)
}

// rivals are the engines beside the reference.
func rivals() ([]policy.Engine, []string) {
	engines := []policy.Engine{policy.Plan}
	if openONNXRuntime == nil {
		return engines, nil
	}
	ort, err := openONNXRuntime()
	if err != nil {
		return engines, []string{fmt.Sprintf("ONNX Runtime was not compared: %v", err)}
	}
	return append(engines, ort), nil
}

// policy compares every form of a policy.
func (c *verifyCmd) policy(v *verification, path string) error {
	a, err := artifact.OpenPath(path, artifact.Limits{})
	if err != nil {
		return err
	}
	defer a.Release()
	shapes, err := parseShapes(c.InputShape)
	if err != nil {
		return err
	}
	if err := shapes.giveShape(a); err != nil {
		return err
	}
	given := c.Observations != ""
	reference, err := policy.Open(a, policy.Options{Engine: policy.Reference, Untried: given})
	if err != nil {
		return err
	}
	v.Weights = weightsHeld(reference.Composed())
	if a.Card.Golden != nil {
		v.Golden, v.atol, v.rtol = len(a.Card.Golden.Vectors), a.Card.Golden.Atol, a.Card.Golden.Rtol
	}
	o, err := c.observations(reference)
	if err != nil {
		return err
	}
	engines, notes := rivals()
	v.Notes = append(v.Notes, notes...)
	tol := c.tolerance(reference.Description())
	for _, engine := range engines {
		p, err := policy.Open(a, policy.Options{Engine: engine, Untried: given})
		if err != nil {
			return fmt.Errorf("%s: %w", engine.Name(), err)
		}
		if err := v.forms(p, reference, o, tol, c.Seed); err != nil {
			return fmt.Errorf("%s: %w", engine.Name(), err)
		}
	}
	return nil
}

// observations reads or draws the rows to compare on.
func (c *verifyCmd) observations(p *policy.Policy) (*observations, error) {
	if c.Observations != "" {
		return readObservations(c.Observations, p)
	}
	return newSampler(p, c.Seed).sample(c.Rows), nil
}

// readObservations reads a file of observations: a question of predict, or
// the rows alone.
func readObservations(file string, p *policy.Policy) (*observations, error) {
	data, err := readLimited(file)
	if err != nil {
		return nil, err
	}
	var q question
	if len(data) > 0 && strings.HasPrefix(strings.TrimSpace(string(data[:min(len(data), 64)])), "[") {
		q.Observations = data
	} else if err := json.Unmarshal(data, &q, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%s: %w", file, plainJSON(err))
	}
	if q.Observations == nil {
		return nil, fmt.Errorf("%s: expected observations, got none", file)
	}
	o, err := q.pack(p.Contract())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if o.episodeStart == nil && len(p.Contract().State) > 0 {
		o.episodeStart = make([]bool, o.rows)
		o.episodeStart[0] = true
	}
	return o, nil
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, inputBytesMax+1))
	if err == nil && len(data) > inputBytesMax {
		err = fmt.Errorf("%s: has more than %d MiB", file, inputBytesMax>>20)
	}
	return data, err
}

// forms compares the deterministic form, that with masks and that which
// samples.
func (v *verification) forms(p, reference *policy.Policy, o *observations, tol tolerance, seed uint64) error {
	o, err := v.usable(p, o)
	if err != nil {
		return err
	}
	contract := p.Contract()
	if err := v.compare(p, reference, o, "deterministic", true, tol, seed); err != nil {
		return err
	}
	if contract.Masks > 0 && o.masks == nil {
		masked := *o
		newSampler(p, seed).mask(&masked)
		if err := v.compare(p, reference, &masked, "masked", true, tol, seed); err != nil {
			return err
		}
	}
	if contract.Stochastic {
		return v.compare(p, reference, o, "sampled", false, tol, seed)
	}
	return nil
}

// usable leaves out observations for which the policy has no usable action:
// drawn ones may be such as its trainer never saw.
func (v *verification) usable(p *policy.Policy, o *observations) (*observations, error) {
	var unusable *policy.ActionError
	if _, err := ask(p, o, true, 0); !errors.As(err, &unusable) {
		return o, err
	}
	if o.sequence(p.Contract()) {
		return nil, unusable
	}
	kept := newObservations(p.Contract(), 0)
	for row := range o.rows {
		one := newObservations(p.Contract(), 1)
		for i, in := range p.Contract().Inputs {
			copy(one.in[i], o.in[i][row*in.Width:])
		}
		if o.masks != nil {
			one.masks = o.masks[row*p.Contract().Masks:][:p.Contract().Masks]
		}
		if _, err := ask(p, one, true, 0); err != nil {
			continue
		}
		kept.rows++
		for i := range kept.in {
			kept.in[i] = append(kept.in[i], one.in[i]...)
		}
		kept.masks = append(kept.masks, one.masks...)
	}
	if kept.rows == 0 {
		return nil, unusable
	}
	v.Notes = append(v.Notes, fmt.Sprintf("No usable action for %d of %d observations, which were left out (%v).", o.rows-kept.rows, o.rows, unusable))
	return kept, nil
}

func (v *verification) compare(p, reference *policy.Policy, o *observations, form string, deterministic bool, tol tolerance, seed uint64) error {
	got, err := ask(p, o, deterministic, seed)
	if err != nil {
		return err
	}
	want, err := ask(reference, o, deterministic, seed)
	if err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	c := &comparison{Engine: p.Engine().Name(), Against: reference.Engine().Name(), Form: form, Rows: o.rows}
	c.Outputs = compareActions(p.Contract(), o.rows, got, want, tol)
	c.Outputs = append(c.Outputs, compareOutputs(got.names, want.names, got.outputs, want.outputs, tol, !deterministic)...)
	v.Comparisons = append(v.Comparisons, c)
	return nil
}

// network compares a bare network: one step, or a sequence of steps where it
// keeps state.
func (c *verifyCmd) network(v *verification, n format.Network) error {
	d := n.Describe()
	o := format.LowerOptions{Deterministic: true}
	shapes, err := parseShapes(c.InputShape)
	if err != nil {
		return err
	}
	if o.InputShapes, err = shapes.forInputs(d.Inputs); err != nil {
		return err
	}
	g, err := n.Lower(o)
	if errors.Is(err, graph.ErrMixesRows) {
		o.Rows = 1
		g, err = n.Lower(o)
	}
	if err != nil {
		return err
	}
	return c.graph(v, g, c.tolerance(d))
}

// networkSteps is the length of the sequence on which a network with state is
// compared.
const networkSteps = 8

// graph compares the engines on drawn inputs. The state of each engine is its
// own.
func (c *verifyCmd) graph(v *verification, g *graph.Graph, tol tolerance) error {
	v.Weights = weightsHeld(g)
	engines, notes := rivals()
	v.Notes = append(v.Notes, notes...)
	for _, engine := range engines {
		got, err := newEpisode(engine, g, c.Seed)
		if err != nil {
			return fmt.Errorf("%s: %w", engine.Name(), err)
		}
		want, err := newEpisode(policy.Reference, g, c.Seed)
		if err != nil {
			return err
		}
		cmp := &comparison{Engine: engine.Name(), Against: policy.Reference.Name(), Form: "deterministic"}
		if err := cmp.episodes(got, want, c.Rows, c.Seed, tol); err != nil {
			return fmt.Errorf("%s: %w", engine.Name(), err)
		}
		v.Comparisons = append(v.Comparisons, cmp)
	}
	return nil
}

// compareGraphs compares what one graph computes with another, whose inputs
// and outputs are the same.
func (v *verification) compareGraphs(a, b *graph.Graph, rows int, seed uint64) error {
	if len(a.Inputs) != len(b.Inputs) || len(a.Outputs) != len(b.Outputs) {
		return fmt.Errorf("it has %d inputs and %d outputs, %d and %d were wanted", len(a.Inputs), len(a.Outputs), len(b.Inputs), len(b.Outputs))
	}
	got, err := newEpisode(policy.Reference, a, seed)
	if err != nil {
		return err
	}
	want, err := newEpisode(policy.Reference, b, seed)
	if err != nil {
		return err
	}
	c := &comparison{Engine: "the file", Against: "the policy", Form: "deterministic"}
	v.Comparisons = append(v.Comparisons, c)
	return c.episodes(got, want, rows, seed, tolerance{toleranceDefault, toleranceDefault})
}

// episodes runs two episodes beside each other on drawn inputs.
func (c *comparison) episodes(got, want *episode, rows int, seed uint64, tol tolerance) error {
	g := want.graph
	if err := g.Verify(); err != nil {
		return err
	}
	steps := 1
	if !g.Batched() {
		rows = 1
	}
	if len(g.States) > 0 || !g.Batched() {
		steps = networkSteps
	}
	var names []string
	for _, o := range g.Outputs {
		names = append(names, o.Name)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for range steps {
		in := sampleInputs(g, rows, random)
		for _, s := range g.States {
			in[s.Input] = nil
		}
		a, err := got.run(in)
		if err != nil {
			return err
		}
		b, err := want.run(in)
		if err != nil {
			return err
		}
		c.Rows += rows
		if len(a) != len(b) {
			return fmt.Errorf("it has %d outputs, %d were wanted", len(a), len(b))
		}
		for _, o := range compareOutputs(names, names, a, b, tol, false) {
			c.add(o)
		}
	}
	return nil
}

// add joins what was compared in one more step.
func (c *comparison) add(o *outputComparison) {
	for _, have := range c.Outputs {
		if have.Name == o.Name {
			have.join(o)
			return
		}
	}
	c.Outputs = append(c.Outputs, o)
}
