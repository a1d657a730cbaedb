package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// diffCmd compares two policies.
type diffCmd struct {
	A            string  `arg:"" help:"Artifact folder or model file."`
	B            string  `arg:"" help:"Another."`
	Observations string  `placeholder:"FILE" help:"Observations to compare on, as predict reads them, instead of drawn ones."`
	Rows         int     `default:"256" help:"How many observations to draw."`
	Seed         uint64  `default:"1" help:"Seed of the observations that are drawn."`
	Atol         float64 `default:"1e-5" placeholder:"NUMBER" help:"Largest absolute difference of actions that are the same."`
	Rtol         float64 `default:"1e-5" placeholder:"NUMBER" help:"Largest difference relative to the action."`
	JSON         bool    `name:"json" help:"Print JSON."`
}

// Help tells what is compared and the exit codes.
func (c *diffCmd) Help() string {
	return `Compares the tensors of two model files by name, and what the two policies do with
the same observations, which are drawn from the contract of the first or read from
--observations.
Exit code 0: no tensor differs and the actions agree within the tolerance (files of
different formats are held to their actions alone); 1: they differ; 2: one of them
cannot be compared. What the contracts say differently is shown and does not count.

Example:
  carla-rl diff v0.1.0 v0.2.0 --rows 10000`
}

// exitDiffers and exitTrouble are those of diff.
const (
	exitDiffers = 1
	exitTrouble = 2
)

// differences is what diff prints.
type differences struct {
	A           string              `json:"a"`
	B           string              `json:"b"`
	Same        bool                `json:"same"`
	Contract    []string            `json:"contract,omitempty"` // lines of a with -, of b with +
	Weights     weightDifferences   `json:"weights"`
	Rows        int                 `json:"observations"`
	Actions     []*actionDifference `json:"actions,omitempty"`
	Outputs     []*actionDifference `json:"outputs,omitempty"`
	NotCompared string              `json:"actions_not_compared,omitempty"`

	foreign      bool // the files are of different formats, which may hold the same tensors otherwise
	incompatible bool // the policies take or give other things
}

// weightDifferences are those of the tensors.
type weightDifferences struct {
	Same    int                `json:"same"` // tensors that are equal, number for number
	Changed []tensorDifference `json:"changed,omitempty"`
	Added   []string           `json:"added,omitempty"`   // in b alone
	Removed []string           `json:"removed,omitempty"` // in a alone
}

// tensorDifference is one tensor that both have and that differs.
type tensorDifference struct {
	Name     string  `json:"name"`
	Shape    string  `json:"shape"`
	ShapeB   string  `json:"shape_b,omitempty"` // where it is another
	Max      float64 `json:"max_difference"`
	Mean     float64 `json:"mean_difference"`
	Relative float64 `json:"max_relative_difference"`
}

// actionDifference is one value of the action, or one output.
type actionDifference struct {
	Name       string  `json:"name"`
	Mean       float64 `json:"mean_difference"`
	Max        float64 `json:"max_difference"`
	SignFlips  int     `json:"sign_flips"`
	Disagree   int     `json:"disagree"` // choices that are not the same
	Beyond     int     `json:"beyond_tolerance"`
	Values     int     `json:"values"`
	isDiscrete bool
}

// side is one of the two.
type side struct {
	format  string
	tensors []format.NamedTensor
	policy  *policy.Policy
	refusal string // why there is no policy
}

// Run compares and prints.
func (c *diffCmd) Run(s stdio) error {
	d, err := c.compare()
	if err != nil {
		return &exitError{exitTrouble, err}
	}
	if c.JSON {
		err = writeJSON(s.out, d)
	} else {
		w := &strings.Builder{}
		d.print(w)
		_, err = io.WriteString(s.out, printable(w.String()))
	}
	if err != nil {
		return &exitError{exitTrouble, err}
	}
	if !d.Same {
		return &exitError{exitDiffers, fmt.Errorf("%s and %s differ", c.A, c.B)}
	}
	return nil
}

func (c *diffCmd) compare() (*differences, error) {
	if c.Rows < 1 {
		return nil, errors.New("--rows must be at least 1")
	}
	a, err := openSide(c.A)
	if err != nil {
		return nil, err
	}
	b, err := openSide(c.B)
	if err != nil {
		return nil, err
	}
	d := &differences{A: c.A, B: c.B, foreign: a.format != b.format}
	d.weights(a.tensors, b.tensors)
	if err := c.actions(d, a, b); err != nil {
		return nil, err
	}
	d.Same = d.same()
	return d, nil
}

// same tells whether nothing differs.
func (d *differences) same() bool {
	w := &d.Weights
	foreign := (d.foreign || w.Same == 0 && len(w.Changed) == 0) && d.NotCompared == ""
	if d.incompatible || !foreign && len(w.Changed)+len(w.Added)+len(w.Removed) > 0 {
		return false
	}
	for _, a := range d.Actions {
		if a.Beyond > 0 {
			return false
		}
	}
	return true
}

