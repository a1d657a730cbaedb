package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// member is a member of an act: what a client says in one request for
// actions, in whatever encoding.
type member uint

const (
	memberObservations member = iota // under one of its three names
	memberDeterministic
	memberSeed
	memberStep
	memberRow
	memberMasks
	memberState
	memberStart
	memberReturn
	memberDeadline
	memberObserved
	memberSeq
	memberPriority
	memberCount
)

// Names of the members, and of them as fields of a body.
var (
	memberNames = [memberCount]string{
		"observations", "deterministic", "seed", "step", "row", "action_masks", "state", "episode_start", "return", "deadline_ms", "observed_at", "seq", "priority",
	}
	memberFields = func() (fields [memberCount]string) {
		for m, name := range memberNames {
			fields[m] = "body." + name
		}
		return fields
	}()
)

// memberSet is a set of members.
type memberSet uint32

func membersOf(list ...member) (s memberSet) {
	for _, m := range list {
		s |= 1 << m
	}
	return s
}

func (s memberSet) has(m member) bool { return s&(1<<m) != 0 }

// actForm says which members an act has on one of its ways here.
type actForm struct {
	members memberSet
	single  bool // one row: it may be called "observation", its masks and episode_start need no list
	names   []string
	media   string // the media types that it comes in over HTTP, for messages
}

// The three forms of an act.
var (
	formPredict = newForm(false, memberSeed, memberRow, memberState, memberPriority)
	formSession = newForm(true)
	formStream  = newForm(true, memberSeq)
)

func newForm(single bool, more ...member) *actForm {
	f := &actForm{single: single, members: membersOf(more...) |
		membersOf(memberObservations, memberDeterministic, memberStep, memberMasks, memberStart, memberReturn, memberDeadline, memberObserved)}
	f.media = "application/json, application/msgpack or application/octet-stream"
	if single {
		f.names = append(f.names, "observation")
		f.media = "application/json or application/msgpack"
	}
	for m := range memberCount {
		if f.members.has(m) {
			f.names = append(f.names, memberNames[m])
		}
	}
	return f
}

// returnSet is what an answer is to have beside its actions: of each name, the
// place in the contract of the first extra that it is the name of, or of a part
// of. There are fewer extras than bits.
type returnSet uint64

// actOptions are the members of an act that are no part of a serving.Request.
// They are valid as long as the body that they were read from.
type actOptions struct {
	// Given are the members that came. Seed, step and row that did not are 0
	// in the request, deterministic is the policy's default.
	Given memberSet
	// State is the token of the answer before; nil where it is null or absent.
	State []byte
	// defaulted tells that deterministic came as null.
	defaulted bool
	// Starts says which rows begin an episode: one for all of them where the
	// client sent a single one.
	Starts []bool
	// startList tells that Starts came as a list.
	startList bool
	// maskRows is the number of rows of masks.
	maskRows int
	Return   returnSet
	// DeadlineMS is the time that the answer may take, in milliseconds from
	// ObservedAt, or from the arrival of the request; 0 without a deadline.
	DeadlineMS float64
	// ObservedAt is when the observation was made, in seconds since 1970; 0
	// where it is not said.
	ObservedAt float64
	Seq        uint64
}

func (o *actOptions) reset() {
	*o = actOptions{Starts: o.Starts[:0]}
}

// release lets go of the bytes of the body, and of memory for many rows.
func (o *actOptions) release() {
	o.State = nil
	if cap(o.Starts) > maxKeptBytes {
		o.Starts = nil
	}
}

// starts reports whether a row begins an episode.
func (o *actOptions) starts(row int) bool {
	if o.startList {
		return o.Starts[row]
	}
	return len(o.Starts) > 0 && o.Starts[0]
}

// settle holds to the contract what only the whole of an act shows. It is
// called once after the members were read, in any encoding, unless one of them
// was refused.
func (o *actOptions) settle(r *refusal, form *actForm, c *policy.Contract, req *serving.Request) {
	if o.Given.has(memberMasks) && o.maskRows != req.Rows {
		r.sized(memberFields[memberMasks], req.Rows, o.maskRows, "lists of masks, one for each observation")
	}
	if o.startList && len(o.Starts) != req.Rows {
		r.sized(memberFields[memberStart], req.Rows, len(o.Starts), "booleans, one for each observation")
	}
	if !form.members.has(memberState) {
		return
	}
	if most := uint64(maxSafeInteger - max(0, req.Rows-1)); req.Row > most {
		r.violate(memberFields[memberRow], kindHigh, fmt.Sprintf("expected at most %d, so that the number of the last of %d rows is below 2^53, got %d", most, req.Rows, req.Row))
	}
	switch given := o.Given.has(memberState); {
	case len(c.State) > 0 && !given:
		r.violate(memberFields[memberState], kindMissing, "this policy keeps state: send state (null to begin, then that of the answer before), or use a session")
	case !c.Carries() && o.State != nil:
		r.violate(memberFields[memberState], kindValue, "expected null or nothing, because the policy keeps no state, got a string")
	}
}

