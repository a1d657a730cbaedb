package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// inspection is what inspect prints, in either form.
type inspection struct {
	Path          string          `json:"path"`
	Kind          string          `json:"kind"`
	Digest        string          `json:"digest,omitempty"`
	Files         []fileReport    `json:"files"`
	Card          *cardReport     `json:"card,omitempty"`
	Model         *modelReport    `json:"model,omitempty"`
	Preprocessing []string        `json:"preprocessing,omitempty"`
	Observation   []featureReport `json:"observation,omitempty"`
	Action        []featureReport `json:"action,omitempty"`
	State         []stateReport   `json:"state,omitempty"`
	ActionMasks   int             `json:"action_masks,omitzero"`
	FrameStack    int             `json:"frame_stack,omitzero"`
	Stochastic    *bool           `json:"stochastic,omitempty"`
	Distribution  string          `json:"distribution,omitempty"`
	Returns       []string        `json:"returns,omitempty"` // beside the action
	Batchable     *bool           `json:"batchable,omitempty"`
	Spaces        *spacesReport   `json:"spaces,omitempty"`
	Training      *trainingReport `json:"training,omitempty"`
	Graph         *graphReport    `json:"graph,omitempty"`
	Architecture  string          `json:"architecture,omitempty"`
	Notes         []string        `json:"notes,omitempty"`
}

type fileReport struct {
	Role   string `json:"role"`
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Hashed bool   `json:"hashed"` // the card gives this digest
}

type cardReport struct {
	Name             string             `json:"model_name"`
	Version          string             `json:"version"`
	Type             string             `json:"model_type"`
	Description      string             `json:"description,omitempty"`
	FrameworkVersion string             `json:"framework_version,omitempty"`
	InputShape       []int              `json:"input_shape,omitempty"`
	OutputShape      []int              `json:"output_shape,omitempty"`
	Postprocess      string             `json:"postprocess,omitempty"`
	Hashes           map[string]string  `json:"artifact_hashes,omitempty"`
	Metrics          map[string]float64 `json:"performance_metrics,omitempty"`
	Golden           int                `json:"golden_vectors"`
}

type modelReport struct {
	Format      string         `json:"format"`
	Producer    string         `json:"producer,omitempty"`
	Methods     []string       `json:"methods,omitempty"`
	WeightsOnly bool           `json:"weights_only"`
	Parameters  int64          `json:"parameters"`
	Weights     []weightReport `json:"weights,omitempty"` // where some are narrow
	Inputs      []tensorReport `json:"inputs,omitempty"`
	Outputs     []tensorReport `json:"outputs,omitempty"`
	Layers      []string       `json:"layers,omitempty"`
	Tensors     []tensorReport `json:"tensors,omitempty"`
}

type tensorReport struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape string `json:"shape"`
}

type featureReport struct {
	Name  string   `json:"name"`
	Shape []int    `json:"shape"`
	Unit  string   `json:"unit,omitempty"`
	Low   *float64 `json:"low"`
	High  *float64 `json:"high"`
}

// stateReport is what a recurrent policy carries from one step to the next.
type stateReport struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
}

// spacesReport are the spaces of the environment as gymnasium prints them.
type spacesReport struct {
	Observation []spaceReport `json:"observation"`
	Action      string        `json:"action"`
}

// trainingReport is what RL Zoo wrote down of the training.
type trainingReport struct {
	Algorithm string   `json:"algorithm,omitempty"`
	Env       string   `json:"env,omitempty"`
	Wrappers  []string `json:"env_wrappers,omitempty"`
	Files     []string `json:"files"`
}

type spaceReport struct {
	Name  string `json:"name"`
	Space string `json:"space"`
}

type graphReport struct {
	Operators map[string]int `json:"operators"`
	Optimized map[string]int `json:"optimized"`
}

