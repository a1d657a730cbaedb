package artifact

import "go.yaml.in/yaml/v3"

// FrameStack says how the observations of the last steps are stacked before the
// policy's network sees them. A policy that stacks takes one frame.
type FrameStack struct {
	Frames int // 0 where the card does not say; 1 is no stack
	// Order is "normalize_then_stack" where each frame is normalised before it is
	// stacked, "stack_then_normalize" where the stack is; empty where the card
	// does not say.
	Order string
	// Channels is "first" or "last": where the channels of an image lie, along
	// which frames are stacked. Empty where the card does not say.
	Channels string
	// ChannelsOf is the same for some inputs of several, by their names.
	ChannelsOf map[string]string
}

// maxFrames bounds what a stack may hold.
const maxFrames = 1024

var frameStackKeys = []string{"frames", "order", "channels_order"}

// frameStack reads a number of frames, or a mapping with it.
func (r *cardReader) frameStack(n *yaml.Node, field string) FrameStack {
	if n.Kind != yaml.MappingNode {
		return FrameStack{Frames: r.integer(n, field, 1, maxFrames)}
	}
	var f FrameStack
	m := r.mapping(n, field)
	for _, p := range m {
		sub := dotted(field, p.name)
		switch p.name {
		case "frames":
			f.Frames = r.integer(p.value, sub, 1, maxFrames)
		case "order":
			f.Order = r.oneOf(p.value, sub, "normalize_then_stack", "stack_then_normalize")
		case "channels_order":
			if p.value.Kind != yaml.MappingNode {
				f.Channels = r.oneOf(p.value, sub, "first", "last")
				continue
			}
			f.ChannelsOf = map[string]string{}
			for _, q := range r.mapping(p.value, sub) {
				f.ChannelsOf[q.name] = r.oneOf(q.value, dotted(sub, q.name), "first", "last")
			}
		default:
			r.unknown(p.key, sub, frameStackKeys, false)
		}
	}
	if _, ok := find(m, "frames"); !ok {
		r.fail(n, dotted(field, "frames"), "this key is required and is not there")
	}
	return f
}
