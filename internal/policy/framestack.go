package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// frameStack is what a policy that stacks frames keeps of the steps before: its
// contract takes one frame, and the frames before are part of its state. It
// stacks as VecFrameStack of Stable-Baselines3 does (common/vec_env/
// stacked_observations.py, 2.9.2): frames before the first of an episode are
// zeros, the newest is last, vectors are joined along their last axis and images
// along that of their channels.
type frameStack struct {
	frames int
	// normalizeFirst tells that each frame is normalised before it is stacked;
	// else the stack is. The zeros of an episode that begins are zeros of what is
	// stacked.
	normalizeFirst bool
	inputs         []stackedInput // by Contract.Inputs
}

// stackedInput is the stack of one input.
type stackedInput struct {
	name  string // of its state
	frame []int  // shape of what is stacked, of one frame
	axis  int    // along which, in frame
}

const (
	normalizeThenStack = "normalize_then_stack"
	stackThenNormalize = "stack_then_normalize"
)

// stacks tells whether the card asks for frames to be stacked here.
func (s *sources) stacks() bool { return s.card.FrameStack.Frames > 1 }

// stackFrames finds out how frames are stacked for a network, nil where they
// are not.
func (s *sources) stackFrames(n *lowered) (*frameStack, error) {
	if !s.stacks() {
		return nil, nil
	}
	spec := &s.card.FrameStack
	f := &frameStack{frames: spec.Frames}
	var rows [][]int
	for i, v := range n.observation {
		row, ok := n.inputRow(v)
		if !ok || len(row) == 0 {
			return nil, fmt.Errorf("frame_stack: input %s of shape %v is no row of frames", v.Name, v.Shape)
		}
		if s.spaces != nil && i < len(s.spaces.Observation) && s.spaces.Observation[i].Categories {
			return nil, fmt.Errorf("frame_stack: input %s is of categories, which are not stacked", v.Name)
		}
		rows = append(rows, row)
	}
	for name := range spec.ChannelsOf {
		if !slices.ContainsFunc(n.observation, func(v *graph.Value) bool { return v.Name == name }) {
			return nil, fmt.Errorf("model_card.yaml: frame_stack: channels_order names %q, which is no input of the network", name)
		}
	}
	var err error
	if f.normalizeFirst, err = s.normalizesFirst(n, rows); err != nil {
		return nil, err
	}
	for i, v := range n.observation {
		row := rows[i]
		if w := s.rawWidth(); !f.normalizeFirst && w != 0 && w != product(row) {
			row = []int{w} // The preprocessor makes the row wider or narrower.
		}
		in := stackedInput{name: "frames"}
		if len(n.observation) > 1 || s.spaces != nil && s.spaces.Named {
			in.name += "." + v.Name
		}
		order := channelsOrder(spec, v.Name)
		if s.spaces != nil && i < len(s.spaces.Observation) {
			// The library's own images are taken with their channels last, whatever
			// they were in the training, unless a shape asks for them as its spaces
			// have them: first.
			switch space := &s.spaces.Observation[i]; {
			case !space.Image && order == "":
				order = "last"
			case space.Image && slices.Equal(row, space.Space.Shape) && slices.Index(row, slices.Min(row)) == 0:
				order = "first"
			case space.Image:
				order = "last"
			}
		}
		if in.frame, in.axis, err = unstack(row, f.frames, order); err != nil {
			return nil, fmt.Errorf("frame_stack: input %s: %w", v.Name, err)
		}
		f.inputs = append(f.inputs, in)
	}
	return f, nil
}

// rawWidth is the number of values that a preprocessor of one row takes, 0 where
// there is none or it takes any.
func (s *sources) rawWidth() int {
	if s.preprocessor == nil || len(s.preprocessor.Keys()) > 0 {
		return 0
	}
	return s.preprocessor.Width()
}