// newReport gathers what is known of an opened path.
func newReport(o *opened, st *stages) *inspection {
	r := &inspection{Path: o.name, Kind: o.what(), Preprocessing: st.steps, Notes: slices.Clone(o.notes)}
	r.Notes = append(r.Notes, st.notes...)
	single := o.network != nil || o.policy == nil
	for _, m := range o.artifact.Members {
		f := fileReport{Role: string(m.Role), Name: m.Name, Bytes: m.Size, SHA256: m.SHA256, Hashed: m.Hashed}
		if single && m.Role == artifact.RoleModel {
			f.Role = strings.TrimPrefix(o.what(), "a ")
		}
		r.Files = append(r.Files, f)
	}
	if o.card != nil {
		r.Card = newCardReport(o.card)
		for _, f := range o.card.Observation {
			r.Observation = append(r.Observation, featureReport{f.Name, f.Shape, f.Unit, f.Low, f.High})
		}
		for _, a := range o.card.Action {
			r.Action = append(r.Action, featureReport{a.Name, a.Shape, a.Unit, a.Low, a.High})
		}
	}
	if o.policy != nil {
		r.Digest = o.artifact.Digest()
		if o.artifact.Card.Present {
			r.Card = newCardReport(o.artifact.Card)
		}
		r.contract(o.policy.Contract())
		batchable := o.policy.Batchable()
		r.Batchable, r.FrameStack = &batchable, o.artifact.Card.FrameStack.Frames
		if t := o.artifact.Training; t != nil {
			r.FrameStack = max(r.FrameStack, t.FrameStack)
			r.Training = &trainingReport{t.Algorithm, t.Env, t.EnvWrappers, t.Files}
		}
		r.Notes = append(r.Notes, o.policy.Notes()...)
	}
	if d := st.description; d != nil {
		r.Model = newModelReport(d, st.graph)
		if o.policy == nil {
			r.Notes = append(r.Notes, d.Notes...)
		}
		r.Architecture = d.Architecture
		r.ActionMasks = d.ActionMasks
		r.Spaces = newSpacesReport(d.Spaces)
		for _, name := range d.NonFinite {
			r.Notes = append(r.Notes, fmt.Sprintf("WARNING: the tensor %s holds NaN or infinite values: such a network gives no usable answer.", name))
		}
	}
	if st.graph != nil && o.policy == nil {
		for _, s := range st.graph.States {
			in := st.graph.Inputs[s.Input]
			r.State = append(r.State, stateReport{in.Name, []int(in.Shape)})
		}
	}
	if st.graph != nil {
		r.Graph = &graphReport{operators(st.graph), operators(st.optimized)}
	}
	return r
}

func newSpacesReport(s *format.Spaces) *spacesReport {
	if s == nil {
		return nil
	}
	r := &spacesReport{Action: s.Action.Text}
	for _, o := range s.Observation {
		r.Observation = append(r.Observation, spaceReport{o.Name, o.Text})
	}
	return r
}

func newCardReport(c *artifact.Card) *cardReport {
	r := &cardReport{Name: c.ModelName, Version: c.Version, Type: c.ModelType, Description: c.Description,
		FrameworkVersion: c.FrameworkVersion, Metrics: c.PerformanceMetrics,
		InputShape: c.InputShape, OutputShape: c.OutputShape, Postprocess: c.Postprocess}
	for _, h := range c.ArtifactHashes {
		if r.Hashes == nil {
			r.Hashes = map[string]string{}
		}
		r.Hashes[h.Name] = h.SHA256
	}
	if c.Golden != nil {
		r.Golden = len(c.Golden.Vectors)
	}
	return r
}

func newModelReport(d *format.Description, g *graph.Graph) *modelReport {
	r := &modelReport{Format: d.Format, Producer: d.Producer, Methods: d.Methods, WeightsOnly: d.WeightsOnly,
		Parameters: d.Parameters, Weights: weightsHeld(g), Layers: d.Layers}
	for _, in := range d.Inputs {
		t := tensorReport{in.Name, "unknown", "unknown"}
		if in.DType != graph.Invalid {
			t.DType = in.DType.String()
		}
		if in.Shape != nil {
			t.Shape = graph.Shape(in.Shape).String()
		}
		r.Inputs = append(r.Inputs, t)
	}
	if g != nil {
		for _, o := range g.Outputs {
			r.Outputs = append(r.Outputs, tensorReport{o.Name, o.Value.DType.String(), o.Value.Shape.String()})
		}
	}
	for _, t := range d.Tensors {
		r.Tensors = append(r.Tensors, tensorReport{t.Name, t.DType.String(), graph.Shape(t.Shape).String()})
	}
	return r
}

