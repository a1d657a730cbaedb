package policy

import (
	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Contract is what a policy promises its callers: which observation features
// it takes, in which order, shape, unit and range, and which actions it gives.
// It is fixed when the policy is opened and never changes afterwards, so that
// decoders and encoders may hold on to it.
type Contract struct {
	// Named tells whether an observation is an object of named features. A
	// policy without names takes rows: [[...],[...]].
	Named    bool
	Inputs   []Input   // the network's inputs, each one row-major tensor a row
	Features []Feature // in the order of the contract
	Actions  []Action  // in the order of the contract; empty names where the policy has none

	// State is what a policy carries from one step of an episode to the next;
	// nil for one that answers each observation for itself.
	State []StateSpec
	// Masks is the number of action masks of a row, 0 for a policy that takes
	// none.
	Masks int
	// MaskParts are the sizes of the parts of a row of masks, of each of which
	// one action is taken: one for a Discrete, several for a MultiDiscrete.
	MaskParts []int

	// Stochastic tells whether the policy has a sampling form. Without one,
	// deterministic and stochastic requests give the same action.
	Stochastic           bool
	DeterministicDefault bool
	// Distribution is the kind that actions are drawn from: "gaussian",
	// "squashed_gaussian", "gsde", "categorical", "multi_categorical",
	// "bernoulli" or "beta"; empty where there is none or it is not known.
	Distribution string
	// Extras is what the policy can give beside its action, see Call.Extras.
	Extras []ExtraSpec

	// OnVersionChange is what becomes of an episode under way when the version
	// that serves it is replaced: "drain" lets it end on the old one, "reset"
	// begins it again on the new one.
	OnVersionChange string

	// FrameStack is the number of frames that the policy stacks, of which an
	// observation is one and the others are in its state; 0 where it stacks none.
	FrameStack int
	// Batchable tells whether rows go through the policy together:
	// Policy.Batchable.
	Batchable bool
	// ControlHz is the number of steps in a second of the policy's loop, 0
	// where the card does not say it.
	ControlHz float64
	// Envelope is what actions are held to, nil where the card has none.
	Envelope *envelope.Spec
}

// Input is one input of the policy's graph.
type Input struct {
	Name  string
	Shape []int // of one row, without the batch axis
	Width int   // number of float32 values of one row

	// DType is the type of what the network takes. Callers give float32 in any
	// case, which is converted to it.
	DType graph.DType
}

// StateSpec is one part of a policy's state.
type StateSpec struct {
	Name  string
	Shape []int // of one row, without the batch axis
	Width int   // number of float32 values of one row

	Initial []float32 // before the first step, Width values
	Reset   []float32 // where a later episode begins, Width values
}

// Feature is one named part of an observation.
type Feature struct {
	Name  string
	Shape []int // nil for a single number
	Unit  string
	// Low and High bound each value, both inclusive; a side without a bound
	// is infinite.
	Low, High float64

	Input  int // index into Contract.Inputs
	Offset int // position of the first value within the row of that input
	Size   int // number of values

	// Space is that of the environment in which the policy was trained, as its
	// file tells it; nil where it does not. Low and High are what values are
	// held to, which may be more or less.
	Space *Space

	// Image tells that the shape is one of rows, columns and channels, and that
	// Pack takes an image nested with its channels first as well.
	Image bool
}

// Action is one part of the answer.
type Action struct {
	Name      string // empty where the policy's actions are not named
	Shape     []int  // nil for a single number
	Low, High float64
	Discrete  bool // an integer, not a number
	Offset    int  // position of the first value within the action row
	Size      int

	Space *Space // as that of Feature
}

// ResetsOnVersionChange tells that an episode under way begins again when the
// version that serves it is replaced.
func (c *Contract) ResetsOnVersionChange() bool { return c.OnVersionChange == "reset" }

// ActionWidth returns the number of float32 values of one action row.
func (c *Contract) ActionWidth() int {
	n := 0
	for i := range c.Actions {
		n += c.Actions[i].Size
	}
	return n
}

// stateWidth returns the number of values that a row of the policy keeps.
func (c *Contract) stateWidth() int {
	n := 0
	for i := range c.State {
		n += c.State[i].Width
	}
	return n
}

// actionBounds returns the bounds of each value of an action row.
func (c *Contract) actionBounds() (low, high []float32) {
	for i := range c.Actions {
		for range c.Actions[i].Size {
			low = append(low, float32(c.Actions[i].Low))
			high = append(high, float32(c.Actions[i].High))
		}
	}
	return low, high
}
