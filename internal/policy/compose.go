package policy

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// errDisagree is wrapped by errors that name two sources of one fact.
var errDisagree = errors.New("two sources disagree")

// compose builds the contract and the graphs of a policy from its sources. A
// network whose rows cannot go through it together takes them one by one.
func compose(src *sources, o Options) (*Policy, error) {
	if o.Engine == nil {
		o.Engine = Plan
	}
	p, err := composeRows(src, o, 0)
	if errors.Is(err, graph.ErrMixesRows) {
		p, err = composeRows(src, o, 1)
	}
	return p, err
}

func composeRows(src *sources, o Options, rows int) (*Policy, error) {
	p := &Policy{description: src.network.Describe(), notes: slices.Clone(src.notes), engine: o.Engine}
	src.spaces = p.description.Spaces
	p.notes = append(p.notes, p.description.Notes...)
	if src.preprocessor != nil {
		p.preprocessing = src.preprocessor.Describe()
	}
	if err := checkCard(src); err != nil {
		return nil, err
	}
	l := &lowering{src: src, description: p.description, rows: rows, whole: RunsWhole(o.Engine)}
	network, err := l.lower(true, false)
	if err != nil {
		return nil, err
	}
	if drawn := src.drawn(); drawn != nil { // which knows its masks from here on
		p.description = drawn.Describe()
		p.notes = append(p.notes, drawn.note)
	}
	if err := checkParameters(network.Graph); err != nil {
		return nil, err
	}
	if src.frames, err = src.stackFrames(network); err != nil {
		return nil, err
	}
	if err := p.contract.infer(src, network, &p.notes); err != nil {
		return nil, err
	}
	if err := p.keepState(src, network); err != nil {
		return nil, err
	}
	if p.statistics, err = p.contract.readStatistics(src); err != nil {
		return nil, fmt.Errorf("model_card.yaml: envelope: %w", err)
	}
	if err := p.keepEnvelope(src); err != nil {
		return nil, err
	}
	if src.stacks() {
		p.contract.FrameStack = src.card.FrameStack.Frames
	}
	p.contract.keepSpaces(src.spaces)
	p.contract.ControlHz, p.contract.Distribution = src.card.ControlHz, p.description.Distribution
	p.batchable = network.rows == graph.Batch
	if p.contract.Batchable = p.batchable; !p.batchable {
		p.notes = append(p.notes, "batching: the rows of a request go through the network one by one, because its computation is made for one")
	}
	all, err := p.networks(l, network)
	if err != nil {
		return nil, err
	}
	if n := p.contract.Masks; n > 0 {
		p.notes = append(p.notes, fmt.Sprintf("masks: a request may tell which of %d actions are allowed; without masks all are", n))
	}
	for _, n := range all {
		if n != nil && (len(n.observation) != len(p.contract.Inputs) || len(n.states)+src.frames.states() != len(p.contract.State)) {
			return nil, errors.New("the forms of the network differ in what they take")
		}
	}
	p.keepExtras(src, all)
	if err := p.makeForms(src, all); err != nil {
		return nil, err
	}
	if err := p.checkNodes(o.MaxNodes); err != nil {
		return nil, err
	}
	return p, p.compile()
}

// compile makes the programs of the forms without masks.
func (p *Policy) compile() error {
	for _, deterministic := range []bool{true, false} {
		program, err := p.form(deterministic, false).compile()
		if err != nil {
			return err
		}
		if other, ok := program.(*insteadOf); ok && !slices.Contains(p.notes, other.note) {
			p.notes = append(p.notes, other.note)
		}
	}
	return nil
}

// networks lowers the other forms beside the deterministic one.
func (p *Policy) networks(l *lowering, deterministic *lowered) (n networks, err error) {
	n[formOf(true, false, false)], n[formOf(false, false, false)] = deterministic, deterministic
	sampled := func(masked bool) error {
		at, twin := formOf(false, masked, false), n[formOf(true, masked, false)]
		n[at] = twin
		if !p.description.HasSampling {
			return nil
		}
		drawn, err := l.lower(false, masked)
		if err != nil {
			return fmt.Errorf("the stochastic form: %w", err)
		}
		if drawn.Draws() {
			n[at], p.contract.Stochastic = drawn, true
		}
		return nil
	}
	if err := sampled(false); err != nil {
		return n, err
	}
	if p.contract.Masks = p.description.ActionMasks; p.contract.Masks == 0 {
		return n, nil
	}
	p.contract.MaskParts = p.description.MaskParts
	if n[formOf(true, true, false)], err = l.lower(true, true); err != nil {
		return n, fmt.Errorf("the form with action masks: %w", err)
	}
	return n, sampled(true)
}

