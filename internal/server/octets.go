package server

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Raw bytes are the observations of a policy with one input, and nothing else:
// rows of its values, little-endian, with what else an act says in the query of
// the target,
//
//	POST /predict?deterministic=true&deadline_ms=20
//
// in which a value is what it is in JSON, but that a token, the names of
// "return" and a priority stand without quotes: state=TOKEN, return=value,log_prob. The query
// says dtype and shape as well, as the object of a feature in base64 does.

// octetNames are the parameters of the query.
var octetNames = func() []string {
	return append(slices.Clone(formPredict.names[1:]), "dtype", "shape")
}()

// decodeOctets reads the act of a body of raw bytes and of a query.
func (a *act) decodeOctets(body []byte, query *fasthttp.Args) error {
	d, c := &a.decoder, a.target.Contract
	d.start(c, a.s.limits.MaxRows, &a.req)
	d.form, d.options = formPredict, &a.options
	beginAct(c, &a.req, &a.options)
	p := packedObject{}
	for name, value := range query.All() {
		d.parameter(name, value, &p)
	}
	if d.count == 0 {
		d.octets(body, &p)
	}
	a.req.Rows = d.rows
	if d.count == 0 {
		a.options.settle(&d.refusal, formPredict, c, &a.req)
		d.choices()
	}
	if d.count > 0 {
		a.req.Rows = 0
		d.inQuery()
		return d.refused()
	}
	return a.judge()
}

// parameter reads one parameter of a query.
func (d *decoder) parameter(name, value []byte, p *packedObject) {
	d.begin(value)
	m := slices.Index(memberNames[:], string(name))
	switch {
	case d.full():
		return
	case string(name) == "dtype":
		d.again(&p.dtype, "query.dtype")
		if p.t = dtype.Of(value); p.t == nil {
			d.violate("query.dtype", kindValue, "expected one of "+dtype.Words()+", got "+strconv.QuoteToASCII(clip(value)))
		}
		return
	case string(name) == "shape":
		d.again(&p.shape, "query.shape")
		p.text = value
		return
	case m == int(memberObservations) || m < 0 || !formPredict.members.has(member(m)):
		d.unknown("query", name, octetNames)
		return
	}
	d.once(member(m), memberFields[m])
	var ok bool
	switch {
	case m == int(memberDeterministic):
		ok = d.deterministic()
	case m == int(memberState) && string(value) != "null":
		d.options.State = value
		if value == nil { // null is another word
			d.options.State = []byte{}
		}
		return
	case m == int(memberPriority) && !bytes.HasPrefix(value, []byte(`"`)):
		d.ranked(memberFields[memberPriority], value)
		return
	case m == int(memberReturn) && !bytes.HasPrefix(value, []byte("[")):
		at := 0
		for part := range bytes.SplitSeq(value, []byte(",")) {
			d.options.wantNamed(&d.refusal, d.contract, at, part)
			at++
		}
		return
	default:
		ok = d.option(member(m))
	}
	if ok && d.next() == 0 && d.pos == len(value) {
		return
	}
	if d.problem == "" {
		d.expected("the end of the value")
	}
	d.violate(memberFields[m], kindValue, d.problem+", at byte "+strconv.Itoa(d.at))
}

// again notes a second parameter of one name.
func (d *decoder) again(seen *bool, field string) {
	if *seen {
		d.violate(field, kindDuplicate, "expected one parameter of this name, got another")
	}
	*seen = true
}

// inQuery gives the fields of members the name of where they were.
func (d *decoder) inQuery() {
	for i := range d.violations {
		if name, ok := strings.CutPrefix(d.violations[i].field, "body."); ok && !strings.HasPrefix(name, "observations") {
			d.violations[i].field = "query." + name
		}
	}
}

// octets reads the rows of a body.
func (d *decoder) octets(body []byte, p *packedObject) {
	c := d.contract
	if len(c.Inputs) != 1 {
		d.violate("body", kindValue, fmt.Sprintf("expected JSON, because the policy has %d inputs, got raw bytes", len(c.Inputs)))
		return
	}
	width := c.Inputs[0].Width
	d.flat = append(d.flat[:0], width)
	d.whole = policy.Feature{Name: "observation", Shape: d.flat, Size: width}
	whole := &d.whole
	if len(c.Features) == 1 {
		whole = &c.Features[0]
	}
	if p.t == nil {
		p.t = defaultType(whole)
	}
	if p.shape && !d.octetShape(whole, p) {
		return
	}
	size := width * p.t.Bytes
	d.rows = len(body) / max(1, size)
	switch {
	case d.rows == 0 || len(body)%size != 0:
		d.violate("body", kindValue, fmt.Sprintf("expected %d bytes for each observation (%s of %s), got %d in all", size, p.t.Name, sizesOf(whole.Shape), len(body)))
		return
	case d.rows > d.maxRows:
		d.countRows("body", d.rows)
		return
	}
	for row := range d.rows {
		at := d.grow(row)
		for i := range c.Features {
			f := &c.Features[i]
			d.unpack(row, f, d.values(at, f), body[row*size+f.Offset*p.t.Bytes:][:f.Size*p.t.Bytes], p.t, p.channelsFirst)
		}
	}
}

// octetShape reads a shape as in shape=3,84,84 or shape=[3,84,84].
func (d *decoder) octetShape(f *policy.Feature, p *packedObject) bool {
	var dims []int
	good := len(p.text) < 256
	for part := range bytes.SplitSeq(bytes.TrimSuffix(bytes.TrimPrefix(p.text, []byte("[")), []byte("]")), []byte(",")) {
		n, ok := wholeNumber(trimBlanks(part))
		good = good && ok && n <= 1<<31-1
		dims = append(dims, int(n))
	}
	p.channelsFirst = isChannelsFirst(f, dims)
	if good && (p.channelsFirst || slices.Equal(dims, f.Shape)) {
		return true
	}
	d.violate("query.shape", kindValue, "expected "+shapeChoices(f)+", got "+clip(p.text))
	return false
}