func (r *inspection) contract(c *policy.Contract) {
	for i := range c.Features {
		f := &c.Features[i]
		name := f.Name
		if !c.Named {
			name = "row"
		}
		r.Observation = append(r.Observation, featureReport{name, f.Shape, f.Unit, finite(f.Low), finite(f.High)})
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		name := a.Name
		if name == "" {
			name = "row"
		}
		r.Action = append(r.Action, featureReport{name, a.Shape, "", finite(a.Low), finite(a.High)})
	}
	for _, s := range c.State {
		r.State = append(r.State, stateReport{s.Name, s.Shape})
	}
	r.Stochastic, r.Distribution = &c.Stochastic, c.Distribution
	for i := range c.Extras {
		r.Returns = append(r.Returns, c.Extras[i].Name)
	}
}

func finite(f float64) *float64 {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return nil
	}
	return &f
}

func operators(g *graph.Graph) map[string]int {
	n := map[string]int{}
	for _, node := range g.Nodes {
		n[string(node.Op)]++
	}
	return n
}

// print writes the inspection for people.
func (r *inspection) print(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %s\n", r.Path, r.Kind)
	if r.Digest != "" {
		fmt.Fprintf(b, "digest sha256:%s\n", r.Digest)
	}
	b.WriteString("\nFiles\n")
	for _, f := range r.Files {
		vouched := ""
		if f.Hashed {
			vouched = "  as the card says"
		}
		fmt.Fprintf(b, "  %-14s %-24s %9d bytes  sha256:%s%s\n", f.Role, f.Name, f.Bytes, f.SHA256, vouched)
	}
	r.printCard(b)
	r.printModel(b)
	if len(r.Preprocessing) > 0 {
		b.WriteString("\nPreprocessing\n")
		for _, step := range r.Preprocessing {
			fmt.Fprintf(b, "  %s\n", step)
		}
	}
	printFeatures(b, "Observation", r.Observation)
	printFeatures(b, "Action", r.Action)
	r.printBehaviour(b)
	if r.Graph != nil {
		b.WriteString("\nOperators\n")
		fmt.Fprintf(b, "  in the graph   %s\n", counts(r.Graph.Operators))
		fmt.Fprintf(b, "  after passes   %s\n", counts(r.Graph.Optimized))
	}
	if r.Model != nil && r.Model.WeightsOnly {
		b.WriteString("\nThe file holds weights and no computation. To serve the policy, export it as\nTorchScript, or say in the model card how the weights are used")
		if r.Architecture == "" {
			b.WriteString(" (architecture).\n")
		} else {
			fmt.Fprintf(b, ". This fits\nthem, with activations that are a guess:\n\n  architecture: %s\n", r.Architecture)
		}
	}
	if len(r.Notes) > 0 {
		b.WriteString("\nNotes\n")
		for _, n := range r.Notes {
			fmt.Fprintf(b, "  - %s\n", n)
		}
	}
}

// printBehaviour tells what a policy does beside mapping one observation to
// one action, and from which spaces it comes.
func (r *inspection) printBehaviour(b *strings.Builder) {
	if r.Spaces != nil {
		b.WriteString("\nSpaces\n")
		for _, o := range r.Spaces.Observation {
			fmt.Fprintf(b, "  observation    %s %s\n", o.Name, o.Space)
		}
		fmt.Fprintf(b, "  action         %s\n", r.Spaces.Action)
	}
	if t := r.Training; t != nil {
		line := strings.TrimSpace(strings.Join([]string{t.Algorithm, t.Env}, " "))
		if len(t.Wrappers) > 0 {
			line += ", wrapped by " + strings.Join(t.Wrappers, ", ")
		}
		fmt.Fprintf(b, "\nTraining\n  %s (%s)\n", first(line, "as the files tell"), strings.Join(t.Files, ", "))
	}
	var lines []string
	for _, s := range r.State {
		lines = append(lines, fmt.Sprintf("state          %s %v, carried from step to step", s.Name, graph.Shape(s.Shape)))
	}
	if r.ActionMasks > 0 {
		lines = append(lines, fmt.Sprintf("action masks   %d", r.ActionMasks))
	}
	if r.FrameStack > 1 {
		lines = append(lines, fmt.Sprintf("frame stack    %d", r.FrameStack))
	}
	if r.Stochastic != nil && *r.Stochastic {
		lines = append(lines, "distribution   "+strings.TrimPrefix(r.Distribution+": it draws its actions unless it is asked to be deterministic", ": "))
	}
	if len(r.Returns) > 0 {
		lines = append(lines, "returns        "+strings.Join(r.Returns, ", "))
	}
	if r.Batchable != nil && !*r.Batchable {
		lines = append(lines, "batches        one observation at a time")
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\nBehaviour\n  %s\n", strings.Join(lines, "\n  "))
	}
}