// rowShape is the shape of what the network takes of one observation, as the
// card or the preprocessor gives it, nil where neither says. The card speaks of
// the observation, which a preprocessor may make wider or narrower.
func (s *sources) rowShape(input string) []int {
	if s.preprocessor != nil {
		if w := s.preprocessor.Width(); s.preprocessor.OutputWidth(w) != w {
			return s.statisticsShape([]int{s.preprocessor.OutputWidth(w)}, input)
		}
	}
	switch {
	case len(s.card.InputShape) > 0:
		return s.stacked(s.card.InputShape, input)
	case len(s.card.Observation) > 0:
		n := 0
		for _, f := range s.card.Observation {
			n += product(f.Shape)
		}
		return s.stacked([]int{n}, input)
	case s.preprocessor != nil && s.preprocessor.Width() > 0:
		return s.statisticsShape([]int{s.preprocessor.Width()}, input)
	}
	return nil
}

// composeForm makes one graph of preprocessing, network and postprocessing. Its
// inputs and outputs are rows: see Policy.Composed.
func (p *Policy) composeForm(src *sources, n *lowered, extras []ExtraSpec) (*graph.Graph, error) {
	c := &p.contract
	g := graph.New(src.card.ModelName)
	w := &composing{g: g, network: n, inlined: map[*graph.Value]*graph.Value{}}
	args := map[*graph.Value]*graph.Value{}
	obs := make([]*graph.Value, len(n.observation))
	for i := range n.observation {
		obs[i] = g.Input(c.Inputs[i].Name, graph.Float32, graph.Shape{n.rows, c.Inputs[i].Width})
	}
	if n.masks != nil {
		x := g.Input(masksInput, graph.Float32, graph.Shape{n.rows, c.Masks})
		var err error
		if args[n.masks], err = adapt(g, x, n.masks); err != nil {
			return nil, fmt.Errorf("input %s: %w", masksInput, err)
		}
	}
	for i := range n.states {
		s := &n.states[i]
		x := g.Input(s.name, graph.Float32, graph.Shape{n.rows, s.width})
		var err error
		if args[s.in], err = s.enter(g, x); err != nil {
			return nil, fmt.Errorf("state %s: %w", s.name, err)
		}
	}
	frames := src.frames.enter(g, n.rows)
	for i, in := range n.observation {
		x, err := frames.observe(src, g, i, obs[i])
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", in.Name, err)
		}
		w.normalized = append(w.normalized, x)
		if args[in], err = enter(g, x, in); err != nil {
			return nil, fmt.Errorf("input %s: %w", in.Name, err)
		}
	}
	return g, p.composeOutputs(src, w, args, frames, extras)
}

// composeOutputs adds the network and what comes after it.
func (p *Policy) composeOutputs(src *sources, w *composing, args map[*graph.Value]*graph.Value, frames *framesOf, extras []ExtraSpec) error {
	g, n, inlined := w.g, w.network, w.inlined
	in := make([]*graph.Value, len(n.Inputs))
	for i, v := range n.Inputs {
		in[i] = args[v]
	}
	results, err := graph.Inline(g, n.Graph, in)
	if err != nil {
		return err
	}
	for i, o := range n.Outputs {
		inlined[o.Value] = results[i]
	}
	action, err := p.contract.postprocess(g, src, n, inlined[n.action.Value])
	if err != nil {
		return fmt.Errorf("postprocess: %w", err)
	}
	g.Output("action", action)
	for i := range extras {
		v, err := w.extra(&extras[i])
		if err != nil {
			return fmt.Errorf("output %s: %w", extras[i].Name, err)
		}
		g.Output(unused(g, extras[i].Name), v)
	}
	states := len(g.Inputs) - len(n.states) - len(frames.next)
	c := &p.contract
	for i := range n.states {
		s := &n.states[i]
		v, err := s.leave(g, inlined[s.out], n.rows)
		if err != nil {
			return fmt.Errorf("state %s: %w", s.name, err)
		}
		g.States = append(g.States, graph.State{
			Input: states + i, Output: len(g.Outputs),
			Initial: graph.Float32s(c.State[i].Initial, 1, s.width), Reset: graph.Float32s(c.State[i].Reset, 1, s.width),
		})
		g.Output(unused(g, s.name+"_out"), v)
	}
	frames.leave(g, c.State[len(n.states):])
	dropUnused(g)
	return g.Verify()
}