// normalizesFirst tells which comes first, the statistics or the stack: the
// card's word, or the width of the statistics, which is that of one frame or of
// all.
func (s *sources) normalizesFirst(n *lowered, rows [][]int) (bool, error) {
	declared := s.card.FrameStack.Order
	p := s.preprocessor
	if p == nil || p.Identity() {
		return declared != stackThenNormalize, nil // The two are the same.
	}
	frames := s.card.FrameStack.Frames
	ofOne, ofAll, known := true, true, false
	for i, v := range n.observation {
		width, gives := s.rawWidth(), p.OutputWidth(s.rawWidth())
		if len(p.Keys()) > 0 {
			if !slices.Contains(p.Keys(), v.Name) {
				continue
			}
			width = p.KeyWidth(v.Name)
			gives = width
		}
		if width == 0 {
			continue
		}
		known = true
		ofOne = ofOne && gives*frames == product(rows[i])
		ofAll = ofAll && gives == product(rows[i])
	}
	switch {
	case !known && declared == "":
		return false, fmt.Errorf("frame_stack: the preprocessor takes rows of any width: say in the card whether each frame goes through it or the stack, frame_stack: {frames: %d, order: %s} or {frames: %d, order: %s}",
			frames, normalizeThenStack, frames, stackThenNormalize)
	case !known:
		return declared == normalizeThenStack, nil
	case !ofOne && !ofAll:
		return false, fmt.Errorf("%w: the statistics are of neither one frame nor of the %d that frame_stack says", errDisagree, frames)
	case declared == normalizeThenStack && !ofOne, declared == stackThenNormalize && !ofAll:
		of := "one frame"
		if ofAll {
			of = "the whole stack"
		}
		return false, fmt.Errorf("%w: model_card.yaml says frame_stack order %s, the statistics are of %s", errDisagree, declared, of)
	}
	return ofOne, nil
}

// channelsOrder is the card's word about an input, empty where it has none.
func channelsOrder(spec *artifact.FrameStack, input string) string {
	if order, ok := spec.ChannelsOf[input]; ok {
		return order
	}
	return spec.Channels
}

// unstack returns the shape of one of the frames that make a stack, and the axis
// along which they are joined: that of the channels. Those of an array of three
// axes are the axis that is shortest in a frame, where the card has no word for
// it, as the library tells images apart (is_image_space_channels_first).
func unstack(stack []int, frames int, order string) ([]int, int, error) {
	along := func(axis int) []int {
		if stack[axis]%frames != 0 {
			return nil
		}
		frame := slices.Clone(stack)
		frame[axis] /= frames
		return frame
	}
	last := len(stack) - 1
	axis := last
	switch {
	case len(stack) == 3 && order == "":
		first := along(0)
		if first != nil && slices.Index(first, slices.Min(first)) != 0 {
			first = nil
		}
		end := along(last)
		if end != nil && slices.Index(end, slices.Min(end)) == 0 {
			end = nil
		}
		switch {
		case first == nil && end == nil:
			return nil, 0, fmt.Errorf("%w: %v is no stack of %d images", errDisagree, stack, frames)
		case first != nil && end != nil:
			return nil, 0, fmt.Errorf("%d images of %v or of %v make %v: say in the card where the channels are, frame_stack: {frames: %d, channels_order: first} or last", frames, first, end, stack, frames)
		case first != nil:
			axis = 0
		}
	case order == "first":
		axis = 0
	}
	frame := along(axis)
	if frame == nil {
		return nil, 0, fmt.Errorf("%w: the network takes %v, of which %d frames are no whole parts along axis %d", errDisagree, stack, frames, axis)
	}
	return frame, axis, nil
}

// statisticsShape is stacked of what the preprocessor gives, nil where it is not
// known whether that is a frame or the stack.
func (s *sources) statisticsShape(row []int, input string) []int {
	switch {
	case !s.stacks() || s.card.FrameStack.Order == stackThenNormalize:
		return row
	case s.card.FrameStack.Order == normalizeThenStack:
		return s.stacked(row, input)
	}
	return nil
}

// stacked is the shape of a stack of frames, nil where the axis cannot be told.
func (s *sources) stacked(frame []int, input string) []int {
	if !s.stacks() {
		return frame
	}
	if len(frame) == 0 {
		return nil
	}
	axis := len(frame) - 1
	if order := channelsOrder(&s.card.FrameStack, input); order == "first" || order == "" && len(frame) == 3 && slices.Index(frame, slices.Min(frame)) == 0 {
		axis = 0
	}
	stack := slices.Clone(frame)
	stack[axis] *= s.card.FrameStack.Frames
	return stack
}

// String tells what is stacked, for people.
func (f *frameStack) String() string {
	text := fmt.Sprintf("frames: the policy takes one frame and keeps the %d before it; those before an episode are zeros", f.frames-1)
	if f.normalizeFirst {
		return text + "; each frame is normalised before it is stacked, where there are statistics"
	}
	return text + "; the stack is normalised"
}

// keepFrames adds the frames before to the state of the contract.
func (c *Contract) keepFrames(f *frameStack) {
	if f == nil {
		return
	}
	for i := range f.inputs {
		shape := f.inputs[i].past(f.frames)
		width := product(shape)
		zeros := make([]float32, width)
		c.State = append(c.State, StateSpec{Name: f.inputs[i].name, Shape: shape, Width: width, Initial: zeros, Reset: zeros})
	}
}

