package server

import (
	"bytes"
	"context"
	"time"

	"github.com/valyala/fasthttp"
)

// predict answers POST /predict and its siblings for one model or version.
func (x *exchange) predict() error {
	kind, err := x.media(formPredict)
	if err != nil {
		return err
	}
	if x.target, err = x.s.backend.Resolve(x.modelName.of(x.model), x.versionName.of(x.version)); err != nil {
		return err
	}
	if err = x.turnedAway(x.id); err != nil {
		return err
	}
	span := x.child("decode")
	err = x.read(kind, formPredict)
	if err == nil {
		err = x.resume()
	}
	endChild(span)
	if err != nil {
		return err
	}
	span = x.child("infer")
	err = x.run(x.spanCtx, x.id)
	endChild(span)
	if err == nil {
		err = x.encode(kind)
	}
	x.observe(err, x.id)
	if err != nil {
		return err
	}
	x.reply(kind, x.out)
	return nil
}

// encode makes the answer in what the body came in.
func (x *exchange) encode(m media) (err error) {
	token := x.nextState()
	if m == mediaPack {
		x.out, err = x.packAnswer(x.out[:0], carried{state: token, reset: token != nil && x.anew})
		return err
	}
	b := x.member[:0]
	if token != nil {
		b = append(append(append(b, `,"state":"`...), token...), '"')
		if x.anew {
			b = append(b, resetByVersion...)
		}
	}
	x.member = b
	x.out, err = x.appendAnswer(x.out[:0], b)
	return err
}

// nextState returns the token that carries the state to the next step, of a
// request that has any.
func (x *exchange) nextState() []byte {
	if len(x.target.Contract.State) == 0 && x.req.Histories == nil {
		return nil
	}
	return x.s.o.Sessions.Seal(x.sessionVersion(), &x.req)
}

// nameText is the string of a name in a path. It is made anew only when the
// name is not that of the request before.
type nameText string

func (n *nameText) of(b []byte) string {
	if string(*n) != string(b) {
		*n = nameText(b)
	}
	return string(*n)
}

// media is what the body of a prediction is.
type media int

const (
	mediaJSON   media = iota
	mediaOctets       // observations alone, with the rest in the query
	mediaPack         // MessagePack, which is answered in MessagePack
)

// media returns what the body of an act of a form is: application/json, with
// charset UTF-8 where it names one, MessagePack, or raw bytes for /predict, and
// no content coding.
func (x *exchange) media(form *actForm) (media, error) {
	c := x.content()
	value := c.media
	switch {
	case len(c.encoding) > 0:
	case form == formPredict && foldEqual(value, string(typeOctets)):
		return mediaOctets, nil
	case foldEqual(value, string(typePack)), foldEqual(value, "application/vnd.msgpack"), foldEqual(value, "application/x-msgpack"):
		return mediaPack, nil
	}
	if !c.json() {
		return mediaJSON, explain(faultMediaType, "the body must be sent as Content-Type: %s, and uncompressed", form.media)
	}
	return mediaJSON, nil
}

// reply answers an act in what its body came in. Raw bytes are answered in
// JSON, and errors always.
func (x *exchange) reply(m media, body []byte) {
	if m == mediaPack {
		x.respond(fasthttp.StatusOK, typePack, body)
		return
	}
	x.json(fasthttp.StatusOK, body)
}

var typePack = []byte("application/msgpack")

// read reads the act of a body.
func (x *exchange) read(m media, form *actForm) error {
	body := x.content().body
	switch m {
	case mediaOctets:
		return x.decodeOctets(body, x.query())
	case mediaPack:
		return x.decodePack(body, form)
	}
	return x.decodeJSON(body, form)
}

// mediaType holds the body to plain JSON.
func (x *exchange) mediaType() error {
	if c := x.content(); !c.json() {
		return faultMediaType
	}
	return nil
}

// json reports whether the content is plain JSON.
func (c *content) json() bool { return jsonType(c.media) && len(c.encoding) == 0 }

func jsonType(value []byte) bool {
	if string(value) == "application/json" {
		return true
	}
	media, parameters, _ := bytes.Cut(value, []byte(";"))
	if !foldEqual(trimBlanks(media), "application/json") {
		return false
	}
	for len(parameters) > 0 {
		var p []byte
		p, parameters, _ = bytes.Cut(parameters, []byte(";"))
		name, v, _ := bytes.Cut(trimBlanks(p), []byte("="))
		if !foldEqual(name, "charset") {
			continue
		}
		if v = bytes.Trim(v, `"`); !foldEqual(v, "utf-8") && !foldEqual(v, "utf8") {
			return false
		}
	}
	return true
}

// requestContext carries the deadline of one act. It is valid until the act is
// released. It has no Done channel:
// what waits for a lane looks at the deadline with a timer of its own, and a
// channel and timer for each request would cost more than the policy.
type requestContext struct {
	parent context.Context // for values: the request's span
	end    time.Time
}

func (c *requestContext) Deadline() (time.Time, bool) { return c.end, true }
func (c *requestContext) Done() <-chan struct{}       { return nil }

func (c *requestContext) Err() error {
	if time.Now().After(c.end) {
		return context.DeadlineExceeded
	}
	return nil
}

func (c *requestContext) Value(key any) any {
	if c.parent == nil {
		return nil
	}
	return c.parent.Value(key)
}