// openSide reads the tensors of a path, and its policy as far as it is one.
func openSide(path string) (*side, error) {
	dir, _, err := artifactFolder(path)
	if err != nil {
		return nil, err
	}
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	defer a.Release()
	n, err := readNetwork(a)
	if err != nil {
		return nil, err
	}
	s := &side{format: n.Describe().Format, tensors: format.Tensors(n)}
	if s.policy, err = policy.Open(a, policy.Options{}); err != nil {
		s.refusal = fmt.Sprintf("%s: %v", path, err)
	}
	return s, nil
}

// weights compares tensors by name.
func (d *differences) weights(a, b []format.NamedTensor) {
	w := &d.Weights
	others := map[string]*graph.Tensor{}
	for _, t := range b {
		others[t.Name] = t.Tensor
	}
	have := map[string]bool{}
	for _, t := range a {
		have[t.Name] = true
		other, ok := others[t.Name]
		switch {
		case !ok:
			w.Removed = append(w.Removed, t.Name)
		case !slices.Equal(t.Tensor.Shape, other.Shape):
			w.Changed = append(w.Changed, tensorDifference{Name: t.Name, Shape: t.Tensor.Shape.String(), ShapeB: other.Shape.String()})
		default:
			e := differ(numbers(t.Tensor), numbers(other), 0, 0)
			if e.Failed == 0 {
				w.Same++
				continue
			}
			w.Changed = append(w.Changed, tensorDifference{Name: t.Name, Shape: t.Tensor.Shape.String(), Max: e.Max, Mean: e.Mean, Relative: e.Relative})
		}
	}
	for _, t := range b {
		if !have[t.Name] {
			w.Added = append(w.Added, t.Name)
		}
	}
}

func numbers(t *graph.Tensor) []float64 {
	out := make([]float64, t.Len())
	for i := range out {
		out[i] = t.At(i)
	}
	return out
}

// actions asks both policies.
func (c *diffCmd) actions(d *differences, a, b *side) error {
	if a.policy == nil || b.policy == nil {
		d.NotCompared = a.refusal + b.refusal
		if a.refusal != "" && b.refusal != "" {
			d.NotCompared = a.refusal + "; " + b.refusal
		}
		return nil
	}
	ca, cb := a.policy.Contract(), b.policy.Contract()
	d.contract(a.policy, b.policy)
	if reason := askable(ca, cb); reason != "" {
		d.NotCompared, d.incompatible = reason, true
		return nil
	}
	o, err := c.observations(a.policy)
	if err != nil {
		return err
	}
	if o.episodeStart == nil && len(cb.State) > 0 {
		o.episodes()
	}
	d.Rows = o.rows
	x, err := ask(a.policy, o, true, c.Seed)
	if err != nil {
		return fmt.Errorf("%s: %w", c.A, err)
	}
	y, err := ask(b.policy, o, true, c.Seed)
	if err != nil {
		return fmt.Errorf("%s: %w", c.B, err)
	}
	for i := range ca.Actions {
		d.Actions = append(d.Actions, c.action(ca, i, o.rows, x.actions, y.actions)...)
	}
	for i, name := range x.names {
		j := slices.Index(y.names, name)
		if j < 0 || len(x.outputs[i].data) != len(y.outputs[j].data) {
			continue
		}
		d.Outputs = append(d.Outputs, c.values(name, x.outputs[i].data, y.outputs[j].data, false))
	}
	return nil
}

func (c *diffCmd) observations(p *policy.Policy) (*observations, error) {
	if c.Observations != "" {
		return readObservations(c.Observations, p)
	}
	return newSampler(p, c.Seed).sample(c.Rows), nil
}

// askable says why two policies cannot be asked the same; empty where they
// can.
func askable(a, b *policy.Contract) string {
	if len(a.Inputs) != len(b.Inputs) {
		return fmt.Sprintf("one takes %d inputs and the other %d", len(a.Inputs), len(b.Inputs))
	}
	for i := range a.Inputs {
		if a.Inputs[i].Width != b.Inputs[i].Width || len(a.Inputs) > 1 && a.Inputs[i].Name != b.Inputs[i].Name {
			return fmt.Sprintf("one takes %s of %d values, the other %s of %d", a.Inputs[i].Name, a.Inputs[i].Width, b.Inputs[i].Name, b.Inputs[i].Width)
		}
	}
	if a.ActionWidth() != b.ActionWidth() {
		return fmt.Sprintf("one gives actions of %d values, the other of %d", a.ActionWidth(), b.ActionWidth())
	}
	return ""
}

