package server

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// The routes of sessions. A session is one stream of observations and actions
// whose state the server keeps; its acts never overlap.

// sessionRoutes are those that name a session.
type sessionRoutes struct {
	session, act, reset, outcome *endpoint
}

const sessionsPath = "/v1/sessions"

// find returns the endpoint of what follows /v1/sessions/ in a path, and the
// name of the session in it; nil where there is none.
func (r *sessionRoutes) find(rest []byte) (e *endpoint, id []byte) {
	id, rest, more := bytes.Cut(rest, []byte("/"))
	switch {
	case !validName(id):
		return nil, nil
	case !more:
		return r.session, id
	case string(rest) == "act":
		return r.act, id
	case string(rest) == "reset":
		return r.reset, id
	case string(rest) == "outcome":
		return r.outcome, id
	}
	return nil, nil
}

// openSession begins a session.
func (x *exchange) openSession() error {
	o, err := x.readOpening(openingNames)
	if err != nil {
		return err
	}
	if x.target, err = x.s.backend.Resolve(o.model, o.version); err != nil {
		return err
	}
	if !o.seeded {
		o.seed = drawSeed()
	}
	sess, err := x.s.o.Sessions.Open(x.sessionVersion(), serving.Begin{ID: o.id, Seed: o.seed, Deterministic: o.deterministic, TTL: o.ttl, Pinned: o.version})
	if err != nil {
		return err
	}
	info := sess.Info()
	x.ctx.Response.Header.Set(fasthttp.HeaderLocation, sessionsPath+"/"+info.ID)
	x.answerSession(fasthttp.StatusCreated, &info)
	return nil
}

// sessionAct answers one observation of a session.
func (x *exchange) sessionAct() error {
	kind, err := x.media(formSession)
	if err != nil {
		return err
	}
	sess, err := x.s.o.Sessions.Acquire(string(x.model))
	if err != nil {
		return err
	}
	defer sess.Release()
	reset, err := x.follow(sess)
	if err != nil {
		return err
	}
	if err = x.turnedAway(x.id); err != nil {
		return err
	}
	span := x.child("decode")
	if err = x.read(kind, formSession); err == nil {
		err = x.attach(sess)
	}
	endChild(span)
	if err != nil {
		return err
	}
	span = x.child("infer")
	err = x.run(x.spanCtx, x.id)
	endChild(span)
	if err == nil {
		if kind == mediaPack {
			x.out, err = x.packAnswer(x.out[:0], carried{session: sess, reset: reset})
		} else {
			x.member = appendSessionMembers(x.member[:0], sess, reset)
			x.out, err = x.appendAnswer(x.out[:0], x.member)
		}
	}
	x.observe(err, x.id)
	if err != nil {
		return err
	}
	sess.Advance()
	x.reply(kind, x.out)
	return nil
}

// follow has a session follow the version that answers for its model now, and
// makes the target the version that answers for the session. A session that
// ends on its version by its contract does so whatever became of that version;
// one that would have to go over to another needs one that answers.
func (a *act) follow(sess *serving.Session) (reset bool, err error) {
	v := sess.Version()
	t, err := a.s.backend.Resolve(v.Model, sess.Pinned())
	switch {
	case err == nil:
		reset = sess.Move(versionOf(&t))
	case !sess.Stay():
		return false, err
	}
	v = sess.Version()
	a.target = Target{Model: v.Model, Version: v.Version, Digest: v.Digest, Contract: v.Contract, Handle: v.Handle}
	return reset, nil
}

// attach holds an act that was read to its session, and gives it the session's
// state.
func (a *act) attach(sess *serving.Session) error {
	o := &a.options
	if o.Given.has(memberStep) && a.req.Step != sess.Step() {
		return stepMismatch(sess.Step(), a.req.Step)
	}
	if d := sess.Deterministic(); d != nil && (!o.Given.has(memberDeterministic) || o.defaulted) {
		a.req.Deterministic = *d
	}
	if o.starts(0) {
		sess.Begin()
	}
	sess.Attach(&a.req)
	return nil
}

