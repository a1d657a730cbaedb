package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// The routes of what policies saw and did: what came of a step is told to the
// server, and the last steps are asked for.

// Experience is where steps are recorded.
type Experience interface {
	// Outcome notes what came of a step and returns when that is durable. The
	// same one twice, by its ID, is one.
	Outcome(ctx context.Context, o *Outcome) error
	// Last returns up to n of the newest steps, the newest last.
	Last(n int) []RecordedStep
}

// Outcome is what came of a step of a session.
type Outcome struct {
	ID            string
	Session       string
	Episode, Step uint64
	Reward        *float64
	Terminated    bool
	Truncated     bool
	Info          []byte // JSON; nil where there is none
}

// RecordedStep is a step as it is shown.
type RecordedStep struct {
	Run           string             `json:"run"`
	Sequence      uint64             `json:"sequence"`
	Time          float64            `json:"time"` // Unix seconds
	RequestID     string             `json:"request_id"`
	Session       string             `json:"session,omitempty"`
	Episode       uint64             `json:"episode,omitzero"`
	SessionStep   uint64             `json:"session_step"`
	Model         string             `json:"model"`
	Version       string             `json:"version"`
	Digest        string             `json:"digest"`
	Observation   []float32          `json:"observation"`
	Action        []float32          `json:"action"`
	Interventions []StepIntervention `json:"interventions,omitempty"`
	Deterministic bool               `json:"deterministic"`
	QueueMS       float64            `json:"queue_ms"`
	InferMS       float64            `json:"infer_ms"`
}

// StepIntervention is one value of an action that the envelope changed.
type StepIntervention struct {
	Value    int    `json:"value"` // position within the action
	Action   string `json:"action,omitempty"`
	Kind     string `json:"kind"`
	Fallback string `json:"fallback,omitempty"`
}

const (
	// maxLastSteps is how many steps can be asked for at a time, and lastSteps
	// how many are given where nobody says.
	maxLastSteps = 256
	lastSteps    = 20
	// maxOutcomeInfo bounds the info of an outcome.
	maxOutcomeInfo = 16 << 10
	// outcomeTimeout is how long an outcome may take to be durable.
	outcomeTimeout = 5 * time.Second
)

// experience gives the last steps, the newest first:
//
//	{"steps":[{"run":"...","sequence":7,"time":1795000000.25,"session":"robot-7",...}]}
func (x *exchange) experience() error {
	if x.s.o.Experience == nil {
		return faultExperienceOff
	}
	limit, err := x.limit()
	if err != nil {
		return err
	}
	steps := x.s.o.Experience.Last(limit)
	slices.Reverse(steps)
	for i := range steps {
		x.name(&steps[i])
	}
	if steps == nil {
		steps = []RecordedStep{}
	}
	return x.answer(object{"steps": steps})
}

