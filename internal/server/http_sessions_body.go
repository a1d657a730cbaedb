package server

import (
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

// readOpening reads those members of an opening that names has.
func (x *exchange) readOpening(names []string) (o opening, err error) {
	err = x.readMembers(names, o.member(x.s.o.Sessions.Options().MaxTTL))
	return o, err
}

// member reads the member whose place in openingNames is i.
func (o *opening) member(maxTTL time.Duration) func(d *inferDecoder, i int) bool {
	return func(d *inferDecoder, i int) bool {
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
	}
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
