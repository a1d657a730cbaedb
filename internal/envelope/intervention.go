package envelope

// Kind says why a value is not what the policy gave.
type Kind string

// The kinds of intervention, as answers, metrics and logs name them.
const (
	NotFinite Kind = "not_finite"          // a value is NaN or infinite
	Bound     Kind = "bound"               // the value is beyond its bounds
	Rate      Kind = "rate"                // it changes faster than it may
	Jerk      Kind = "jerk"                // its rate changes faster than it may
	Unlike    Kind = "out_of_distribution" // the observation is unlike those of the training
)

// Kinds lists them.
var Kinds = []Kind{NotFinite, Bound, Rate, Jerk, Unlike}

// NoFeature is the Cause.Feature of what no single feature caused.
const NoFeature = -1

// Cause is the reason of an intervention.
type Cause struct {
	Kind Kind
	// Feature is the position, within the observation, of the value that is
	// most unlike the training; NoFeature where it is not one value.
	Feature int
	Score   float64 // of Unlike: how unlike it is
}

// Intervention is one value of an action that is not what the policy gave.
type Intervention struct {
	Row   int // of the request
	Value int // position within the action
	Cause
	// Fallback is what gave To, FallbackError (which never does) where the
	// value was only moved to its limit.
	Fallback Fallback
	From, To float32 // From may be NaN or infinite
}