// dropUnused removes the nodes that no output needs: an agent's critics, where
// its actions alone are asked for.
func dropUnused(g *graph.Graph) {
	needed := map[*graph.Value]bool{}
	for _, o := range g.Outputs {
		needed[o.Value] = true
	}
	kept := make([]*graph.Node, 0, len(g.Nodes))
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Out, func(v *graph.Value) bool { return needed[v] }) {
			continue
		}
		kept = append(kept, n)
		for _, v := range n.In {
			needed[v] = true
		}
	}
	slices.Reverse(kept)
	g.Nodes = kept
}

// unused returns a name that no output of the graph has.
func unused(g *graph.Graph, name string) string {
	for slices.ContainsFunc(g.Outputs, func(o graph.Output) bool { return o.Name == name }) {
		name += "_"
	}
	return name
}

// preprocessed applies the preprocessor to flat rows of an input.
func preprocessed(src *sources, g *graph.Graph, name string, x *graph.Value) (*graph.Value, error) {
	if src.preprocessor == nil {
		return x, nil
	}
	lower := func(g *graph.Graph, x *graph.Value) (*graph.Value, error) {
		if p := src.preprocessor; len(p.Keys()) > 0 {
			return p.LowerNamed(g, name, x)
		}
		return src.preprocessor.Lower(g, x)
	}
	if !x.Shape.Fixed() {
		return lower(g, x)
	}
	sub := graph.New("preprocessor")
	y, err := lower(sub, sub.Input("x", x.DType, graph.Shape{graph.Batch, x.Shape[1]}))
	if err != nil {
		return nil, err
	}
	sub.Output("y", y)
	if sub, err = oneRow(sub); err != nil {
		return nil, err
	}
	out, err := graph.Inline(g, sub, []*graph.Value{x})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// oneRow returns a graph of any number of rows as that of exactly one.
func oneRow(g *graph.Graph) (*graph.Graph, error) {
	c := graph.New(g.Name)
	of := map[*graph.Value]*graph.Value{}
	for _, v := range g.Inputs {
		of[v] = c.Input(v.Name, v.DType, v.Shape.For(1))
	}
	at := func(v *graph.Value) *graph.Value {
		if of[v] == nil {
			of[v] = c.Constant(v.Name, v.Const)
		}
		return of[v]
	}
	for _, n := range g.Nodes {
		in := make([]*graph.Value, len(n.In))
		for i, v := range n.In {
			in[i] = at(v)
		}
		attrs := maps.Clone(n.Attrs)
		if s, ok := attrs["shape"].([]int); ok {
			attrs["shape"] = []int(graph.Shape(s).For(1))
		}
		copied, err := c.AddNode(n.Op, attrs, in...)
		if err != nil {
			return nil, err
		}
		for i, v := range n.Out {
			of[v] = copied.Out[i]
		}
	}
	for _, o := range g.Outputs {
		c.Output(o.Name, at(o.Value))
	}
	return c, nil
}

// enter makes of flat rows what an input of the network takes.
func enter(g *graph.Graph, x, in *graph.Value) (*graph.Value, error) {
	l, err := layoutOf(in, !x.Shape.Fixed())
	if err != nil {
		return nil, err
	}
	return l.enter(g, x)
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
func (c *Contract) postprocess(g *graph.Graph, src *sources, n *lowered, a *graph.Value) (*graph.Value, error) {
	width := c.ActionWidth()
	a, err := adapt(g, a, &graph.Value{DType: graph.Float32, Shape: graph.Shape{n.rows, width}})
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
	if src.card.Postprocess == "unscale" && src.spaces != nil {
		return errors.New("model_card.yaml says postprocess unscale; the policy of the file gives actions in its own space already")
	}
	return nil
}

// checkParameters refuses a network that cannot give a finite answer.
func checkParameters(g *graph.Graph) error {
	var err error
	g.Walk(func(n *graph.Node) bool {
		weights := n.Op == graph.OpLinear || n.Op == graph.OpMatMul || n.Op == graph.OpConv
		for _, v := range n.In {
			if v.Const == nil {
				continue
			}
			if allFinite(v.Const.F32) {
				continue // Numbers of other types are looked at one by one.
			}
			for i := range v.Const.Len() {
				f := float64(float32(v.Const.At(i))) // as the plan computes
				if math.IsNaN(f) || weights && math.IsInf(f, 0) {
					name := v.Name
					if name == "" {
						name = "of " + string(n.Op)
					}
					err = fmt.Errorf("parameter %s holds %v at element %d: the network was not trained to a finite state", name, f, i)
					return false
				}
			}
		}
		return true
	})
	return err
}

// allFinite tells whether there are numbers, and each is finite.
func allFinite(numbers []float32) bool {
	const exponent = 0x7f800000 // all ones in an infinity and in a NaN
	for _, v := range numbers {
		if math.Float32bits(v)&exponent == exponent {
			return false
		}
	}
	return len(numbers) > 0
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
