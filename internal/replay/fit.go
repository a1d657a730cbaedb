package replay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// shape is what a version takes and gives, as far as a replay has to know.
type shape struct {
	observation int // values
	action      int
	masks       int
	features    []part // empty where they have no names
	actions     []part
}

// part is a named run of values.
type part struct {
	name         string
	offset, size int
	discrete     bool
}

func shapeOfContract(c *policy.Contract) shape {
	s := shape{action: c.ActionWidth(), masks: c.Masks}
	bases := make([]int, len(c.Inputs))
	for i := range c.Inputs {
		bases[i] = s.observation
		s.observation += c.Inputs[i].Width
	}
	for i := range c.Features {
		f := &c.Features[i]
		s.features = append(s.features, part{name: f.Name, offset: bases[f.Input] + f.Offset, size: f.Size})
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		s.actions = append(s.actions, part{a.Name, a.Offset, a.Size, a.Discrete})
	}
	s.features = named(s.features)
	return s
}

func shapeOfLayout(l *experience.Layout) shape {
	s := shape{observation: l.ObservationWidth(), action: l.ActionWidth(), masks: l.Masks}
	for i := range l.Features {
		f := &l.Features[i]
		s.features = append(s.features, part{name: f.Name, offset: f.Offset, size: f.Size})
	}
	for i := range l.Actions {
		a := &l.Actions[i]
		s.actions = append(s.actions, part{a.Name, a.Offset, a.Size, a.Discrete})
	}
	s.features = named(s.features)
	return s
}

// named returns the parts where each has a name, nil otherwise.
func named(parts []part) []part {
	if slices.ContainsFunc(parts, func(p part) bool { return p.name == "" }) {
		return nil
	}
	return parts
}

// fit says how the observations of one version are those of another.
type fit struct {
	why    Reason // empty where they are
	detail string
	// from has, for each value of an observation, where it stands in the one
	// that there is; nil where that is the same place.
	from []int
}

// fitOf finds where a version that wants observations finds them in those that
// there are.
func fitOf(wants, has shape) fit {
	switch {
	case wants.observation != has.observation:
		return fit{why: OtherObservation, detail: fmt.Sprintf("one takes observations of %d values and the other of %d", has.observation, wants.observation)}
	case wants.action != has.action:
		return fit{why: OtherAction, detail: fmt.Sprintf("one gives actions of %d values and the other of %d", has.action, wants.action)}
	case wants.masks != has.masks && wants.masks > 0 && has.masks > 0:
		return fit{why: OtherAction, detail: fmt.Sprintf("one takes %d action masks and the other %d", has.masks, wants.masks)}
	}
	if d := differentActions(wants.actions, has.actions); d != "" {
		return fit{why: OtherAction, detail: d}
	}
	if len(wants.features) == 0 || len(has.features) == 0 {
		return fit{}
	}
	from := make([]int, wants.observation)
	for i := range from {
		from[i] = i
	}
	same := true
	for _, f := range wants.features {
		i := slices.IndexFunc(has.features, func(p part) bool { return p.name == f.name && p.size == f.size })
		if i < 0 {
			return fit{why: OtherObservation, detail: fmt.Sprintf("one takes %s and the other %s", partNames(has.features), partNames(wants.features))}
		}
		for j := range f.size {
			from[f.offset+j] = has.features[i].offset + j
			same = same && f.offset == has.features[i].offset
		}
	}
	if same {
		return fit{}
	}
	return fit{from: from}
}

// differentActions says what keeps the values of two actions from being the
// same things.
func differentActions(wants, has []part) string {
	for value := 0; ; value++ {
		a, b := partAt(wants, value), partAt(has, value)
		switch {
		case a == nil || b == nil:
			return ""
		case a.name != b.name && a.name != "" && b.name != "":
			return fmt.Sprintf("one gives %s and the other %s", partNames(has), partNames(wants))
		case a.discrete != b.discrete:
			return fmt.Sprintf("one gives %s as a choice and the other as a number", strings.TrimSpace("value "+a.name))
		}
	}
}

func partAt(parts []part, value int) *part {
	for i := range parts {
		if p := &parts[i]; value >= p.offset && value < p.offset+p.size {
			return p
		}
	}
	return nil
}

// partNames names parts for people, and how many values each has where it is not one.
func partNames(parts []part) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.name)
		if p.size != 1 {
			fmt.Fprintf(&b, "[%d]", p.size)
		}
	}
	return b.String()
}
