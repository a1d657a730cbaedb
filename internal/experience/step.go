// Package experience keeps what policies saw and did: every step that was
// answered, in the order in which it was taken, with what was lost between.
//
// What enters are requests that serving answered, through Recorder; what
// leaves are Steps in a Store, which is a file of SQLite or a database of
// PostgreSQL. The package imports serving, policy and envelope and knows no
// protocol.
package experience

import "time"

// Step is one observation and the action that answered it. Its key is Run and
// Sequence, and its order is theirs too: clocks may be set back.
type Step struct {
	// Run names the life of one process, and is drawn when it begins. Sequence
	// counts the steps that it took, lost ones too, from 1.
	Run      string
	Sequence uint64
	// Time is the wall clock's when the request had been read, before it waited
	// for a lane, and Mono how long the run had lasted then by a clock that is
	// never set.
	Time time.Time
	Mono time.Duration

	// RequestID is that of the request, of which this is the row Row.
	RequestID string
	Row       int
	// Session, Episode and SessionStep are those of a step of a session; Session
	// is empty for a request of none. Steps of requests that carried their state
	// in a token have the same Seed and DrawRow, and DrawStep counts them.
	Session              string
	Episode, SessionStep uint64
	// First says that the state began anew with this step: the first of an
	// episode, or of another version that could not go on with the state. It is
	// always false of requests that carry no state and are of no session.
	First bool

	Model, Version, Digest string // Digest is the artifact's

	// Observation is the contract's inputs, one after the other, as the policy
	// was given them. Layout says which value is what.
	Observation []float32
	// Action is what left. Raw is what the policy gave before its envelope; nil
	// where that is the same. A value of Raw may be NaN or infinite.
	Action, Raw []float32
	// Value and LogProb are there where the request asked for extras that
	// have them.
	Value, LogProb       float32
	HasValue, HasLogProb bool

	// Queue, Infer and Enveloping are what the request took: waiting for a lane,
	// running, and, as a part of that, holding the action to its envelope.
	Queue, Infer, Enveloping time.Duration
	// Interventions is what the envelope changed of this row.
	Interventions []Intervention

	Deterministic bool
	// Seed, DrawStep and DrawRow key the draws of a stochastic policy.
	Seed, DrawStep, DrawRow uint64
	// Masks has 0 for each action that could not be taken; nil allowed all.
	Masks []float32
}

// Intervention is one value of an action that is not what the policy gave.
type Intervention struct {
	Value    int     `json:"value"`              // position within the action
	Kind     string  `json:"kind"`               // as answers and metrics name it
	Fallback string  `json:"fallback,omitempty"` // what gave To; empty where the value was only moved to its limit
	Feature  int     `json:"feature"`            // position within the observation of the value that caused it, or -1
	Score    float64 `json:"score,omitempty"`    // how unlike the training the observation was
	From     float32 `json:"-"`                  // may be NaN or infinite: it is in Raw
	To       float32 `json:"-"`                  // it is in Action
}

// Layout says what the values of the steps of one version mean.
type Layout struct {
	Model   string `json:"model"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	// Inputs are the network's inputs, one after the other in an observation.
	Inputs []Input `json:"inputs"`
	// Features are the named parts of an observation, empty where the policy
	// has none, and Actions the parts of an action.
	Features []Part `json:"features,omitempty"`
	Actions  []Part `json:"actions"`
	// Recurrent tells that the policy keeps a state from step to step.
	Recurrent bool `json:"recurrent,omitempty"`
	// Stochastic tells that it draws its actions where it is not asked for
	// deterministic ones.
	Stochastic bool    `json:"stochastic,omitempty"`
	Masks      int     `json:"masks,omitempty"` // values of a row
	ControlHz  float64 `json:"control_hz,omitempty"`
}

// Input is one input of a network.
type Input struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
	Width int    `json:"width"` // values of one row
}

// Part is one named part of an observation or an action.
type Part struct {
	Name  string `json:"name,omitempty"`
	Shape []int  `json:"shape,omitempty"` // nil for a single number
	Unit  string `json:"unit,omitempty"`
	// Offset and Size are where its values stand, in the whole observation or
	// action.
	Offset int `json:"offset"`
	Size   int `json:"size"`
	// Low and High bound each value; nil on a side without a bound. A discrete
	// one has the choices from Low to High.
	Low      *float64 `json:"low,omitempty"`
	High     *float64 `json:"high,omitempty"`
	Discrete bool     `json:"discrete,omitempty"`
}

// ObservationWidth is the number of values of an observation.
func (l *Layout) ObservationWidth() int {
	n := 0
	for i := range l.Inputs {
		n += l.Inputs[i].Width
	}
	return n
}

// ActionWidth is the number of values of an action.
func (l *Layout) ActionWidth() int {
	n := 0
	for i := range l.Actions {
		n += l.Actions[i].Size
	}
	return n
}

// Gap is a range of steps that were taken and are not kept.
type Gap struct {
	Run         string
	First, Last uint64 // sequence numbers, both inclusive
	Reason      string // one of the Lost constants
	Time        time.Time
}

// Count is the number of steps that were lost.
func (g *Gap) Count() uint64 { return g.Last - g.First + 1 }

// Why steps were lost.
const (
	LostFull    = "buffer_full" // more came than the store took
	LostTooLong = "too_long"    // one request needs more than the buffer has
	LostFailed  = "failed"      // the store failed for good
	LostCrash   = "crash"       // the process ended without writing them
)

// LostReasons lists them.
var LostReasons = []string{LostFull, LostTooLong, LostFailed, LostCrash}

// Outcome is what came of a step of a session: whoever drives tells it after
// it has acted. There may be several of one step, which all stand.
type Outcome struct {
	// Run is that of the process that was told, which need not be the one that
	// took the step. ID makes the same outcome told twice one.
	Run                  string
	ID                   string
	Session              string
	Episode, SessionStep uint64
	Reward               *float64
	Terminated           bool   // the episode ended by itself
	Truncated            bool   // the episode was cut off
	Info                 []byte // JSON; empty for none
	Time                 time.Time
}
