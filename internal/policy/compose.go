package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// errDisagree is wrapped by errors that name two sources of one fact.
var errDisagree = errors.New("two sources disagree")

// compose builds the contract and the graphs of a policy from its sources.
func compose(src *sources) (*Policy, error) {
	p := &Policy{description: src.network.Describe(), notes: slices.Clone(src.notes)}
	src.spaces = p.description.Spaces
	p.notes = append(p.notes, p.description.Notes...)
	if src.preprocessor != nil {
		p.preprocessing = src.preprocessor.Describe()
	}

	if err := checkCard(src); err != nil {
		return nil, err
	}
	network, err := lowerNetwork(src, p.description, true)
	if err != nil {
		return nil, err
	}
	if err := checkParameters(network); err != nil {
		return nil, err
	}
	if err := p.contract.infer(src, network, &p.notes); err != nil {
		return nil, err
	}
	if p.deterministic, err = p.contract.build(src, network); err != nil {
		return nil, err
	}
	if !p.description.HasSampling {
		p.stochastic = p.deterministic
		return p, nil
	}
	if network, err = lowerNetwork(src, p.description, false); err != nil {
		return nil, fmt.Errorf("the stochastic form: %w", err)
	}
	if !samples(network) {
		p.stochastic = p.deterministic
		return p, nil
	}
	p.contract.Stochastic = true
	if p.stochastic, err = p.contract.build(src, network); err != nil {
		return nil, fmt.Errorf("the stochastic form: %w", err)
	}
	return p, nil
}

