package repository

import (
	"errors"
	"fmt"
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
)

var stateNames = [...]string{"loading", "ready", "failed", "unloaded"}

// String returns the name of the state as it appears in answers.
func (s State) String() string { return stateNames[s] }

// Version is one version of one model. A Version never changes: when its state
// does, another takes its place.
type Version struct {
	Model  string
	Name   string // as its folder or card spells it
	State  State
	Reason string // why it is not ready; names no path of the machine
	Stable bool   // no prerelease

	// What follows is set once the artifact was opened.
	Card    *artifact.Card
	Members []artifact.Member
	Digest  string // of all members, lower-case hex
	Hashed  bool   // whether the card gives the digest of every member
	Notes   []string

	Policy *policy.Policy // set when ready
	Took   time.Duration  // of the load
	Stack  []byte         // of a panic while loading; for the log only
}

// Model is one model with its versions.
type Model struct {
	Name    string
	Default bool
	Current string     // name of the version that answers unless a request names another
	Version *Version   // that version
	All     []*Version // newest first
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
