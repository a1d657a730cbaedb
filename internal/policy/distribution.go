package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// drawnNetwork is a network that gives the parameters of a distribution, with
// what the card says of it: the action is drawn from them, or is their mean or
// mode. Beside the action it gives
//
//	mean, std     of a Gaussian, before squashing; of a Beta, of the action
//	logits, probs normalised, the parts of several in a row
//	alpha, beta   of a Beta
//	log_prob      of the action
//	entropy       of all but a squashed Gaussian, which has none in closed form
//
// and then what else the network gives.
type drawnNetwork struct {
	format.Network
	spec *artifact.Distribution
	card *artifact.Card

	// Known when the network was lowered.
	parts []int  // sizes of the categories of each part; nil where there are none
	note  string // where the parameters are
}

// errOwnDistribution is for a card that names the distribution of a file which
// has one.
var errOwnDistribution = fmt.Errorf("%w: model_card.yaml says what actions are drawn from, and the file draws them itself", errDisagree)

// withDistribution returns a network whose actions are drawn as the card says.
// An agent of a library draws by itself: the card may name its kind, which the
// contract is held to.
func withDistribution(n format.Network, card *artifact.Card) (format.Network, error) {
	spec := card.Distribution
	if spec == nil {
		return n, nil
	}
	n = format.WithDistribution(n, spec.Kind)
	file := n.Describe()
	if file.Spaces != nil {
		if len(spec.Params) > 0 || spec.Sizes != nil || spec.Deterministic != "" || spec.Low != nil || spec.Masks {
			return nil, errOwnDistribution
		}
		// That of gSDE is a Gaussian, or tanh of one.
		if own := file.Distribution; own != spec.Kind && (own != "gsde" || !strings.HasSuffix(spec.Kind, "gaussian")) {
			if own == "" {
				own = "none"
			}
			return nil, fmt.Errorf("%w: model_card.yaml says distribution %s, that of the file is %s", errDisagree, spec.Kind, own)
		}
		return n, nil
	}
	if file.HasSampling {
		return nil, errOwnDistribution
	}
	if spec.Kind == "gsde" {
		return nil, errors.New("model_card.yaml: distribution: a gsde is that of an agent of Stable-Baselines3; say where the parameters are of a gaussian")
	}
	if spec.Kind == "beta" && card.Postprocess == "unscale" {
		return nil, errors.New("model_card.yaml says postprocess unscale; the draws of a beta distribution are scaled to the bounds of the actions already")
	}
	return &drawnNetwork{Network: n, spec: spec, card: card}, nil
}

// drawn returns the network whose actions are drawn as the card says, nil where
// they are not.
func (s *sources) drawn() *drawnNetwork {
	n, _ := s.network.(*drawnNetwork)
	return n
}

// deterministic names the action without a draw.
func (n *drawnNetwork) deterministic() string {
	switch {
	case n.spec.Deterministic != "":
		return n.spec.Deterministic
	case strings.HasSuffix(n.spec.Kind, "gaussian") || n.spec.Kind == "beta":
		return "mean"
	}
	return "mode"
}

// most is the greatest category, or 1 of a bernoulli.
func (n *drawnNetwork) most() int {
	if len(n.parts) == 0 {
		return 1
	}
	return slices.Max(n.parts) - 1
}

// Describe adds to what the file tells of itself that it is drawn from.
func (n *drawnNetwork) Describe() format.Description {
	d := n.Network.Describe()
	d.HasSampling, d.Distribution = true, n.spec.Kind
	if n.spec.Masks {
		d.MaskParts = n.parts
		for _, k := range n.parts {
			d.ActionMasks += k
		}
	}
	return d
}

// Lower makes the graph of the network with the distribution behind it.
func (n *drawnNetwork) Lower(o format.LowerOptions) (*graph.Graph, error) {
	deterministic, masked := o.Deterministic, o.ActionMasks
	o.Deterministic, o.ActionMasks = true, false
	g, err := n.Network.Lower(o)
	if err != nil {
		return nil, err
	}
	if g.Draws() {
		return nil, errOwnDistribution
	}
	ports, err := portsOf(g, false)
	if err != nil {
		return nil, err
	}
	d := &drawing{net: n, g: graph.New(g.Name), rows: ports.rows, deterministic: deterministic}
	if err := d.inline(g, ports); err != nil {
		return nil, err
	}
	if masked {
		d.masks = d.g.Input(masksInput, graph.Bool, graph.Shape{d.rows, sum(n.parts)})
	}
	d.draw()
	if d.err != nil {
		return nil, fmt.Errorf("model_card.yaml: distribution: %s: %w", n.spec.Kind, d.err)
	}
	n.note = fmt.Sprintf("distribution: %s, of %s; without a draw, its %s", n.spec.Kind, strings.Join(d.found, " and "), n.deterministic())
	return d.g, d.finish(g)
}