// maxSafeInteger is the largest integer that every JSON reader holds exactly.
const maxSafeInteger = 1<<53 - 1

// wantNamed notes the entry of "return" at a position.
func (o *actOptions) wantNamed(r *refusal, c *policy.Contract, at int, name []byte) {
	i, known := extraNamed(c, name)
	switch {
	case !known:
		r.violate(memberFields[memberReturn]+"."+strconv.Itoa(at), kindValue, "expected "+extraWords(c)+", got "+strconv.QuoteToASCII(clip(name)))
	case o.Return&(1<<i) != 0:
		r.violate(memberFields[memberReturn]+"."+strconv.Itoa(at), kindDuplicate, "expected each name once, got "+string(name)+" again")
	default:
		o.Return |= 1 << i
	}
}

// extraNamed returns the place of the first extra of a name, or of a part of
// what has the name.
func extraNamed(c *policy.Contract, name []byte) (int, bool) {
	for i := range min(len(c.Extras), 64) {
		if extraHead(&c.Extras[i]) == string(name) {
			return i, !taken(string(name))
		}
	}
	return 0, false
}

// extraHead is the name under which an extra is asked for: "distribution" of
// "distribution.mean".
func extraHead(e *policy.ExtraSpec) string {
	head, _, _ := strings.Cut(e.Name, ".")
	return head
}

// answerNames are the members of answers, also those of sessions and streams.
var answerNames = []string{
	"actions", "version", "timingMs", "deterministic", "model", "seed", "age_ms", "interventions", "unheld", "state",
	"session_id", "step", "episode", "reset", "seq", "skipped", "timing",
}

// taken reports whether answers have a member of that name already: an output
// of a network that is called so cannot be returned.
func taken(name string) bool { return slices.Contains(answerNames, name) }

// extraWords says what a policy can return.
func extraWords(c *policy.Contract) string {
	names := returnable(c)
	if len(names) == 0 {
		return "nothing, as the policy has nothing beside its actions"
	}
	return "one of " + strings.Join(names, ", ") + ", which is what the policy has"
}

// returnable are the names by which a request may ask for extras.
func returnable(c *policy.Contract) []string {
	names := []string{}
	for i := range c.Extras {
		if head := extraHead(&c.Extras[i]); !taken(head) && !slices.Contains(names, head) {
			names = append(names, head)
		}
	}
	return names
}

// due holds the times of an act to the clock: it returns how old the
// observation is, 0 where that is not said, and when the answer is due, the
// zero time without a deadline. An observation from a future that no skew of
// clocks explains, and one so old that its clock must be another, are refused:
// a deadline that is counted from them would mean nothing.
func (o *actOptions) due(r *refusal, arrived time.Time, l *Limits) (age time.Duration, due time.Time) {
	from := arrived
	if o.Given.has(memberObserved) {
		seconds := float64(arrived.UnixNano())/1e9 - o.ObservedAt
		field := memberFields[memberObserved]
		switch {
		case -seconds > l.MaxClockSkew.Seconds():
			r.violate(field, kindHigh, fmt.Sprintf("expected seconds since 1970, at most %v ahead of the server's clock, got %s", l.MaxClockSkew, aheadWords(-seconds)))
			return 0, due
		case seconds > l.MaxObservationAge.Seconds():
			r.violate(field, kindLow, fmt.Sprintf("expected seconds since 1970, at most %v behind the server's clock, got %s", l.MaxObservationAge, behindWords(seconds, o.ObservedAt)))
			return 0, due
		}
		// A clock that is a little ahead makes no time before now.
		age = max(0, time.Duration(seconds*1e9))
		from = arrived.Add(-age)
	}
	if o.DeadlineMS > 0 {
		// Beyond a day it makes no difference, and time.Duration has an end.
		due = from.Add(time.Duration(min(o.DeadlineMS, 86_400_000) * 1e6))
	}
	return age, due
}

// aheadWords says how far in the future a time is, and what it may be instead.
func aheadWords(seconds float64) string {
	if seconds > 1e11 { // 3000 years; milliseconds since 1970 are 50,000
		return "what seem to be milliseconds, or still less"
	}
	return fmt.Sprintf("%.3f s ahead", seconds)
}

// behindWords says how far in the past a time is, and what it may be instead.
func behindWords(seconds, at float64) string {
	if at < leastUnixTime {
		return fmt.Sprintf("%.3f, which is the time of another clock", at)
	}
	return fmt.Sprintf("%.3f s behind", seconds)
}

// leastUnixTime is in 2001; a clock that shows less counts from its start.
const leastUnixTime = 1e9
