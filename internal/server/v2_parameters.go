package server

import (
	"math"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// Parameters of a request.
var parameterNames = []string{"deterministic", "seed", "binary_data_output", "sequence_id", "sequence_start", "sequence_end", "priority"}

// parameters reads the parameters of the request.
func (d *inferDecoder) parameters() bool {
	if ok, null := d.null(); null {
		return ok
	}
	return d.members("body.parameters", parameterNames, 1, func(i int, name []byte) bool {
		switch i {
		case 0:
			return d.boolAt("body.parameters.deterministic", &d.req.Deterministic, 2)
		case 1:
			return d.seed()
		case 2:
			return d.boolAt("body.parameters.binary_data_output", &d.binary, 2)
		case 3:
			return d.sequenceID()
		case 4:
			return d.boolAt("body.parameters.sequence_start", &d.sequence.start, 2)
		case 5:
			return d.boolAt("body.parameters.sequence_end", &d.sequence.end, 2)
		case 6:
			return d.rank()
		}
		return d.unknown("body.parameters", name, parameterNames) && d.skip(2)
	})
}

// seed reads an integer of 64 bits.
func (d *inferDecoder) seed() bool {
	d.next()
	_, end := scanNumber(d.data, d.pos)
	if end < 0 {
		return d.wrongKind("body.parameters.seed", kindNumber, "a whole number", 2)
	}
	text := d.data[d.pos:end]
	d.pos = end
	v, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		d.violate("body.parameters.seed", kindValue, "expected a whole number from 0 to 2^64-1, got "+clip(text))
		return true
	}
	d.req.Seed, d.seeded = v, true
	return true
}

// rank reads the priority as the protocol's servers have it: 0 is the default,
// 1 the highest.
func (d *inferDecoder) rank() bool {
	d.next()
	_, end := scanNumber(d.data, d.pos)
	if end < 0 {
		return d.wrongKind("body.parameters.priority", kindNumber, "a whole number", 2)
	}
	text := d.data[d.pos:end]
	d.pos = end
	n, ok := wholeNumber(text)
	if !ok {
		d.violate("body.parameters.priority", kindValue, "expected a whole number: 0 for the default, 1 for control, 2 or more for batch, got "+clip(text))
		return true
	}
	if d.ranks = n > 0; n > 1 {
		d.req.Priority = serving.PriorityBatch
	} else {
		d.req.Priority = serving.PriorityControl
	}
	return true
}

var inputParameterNames = []string{"binary_data_size", "content_type"}

// tensorParameters reads the parameters of an input. The content type of
// MLServer's clients says nothing that the datatype does not.
func (d *inferDecoder) tensorParameters() bool {
	if ok, null := d.null(); null {
		return ok
	}
	field := d.tensorField(".parameters")
	return d.members(field, inputParameterNames, 3, func(i int, name []byte) bool {
		switch i {
		case 0:
			d.next()
			v, end := scanNumber(d.data, d.pos)
			if end < 0 {
				return d.wrongKind(field+".binary_data_size", kindNumber, "a whole number", 4)
			}
			if v != math.Trunc(v) || v < 0 || v > math.MaxInt32 {
				d.violate(field+".binary_data_size", kindValue, "expected a number of bytes, got "+clip(d.data[d.pos:end]))
			} else {
				d.t.size = int(v)
			}
			d.pos = end
			return true
		case 1:
			return d.skip(4)
		}
		return d.unknown(field, name, inputParameterNames[:1]) && d.skip(4)
	})
}

var (
	outputNames          = []string{"name", "parameters"}
	outputParameterNames = []string{"binary_data"}
)

// requested reads the list of outputs that are asked for.
func (d *inferDecoder) requested() bool {
	if ok, null := d.null(); null {
		return ok
	}
	return d.elements("body.outputs", "an array of outputs", 1, func(at int) bool {
		field := func(member string) string { return outputFields.of(at, member) }
		before := d.count
		o := requestedOutput{action: -1}
		ok := d.members(field(""), outputNames, 2, func(i int, name []byte) bool {
			switch i {
			case 0:
				return d.outputName(field(".name"), &o.action)
			case 1:
				if ok, null := d.null(); null {
					return ok
				}
				return d.members(field(".parameters"), outputParameterNames, 3, func(i int, name []byte) bool {
					if i < 0 {
						return d.unknown(field(".parameters"), name, outputParameterNames) && d.skip(4)
					}
					o.stated = true
					return d.boolAt(field(".parameters.binary_data"), &o.binary, 4)
				})
			}
			return d.unknown(field(""), name, outputNames) && d.skip(3)
		})
		if !ok || d.count > before {
			return ok
		}
		if o.action < 0 {
			d.violate(field(".name"), kindMissing, "expected the name of an output, got nothing")
			return true
		}
		d.outputs = append(d.outputs, o)
		return true
	})
}

// outputName reads the name of an output; field is that of the name.
func (d *inferDecoder) outputName(field string, action *int) bool {
	if d.next() != '"' {
		return d.wrongKind(field, kindValue, "a string", 3)
	}
	name, ok := d.text()
	if !ok {
		return false
	}
	for i := range d.contract.Actions {
		if actionName(d.contract, i) == string(name) {
			*action = i
		}
	}
	if *action < 0 {
		var names []string
		for i := range d.contract.Actions {
			names = append(names, actionName(d.contract, i))
		}
		d.violate(field, kindUnknown, "expected one of "+strings.Join(names, ", ")+", got "+strconv.QuoteToASCII(clip(name)))
		return true
	}
	for _, o := range d.outputs {
		if o.action == *action {
			d.violate(field, kindDuplicate, "expected each output once, got "+actionName(d.contract, *action)+" again")
			break
		}
	}
	return true
}
