package server

import (
	"bytes"
	"fmt"
	"time"
)

// opening is the body of a request that begins a session or begins it again:
//
//	{"model":"carla-ppo","version":"v0.1.0","id":"robot-7","seed":7,"deterministic":true,"ttl_s":600}
//
// Every member may be left out or null.
type opening struct {
	model, version, id string
	seed               uint64
	seeded             bool
	deterministic      *bool
	ttl                time.Duration // 0 is the default
}

// Members of the two bodies.
var (
	openingNames   = []string{"seed", "model", "version", "id", "deterministic", "ttl_s"}
	resettingNames = openingNames[:1]
)

// readOpening reads the body of the request, which may have none.
func (x *exchange) readOpening(names []string) (opening, error) {
	body := x.ctx.PostBody()
	if len(bytes.TrimSpace(body)) == 0 {
		return opening{}, nil
	}
	if err := x.mediaType(); err != nil {
		return opening{}, err
	}
	return decodeOpening(body, names, x.s.o.Sessions.Options().MaxTTL)
}

// decodeOpening reads those members that names has. A member's place in it is
// that in openingNames.
func decodeOpening(body []byte, names []string, maxTTL time.Duration) (o opening, err error) {
	var d inferDecoder
	d.begin(body)
	ok := d.members("body", names, 0, func(i int, name []byte) bool {
		if i < 0 {
			return d.unknown("body", name, names) && d.skip(1)
		}
		if ok, null := d.null(); null {
			return ok
		}
		switch i {
		case 0:
			o.seeded = true
			return d.integer(memberSeed, &o.seed)
		case 1:
			return d.nameAt("body.model", &o.model)
		case 2:
			return d.nameAt("body.version", &o.version)
		case 3:
			return d.nameAt("body.id", &o.id)
		case 4:
			o.deterministic = new(bool)
			return d.boolAt("body.deterministic", o.deterministic, 1)
		}
		return d.ttl(maxTTL, &o.ttl)
	})
	if ok {
		if d.next(); d.pos < len(d.data) {
			d.expected("the end of the body")
			ok = false
		}
	}
	switch {
	case !ok:
		return o, d.malformed()
	case d.count > 0:
		return o, d.refused()
	}
	return o, nil
}

// nameAt reads a name of the form that those in paths have.
func (d *inferDecoder) nameAt(field string, dst *string) bool {
	text, ok := d.stringAt(field)
	if text == nil {
		return ok
	}
	if !validName(text) {
		d.violate(field, kindValue, fmt.Sprintf("expected 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or digit and no two dots in a row, got %+q", maxNameLen, clip(text)))
		return true
	}
	*dst = string(text)
	return true
}

// ttl reads seconds.
func (d *inferDecoder) ttl(most time.Duration, dst *time.Duration) bool {
	const field = "body.ttl_s"
	d.next()
	v, end := scanNumber(d.data, d.pos)
	if end < 0 {
		return d.wrongKind(field, kindNumber, "a number of seconds", 1)
	}
	if !(v > 0 && v <= most.Seconds()) {
		d.violate(field, kindValue, fmt.Sprintf("expected more than 0 and at most %v seconds, got %s", most.Seconds(), clip(d.data[d.pos:end])))
	} else {
		*dst = max(1, time.Duration(v*float64(time.Second)))
	}
	d.pos = end
	return true
}
