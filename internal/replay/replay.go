// Package replay runs recorded steps through another version of a policy, and
// says how far its actions are from those that were taken, or from those of a
// second version that sees the same.
//
// What enters are the steps of an experience log in their order and one or two
// policies; what leaves is a Report: measures of every value of the action, the
// worst steps by name, what was left out and why, and whether thresholds hold.
// The package imports experience, policy and envelope; it opens no database and
// knows no protocol.
//
// A replay is open-loop: each version sees what the recorded one brought about.
// A state that goes from step to step is each version's own, begun anew where
// the log says that it began anew. A step whose state cannot be had that way is
// left out and counted; none is guessed.
package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Steps are recorded steps in the order of the log, each valid until the next
// one: what experience.Store.Read gives.
type Steps = iter.Seq2[*experience.Step, error]

// Options of Run.
type Options struct {
	// New is the version that is looked at.
	New *policy.Policy
	// Against is the version that it is compared with; nil is what was recorded.
	// It must not be New: each has runners of its own.
	Against *policy.Policy
	// Layouts are those of the recorded versions; one without a digest is that
	// of all others. Of a version without one the numbers of values alone are
	// compared.
	Layouts []experience.Layout
	// Raw compares what the policies gave before their envelopes held it.
	Raw bool
	// Deterministic replays every step as a deterministic one. It needs Against.
	Deterministic bool
	// Alone runs each row in a call of its own, as a server that is not strict
	// about its bits does with requests of one row.
	Alone bool
	// Lanes is how many goroutines run each policy; below 1 is one.
	Lanes int
	// Worst is how many of the worst steps are kept.
	Worst int
	// Margin is the part of its range within which an action counts as
	// saturated: 0.001 is a thousandth.
	Margin float64
	// MaxStreams bounds the sessions whose state is kept at the same time, below
	// 1 is DefaultMaxStreams; beyond it the one that acted longest ago is
	// forgotten, and what follows of its episode is left out.
	MaxStreams int
	// Progress is told now and then how many steps were read; nil tells nobody.
	Progress func(read uint64)
}

// DefaultMaxStreams is how many sessions have their state kept.
const DefaultMaxStreams = 1 << 16

// Errors of Run.
var (
	// ErrIncomparable says that two versions take or give other things.
	ErrIncomparable = errors.New("the versions cannot be compared")
	// ErrNothing says that there was no step that could be compared.
	ErrNothing = errors.New("nothing was compared")
)

// What is read ahead of what is computed: chunks of up to so many steps, and of
// so many values of observations.
const (
	chunkSteps  = 4096
	chunkFloats = 1 << 20
	chunksAhead = 3
)

// Run replays the steps. Reading them and computing go on at the same time. An
// error of the steps, of the context or of an engine ends it; a step that a
// version refuses is counted.
func Run(ctx context.Context, steps Steps, o Options) (*Report, error) {
	began := time.Now()
	sides, err := newSides(&o)
	if err != nil {
		return nil, err
	}
	in := newIntake(&o, sides)
	free, full := make(chan *chunk, chunksAhead), make(chan *chunk, chunksAhead)
	for range chunksAhead {
		free <- in.newChunk()
	}
	ctx, cancel := context.WithCancel(ctx)
	var failed error
	go func() {
		defer close(full)
		failed = in.fill(ctx, steps, free, full)
	}()
	m := newMeasures(&o, sides)
	err = func() error {
		for c := range full {
			if err := compare(c, sides, m); err != nil {
				return err
			}
			if o.Progress != nil {
				o.Progress(c.read)
			}
			free <- c.reset()
		}
		return nil
	}()
	cancel()
	for range full { // The reader has ended when this is closed.
	}
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	r := m.report()
	in.report(r)
	r.Took = time.Since(began)
	return r, nil
}

// compare has all sides act on a chunk and measures it.
func compare(c *chunk, sides []*side, m *measures) error {
	for _, s := range sides {
		if err := s.act(c); err != nil {
			return fmt.Errorf("replay of %d steps from %s on: %w", len(c.rows), c.rows[0].id, err)
		}
	}
	m.take(c)
	return nil
}

// newSides returns the version that is looked at and, where there is one, the
// one that it is compared with.
func newSides(o *Options) ([]*side, error) {
	if o.Deterministic && o.Against == nil {
		return nil, fmt.Errorf("%w: deterministic actions are compared with those of another version, and what was recorded may have been drawn", ErrIncomparable)
	}
	sides := []*side{newSide(o.New, 0, o)}
	if o.Against == nil {
		return sides, nil
	}
	if o.Against == o.New {
		return nil, errors.New("replay: both versions are one policy, which has one set of runners")
	}
	s := newSide(o.Against, 1, o)
	wanted, has := shapeOfContract(s.contract), shapeOfContract(sides[0].contract)
	f := fitOf(wanted, has)
	if f.why != "" {
		return nil, fmt.Errorf("%w: %s", ErrIncomparable, f.detail)
	}
	if wanted.masks != has.masks {
		return nil, fmt.Errorf("%w: one takes %d action masks and the other %d", ErrIncomparable, has.masks, wanted.masks)
	}
	s.from = f.from
	return append(sides, s), nil
}
