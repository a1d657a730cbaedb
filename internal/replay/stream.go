package replay

import (
	"container/list"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// beginning says what a step goes on from.
type beginning uint8

const (
	goesOn  beginning = iota // from the step before it in its stream
	again                    // from what the step before it went on from: the log has the step twice, because its answer was not used
	initial                  // from the state before the first episode
	episode                  // from the state at the beginning of a later one
)

// stream is a session, or the steps of a client that carries its state in a
// token, which have their seed and row in common.
type stream struct {
	// Of the intake.
	key    streamKey
	at     *list.Element // in the order of use
	next   uint64        // number of the step that goes on from the last one
	digest string
	lost   Reason // why steps cannot go on; empty where they can
	wave   int    // steps in the chunk that is being filled
	chunk  uint64 // which one that is

	// Of each side.
	states [2]streamState
}

// streamKey names a stream within a run. A session is known by its name, a
// stream of tokens by what keys its draws.
type streamKey struct {
	session   string
	model     string // of tokens alone
	seed, row uint64
}

// streamState is what one version carries along a stream: what the next step
// goes on from, and what the last one did.
type streamState struct {
	ready         bool        // the memory was made
	now, before   [][]float32 // by part of the state
	history, past *envelope.History
}

// streams are those of one run of the log.
type streams struct {
	max       int
	run       string
	byKey     map[streamKey]*stream
	used      list.List // of *stream, the longest unused first
	forgotten uint64
	chunk     uint64 // counts those that were filled
}

func newStreams(most int) *streams {
	return &streams{max: most, byKey: map[streamKey]*stream{}}
}

// carried tells whether a step is one of a stream: a session's, or one whose
// client carries the state.
func carried(s *experience.Step) bool { return s.Session != "" || s.First || s.DrawStep > 0 }

// place finds the stream of a step and what the step goes on from, or why that
// is not known.
func (ss *streams) place(s *experience.Step) (*stream, beginning, Reason) {
	if s.Run != ss.run {
		ss.run = s.Run
		clear(ss.byKey)
		ss.used.Init()
	}
	key, number := streamKey{session: s.Session}, s.SessionStep
	if s.Session == "" {
		key, number = streamKey{model: s.Model, seed: s.Seed, row: s.DrawRow}, s.DrawStep
	}
	st := ss.byKey[key]
	known := st != nil
	if !known {
		st = ss.open(key)
	}
	ss.used.MoveToBack(st.at)
	moved := known && st.digest != s.Digest
	st.digest = s.Digest
	switch {
	case s.First && s.Session == "" && number == 0 && known:
		// Two clients may use one seed, and from here on their steps cannot be
		// told apart.
		st.lost = SharedSeed
		return nil, initial, ""
	case s.First && (number == 0 || moved):
		st.lost, st.next = "", number+1
		return st, initial, ""
	case s.First:
		if st.lost == SharedSeed {
			return nil, episode, ""
		}
		st.lost, st.next = "", number+1
		return st, episode, ""
	case !known:
		st.lost = NoBeginning
	case st.lost != "":
	case number == st.next:
		st.next++
		return st, goesOn, ""
	case number+1 == st.next:
		if s.Session == "" { // A token was used twice: which of the two goes on is not known.
			st.lost = SharedSeed
		}
		return st, again, ""
	default:
		st.lost = StepsMissing
	}
	return nil, goesOn, st.lost
}

// open makes room for a stream and adds it.
func (ss *streams) open(key streamKey) *stream {
	if len(ss.byKey) >= ss.max {
		oldest := ss.used.Front()
		delete(ss.byKey, ss.used.Remove(oldest).(*stream).key)
		ss.forgotten++
	}
	st := &stream{key: key}
	st.at = ss.used.PushBack(st)
	ss.byKey[key] = st
	return st
}

// waveOf counts the steps of a stream in the chunk that is being filled.
func (ss *streams) waveOf(st *stream) int {
	if st.chunk != ss.chunk {
		st.chunk, st.wave = ss.chunk, 0
	}
	st.wave++
	return st.wave - 1
}