// past is the shape of the frames before the newest.
func (s *stackedInput) past(frames int) []int {
	shape := slices.Clone(s.frame)
	shape[s.axis] *= frames - 1
	return shape
}

// states is the number of states that frames are.
func (f *frameStack) states() int {
	if f == nil {
		return 0
	}
	return len(f.inputs)
}

// framesOf is a stack within one graph.
type framesOf struct {
	*frameStack
	past, next []*graph.Value // flat rows, by input; none where nothing is stacked
}

// enter adds the frames before as inputs of a graph, behind all others.
func (f *frameStack) enter(g *graph.Graph, rows int) *framesOf {
	of := &framesOf{frameStack: f, next: make([]*graph.Value, f.states())}
	for i := range f.states() {
		s := &f.inputs[i]
		of.past = append(of.past, g.Input(s.name, graph.Float32, graph.Shape{rows, product(s.past(f.frames))}))
	}
	return of
}

// observe makes of the flat rows of an input what the network takes of it:
// normalised, and stacked where the policy stacks.
func (of *framesOf) observe(src *sources, g *graph.Graph, input int, x *graph.Value) (*graph.Value, error) {
	name := g.Inputs[input].Name
	stack := func() (err error) {
		if of.frameStack != nil {
			x, of.next[input], err = of.push(g, input, x, of.past[input])
		}
		return err
	}
	if of.frameStack != nil && !of.normalizeFirst {
		if err := stack(); err != nil {
			return nil, err
		}
	}
	x, err := preprocessed(src, g, name, x)
	if err != nil {
		return nil, fmt.Errorf("preprocessor: %w", err)
	}
	if of.frameStack != nil && of.normalizeFirst {
		err = stack()
	}
	return x, err
}

// leave adds what the next step keeps as outputs of the graph, and tells that
// they are states.
func (of *framesOf) leave(g *graph.Graph, states []StateSpec) {
	first := len(g.Inputs) - len(of.next)
	for i, v := range of.next {
		g.States = append(g.States, graph.State{
			Input: first + i, Output: len(g.Outputs),
			Initial: graph.Float32s(states[i].Initial, 1, states[i].Width), Reset: graph.Float32s(states[i].Reset, 1, states[i].Width),
		})
		g.Output(unused(g, states[i].Name+"_out"), v)
	}
}

// push joins the flat rows x of one frame to those of the frames before. It
// returns the flat rows of the stack and of what the next step keeps of it.
func (f *frameStack) push(g *graph.Graph, input int, x, past *graph.Value) (stack, next *graph.Value, err error) {
	s := &f.inputs[input]
	rows := x.Shape[0]
	if w := product(s.frame); x.Shape[1] != w {
		return nil, nil, fmt.Errorf("a frame has %d values, %d were wanted", x.Shape[1], w)
	}
	shaped := func(v *graph.Value, row []int) *graph.Value {
		if err != nil || len(row) == 1 {
			return v
		}
		v, err = g.Add(graph.OpReshape, graph.Attrs{"shape": append([]int{rows}, row...)}, v)
		return v
	}
	flat := func(v *graph.Value) *graph.Value {
		if err != nil || len(s.frame) == 1 {
			return v
		}
		v, err = g.Add(graph.OpReshape, graph.Attrs{"shape": []int{rows, product([]int(v.Shape[1:]))}}, v)
		return v
	}
	past, x = shaped(past, s.past(f.frames)), shaped(x, s.frame)
	if err != nil {
		return nil, nil, err
	}
	all, err := g.Add(graph.OpConcat, graph.Attrs{"axis": s.axis + 1}, past, x)
	if err != nil {
		return nil, nil, err
	}
	one := s.frame[s.axis]
	next, err = g.Add(graph.OpSlice, graph.Attrs{"axis": s.axis + 1, "start": one, "end": one * f.frames}, all)
	if err != nil {
		return nil, nil, err
	}
	stack, next = flat(all), flat(next)
	return stack, next, err
}

// checkFrames holds the card's stack to what the training wrote down.
func (s *sources) checkFrames(training *artifact.Training) error {
	n := s.card.FrameStack.Frames
	if n > 1 && training.FrameStack > 0 && training.FrameStack != n {
		return fmt.Errorf("%w: model_card.yaml says frame_stack %d, %s says %d", errDisagree, n, strings.Join(training.Files, " and "), training.FrameStack)
	}
	return nil
}
