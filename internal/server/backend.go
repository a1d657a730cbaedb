package server

import (
	"context"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// Backend is what the server serves. Its methods are called by many
// goroutines at once.
type Backend interface {
	// Resolve finds the version that answers for a model and a version; an
	// empty string asks for the default. It returns ErrModelNotFound,
	// ErrVersionNotFound or a *NotReadyError, wrapped or not, where there is
	// none that could answer. It must allocate nothing when it succeeds.
	Resolve(model, version string) (Target, error)
	// Act answers the request, whose rows fit the target's contract. The
	// context carries the deadline of the request and a nil Done channel.
	Act(ctx context.Context, t *Target, req *serving.Request) error
	// Warmup runs the version that answers for each model once more, where it
	// is ready.
	Warmup(ctx context.Context) error
	// Readiness tells why the server should be sent no requests; nil says
	// that it should.
	Readiness() error
	// Started reports whether the first attempt to load every version has
	// ended, well or badly.
	Started() bool
	// Current is that of the Listing, and takes no longer where there is more to
	// list: whoever asks /healthz gets it.
	Current() string
	// Listing returns every model and version, newest first.
	Listing() Listing
}

// Crowded is a Backend that can tell, without having seen a request, that Act
// would refuse it.
type Crowded interface {
	// Crowded returns the error of Act where any request that came now, and
	// could wait for some time, would be refused. It is asked for each request
	// before its body is decoded, must allocate nothing, and counts what it refuses
	// as Act does.
	Crowded(now time.Time, wait time.Duration) error
}

// Target is the version that a request was resolved to.
type Target struct {
	Model    string
	Version  string
	Digest   string // of the artifact
	Contract *policy.Contract
	Handle   any // the backend's own
}

// Listing is what a backend has to offer.
type Listing struct {
	// Model and Current are the default model and the version of it that
	// answers, or would if it were ready.
	Model   string
	Current string
	// Strategy says how Current was chosen, in the ancestor's words:
	// "environment_with_fallback" or "fallback".
	Strategy string
	// Root names the artifact root, as little of its path as the operator
	// wants strangers to see.
	Root     string
	Versions []VersionStatus
	// Models tells of each model what answers for it.
	Models []ModelStatus
	// CheckedAt is when the root was looked at the last time, Trouble why it
	// could not be, and Poll how often it is; 0 for only when asked.
	CheckedAt time.Time
	Trouble   string
	Poll      time.Duration
}

// ModelStatus is what answers for one model.
type ModelStatus struct {
	Model    string
	Version  string
	Digest   string
	Ready    bool
	Since    time.Time // when it took over
	Why      string    // from what
	Previous string    // what a rollback returns to
	Pinned   bool      // by a rollback
}

// VersionStatus is one version of one model.
type VersionStatus struct {
	Model   string
	Version string
	State   string // "ready", "loading", "failed", ...
	Reason  string // why it is not ready; names no path of the machine
	Digest  string
	Stable  bool // no pre-release
	Ready   bool
	// InputShape is the card's, or the network's where the card has none.
	InputShape []int
	// Metrics are the card's performance metrics.
	Metrics map[string]float64
	// Card is the card as it is shown to clients; it is marshalled to JSON.
	Card any
	// Hashed tells whether the card vouches for its files.
	Hashed bool
	// Since is when the version came into its state.
	Since time.Time
	// Answers tells that the version answers for its model, Previous that a
	// rollback returns to it, and Kept that it is in memory and not under the
	// root any longer.
	Answers, Previous, Kept bool
	// Drift is nil for a version that is not ready.
	Drift *DriftStatus
}

// DriftStatus tells of how many values of a version's observations the drift is
// measured, and why not of all.
type DriftStatus struct {
	Values int    `json:"values"`
	Why    string `json:"why,omitempty"`
}

// Metrics is where the server counts. Each method that takes labels is called
// once for each set of them, when a route or a version is first seen; what it
// returns is called on each request and must not allocate.
type Metrics interface {
	// Route returns the observer of one method and route template.
	Route(method, endpoint string) func(status int, took time.Duration, traceID string)
	// Inference returns the observer of one version: rows of a request, how
	// it ended and how long each stage of it took. Few goroutines use the same
	// shard at the same time.
	Inference(model, version string) func(shard uint32, rows int, deterministic, err bool, decode, queued, took, encode time.Duration)
	// Saturation returns the observer of one version's actions, which takes
	// whole rows. For each value of a row it is told the action's name and
	// bounds, which may be infinite.
	Saturation(model, version string, names []string, low, high []float64) func(actions []float32)
	// Interventions returns the counter of what one version's envelope changed,
	// which takes the position of a value in an action row and the kind. names
	// has the action of each value.
	Interventions(model, version string, names []string) func(value int, kind string)
	// Rejected returns the counter of requests that a limit turned away.
	Rejected(reason string) func()
	// Error counts an error answer by its code and route.
	Error(code, endpoint string)
	// Active moves the number of requests that are being answered.
	Active(delta int)
	// Panicked counts a panic that a handler was recovered from.
	Panicked()
	// AdminAct counts an act of an admin by what it was and what came of it.
	AdminAct(act, result string)
	// Streams is told how to read the number of open streams.
	Streams(read func() int)
	// StreamMessages returns the counter of messages that were answered, by
	// what they are encoded in and how they were answered: "ok" or "error".
	StreamMessages(codec, result string) func()
	// StreamSkipped returns the counter of messages that newer ones overtook.
	StreamSkipped() func()
	// StreamClosed counts a stream that ended, by the code that the client was
	// told; 0 where it could not be told, or had said it itself.
	StreamClosed(code int)
	// Connections is told how to read the number of open connections.
	Connections(read func() int)
	// Ready is told how to read whether the server should be sent requests.
	Ready(read func() bool)
}