// lowerNetwork chooses the method as the trainers' own wrappers do: `act`
// where the network has it, else `forward`.
func lowerNetwork(src *sources, d format.Description, deterministic bool) (*graph.Graph, error) {
	o := format.LowerOptions{Deterministic: deterministic, InputShapes: map[string][]int{}}
	if slices.Contains(d.Methods, "act") {
		o.Method = "act"
	}
	inputs := make([]string, len(d.Inputs))
	for i := range d.Inputs {
		inputs[i] = d.Inputs[i].Name
	}
	switch {
	case len(inputs) == 1:
		if shape := src.rowShape(); shape != nil {
			o.InputShapes[inputs[0]] = append([]int{graph.Batch}, shape...)
		}
	default:
		for _, f := range src.card.Observation {
			if slices.Contains(inputs, f.Name) {
				o.InputShapes[f.Name] = append([]int{graph.Batch}, f.Shape...)
			}
		}
	}
	g, err := src.network.Lower(o)
	if err != nil && len(o.InputShapes) > 0 {
		// Where the network knows its own shape, the contract's inference
		// names the two sources that disagree; the lowering cannot.
		o.InputShapes = nil
		if own, ownErr := src.network.Lower(o); ownErr == nil {
			g, err = own, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if len(g.Outputs) == 0 {
		return nil, errors.New("the network has no output")
	}
	return g, nil
}

// rowShape is the shape of what the network takes of one observation, as the
// card or the preprocessor gives it, nil where neither says. The card speaks of
// the observation, which a preprocessor may make wider or narrower.
func (s *sources) rowShape() []int {
	if s.preprocessor != nil {
		if w := s.preprocessor.Width(); s.preprocessor.OutputWidth(w) != w {
			return []int{s.preprocessor.OutputWidth(w)}
		}
	}
	switch {
	case len(s.card.InputShape) > 0:
		return s.card.InputShape
	case len(s.card.Observation) > 0:
		n := 0
		for _, f := range s.card.Observation {
			n += product(f.Shape)
		}
		return []int{n}
	case s.preprocessor != nil && s.preprocessor.Width() > 0:
		return []int{s.preprocessor.Width()}
	}
	return nil
}

// build composes preprocessing, network and postprocessing into one graph of
// one output, the action row, and compiles it.
func (c *Contract) build(src *sources, network *graph.Graph) (variant, error) {
	g := graph.New(src.card.ModelName)
	args := make([]*graph.Value, len(network.Inputs))
	for i, in := range network.Inputs {
		x := g.Input(c.Inputs[i].Name, graph.Float32, graph.Shape{graph.Batch, c.Inputs[i].Width})
		var err error
		if src.preprocessor != nil {
			if x, err = src.preprocessor.Lower(g, x); err != nil {
				return variant{}, fmt.Errorf("preprocessor: %w", err)
			}
		}
		if args[i], err = adapt(g, x, in); err != nil {
			return variant{}, fmt.Errorf("input %s: %w", in.Name, err)
		}
	}
	outs, err := graph.Inline(g, network, args)
	if err != nil {
		return variant{}, err
	}
	action, err := c.postprocess(g, src, outs[0])
	if err != nil {
		return variant{}, fmt.Errorf("postprocess: %w", err)
	}
	g.Output("action", action)
	if err := g.Verify(); err != nil {
		return variant{}, err
	}

	v := variant{composed: g}
	if v.detailed, err = withOutputs(g, network, outs); err != nil {
		return variant{}, err
	}
	if v.optimized, err = g.Clone(); err != nil {
		return variant{}, err
	}
	if err := graph.Optimize(v.optimized); err != nil {
		return variant{}, err
	}
	v.plan, err = plan.Compile(v.optimized, plan.Options{})
	return v, err
}

// withOutputs returns g with the network's other outputs (a value, a mean)
// beside the action, or nil where the network has none. outs are all outputs
// of the network in g.
func withOutputs(g, network *graph.Graph, outs []*graph.Value) (*graph.Graph, error) {
	if len(outs) < 2 {
		return nil, nil
	}
	action := g.Outputs
	for i, v := range outs[1:] {
		g.Output(network.Outputs[i+1].Name, v)
	}
	detailed, err := g.Clone()
	g.Outputs = action
	return detailed, err
}

// adapt gives the flat row x the shape and type that the network's input has.
func adapt(g *graph.Graph, x, in *graph.Value) (*graph.Value, error) {
	var err error
	if !slices.Equal(x.Shape, in.Shape) {
		if x, err = g.Add(graph.OpReshape, graph.Attrs{"shape": []int(in.Shape)}, x); err != nil {
			return nil, err
		}
	}
	if x.DType != in.DType {
		return g.Add(graph.OpCast, graph.Attrs{"dtype": in.DType}, x)
	}
	return x, nil
}

// postprocess flattens the network's action to a row of float32 and unscales
// or clips it.
func (c *Contract) postprocess(g *graph.Graph, src *sources, a *graph.Value) (*graph.Value, error) {
	width := c.ActionWidth()
	a, err := adapt(g, a, &graph.Value{DType: graph.Float32, Shape: graph.Shape{graph.Batch, width}})
	if err != nil {
		return nil, err
	}
	low, high := c.actionBounds()
	switch src.postprocess(c) {
	case "unscale":
		// low + (a+1)/2·(high-low), as stable-baselines3's
		// BasePolicy.unscale_action has it.
		scale := make([]float32, width)
		for i := range scale {
			scale[i] = (high[i] - low[i]) / 2
		}
		if a, err = g.Add(graph.OpAdd, nil, a, g.Constant("", graph.Float32s([]float32{1}, 1))); err != nil {
			return nil, err
		}
		if a, err = g.Add(graph.OpMul, nil, a, g.Constant("action_scale", graph.Float32s(scale, width))); err != nil {
			return nil, err
		}
		return g.Add(graph.OpAdd, nil, a, g.Constant("action_low", graph.Float32s(low, width)))
	case "clip":
		if a, err = g.Add(graph.OpMaximum, nil, a, g.Constant("action_low", graph.Float32s(low, width))); err != nil {
			return nil, err
		}
		return g.Add(graph.OpMinimum, nil, a, g.Constant("action_high", graph.Float32s(high, width)))
	}
	return a, nil
}

// postprocess names the card's choice; without one, actions that have bounds
// are clipped to them, as stable-baselines3 and the ancestor do.
func (s *sources) postprocess(c *Contract) string {
	if s.card.Postprocess != "" {
		return s.card.Postprocess
	}
	for i := range c.Actions {
		if a := &c.Actions[i]; !a.Discrete && (!math.IsInf(a.Low, 0) || !math.IsInf(a.High, 0)) {
			return "clip"
		}
	}
	return "none"
}

// checkCard refuses what a card declares and this release does not do, where
// leaving it out would change the numbers.
func checkCard(src *sources) error {
	if n := src.card.FrameStack; n > 1 {
		return fmt.Errorf("unsupported: model_card.yaml says frame_stack %d; frames are not stacked yet, so the policy would see one where it was trained on %d", n, n)
	}
	if n := src.card.Recurrent; n != nil && n.Value != "false" {
		return errors.New("unsupported: model_card.yaml says the policy is recurrent; state is not kept between steps yet")
	}
	if src.card.Postprocess == "unscale" && src.spaces != nil {
		return errors.New("model_card.yaml says postprocess unscale; the policy of the file gives actions in its own space already")
	}
	return nil
}

// checkParameters refuses a network that cannot give a finite answer.
func checkParameters(g *graph.Graph) error {
	for _, n := range g.Nodes {
		for _, v := range n.In {
			if v.Const == nil {
				continue
			}
			for i := range v.Const.Len() {
				f := float64(float32(v.Const.At(i))) // as the plan computes
				weights := n.Op == graph.OpLinear || n.Op == graph.OpMatMul || n.Op == graph.OpConv
				if math.IsNaN(f) || weights && math.IsInf(f, 0) {
					name := v.Name
					if name == "" {
						name = "of " + string(n.Op)
					}
					return fmt.Errorf("parameter %s holds %v at element %d: the network was not trained to a finite state", name, f, i)
				}
			}
		}
	}
	return nil
}

// samples tells whether the graph draws from a distribution.
func samples(g *graph.Graph) bool {
	return slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return n.Op == graph.OpNormal })
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
