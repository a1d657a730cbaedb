package plan

import (
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// Steps prints the plan, one line a step: what it computes, from where to
// where, in which shapes, with which constants. Below a step that runs plans
// of its own stand theirs.
func (p *Plan) Steps() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan: %v, %d steps, %d bytes of constants, arena %d bytes + %d a row", p.impl, len(p.steps), p.ConstantBytes(), 4*p.allFixed(), 4*p.rowFloats)
	if p.chunked {
		fmt.Fprintf(&b, ", up to %d rows at a time", p.chunk())
	}
	b.WriteByte('\n')
	p.dump(&b, "")
	return b.String()
}

func (p *Plan) dump(b *strings.Builder, indent string) {
	for i := range p.steps {
		s := &p.steps[i]
		var in, out []string
		for _, x := range s.reads() {
			in = append(in, p.slotText(x))
		}
		for _, x := range s.writes() {
			out = append(out, p.slotText(x))
		}
		fmt.Fprintf(b, "%s%3d  %-24s %s -> %s%s\n", indent, i, s.title(), strings.Join(in, ", "), strings.Join(out, ", "), s.detail())
		if s.control == nil {
			continue
		}
		for k, sub := range s.control.plans {
			if k > 0 {
				fmt.Fprintf(b, "%s     else\n", indent)
			}
			sub.dump(b, indent+"     ")
		}
	}
}

// title is the operation with the activation that is fused to it.
func (s *step) title() string {
	switch {
	case s.op == stepUnary:
		return s.unary.String()
	case (s.op == stepLinear || s.op == stepNarrow || s.op == stepConvolve) && s.unary.Op != kernel.Identity:
		return s.note + "+" + s.unary.String()
	case s.note != "":
		return s.note
	default:
		return stepNames[s.op]
	}
}

func (s *step) detail() string {
	switch s.op {
	case stepLinear:
		text := fmt.Sprintf("  %dx%d %s, %d bytes", s.matrix.Out(), s.matrix.In(), s.matrix.Form(), s.matrix.Bytes())
		if s.chain != nil && s.chain.chain.Len() > 1 {
			text += fmt.Sprintf(", to step %d in one call for one row", s.chain.last)
		}
		return text
	case stepNarrow:
		return fmt.Sprintf("  %dx%d %s, %d bytes", s.narrow.Out(), s.narrow.In(), s.narrow.Form(), s.narrow.Bytes())
	case stepConvolve:
		return fmt.Sprintf("  %s, %d bytes", s.packed.Form(), s.packed.Bytes())
	case stepTile:
		return "  repeated"
	case stepLoop:
		return fmt.Sprintf("  up to %d turns", s.control.limit)
	case stepNormal:
		return fmt.Sprintf("  stream %d", s.stream)
	default:
		return ""
	}
}

func (p *Plan) slotText(i int) string {
	s := &p.slots[i]
	n := i
	if s.kind == slotInput || s.kind == slotOutput {
		n = s.index
	}
	return fmt.Sprintf("%s%d%v", slotPrefix[s.kind], n, s.shape)
}