func stepMismatch(expected, got uint64) error {
	return &detailed{
		fault:   faultStep,
		message: fmt.Sprintf("the session is at step %d, the request is for step %d", expected, got),
		details: fmt.Appendf(nil, `"expected":%d,"got":%d,`, expected, got),
	}
}

// resetByVersion is the member that tells that an episode begins again, because
// another version has taken over.
const resetByVersion = `,"reset":"version"`

// appendSessionMembers appends what an answer says of its session.
func appendSessionMembers(b []byte, sess *serving.Session, reset bool) []byte {
	b = append(b, `,"session_id":`...)
	b = appendString(b, sess.ID())
	b = append(b, `,"step":`...)
	b = strconv.AppendUint(b, sess.Step(), 10)
	b = append(b, `,"episode":`...)
	b = strconv.AppendUint(b, sess.Episode(), 10)
	if reset {
		b = append(b, resetByVersion...)
	}
	return b
}

// resetSession makes a session one that was just opened, of the version that
// answers now.
func (x *exchange) resetSession() error {
	sess, err := x.s.o.Sessions.Acquire(string(x.model))
	if err != nil {
		return err
	}
	defer sess.Release()
	o, err := x.readOpening(resettingNames)
	if err != nil {
		return err
	}
	info := sess.Info()
	if !o.seeded {
		o.seed = info.Seed
	}
	t, err := x.s.backend.Resolve(info.Model, info.Pinned)
	if err != nil {
		return err
	}
	if err := sess.Reset(versionOf(&t), o.seed); err != nil {
		return err
	}
	info = sess.Info()
	x.answerSession(fasthttp.StatusOK, &info)
	return nil
}

// sessionInfo tells about a session, also while an act of it is under way.
func (x *exchange) sessionInfo() error {
	info, err := x.s.o.Sessions.Info(string(x.model))
	if err != nil {
		return err
	}
	x.answerSession(fasthttp.StatusOK, &info)
	return nil
}

// closeSession ends a session.
func (x *exchange) closeSession() error {
	if !x.s.o.Sessions.Close(string(x.model)) {
		return serving.ErrNoSession
	}
	x.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// answerSession answers with what there is to know of a session:
//
//	{"session_id":"robot-7","model":"carla-ppo","version":"v0.1.0","digest":"7c05c88b...","step":0,"episode":0,
//	 "seed":7,"deterministic":true,"ttl_s":600,"expires_at":1795000000.123456}
func (x *exchange) answerSession(status int, i *serving.SessionInfo) {
	b := append(x.out[:0], '{')
	b = appendMember(b, "session_id", i.ID)
	b = appendMember(b, "model", i.Model)
	b = appendMember(b, "version", i.Version)
	b = appendMember(b, "digest", i.Digest)
	b = append(b, `"step":`...)
	b = strconv.AppendUint(b, i.Step, 10)
	b = append(b, `,"episode":`...)
	b = strconv.AppendUint(b, i.Episode, 10)
	b = append(b, `,"seed":`...)
	b = strconv.AppendUint(b, i.Seed, 10)
	deterministic := i.Contract.DeterministicDefault
	if i.Deterministic != nil {
		deterministic = *i.Deterministic
	}
	b = append(b, `,"deterministic":`...)
	b = strconv.AppendBool(b, deterministic)
	b = append(b, `,"ttl_s":`...)
	b = strconv.AppendFloat(b, float64(i.TTL)/float64(time.Second), 'f', -1, 64)
	b = append(b, `,"expires_at":`...)
	b = appendTimestamp(b, i.Expires)
	x.out = append(b, '}')
	x.json(status, x.out)
}

// versionOf is a target as the sessions know it.
func versionOf(t *Target) serving.SessionVersion {
	return serving.SessionVersion{Model: t.Model, Version: t.Version, Digest: t.Digest, Contract: t.Contract, Handle: t.Handle}
}
