package serving

import (
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Request is one call of a policy for one or more rows. It may be reused: a
// Request that has been through Act allocates nothing on its next time, and
// what a plain request leaves at nil costs it nothing.
type Request struct {
	Rows          int
	Inputs        [][]float32 // by input of the contract, Rows × Width values each
	Deterministic bool

	// Seed, Step and Row key the draws of a stochastic policy: row i is drawn
	// as row Row+i of that seed and step, in any batch and on any machine.
	Seed, Step, Row uint64

	// Deadline is when the answer must be there: a request that cannot be
	// answered by then is not started. Zero is no deadline; that of the
	// context bounds only how long the request waits for a lane.
	Deadline time.Time
	// Priority is the request's class in the queue.
	Priority Priority

	// Masks has Rows × the contract's Masks values, 0 for each action that may
	// not be taken; nil allows all. NewMasks gives the memory.
	Masks []float32
	// State is, by part of the contract's state, Rows × Width values, which an
	// answer replaces by those of the next step; a request that fails leaves
	// them as they were. It comes from Begin, a session or a token.
	State [][]float32
	// Histories has the last actions of each row's stream; nil for a request
	// that is of no stream. Act moves them on.
	Histories []*envelope.History

	// Origin is what a recorder is told of the request; nil for one that is not
	// recorded. Plain leaves it.
	Origin *Origin

	// WantExtras asks for everything that the contract's Extras name.
	WantExtras bool

	// Actions are the answer, Rows × the contract's ActionWidth values,
	// valid until the request is used again.
	Actions []float32
	// Extras are, by extra of the contract, Rows × Width values, where
	// WantExtras asked for them; empty otherwise. Valid as long.
	Extras [][]float32
	// Interventions is what the policy's envelope changed of the actions,
	// valid as long.
	Interventions []envelope.Intervention
	// Queue and Infer are how long the request waited and ran. Enveloping is
	// the part of Infer in which the actions were held to the envelope.
	Queue, Infer, Enveloping time.Duration

	wait      waiter
	kept      kept
	call      policy.Call
	masks     []float32 // memory of Masks, kept from request to request
	state     [][]float32
	histories []*envelope.History
	extras    [][]float32
}

// Plain makes the request one of control without draws of its own, deadline, masks, state,
// history and extras. Their memory is kept.
func (r *Request) Plain() {
	r.Seed, r.Step, r.Row, r.Deadline, r.Priority = 0, 0, 0, time.Time{}, PriorityControl
	r.Masks, r.State, r.Histories, r.WantExtras = nil, nil, nil, false
}

// NewMasks gives the request masks of n values, which hold anything.
func (r *Request) NewMasks(n int) []float32 {
	r.masks = sized(r.masks, n)
	r.Masks = r.masks
	return r.Masks
}

// Begin gives each of the request's rows the state and the history of a stream
// that begins, with state and histories in memory that the request keeps.
func (r *Request) Begin(c *policy.Contract) {
	r.reserve(c)
	for i := range r.State {
		for row := range r.Rows {
			copy(r.State[i][row*c.State[i].Width:], c.State[i].Initial)
		}
	}
	for _, h := range r.Histories {
		h.Reset()
	}
	if r.Origin != nil {
		r.Origin.First = true
	}
}

// BeginEpisode begins an episode in one row, whose state goes on until now.
func (r *Request) BeginEpisode(c *policy.Contract, row int) {
	c.ResetState(r.State, row)
	if r.Origin != nil {
		r.Origin.Began = append(r.Origin.Began, row)
	}
	if r.Histories != nil {
		r.Histories[row].Reset()
	}
}

// reserve points State and Histories at memory of the request's own that is
// large enough for its rows.
func (r *Request) reserve(c *policy.Contract) {
	for len(r.state) < len(c.State) {
		r.state = append(r.state, nil)
	}
	for i := range c.State {
		r.state[i] = sized(r.state[i], r.Rows*c.State[i].Width)
	}
	r.State = r.state[:len(c.State)]
	width := historyWidth(c)
	if width == 0 {
		r.Histories = nil
		return
	}
	for len(r.histories) < r.Rows {
		r.histories = append(r.histories, nil)
	}
	for row := range r.Rows {
		if h := r.histories[row]; h == nil || h.Width() != width {
			r.histories[row] = envelope.NewHistory(width)
		}
	}
	r.Histories = r.histories[:r.Rows]
}

// historyWidth is the number of values of an action of which a stream keeps a
// history: those of a policy whose envelope counts from the action before.
func historyWidth(c *policy.Contract) int {
	if !c.NeedsHistory() {
		return 0
	}
	return c.ActionWidth()
}

// wantExtras makes room for what the contract's Extras name.
func (r *Request) wantExtras(c *policy.Contract) {
	for len(r.extras) < len(c.Extras) {
		r.extras = append(r.extras, nil)
	}
	for i := range c.Extras {
		r.extras[i] = sized(r.extras[i], r.Rows*c.Extras[i].Width)
	}
	r.Extras = r.extras[:len(c.Extras)]
}

// Trim gives up memory beyond limit values each, so that a rare large request
// does not raise the memory of the process for good. The request is plain
// afterwards.
func (r *Request) Trim(limit int) {
	r.Plain()
	for i := range r.Inputs {
		r.Inputs[i] = trimmed(r.Inputs[i], limit)
	}
	for i := range r.state {
		r.state[i] = trimmed(r.state[i], limit)
	}
	for i := range r.extras {
		r.extras[i] = trimmed(r.extras[i], limit)
	}
	r.Actions, r.masks = trimmed(r.Actions, limit), trimmed(r.masks, limit)
	r.Extras = nil
	r.call = policy.Call{} // which has all of it as well
	r.wait.policy = nil    // which may be a version that is to be forgotten
	if cap(r.Interventions) > maxKeptInterventions {
		r.Interventions = nil
	}
	if cap(r.histories) > maxKeptHistories {
		r.histories = nil
	}
}

// What a request keeps memory for: the histories of so many rows, and so many
// interventions.
const (
	maxKeptHistories     = 64
	maxKeptInterventions = 1024
)

func trimmed(x []float32, limit int) []float32 {
	if cap(x) > limit {
		return nil
	}
	return x
}

// sized returns x with a length of n, made anew only where it has no room.
func sized(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}