func (r *inspection) printCard(b *strings.Builder) {
	c := r.Card
	if c == nil {
		return
	}
	fmt.Fprintf(b, "\nCard\n  %s %s (%s)\n", c.Name, c.Version, c.Type)
	if c.Description != "" {
		fmt.Fprintf(b, "  %s\n", c.Description)
	}
	if c.FrameworkVersion != "" {
		fmt.Fprintf(b, "  framework_version %s\n", c.FrameworkVersion)
	}
	if c.InputShape != nil {
		fmt.Fprintf(b, "  input_shape %v\n", c.InputShape)
	}
	if c.OutputShape != nil {
		fmt.Fprintf(b, "  output_shape %v\n", c.OutputShape)
	}
	if c.Postprocess != "" {
		fmt.Fprintf(b, "  postprocess %s\n", c.Postprocess)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Hashes)) {
		fmt.Fprintf(b, "  sha256 of %s %s\n", name, c.Hashes[name])
	}
	for _, k := range slices.Sorted(maps.Keys(c.Metrics)) {
		fmt.Fprintf(b, "  %s %v\n", k, c.Metrics[k])
	}
	fmt.Fprintf(b, "  golden vectors %d\n", c.Golden)
}

func (r *inspection) printModel(b *strings.Builder) {
	m := r.Model
	if m == nil {
		return
	}
	fmt.Fprintf(b, "\nModel\n  format         %s\n", m.Format)
	if m.Producer != "" {
		fmt.Fprintf(b, "  producer       %s\n", m.Producer)
	}
	if len(m.Methods) > 0 {
		fmt.Fprintf(b, "  methods        %s\n", strings.Join(m.Methods, ", "))
	}
	fmt.Fprintf(b, "  parameters     %d\n", m.Parameters)
	if len(m.Weights) > 0 {
		fmt.Fprintf(b, "  weights        %s\n", weightsText(m.Weights))
	}
	for _, t := range m.Inputs {
		if t.DType == "unknown" && t.Shape == "unknown" {
			fmt.Fprintf(b, "  input          %s, of unknown type and shape\n", t.Name)
			continue
		}
		fmt.Fprintf(b, "  input          %s %s %s\n", t.Name, t.DType, t.Shape)
	}
	for _, t := range m.Outputs {
		fmt.Fprintf(b, "  output         %s %s %s\n", t.Name, t.DType, t.Shape)
	}
	if len(m.Layers) > 0 {
		b.WriteString("\nLayers\n")
		for _, l := range m.Layers {
			fmt.Fprintf(b, "  %s\n", l)
		}
	}
	if len(m.Tensors) > 0 {
		b.WriteString("\nTensors\n")
		for _, t := range m.Tensors {
			fmt.Fprintf(b, "  %-32s %-5s %s\n", t.Name, t.DType, t.Shape)
		}
	}
}

func printFeatures(b *strings.Builder, title string, features []featureReport) {
	if len(features) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, f := range features {
		shape := "number"
		if f.Shape != nil {
			shape = graph.Shape(f.Shape).String()
		}
		line := fmt.Sprintf("  %-14s %-10s %s %s", f.Name, shape, interval(f.Low, f.High), f.Unit)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

func interval(low, high *float64) string {
	l, h := "-inf", "inf"
	if low != nil {
		l = fmt.Sprint(*low)
	}
	if high != nil {
		h = fmt.Sprint(*high)
	}
	return l + " to " + h
}

func counts(n map[string]int) string {
	parts := make([]string, 0, len(n))
	for _, op := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%s %d", op, n[op]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
