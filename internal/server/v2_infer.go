package server

import (
	"math"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// Names of the extension for binary tensors.
var (
	headerInferLength = []byte("Inference-Header-Content-Length")
	typeOctets        = []byte("application/octet-stream")
)

// v2Infer answers the inference route of the Open Inference Protocol.
func (x *exchange) v2Infer() error {
	c := x.content()
	body := c.body
	jsonLen, err := c.jsonLength()
	if err != nil {
		return err
	}
	if err := x.resolve(); err != nil {
		return err
	}
	if err := x.turnedAway(x.id); err != nil {
		return err
	}
	d := &x.tensors
	span := x.child("decode")
	err = d.decodeInfer(body, jsonLen, &x.target, x.s.limits.MaxRows, &x.req)
	answered := false
	switch {
	case err != nil:
	case len(d.sequence.id) > 0:
		var sess *serving.Session
		if sess, err = x.enterSequence(body, jsonLen); err == nil {
			defer func() { x.leaveSequence(sess, answered) }()
		}
	case !d.seeded:
		x.req.Seed = drawSeed()
	}
	endChild(span)
	if err != nil {
		return err
	}
	if d.ranks {
		x.act.options.Given |= 1 << memberPriority
	}
	span = x.child("infer")
	err = x.run(x.spanCtx, x.id)
	endChild(span)
	head := 0
	if err == nil {
		if x.out, head = appendInference(x.out[:0], &x.target, &x.req, d); head < 0 {
			err = faultInference
		}
	}
	x.observe(err, x.id)
	if err != nil {
		return err
	}
	answered = true
	if head == len(x.out) {
		x.json(fasthttp.StatusOK, x.out)
		return nil
	}
	x.respond(fasthttp.StatusOK, typeOctets, x.out)
	x.setInferLength(head)
	return nil
}

// jsonLength holds the body to its media type and returns the length of the
// JSON text that it begins with. Clients of the protocol send JSON without a
// Content-Type, and binary data with or without one: what tells them apart is
// the header that gives the length of the text.
func (c *content) jsonLength() (int, error) {
	size, media, value := len(c.body), c.media, c.inferLength
	if len(c.encoding) > 0 {
		return 0, faultMediaType
	}
	if len(media) > 0 && !jsonType(media) && (len(value) == 0 || !foldEqual(media, string(typeOctets))) {
		return 0, faultMediaType
	}
	if len(value) == 0 {
		return size, nil
	}
	n, ok := parseLength(value)
	switch {
	case !ok || n > int64(size):
		return 0, explain(faultContract, "Inference-Header-Content-Length must be the length of the JSON text at the start of the body")
	case n == 0:
		return 0, explain(faultContract, "a raw binary request without JSON text is not taken: send the tensor's name, shape and datatype")
	}
	return int(n), nil
}

// setInferLength says in the header how much of the body is JSON.
func (x *exchange) setInferLength(n int) {
	if x.ctx == nil {
		x.hot.inferLength = n
		return
	}
	x.ctx.Response.Header.SetCanonical(headerInferLength, strconv.AppendInt(x.member[:0], int64(n), 10))
}

func outputDatatype(a *policy.Action) string {
	if a.Discrete {
		return "INT64"
	}
	return "FP32"
}

// appendInference appends the answer to an inference request:
//
//	{"model_name":"carla-ppo","model_version":"v0.1.0","id":"7",
//	 "parameters":{"deterministic":true},
//	 "outputs":[{"name":"steer","datatype":"FP32","shape":[1],"data":[0.1]}]}
//
// and behind it the outputs that were asked for in binary. It returns the
// length of the JSON text, negative where an action is not finite; b is then
// of no use.
func appendInference(b []byte, t *Target, req *serving.Request, d *inferDecoder) ([]byte, int) {
	for _, v := range req.Actions[:req.Rows*t.Contract.ActionWidth()] {
		if v-v != 0 {
			return b, -1
		}
	}
	b = append(b, `{"model_name":`...)
	b = appendString(b, t.Model)
	b = append(b, `,"model_version":`...)
	b = appendString(b, t.Version)
	if d.hasID {
		b = append(b, `,"id":`...)
		b = appendString(b, string(d.id))
	}
	b = append(b, `,"parameters":{"deterministic":`...)
	b = strconv.AppendBool(b, req.Deterministic)
	if !req.Deterministic && t.Contract.Stochastic {
		b = append(b, `,"seed":`...)
		b = strconv.AppendUint(b, req.Seed, 10)
	}
	b = append(b, d.sequence.told...)
	if len(req.Interventions) > 0 {
		// A parameter is a text, a number or a boolean: the list is a text.
		b = append(b, `,"interventions":`...)
		b = appendString(b, string(AppendInterventions(nil, t.Contract, req.Interventions)))
	}
	if moving := t.Contract.Moving(); moving != nil && req.Histories == nil {
		b = append(b, `,"unheld":`...)
		b = appendString(b, string(AppendUnheld(nil, moving)))
	}
	b = append(b, `},"outputs":[`...)
	if len(d.outputs) == 0 {
		for i := range t.Contract.Actions {
			d.outputs = append(d.outputs, requestedOutput{action: i})
		}
	}
	for i := range d.outputs {
		o := &d.outputs[i]
		if !o.stated {
			o.binary = d.binary
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = appendOutput(b, t.Contract, o, req)
	}
	b = append(b, `]}`...)
	head := len(b)
	for i := range d.outputs {
		if o := &d.outputs[i]; o.binary {
			eachAction(t.Contract, o.action, req, func(a *policy.Action, v float32) {
				if a.Discrete {
					b = le.AppendUint64(b, uint64(int64(v)))
				} else {
					b = le.AppendUint32(b, math.Float32bits(v))
				}
			})
		}
	}
	return b, head
}

// appendOutput appends one tensor of the answer.
func appendOutput(b []byte, c *policy.Contract, o *requestedOutput, req *serving.Request) []byte {
	a := &c.Actions[o.action]
	b = append(b, `{"name":`...)
	b = appendString(b, actionName(c, o.action))
	b = append(b, `,"datatype":"`...)
	b = append(b, outputDatatype(a)...)
	b = append(b, `","shape":[`...)
	b = strconv.AppendInt(b, int64(req.Rows), 10)
	for _, n := range a.Shape {
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(n), 10)
	}
	if o.binary {
		size := 4
		if a.Discrete {
			size = 8
		}
		b = append(b, `],"parameters":{"binary_data_size":`...)
		b = strconv.AppendInt(b, int64(req.Rows*a.Size*size), 10)
		return append(b, `}}`...)
	}
	b = append(b, `],"data":[`...)
	first := true
	eachAction(c, o.action, req, func(a *policy.Action, v float32) {
		if !first {
			b = append(b, ',')
		}
		first = false
		if a.Discrete {
			b = strconv.AppendInt(b, int64(v), 10)
		} else {
			b = appendFloat32(b, v)
		}
	})
	return append(b, `]}`...)
}

// eachAction gives every value of one action, row by row.
func eachAction(c *policy.Contract, action int, req *serving.Request, give func(a *policy.Action, v float32)) {
	a := &c.Actions[action]
	width := c.ActionWidth()
	for row := range req.Rows {
		for _, v := range req.Actions[row*width+a.Offset:][:a.Size] {
			give(a, v)
		}
	}
}
