package server

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// sequence is what the parameters of a request say about the sequence that it
// belongs to: one stream of observations, whose state the server keeps.
type sequence struct {
	id         []byte // of its client, empty for a request of no sequence
	text       bool   // the client's id is a string, not a number
	start, end bool
	told       []byte // parameters of the answer, each behind a comma
}

func (s *sequence) reset() { *s = sequence{id: s.id[:0], told: s.told[:0]} }

// maxSequenceID is the length of the longest name of a sequence, in bytes.
const maxSequenceID = 128

// sequenceID reads a whole number of 64 bits or a string. 0 and the empty
// string are no sequence.
func (d *inferDecoder) sequenceID() bool {
	const field = "body.parameters.sequence_id"
	s := &d.sequence
	if d.next() == '"' {
		text, ok := d.text()
		if !ok {
			return false
		}
		if len(text) > maxSequenceID {
			d.violate(field, kindLong, fmt.Sprintf("expected at most %d bytes, got %d", maxSequenceID, len(text)))
			return true
		}
		s.id, s.text = append(s.id[:0], text...), true
		return true
	}
	_, end := scanNumber(d.data, d.pos)
	if end < 0 {
		return d.wrongKind(field, kindValue, "a whole number or a string", 2)
	}
	text := d.data[d.pos:end]
	d.pos = end
	v, err := strconv.ParseUint(string(text), 10, 64)
	switch {
	case err != nil:
		d.violate(field, kindValue, "expected a whole number from 0 to 2^64-1 or a string, got "+clip(text))
	case v > 0:
		s.id, s.text = strconv.AppendUint(s.id[:0], v, 10), false
	}
	return true
}

// settleSequence holds to each other what is said of a sequence and the rest of
// the request.
func (d *inferDecoder) settleSequence(c *policy.Contract) {
	s := &d.sequence
	switch {
	case len(s.id) > 0 && d.rows != 1:
		d.violate("body.inputs", kindLong, fmt.Sprintf("expected one row in a sequence, got %d", d.rows))
	case len(s.id) > 0 && d.seeded && !s.start:
		d.violate("body.parameters.seed", kindUnknown, "expected a seed on the first request of a sequence only, got one without sequence_start")
	case len(s.id) > 0:
	case s.start:
		d.violate("body.parameters.sequence_id", kindMissing, "expected the id of the sequence that sequence_start begins, got none")
	case s.end:
		d.violate("body.parameters.sequence_id", kindMissing, "expected the id of the sequence that sequence_end ends, got none")
	case len(c.State) > 0:
		d.violate("body.parameters.sequence_id", kindMissing, "this policy keeps state: send sequence_id, with sequence_start on the first request of an episode, got none")
	}
}

// name is the name of the session that a sequence is: one that no path of
// /v1/sessions can have. Numbers and strings, models, and requests that name a
// version and those that do not, have sequences of their own.
func (s *sequence) name(t *Target, version bool) string {
	b := append([]byte("v2/"), t.Model...)
	if version {
		b = append(append(b, '@'), t.Version...)
	}
	if s.text {
		b = append(b, "/text/"...)
	} else {
		b = append(b, "/number/"...)
	}
	return string(append(b, s.id...))
}

// enterSequence takes hold of the session of the sequence that the request
// belongs to, which its first request begins, and gives the request its state.
func (x *exchange) enterSequence(body []byte, jsonLen int) (*serving.Session, error) {
	d := &x.tensors
	s, store := &d.sequence, x.s.o.Sessions
	name := s.name(&x.target, x.version != nil)
	if s.start {
		if err := x.beginSequence(name); err != nil {
			return nil, err
		}
	}
	sess, err := store.Acquire(name)
	switch {
	case errors.Is(err, serving.ErrNoSession):
		return nil, explain(faultContract, "sequence %s of model %s is not under way: the first request of a sequence needs sequence_start, and one that is idle for %v ends",
			clip(s.id), x.target.Model, store.Options().TTL)
	case err != nil:
		return nil, err
	}
	decoded := x.target.Contract
	reset, err := x.follow(sess)
	if err == nil && x.target.Contract != decoded {
		// The sequence ends on the version on which it began.
		err = d.decodeInfer(body, jsonLen, &x.target, x.s.limits.MaxRows, &x.req)
	}
	if err != nil {
		sess.Release()
		return nil, err
	}
	sess.Attach(&x.req)
	s.told = s.appendTold(s.told[:0], sess, reset)
	return sess, nil
}

// beginSequence opens the session of a sequence. One of the same name that is
// under way begins again, as with Triton: its client has.
func (x *exchange) beginSequence(name string) error {
	store := x.s.o.Sessions
	seed := x.req.Seed
	if !x.tensors.seeded {
		seed = drawSeed()
	}
	old, err := store.Acquire(name)
	if err == nil {
		defer old.Release()
		return old.Reset(versionOf(&x.target), seed)
	}
	if !errors.Is(err, serving.ErrNoSession) {
		return err
	}
	pinned := ""
	if x.version != nil {
		pinned = x.target.Version
	}
	_, err = store.Open(versionOf(&x.target), serving.Begin{ID: name, Seed: seed, Pinned: pinned})
	return err
}

// leaveSequence lets go of the session. One whose last request was answered
// ends, and so does one whose first was not: there is no sequence then.
func (x *exchange) leaveSequence(sess *serving.Session, answered bool) {
	s := &x.tensors.sequence
	if answered {
		sess.Advance()
	}
	if answered && s.end || !answered && s.start {
		x.s.o.Sessions.Close(sess.ID())
	}
	sess.Release()
}

// appendTold appends the parameters of an answer that tell of its sequence.
func (s *sequence) appendTold(b []byte, sess *serving.Session, reset bool) []byte {
	b = append(b, `,"sequence_id":`...)
	if s.text {
		b = appendString(b, string(s.id))
	} else {
		b = append(b, s.id...)
	}
	b = append(b, `,"step":`...)
	b = strconv.AppendUint(b, sess.Step(), 10)
	if reset {
		b = append(b, resetByVersion...)
	}
	return b
}
