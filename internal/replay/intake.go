package replay

import (
	"context"
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// Reason says why a recorded step is not compared.
type Reason string

// The reasons.
const (
	// NoSession is a step that says nothing of the steps before it, for a
	// version that goes on from them.
	NoSession Reason = "no_session"
	// NoBeginning is a step of an episode whose beginning the log, or the part
	// of it that is read, does not have.
	NoBeginning Reason = "no_beginning"
	// StepsMissing is a step of an episode behind one that the log does not have.
	StepsMissing Reason = "steps_missing"
	// SharedSeed is a step whose client carries the state, with the seed of
	// another such client.
	SharedSeed Reason = "shared_seed"
	// OtherObservation and OtherAction are steps of a version that takes or
	// gives something else.
	OtherObservation Reason = "other_observation"
	OtherAction      Reason = "other_action"
)

var reasonTexts = map[Reason]string{
	NoSession:        "the step is of no session, and the version goes on from the step before",
	NoBeginning:      "the log does not have the beginning of the episode",
	StepsMissing:     "steps before it in its episode are not in the log",
	SharedSeed:       "its client carries the state, and another one has the same seed or token",
	OtherObservation: "the recorded version takes other observations",
	OtherAction:      "the recorded version gives other actions",
}

// LeftOut counts the steps that are not compared for one reason.
type LeftOut struct {
	Reason Reason `json:"reason"`
	Text   string `json:"text"`
	Steps  uint64 `json:"steps"`
	First  StepID `json:"first"`
}

// Recorded counts the steps that one recorded version answered.
type Recorded struct {
	Model   string `json:"model"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Steps   uint64 `json:"steps"`
}

// intake makes chunks of recorded steps. It keeps what the report says of them.
type intake struct {
	o     *Options
	want  shape
	state bool // a version keeps state from step to step
	moves bool // a version has a history of actions, or state

	layouts map[string]*experience.Layout
	version *versionSeen // of the step before
	seen    map[Recorded]*versionSeen
	streams *streams

	read     uint64
	drawn    uint64 // steps that were not deterministic
	leftOut  []LeftOut
	recorded []Recorded
}

// versionSeen is a recorded version, and whether its steps can be compared.
type versionSeen struct {
	key Recorded // without a count
	at  int      // in recorded
	fit fit
}

// streamBytes bounds the memory of all states.
const streamBytes = 1 << 29

func newIntake(o *Options, sides []*side) *intake {
	in := &intake{o: o, want: shapeOfContract(sides[0].contract), layouts: map[string]*experience.Layout{}, seen: map[Recorded]*versionSeen{}}
	most := o.MaxStreams
	if most < 1 {
		most = DefaultMaxStreams
	}
	floats := 0
	for _, s := range sides {
		in.state = in.state || len(s.contract.State) > 0
		in.moves = in.moves || s.contract.Carries()
		floats += s.streamFloats()
	}
	in.streams = newStreams(max(1, min(most, streamBytes/(4*max(1, floats)))))
	for i := range o.Layouts {
		in.layouts[o.Layouts[i].Digest] = &o.Layouts[i]
	}
	return in
}

func (in *intake) newChunk() *chunk { return &chunk{width: in.want.observation} }

// fill fills chunks until the steps end.
func (in *intake) fill(ctx context.Context, steps Steps, free <-chan *chunk, full chan<- *chunk) error {
	most := max(1, min(chunkSteps, chunkFloats/max(1, in.want.observation)))
	next := func() *chunk {
		select {
		case c := <-free:
			in.streams.chunk++
			return c
		case <-ctx.Done():
			return nil
		}
	}
	send := func(c *chunk) bool {
		c.read = in.read
		select {
		case full <- c:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c := next()
	if c == nil {
		return ctx.Err()
	}
	for s, err := range steps {
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if in.read%chunkSteps == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		in.read++
		if !in.take(s, c) || len(c.rows) < most {
			continue
		}
		if !send(c) {
			return ctx.Err()
		}
		if c = next(); c == nil {
			return ctx.Err()
		}
	}
	if !send(c) {
		return ctx.Err()
	}
	return nil
}

// take adds a step to the chunk, or counts it among those that are left out.
func (in *intake) take(s *experience.Step, c *chunk) bool {
	v := in.versionOf(s)
	if v.fit.why != "" {
		in.leave(s, v.fit.why, v.fit.detail)
		return false
	}
	switch {
	case len(s.Observation) != in.want.observation:
		in.leave(s, OtherObservation, fmt.Sprintf("one takes observations of %d values and the other of %d", len(s.Observation), in.want.observation))
		return false
	case len(s.Action) != in.want.action:
		in.leave(s, OtherAction, fmt.Sprintf("one gives actions of %d values and the other of %d", len(s.Action), in.want.action))
		return false
	case len(s.Masks) > 0 && len(s.Masks) != in.want.masks:
		in.leave(s, OtherAction, fmt.Sprintf("one takes %d action masks and the other %d", len(s.Masks), in.want.masks))
		return false
	}
	r := row{
		deterministic: s.Deterministic || in.o.Deterministic, masked: len(s.Masks) > 0,
		seed: s.Seed, step: s.DrawStep, draw: s.DrawRow,
	}
	switch {
	case !in.moves:
	case carried(s):
		var why Reason
		if r.stream, r.begins, why = in.streams.place(s); why != "" {
			in.leave(s, why, "")
			return false
		}
		if r.stream != nil {
			r.wave = in.streams.waveOf(r.stream)
		}
	case in.state:
		in.leave(s, NoSession, "")
		return false
	}
	r.id = idOf(s)
	if !s.Deterministic {
		in.drawn++
	}
	in.recorded[v.at].Steps++
	c.add(s, v.fit.from, in.want.masks, in.o.Raw, r)
	return true
}

// versionOf finds what is known of the version that answered a step.
func (in *intake) versionOf(s *experience.Step) *versionSeen {
	key := Recorded{Model: s.Model, Version: s.Version, Digest: s.Digest}
	if in.version != nil && in.version.key == key {
		return in.version
	}
	v := in.seen[key]
	if v == nil {
		v = &versionSeen{key: key, at: len(in.recorded)}
		l := in.layouts[s.Digest]
		if l == nil {
			l = in.layouts[""]
		}
		if l != nil {
			v.fit = fitOf(in.want, shapeOfLayout(l))
		}
		in.seen[key] = v
		in.recorded = append(in.recorded, key)
	}
	in.version = v
	return v
}

// leave counts a step that is not compared.
func (in *intake) leave(s *experience.Step, why Reason, detail string) {
	text := reasonTexts[why]
	if detail != "" {
		text += ": " + detail
	}
	i := slices.IndexFunc(in.leftOut, func(l LeftOut) bool { return l.Reason == why && l.Text == text })
	if i < 0 && len(in.leftOut) >= maxLeftOut {
		i = slices.IndexFunc(in.leftOut, func(l LeftOut) bool { return l.Reason == why })
	}
	if i < 0 {
		in.leftOut = append(in.leftOut, LeftOut{Reason: why, Text: text, First: idOf(s)})
		i = len(in.leftOut) - 1
	}
	in.leftOut[i].Steps++
}

// maxLeftOut is how many texts are kept apart; further ones are counted with
// the first of their reason.
const maxLeftOut = 64

// report fills in what the intake knows.
func (in *intake) report(r *Report) {
	r.Steps.Read, r.Steps.Drawn, r.Steps.Forgotten = in.read, in.drawn, in.streams.forgotten
	r.LeftOut = in.leftOut
	for _, l := range in.leftOut {
		r.Steps.LeftOut += l.Steps
	}
	for _, v := range in.recorded {
		if v.Steps > 0 {
			r.Recorded = append(r.Recorded, v)
		}
	}
}