// limit reads the parameter of that name.
func (x *exchange) limit() (int, error) {
	text := x.query().Peek("limit")
	if text == nil {
		return lastSteps, nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > maxLastSteps {
		message := fmt.Sprintf("expected a whole number from 1 to %d, got %+q", maxLastSteps, clip(text))
		return 0, &detailed{fault: faultContract, message: "limit: " + message, details: violationDetails("query.limit", message, kindValue)}
	}
	return n, nil
}

// name names the actions of a step's interventions, where its version is still
// there.
func (x *exchange) name(s *RecordedStep) {
	if len(s.Interventions) == 0 {
		return
	}
	t, err := x.s.backend.Resolve(s.Model, s.Version)
	if err != nil || t.Digest != s.Digest {
		return
	}
	for i := range s.Interventions {
		s.Interventions[i].Action = actionAt(t.Contract, s.Interventions[i].Value)
	}
}

// actionAt is the name of the action that a value of a row belongs to.
func actionAt(c *policy.Contract, value int) string {
	for i := range c.Actions {
		if a := &c.Actions[i]; value >= a.Offset && value < a.Offset+a.Size {
			return actionName(c, i)
		}
	}
	return ""
}

// outcomeNames are the members of an outcome.
var outcomeNames = []string{"step", "reward", "terminated", "truncated", "info"}

// outcomeBody is the body of an outcome:
//
//	{"step":41,"reward":0.5,"terminated":false,"truncated":true,"info":{"lap":1}}
type outcomeBody struct {
	o     Outcome
	given bool // a step
}

// member reads the member whose place in outcomeNames is i.
func (b *outcomeBody) member(d *inferDecoder, i int) bool {
	switch i {
	case 0:
		b.given = true
		return d.integer(memberStep, &b.o.Step)
	case 1:
		return d.reward(&b.o.Reward)
	case 2:
		return d.boolAt("body.terminated", &b.o.Terminated, 1)
	case 3:
		return d.boolAt("body.truncated", &b.o.Truncated, 1)
	}
	return d.info(&b.o.Info)
}

// reward reads a finite number.
func (d *inferDecoder) reward(dst **float64) bool {
	const field = "body.reward"
	d.next()
	v, end := scanNumber(d.data, d.pos)
	if end < 0 {
		return d.wrongKind(field, kindNumber, "a number", 1)
	}
	if math.IsInf(v, 0) {
		d.violate(field, kindValue, "expected a number that a double holds, got "+clip(d.data[d.pos:end]))
	}
	*dst = &v
	d.pos = end
	return true
}

// info takes a value as it is.
func (d *inferDecoder) info(dst *[]byte) bool {
	d.next()
	from := d.pos
	if !d.skip(1) {
		return false
	}
	doc := d.data[from:d.pos]
	switch {
	case len(doc) > maxOutcomeInfo:
		d.violate("body.info", kindValue, fmt.Sprintf("expected at most %d bytes, got %d", maxOutcomeInfo, len(doc)))
	case !jsontext.Value(doc).IsValid():
		d.violate("body.info", kindValue, "expected JSON without members of the same name and in UTF-8")
	default:
		*dst = slices.Clone(doc)
	}
	return true
}

// sessionOutcome takes what came of a step of a session, the last one where the
// body does not say which. It changes nothing of the session.
func (x *exchange) sessionOutcome() error {
	if x.s.o.Experience == nil {
		return faultExperienceOff
	}
	var b outcomeBody
	if err := x.readMembers(outcomeNames, b.member); err != nil {
		return err
	}
	o := &b.o
	if o.Reward == nil && !o.Terminated && !o.Truncated && o.Info == nil {
		const message = "expected a reward, an info, or terminated or truncated that is true"
		return &detailed{fault: faultContract, message: "the body says nothing: " + message, details: violationDetails("body", message, kindValue)}
	}
	info, err := x.s.o.Sessions.Info(string(x.model))
	if err != nil {
		return err
	}
	switch {
	case info.Step == 0:
		return explain(faultStep, "the session has taken no step yet")
	case !b.given:
		o.Step = info.Step - 1
	case o.Step >= info.Step:
		return &detailed{
			fault:   faultStep,
			message: fmt.Sprintf("the session has taken steps up to %d, the outcome is of step %d", info.Step-1, o.Step),
			details: fmt.Appendf(nil, `"expected":%d,"got":%d,`, info.Step-1, o.Step),
		}
	}
	o.Session, o.Episode = info.ID, info.Episode
	o.ID = o.id(info.Serial)
	ctx, cancel := context.WithTimeout(context.Background(), outcomeTimeout)
	defer cancel()
	if err := x.s.o.Experience.Outcome(ctx, o); err != nil {
		x.s.log.Warn("an outcome was not recorded", "event_type", "experience", "error", err, "request_id", string(x.id))
		if errors.Is(err, context.DeadlineExceeded) {
			return explain(faultRecorder, "the outcome was not durable in time: it can be sent again")
		}
		return explain(faultRecorder, "the experience log does not take the outcome now: it can be sent again")
	}
	out := append(x.out[:0], '{')
	out = appendMember(out, "session_id", o.Session)
	out = append(out, `"step":`...)
	out = strconv.AppendUint(out, o.Step, 10)
	x.out = append(out, `,"recorded":true}`...)
	x.json(fasthttp.StatusOK, x.out)
	return nil
}

// id is the same for the same outcome of the same step, and for no other: not
// for a step of the same number of another session that had the name, which has
// another serial.
func (o *Outcome) id(serial string) string {
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.AppendUvarint(nil, uint64(len(b))))
		h.Write(b)
	}
	part([]byte(serial))
	part([]byte(o.Session))
	flags := byte(0)
	if o.Terminated {
		flags |= 1
	}
	if o.Truncated {
		flags |= 2
	}
	reward := uint64(0)
	if o.Reward != nil {
		flags |= 4
		reward = math.Float64bits(*o.Reward)
	}
	part(binary.AppendUvarint(binary.AppendUvarint([]byte{flags}, o.Step), reward))
	part(o.Info)
	return hex.EncodeToString(h.Sum(nil)[:16])
}
