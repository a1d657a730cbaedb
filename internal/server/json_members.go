package server

import (
	"math"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// body reads the outermost object: the members of an act.
func (d *decoder) body() bool {
	if d.next() != '{' {
		return d.wrongKind("body", kindObject, "an object with \""+d.form.names[0]+"\"", 0)
	}
	if !d.empty('}') {
		for {
			name, ok := d.key()
			if !ok {
				return false
			}
			if d.full() {
				ok = d.skip(1)
			} else {
				ok = d.member(name)
			}
			if !ok {
				return false
			}
			more, ok := d.more('}')
			if !ok {
				return false
			}
			if !more {
				break
			}
		}
	}
	if !d.options.Given.has(memberObservations) && !d.full() {
		if d.form.single {
			d.violate("body.observation", kindMissing, "expected one observation, got nothing")
		} else {
			d.violate("body.observations", kindMissing, "expected "+d.rowWords()+", got nothing")
		}
	}
	return true
}

// member reads the value of a member.
func (d *decoder) member(name []byte) bool {
	form := d.form
	switch string(name) {
	case "observations":
		d.once(memberObservations, "body.observations")
		return d.observations()
	case "deterministic":
		d.once(memberDeterministic, memberFields[memberDeterministic])
		return d.deterministic()
	case "obs":
		if !d.contract.Named {
			d.once(memberObservations, "body.obs")
			return d.nested()
		}
	case "observation":
		if form.single {
			d.once(memberObservations, "body.observation")
			return d.one()
		}
	default:
		for m := memberSeed; m < memberCount; m++ {
			if memberNames[m] == string(name) && form.members.has(m) {
				d.once(m, memberFields[m])
				return d.option(m)
			}
		}
	}
	return d.unknown("body", name, form.names) && d.skip(1)
}

// once notes a member, and where it came before that it did.
func (d *decoder) once(m member, field string) {
	if d.options.Given.has(m) {
		d.violate(field, kindDuplicate, "expected one member of this name, got another")
	}
	d.options.Given |= 1 << m
}

// option reads a member beside the observations.
func (d *decoder) option(m member) bool {
	switch m {
	case memberSeed:
		return d.integer(m, &d.req.Seed)
	case memberStep:
		return d.integer(m, &d.req.Step)
	case memberRow:
		return d.integer(m, &d.req.Row)
	case memberSeq:
		return d.integer(m, &d.options.Seq)
	case memberMasks:
		return d.actionMasks()
	case memberState:
		return d.state()
	case memberStart:
		return d.episodeStart()
	case memberReturn:
		return d.returns()
	case memberPriority:
		return d.priority()
	case memberDeadline:
		return d.positive(m, "a number of milliseconds above 0", &d.options.DeadlineMS)
	}
	return d.positive(memberObserved, "seconds since 1970", &d.options.ObservedAt)
}

func (d *decoder) deterministic() bool {
	if d.next() == 'n' {
		d.options.defaulted = true
		return d.literal("null")
	}
	_, ok := d.boolean(memberFields[memberDeterministic], "true, false or null", &d.req.Deterministic, 1)
	return ok
}

// boolean reads true or false. It reports in is whether it was either.
func (d *decoder) boolean(field, expected string, v *bool, depth int) (is, ok bool) {
	switch d.next() {
	case 't':
		*v = true
		return true, d.literal("true")
	case 'f':
		*v = false
		return true, d.literal("false")
	}
	return false, d.wrongKind(field, kindBool, expected, depth)
}

// integer reads a whole number that every JSON reader holds exactly.
func (d *decoder) integer(m member, v *uint64) bool {
	d.next()
	_, end := scanNumber(d.data, d.pos)
	if end < 0 {
		return d.wrongKind(memberFields[m], kindInteger, "a whole number", 1)
	}
	text := d.data[d.pos:end]
	d.pos = end
	n, ok := wholeNumber(text)
	if !ok {
		d.violate(memberFields[m], kindInteger, "expected a whole number from 0 to 9007199254740991, got "+clip(text))
	}
	*v = n
	return true
}

// wholeNumber reads digits alone: 5.0 and 5e0 are numbers of another kind.
func wholeNumber(text []byte) (n uint64, ok bool) {
	for _, c := range text {
		if c-'0' > 9 || n > maxSafeInteger {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(text) > 0 && n <= maxSafeInteger
}

// positive reads a number above 0.
func (d *decoder) positive(m member, expected string, v *float64) bool {
	d.next()
	x, end := scanNumber(d.data, d.pos)
	if end < 0 {
		return d.wrongKind(memberFields[m], kindNumber, expected, 1)
	}
	text := d.data[d.pos:end]
	d.pos = end
	if !(x > 0 && x <= math.MaxFloat64) {
		d.violate(memberFields[m], kindValue, "expected "+expected+", got "+clip(text))
	}
	*v = x
	return true
}

// state reads a token, or null.
func (d *decoder) state() bool {
	switch d.next() {
	case 'n':
		d.options.State = nil
		return d.literal("null")
	case '"':
		text, ok := d.text()
		if !ok {
			return false
		}
		if d.escaped(text) { // no token has one
			text = append([]byte{}, text...)
		}
		if text == nil {
			text = []byte{}
		}
		d.options.State = text
		return true
	}
	return d.wrongKind(memberFields[memberState], kindText, "null or the state of an answer", 1)
}

// priorityWords are the classes of requests, for messages.
const priorityWords = `"control" or "batch"`

// priority reads the class of the request in the queue.
func (d *decoder) priority() bool {
	field := memberFields[memberPriority]
	if d.next() != '"' {
		return d.wrongKind(field, kindText, priorityWords, 1)
	}
	text, ok := d.text()
	if ok {
		d.ranked(field, text)
	}
	return ok
}

func (d *decoder) ranked(field string, text []byte) {
	switch string(text) {
	case serving.PriorityControl.String():
		d.req.Priority = serving.PriorityControl
	case serving.PriorityBatch.String():
		d.req.Priority = serving.PriorityBatch
	default:
		d.violate(field, kindValue, "expected "+priorityWords+", got "+strconv.QuoteToASCII(clip(text)))
	}
}

// escaped reports whether a string that was just read lies in the scratch
// space, where the next one overwrites it.
func (d *decoder) escaped(text []byte) bool {
	return len(text) > 0 && len(d.scratch) > 0 && &text[0] == &d.scratch[0]
}

// episodeStart reads a boolean, or one for each row.
func (d *decoder) episodeStart() bool {
	o, field := d.options, memberFields[memberStart]
	o.Starts, o.startList = o.Starts[:0], false
	if d.next() != '[' {
		var v bool
		is, ok := d.boolean(field, "true, false or an array of them", &v, 1)
		if is {
			o.Starts = append(o.Starts, v)
		}
		return ok
	}
	o.startList = true
	n := 0
	return d.each(func() bool {
		n++
		var v, ok bool
		if c := d.next(); c == 't' || c == 'f' {
			_, ok = d.boolean("", "", &v, 2)
		} else {
			ok = d.wrongKind(field+"."+strconv.Itoa(n-1), kindBool, "true or false", 2)
		}
		if n <= d.maxRows {
			o.Starts = append(o.Starts, v)
		}
		return ok
	}) && d.atMost(field, n, "booleans, one for each observation")
}

// atMost notes a list of more than one entry a row.
func (d *decoder) atMost(field string, n int, what string) bool {
	if n > d.maxRows {
		d.violate(field, kindLong, "expected at most "+strconv.Itoa(d.maxRows)+" "+what+", got "+strconv.Itoa(n))
	}
	return true
}

// each reads the elements of an array that begins at pos, each by read.
func (d *decoder) each(read func() bool) bool {
	if d.empty(']') {
		return true
	}
	for {
		if d.full() {
			if !d.skip(2) {
				return false
			}
		} else if !read() {
			return false
		}
		if more, ok := d.more(']'); !more {
			return ok
		}
	}
}

// returns reads what the answer is to have beside its actions.
func (d *decoder) returns() bool {
	o, field := d.options, memberFields[memberReturn]
	o.Return = 0
	if d.next() != '[' {
		return d.wrongKind(field, kindList, "an array of names", 1)
	}
	n := 0
	return d.each(func() bool {
		at := n
		n++
		if d.next() != '"' {
			return d.wrongKind(field+"."+strconv.Itoa(at), kindText, extraWords(d.contract), 2)
		}
		name, ok := d.text()
		if ok {
			o.wantNamed(&d.refusal, d.contract, at, name)
		}
		return ok
	})
}

// actionMasks reads one list of masks for each row, or where there is a single
// row the list itself.
func (d *decoder) actionMasks() bool {
	field := memberFields[memberMasks]
	o := d.options
	d.masks, o.maskRows = d.masks[:0], 0
	d.req.Masks = nil
	if d.next() != '[' {
		return d.wrongKind(field, kindList, "an array of masks for each observation", 1)
	}
	if d.contract.Masks == 0 {
		d.violate(field, kindValue, "expected none, because the policy takes no masks, got some")
		return d.skip(1)
	}
	var ok bool
	if d.form.single && d.opening() == 1 {
		o.maskRows = 1
		ok = d.maskRow(-1, 1)
	} else {
		ok = d.each(func() bool {
			o.maskRows++
			if d.next() != '[' {
				return d.wrongKind(maskField(o.maskRows-1, -1), kindList, "an array of "+strconv.Itoa(d.contract.Masks)+" masks", 2)
			}
			return d.maskRow(o.maskRows-1, 2)
		}) && d.atMost(field, o.maskRows, "lists of masks, one for each observation")
	}
	d.req.Masks = d.masks
	return ok
}

// maskField names a row of masks, or one mask of it; a row of -1 is the only
// one, without a list around it.
func maskField(row, n int) string {
	field := memberFields[memberMasks]
	if row >= 0 {
		field += "." + strconv.Itoa(row)
	}
	if n >= 0 {
		field += "." + strconv.Itoa(n)
	}
	return field
}

// maskRow reads the masks of one row.
func (d *decoder) maskRow(row, depth int) bool {
	n, want := 0, d.contract.Masks
	if !d.empty(']') {
		for {
			v, ok := d.mask(row, n, depth+1)
			if !ok {
				return false
			}
			// Once the body is refused, masks no longer take memory.
			if n < want && d.count == 0 && row < d.maxRows {
				d.masks = append(d.masks, v)
			}
			n++
			more, ok := d.more(']')
			if !ok {
				return false
			}
			if !more {
				break
			}
		}
	}
	if n != want {
		d.sized(maskField(row, -1), want, n, "masks")
	}
	return true
}

// mask reads true, false, 0 or 1.
func (d *decoder) mask(row, n, depth int) (float32, bool) {
	switch d.next() {
	case 't':
		return 1, d.literal("true")
	case 'f':
		return 0, d.literal("false")
	}
	v, end := scanNumber(d.data, d.pos)
	switch {
	case end >= 0 && (v == 0 || v == 1):
		d.pos = end
		return float32(v), true
	case d.full():
		return 0, d.skip(depth)
	case end >= 0:
		d.violate(maskField(row, n), kindValue, "expected true, false, 0 or 1, got "+clip(d.data[d.pos:end]))
		d.pos = end
		return 0, true
	}
	return 0, d.wrongKind(maskField(row, n), kindBool, "true, false, 0 or 1", depth)
}