// action compares each value of one action: each steers something of its own.
func (c *diffCmd) action(contract *policy.Contract, i, rows int, x, y []float32) []*actionDifference {
	a := &contract.Actions[i]
	width := contract.ActionWidth()
	var out []*actionDifference
	for j := range a.Size {
		name := a.Name
		if name == "" {
			name = "action"
		}
		if a.Size > 1 {
			name = fmt.Sprintf("%s[%d]", name, j)
		}
		var u, v []float64
		for row := range rows {
			u = append(u, float64(x[row*width+a.Offset+j]))
			v = append(v, float64(y[row*width+a.Offset+j]))
		}
		out = append(out, c.values(name, u, v, a.Discrete))
	}
	return out
}

// values compares columns of numbers.
func (c *diffCmd) values(name string, x, y []float64, discrete bool) *actionDifference {
	t := tolerance{c.Atol, c.Rtol}
	if discrete {
		t = tolerance{}
	}
	e := differ(x, y, t.atol, t.rtol)
	d := &actionDifference{Name: name, Mean: e.Mean, Max: e.Max, Beyond: e.Failed, Values: len(x), isDiscrete: discrete}
	for i := range x {
		switch {
		case discrete && x[i] != y[i]:
			d.Disagree++
		case !discrete && x[i]*y[i] < 0:
			d.SignFlips++
		}
	}
	return d
}

// contract lists what the contracts say differently, and what is done to an
// observation before the network.
func (d *differences) contract(a, b *policy.Policy) {
	lines := func(p *policy.Policy) []string {
		out := contractLines(p.Contract())
		for _, step := range p.Preprocessing() {
			out = append(out, "preprocessing "+step)
		}
		return out
	}
	x, y := lines(a), lines(b)
	for _, line := range x {
		if !slices.Contains(y, line) {
			d.Contract = append(d.Contract, "- "+line)
		}
	}
	for _, line := range y {
		if !slices.Contains(x, line) {
			d.Contract = append(d.Contract, "+ "+line)
		}
	}
}

func contractLines(c *policy.Contract) []string {
	var lines []string
	for i := range c.Features {
		f := &c.Features[i]
		lines = append(lines, strings.TrimRight(fmt.Sprintf("observation %s %v %s %s", f.Name, graph.Shape(f.Shape), interval(finite(f.Low), finite(f.High)), f.Unit), " "))
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("action %s %v %s", a.Name, graph.Shape(a.Shape), interval(finite(a.Low), finite(a.High)))))
	}
	for _, s := range c.State {
		lines = append(lines, fmt.Sprintf("state %s %v", s.Name, graph.Shape(s.Shape)))
	}
	return append(lines, fmt.Sprintf("action masks %d", c.Masks), fmt.Sprintf("draws actions: %v", c.Stochastic))
}

// namesMax is how many tensors of each kind are named.
const namesMax = 32

func (d *differences) print(b *strings.Builder) {
	fmt.Fprintf(b, "a: %s\nb: %s\n", d.A, d.B)
	if len(d.Contract) > 0 {
		fmt.Fprintf(b, "\nContract\n  %s\n", strings.Join(d.Contract, "\n  "))
	}
	w := &d.Weights
	fmt.Fprintf(b, "\nTensors: %d the same, %d changed, %d in b alone, %d in a alone\n", w.Same, len(w.Changed), len(w.Added), len(w.Removed))
	for i, t := range w.Changed {
		if i == namesMax {
			fmt.Fprintf(b, "  ... and %d more\n", len(w.Changed)-i)
			break
		}
		if t.ShapeB != "" {
			fmt.Fprintf(b, "  %-32s %s in a, %s in b\n", t.Name, t.Shape, t.ShapeB)
			continue
		}
		fmt.Fprintf(b, "  %-32s %-12s largest difference %-10.3g mean %-10.3g relative %.3g\n", t.Name, t.Shape, t.Max, t.Mean, t.Relative)
	}
	for _, list := range []struct {
		sign  string
		names []string
	}{{"-", w.Removed}, {"+", w.Added}} {
		for i, name := range list.names {
			if i == namesMax {
				fmt.Fprintf(b, "  %s ... and %d more\n", list.sign, len(list.names)-i)
				break
			}
			fmt.Fprintf(b, "  %s %s\n", list.sign, name)
		}
	}
	if d.NotCompared != "" {
		fmt.Fprintf(b, "\nActions were not compared: %s\n", d.NotCompared)
	}
	printDifferences(b, fmt.Sprintf("Actions for %d observations", d.Rows), d.Actions)
	printDifferences(b, "Other outputs", d.Outputs)
	if d.Same {
		b.WriteString("\nthe same\n")
	}
}

func printDifferences(b *strings.Builder, title string, list []*actionDifference) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, a := range list {
		if a.isDiscrete {
			fmt.Fprintf(b, "  %-20s disagree in %d of %d (%.3g %%)\n", a.Name, a.Disagree, a.Values, 100*float64(a.Disagree)/math.Max(1, float64(a.Values)))
			continue
		}
		fmt.Fprintf(b, "  %-20s mean %-10.3g largest difference %-10.3g sign flips %d, beyond the tolerance %d of %d\n", a.Name, a.Mean, a.Max, a.SignFlips, a.Beyond, a.Values)
	}
}
