package server

import (
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// appendAnswer appends the answer to an act that was run:
//
//	{"actions":[{"throttle":0.7,"brake":0.0,"steer":0.1}],"version":"v0.1.0",
//	 "timingMs":0.0085,"deterministic":true,"model":"carla-ppo",
//	 "timing":{"queue_ms":0.0002,"preprocess_ms":0.0031,"infer_ms":0.0085,"postprocess_ms":0.0009}}
//
// and between them, where there are any: the seed that actions were drawn with,
// what "return" asked for, the state of the next step, the age of the
// observation, what the envelope changed and could not hold, and extra, the members of the act's
// carrier with a comma before each. A policy whose actions have no names
// answers with an array a row, or with the bare value where it has a single one
// without a shape. The error is faultInference for an action that is not
// finite, which JSON cannot say; b is then of no use.
func (a *act) appendAnswer(b []byte, extra []byte) ([]byte, error) {
	t, req := &a.target, &a.req
	actions := t.Contract.Actions
	width := t.Contract.ActionWidth()
	finite := true
	b = append(b, `{"actions":[`...)
	for row := range req.Rows {
		if row > 0 {
			b = append(b, ',')
		}
		values := req.Actions[row*width:][:width]
		for _, v := range values {
			finite = finite && v-v == 0
		}
		b = appendAction(b, actions, values)
	}
	if !finite {
		return b, faultInference
	}
	b = append(b, `],"version":`...)
	b = appendString(b, t.Version)
	b = append(b, `,"timingMs":`...)
	b = appendMillis(b, req.Infer)
	if req.Deterministic {
		b = append(b, `,"deterministic":true,"model":`...)
	} else {
		b = append(b, `,"deterministic":false,"model":`...)
	}
	b = appendString(b, t.Model)
	if a.drawn() {
		b = append(b, `,"seed":`...)
		b = strconv.AppendUint(b, req.Seed, 10)
	}
	if a.options.Return != 0 {
		b = appendReturns(b, a.options.Return, t.Contract, req)
	}
	if a.options.Given.has(memberObserved) {
		b = append(b, `,"age_ms":`...)
		b = appendMillis(b, a.age)
	}
	if len(req.Interventions) > 0 {
		b = append(b, `,"interventions":`...)
		b = AppendInterventions(b, t.Contract, req.Interventions)
	}
	if moving := t.Contract.Moving(); moving != nil && req.Histories == nil {
		b = append(b, `,"unheld":`...)
		b = AppendUnheld(b, moving)
	}
	b = append(b, extra...)
	a.postprocess = a.rest()
	b = append(b, `,"timing":{"queue_ms":`...)
	b = appendMillis(b, req.Queue)
	b = append(b, `,"preprocess_ms":`...)
	b = appendMillis(b, a.preprocess())
	b = append(b, `,"infer_ms":`...)
	b = appendMillis(b, a.infer())
	b = append(b, `,"postprocess_ms":`...)
	b = appendMillis(b, a.postprocess)
	return append(b, `}}`...), nil
}

// appendReturns appends a member, with a comma before it, for each thing that
// was asked for: an array of one entry a row.
func appendReturns(b []byte, wanted returnSet, c *policy.Contract, req *serving.Request) []byte {
	for i := range c.Extras {
		if wanted&(1<<i) == 0 {
			continue
		}
		name := extraHead(&c.Extras[i])
		b = append(b, ',')
		b = appendString(b, name)
		b = append(b, `:[`...)
		for row := range req.Rows {
			if row > 0 {
				b = append(b, ',')
			}
			b = appendReturn(b, name, row, c, req)
		}
		b = append(b, ']')
	}
	return b
}

// appendReturn appends one row of what a name stands for: the values of the
// extra of that name, or an object of those that are parts of it,
//
//	{"kind":"gaussian","mean":[0.1],"std":[0.5]}
func appendReturn(b []byte, name string, row int, c *policy.Contract, req *serving.Request) []byte {
	start := len(b)
	for i := range c.Extras {
		e := &c.Extras[i]
		part, ok := strings.CutPrefix(e.Name, name)
		if !ok || part != "" && part[0] != '.' {
			continue
		}
		values := req.Extras[i][row*e.Width:][:e.Width]
		switch {
		case part == "" && e.Whole():
			return appendValues(b, &policy.Action{Discrete: true}, e.Shape, values)
		case part == "":
			return appendNested(b, e.Shape, values)
		}
		switch {
		case len(b) > start:
			b = append(b, ',')
		case name == "distribution":
			b = append(b, `{"kind":`...)
			b = appendString(b, c.Distribution)
			b = append(b, ',')
		default:
			b = append(b, '{')
		}
		b = appendString(b, part[1:])
		b = append(b, ':')
		b = appendNested(b, e.Shape, values)
	}
	return append(b, '}')
}

// appendNested appends values nested to a shape. A value that JSON cannot say,
// such as the logarithm of a probability of 0, is null.
func appendNested(b []byte, shape []int, values []float32) []byte {
	if len(shape) == 0 {
		return appendNumber(b, values[0])
	}
	b = append(b, '[')
	if n := shape[0]; n > 0 {
		size := len(values) / n
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendNested(b, shape[1:], values[i*size:][:size])
		}
	}
	return append(b, ']')
}
