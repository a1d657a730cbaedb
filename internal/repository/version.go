package repository

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// State says how far a version has come.
type State uint8

// The states of a version.
const (
	StateLoading  State = iota // found, and not yet tried
	StateReady                 // verified, warm and proven: it answers
	StateFailed                // tried and refused; Reason says why
	StateUnloaded              // listed only, because of Options.MaxVersions
	// StateQuarantined is a version that was ready and gave Options.QuarantineAfter
	// unusable answers one after another; Reason has the last of them.
	StateQuarantined
)

var stateNames = [...]string{"loading", "ready", "failed", "unloaded", "quarantined"}

// String returns the name of the state as it appears in answers.
func (s State) String() string { return stateNames[s] }

// Version is one version of one model. A Version never changes: when its state
// does, another takes its place.
type Version struct {
	Model  string
	Name   string // as its folder or card spells it
	State  State
	Reason string    // why it is not ready; names no path of the machine
	Limit  Limit     // that it was refused for, empty where it was for something else
	Stable bool      // no prerelease
	Since  time.Time // when it came into its state

	// What follows is set once the artifact was opened.
	Card    *artifact.Card
	Members []artifact.Member
	Digest  string // of all members, lower-case hex
	Hashed  bool   // whether the card gives the digest of every member
	Notes   []string

	Policy *policy.Policy // set when ready
	Took   time.Duration  // of the load
	Stack  []byte         // of a panic while loading; for the log only

	opened  int    // members that the artifact had before the policy asked for more
	content string // digest of those
	tally   *tally // nil until it was tried
}

// tally is what changes of a version. All copies of a version share it.
type tally struct {
	bad atomic.Int32 // unusable answers since the last usable one
	out atomic.Bool  // quarantined
	sig signature    // of the files that were read; the watcher's alone

	tries int       // times in a row that it was refused for a passing reason
	again time.Time // when it is tried next for that; zero where it is not
}

// Usable tells that the version gave an answer that is fit to leave.
func (v *Version) Usable() {
	if t := v.tally; t != nil && t.bad.Load() != 0 {
		t.bad.Store(0)
	}
}

// Quarantined reports whether the version was taken out of service, also to
// who has held it since before.
func (v *Version) Quarantined() bool { return v.tally != nil && v.tally.out.Load() }

// Model is one model with its versions.
type Model struct {
	Name    string
	Default bool
	Current string     // name of the version that answers unless a request names another
	Version *Version   // that version
	All     []*Version // under the root, newest first
	// Kept are versions that are held in memory although the root has them no
	// longer, or has another in their place: the one that answers, the one
	// before it, and those whose new files were refused.
	Kept []*Version
	// Previous is what a rollback returns to, nil where there is nothing.
	Previous *Version
	// Changed is when Version took over, and Why tells from what.
	Changed time.Time
	Why     string
	// Pinned tells that a rollback holds the version until there is one that was
	// not known then, or a reload is asked for.
	Pinned bool
}

// Errors of Lookup.
var (
	ErrModelNotFound   = errors.New("model not found")
	ErrVersionNotFound = errors.New("version not found")
)

// NotReadyError is returned for a version that is there and cannot answer.
type NotReadyError struct {
	Model, Version string
	State          State
	Reason         string
}

// Error says which version it is and why.
func (e *NotReadyError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("model %s version %s is %s", e.Model, e.Version, e.State)
	}
	return fmt.Sprintf("model %s version %s is not ready: %s", e.Model, e.Version, e.Reason)
}