// drawing builds one form of a drawn network.
type drawing struct {
	net           *drawnNetwork
	g             *graph.Graph
	rows          int // graph.Batch or 1
	deterministic bool
	masks         *graph.Value // nil for a form without

	given   []given // what the network gives beside its state
	states  []*graph.Value
	results []graph.Output // the action first
	found   []string       // what was taken for which parameter, for people
	streams int
	err     error // the first
}

// given is an output of the network.
type given struct {
	name  string
	value *graph.Value // flat rows of float32, or integers
	row   []int
	from  graph.Op // what makes it
	used  bool
}

// inline copies the network, and flattens what it gives.
func (d *drawing) inline(g *graph.Graph, ports *lowered) error {
	args := make([]*graph.Value, len(g.Inputs))
	for i, in := range g.Inputs {
		args[i] = d.g.Input(in.Name, in.DType, in.Shape)
	}
	outs, err := graph.Inline(d.g, g, args)
	if err != nil {
		return err
	}
	of := map[*graph.Value]*graph.Value{}
	for i, o := range g.Outputs {
		of[o.Value] = outs[i]
	}
	for _, s := range g.States {
		d.states = append(d.states, outs[s.Output])
	}
	for _, o := range append([]graph.Output{ports.action}, ports.others...) {
		row, ok := ports.row(o.Value)
		if !ok {
			continue // A parameter that is one for all rows is a tensor of the file.
		}
		v := &given{name: o.Name, row: row, value: of[o.Value]}
		if o.Value.Def != nil {
			v.from = o.Value.Def.Op
		}
		dtype := graph.Float32
		if !o.Value.DType.IsFloat() {
			dtype = o.Value.DType
		}
		if v.value, err = adapt(d.g, v.value, &graph.Value{DType: dtype, Shape: graph.Shape{d.rows, product(row)}}); err != nil {
			return err
		}
		d.given = append(d.given, *v)
	}
	return nil
}

// finish adds the outputs: those of the distribution, what else the network
// gives, and its states.
func (d *drawing) finish(g *graph.Graph) error {
	for _, o := range d.results {
		d.g.Output(o.Name, o.Value)
	}
	for i := range d.given {
		v := &d.given[i]
		if v.used || slices.ContainsFunc(d.results, func(o graph.Output) bool { return o.Name == v.name }) {
			continue
		}
		x := v.value
		if len(v.row) != 1 {
			if x = d.reshape(x, v.row); d.err != nil {
				return d.err
			}
		}
		d.g.Output(v.name, x)
	}
	inputs := map[string]int{}
	for i, in := range d.g.Inputs {
		inputs[in.Name] = i
	}
	for i, s := range g.States {
		s.Input, s.Output = inputs[g.Inputs[s.Input].Name], len(d.g.Outputs)
		d.g.States = append(d.g.States, s)
		d.g.Output(unused(d.g, g.Outputs[g.States[i].Output].Name), d.states[i])
	}
	dropUnused(d.g)
	return d.g.Verify()
}

// draw adds the outputs of the distribution.
func (d *drawing) draw() {
	switch d.net.spec.Kind {
	case "gaussian":
		d.gaussian()
	case "squashed_gaussian":
		d.squashed()
	case "categorical", "multi_categorical":
		d.categories()
	case "bernoulli":
		d.bernoulli()
	case "beta":
		d.beta()
	}
}

func (d *drawing) fail(format string, args ...any) *graph.Value {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	return nil
}

// add adds a node with one result; nothing after the first error.
func (d *drawing) add(op graph.Op, attrs graph.Attrs, in ...*graph.Value) *graph.Value {
	if d.err != nil {
		return nil
	}
	v, err := d.g.Add(op, attrs, in...)
	d.err = err
	return v
}

func (d *drawing) output(name string, v *graph.Value) {
	if d.err == nil {
		d.results = append(d.results, graph.Output{Name: name, Value: v})
	}
}

func (d *drawing) number(x float32) *graph.Value {
	return d.g.Constant("", graph.Float32s([]float32{x}, 1))
}

func (d *drawing) reshape(v *graph.Value, row []int) *graph.Value {
	return d.add(graph.OpReshape, graph.Attrs{"shape": append([]int{d.rows}, row...)}, v)
}

// sum adds up the values of each row.
func (d *drawing) sum(v *graph.Value) *graph.Value {
	return d.add(graph.OpSum, graph.Attrs{"axes": []int{1}, "keepdim": false}, v)
}

func (d *drawing) slice(v *graph.Value, start, end int) *graph.Value {
	return d.add(graph.OpSlice, graph.Attrs{"axis": 1, "start": start, "end": end}, v)
}

// normal draws from the standard normal distribution in the shape of v.
func (d *drawing) normal(v *graph.Value) *graph.Value {
	d.streams++
	return d.add(graph.OpNormal, graph.Attrs{"stream": d.streams - 1}, v)
}

func sum(n []int) int {
	total := 0
	for _, k := range n {
		total += k
	}
	return total
}
