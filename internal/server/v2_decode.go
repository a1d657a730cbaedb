package server

import (
	"fmt"
	"math"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// inferDecoder reads the body of an inference request of the Open Inference
// Protocol, version 2,
//
//	{"id":"7","parameters":{"deterministic":true},
//	 "inputs":[{"name":"speed","shape":[1],"datatype":"FP32","data":[25.5]}],
//	 "outputs":[{"name":"steer"}]}
//
// into the rows of a request, by a policy's contract, with the strictness of
// decoder. There is one tensor for each feature, of [rows, shape...] or [rows,
// size]; a policy without names takes one that is called "observation". Data
// may be flat, nested as the shape says, or binary behind the JSON text.
type inferDecoder struct {
	decoder
	id       []byte // of the request
	hasID    bool
	seeded   bool // req.Seed is the client's
	ranks    bool // req.Priority is the client's
	sequence sequence
	binary   bool // outputs that do not say otherwise are asked for in binary
	outputs  []requestedOutput
	body     []byte // JSON text and what follows it
	blob     int    // where the next binary tensor begins
	t        tensor
}

// tensor is the input that is being read.
type tensor struct {
	at       int // in the list of inputs
	feature  *policy.Feature
	datatype *datatype
	dims     []int
	data     int // position of "data", -1 without
	size     int // of the binary data, -1 without
	filled   bool
	bad      bool // something was wrong with it and told
}

// requestedOutput is an entry of "outputs".
type requestedOutput struct {
	action int
	stated bool // that it is wanted in binary or not
	binary bool
}

// observationName is the name of the one input of a policy without names.
const observationName = "observation"

// maxDims bounds the shape of a tensor.
const maxDims = 16

// inputName is the name under which a feature is sent.
func inputName(c *policy.Contract, i int) string {
	if !c.Named {
		return observationName
	}
	return c.Features[i].Name
}

// decodeInfer reads body, of which the first jsonLen bytes are the JSON text,
// into req. The error is that of decode.
func (d *inferDecoder) decodeInfer(body []byte, jsonLen int, t *Target, maxRows int, req *serving.Request) error {
	c := t.Contract
	d.begin(body[:jsonLen])
	d.contract, d.req, d.maxRows = c, req, maxRows
	d.root, d.rows, d.count, d.violations = "body.inputs", 0, 0, d.violations[:0]
	d.body, d.blob = body, jsonLen
	d.id, d.hasID, d.seeded, d.ranks, d.binary, d.outputs = d.id[:0], false, false, false, false, d.outputs[:0]
	d.sequence.reset()
	for len(d.seen) < len(c.Features) {
		d.seen = append(d.seen, 0)
	}
	if d.stamp++; d.stamp == 0 {
		clear(d.seen)
		d.stamp = 1
	}
	for len(req.Inputs) < len(c.Inputs) {
		req.Inputs = append(req.Inputs, nil)
	}
	req.Inputs = req.Inputs[:len(c.Inputs)]
	req.Rows, req.Deterministic = 0, c.DeterministicDefault

	if !d.request(t.Model) || !d.ends() {
		return d.malformed()
	}
	if d.count == 0 {
		d.settleSequence(c)
	}
	if d.count == 0 && d.blob != len(d.body) {
		d.violate("body", kindLong, fmt.Sprintf("expected %d bytes of binary data after the JSON text, got %d", d.blob-jsonLen, len(body)-jsonLen))
	}
	if d.count > 0 {
		return d.refused()
	}
	req.Rows = d.rows
	return nil
}

// release lets go of the request's bytes.
func (d *inferDecoder) release() {
	d.decoder.release()
	d.body = nil
	d.t = tensor{dims: d.t.dims[:0]}
	if cap(d.id) > maxKeptBytes {
		d.id = nil
	}
}

// members reads the members of an object that begins at pos, each by read,
// which is given the name's place in names, -1 for another. It notes
// duplicates of known names and reads past them.
func (d *inferDecoder) members(field string, names []string, depth int, read func(i int, name []byte) bool) bool {
	var given uint32
	if d.next() != '{' {
		return d.wrongKind(field, kindObject, "an object", depth)
	}
	if d.empty('}') {
		return true
	}
	for {
		name, ok := d.key()
		if !ok {
			return false
		}
		i := -1
		for j := range names {
			if names[j] == string(name) {
				i = j
			}
		}
		switch {
		case d.full():
			ok = d.skip(depth + 1)
		case i >= 0 && given&(1<<i) != 0:
			d.violate(field+"."+names[i], kindDuplicate, "expected one member of this name, got another")
			d.t.bad = true
			ok = d.skip(depth + 1)
		default:
			if i >= 0 {
				given |= 1 << i
			}
			ok = read(i, name)
		}
		if !ok {
			return false
		}
		if more, ok := d.more('}'); !more {
			return ok
		}
	}
}

// elements reads the elements of an array that begins at pos.
func (d *inferDecoder) elements(field, what string, depth int, read func(i int) bool) bool {
	if d.next() != '[' {
		return d.wrongKind(field, kindList, what, depth)
	}
	if d.empty(']') {
		return true
	}
	for i := 0; ; i++ {
		if d.full() {
			if !d.skip(depth + 1) {
				return false
			}
		} else if !read(i) {
			return false
		}
		if more, ok := d.more(']'); !more {
			return ok
		}
	}
}

// null consumes a null, which stands for a member that is not there.
func (d *inferDecoder) null() (ok, isNull bool) {
	if d.next() != 'n' {
		return true, false
	}
	return d.literal("null"), true
}

var (
	requestNames = []string{"inputs", "id", "parameters", "outputs", "model_name"}
	tensorNames  = []string{"name", "shape", "datatype", "parameters", "data"}
)

func (d *inferDecoder) request(model string) bool {
	inputs := false
	ok := d.members("body", requestNames, 0, func(i int, name []byte) bool {
		switch i {
		case 0:
			inputs = true
			return d.elements("body.inputs", "an array of tensors", 1, d.input)
		case 1:
			text, ok := d.stringAt("body.id")
			if text != nil {
				d.id, d.hasID = append(d.id, text...), true
			}
			return ok
		case 2:
			return d.parameters()
		case 3:
			return d.requested()
		case 4:
			text, ok := d.stringAt("body.model_name")
			if text != nil && string(text) != model {
				d.violate("body.model_name", kindValue, "expected the model of the path, "+model+", got "+strconv.QuoteToASCII(clip(text)))
			}
			return ok
		}
		return d.unknown("body", name, requestNames[:4]) && d.skip(1)
	})
	if !ok || d.full() || d.count > 0 {
		return ok
	}
	if !inputs {
		d.violate("body.inputs", kindMissing, "expected the tensors "+d.inputNames()+", got nothing")
		return true
	}
	for i := range d.contract.Features {
		if d.seen[i] != d.stamp && !d.full() {
			d.violate("body.inputs", kindMissing, "expected a tensor "+strconv.Quote(inputName(d.contract, i))+", got none")
		}
	}
	return true
}

// stringAt reads a string or null, for which it returns nil.
func (d *inferDecoder) stringAt(field string) ([]byte, bool) {
	if ok, null := d.null(); null {
		return nil, ok
	}
	if d.next() != '"' {
		return nil, d.wrongKind(field, kindValue, "a string", 1)
	}
	text, ok := d.text()
	if text == nil {
		text = []byte{}
	}
	return text, ok
}

// boolAt reads true or false into dst.
func (d *inferDecoder) boolAt(field string, dst *bool, depth int) bool {
	switch d.next() {
	case 't':
		*dst = true
		return d.literal("true")
	case 'f':
		*dst = false
		return d.literal("false")
	}
	return d.wrongKind(field, kindBool, "true or false", depth)
}

func (d *inferDecoder) inputNames() string {
	if !d.contract.Named {
		return observationName
	}
	return d.names()
}

// input reads one tensor.
func (d *inferDecoder) input(at int) bool {
	t := &d.t
	*t = tensor{at: at, dims: t.dims[:0], data: -1, size: -1}
	var given [5]bool
	before := d.count
	ok := d.members(d.tensorField(""), tensorNames, 2, func(i int, name []byte) bool {
		if i < 0 {
			return d.unknown(d.tensorField(""), name, tensorNames) && d.skip(3)
		}
		given[i] = true
		switch i {
		case 0:
			return d.tensorName()
		case 1:
			return d.tensorShape()
		case 2:
			return d.tensorDatatype()
		case 3:
			return d.tensorParameters()
		}
		d.next()
		t.data = d.pos
		if t.ready() && t.size < 0 && d.count == before && d.fits() {
			t.filled = true
			return d.fill()
		}
		return d.skip(3)
	})
	if t.size >= 0 { // Those of the next tensor begin behind its bytes, also where it is refused.
		defer func(end int) { d.blob = end }(min(d.blob+t.size, len(d.body)))
	}
	if !ok || d.count > before || d.full() {
		return ok
	}
	for i, name := range tensorNames[:3] {
		if !given[i] && !d.full() {
			d.violate(d.tensorField("."+name), kindMissing, "expected the "+name+" of the tensor, got nothing")
		}
	}
	switch {
	case d.count > before:
	case t.data >= 0 && t.size >= 0:
		d.violate(d.tensorField(".data"), kindUnknown, "expected either data or binary_data_size, got both")
	case t.data < 0 && t.size < 0:
		d.violate(d.tensorField(".data"), kindMissing, "expected the values of the tensor, got nothing")
	case t.filled:
	case !d.fits():
	case t.size >= 0:
		d.fillBinary()
	default: // "data" came before what says how to read it
		end := d.pos
		d.pos = t.data
		ok = d.fill()
		d.pos = end
	}
	return ok
}

// ready reports whether all that is needed to read the data is known.
func (t *tensor) ready() bool {
	return !t.bad && t.feature != nil && t.datatype != nil && len(t.dims) > 0
}

// tensorField names the tensor that is being read, or a member of it.
func (d *inferDecoder) tensorField(member string) string { return inputFields.of(d.t.at, member) }

func (d *inferDecoder) tensorName() bool {
	if d.next() != '"' {
		return d.wrongKind(d.tensorField(".name"), kindValue, "a string", 3)
	}
	name, ok := d.text()
	if !ok {
		return false
	}
	i := -1
	if d.contract.Named {
		i = d.feature(name)
	} else if string(name) == observationName {
		i = 0
	}
	switch {
	case i < 0:
		d.violate(d.tensorField(".name"), kindUnknown, "expected one of "+d.inputNames()+", got "+strconv.QuoteToASCII(clip(name)))
	case d.seen[i] == d.stamp:
		d.violate(d.tensorField(".name"), kindDuplicate, "expected one tensor of this name, got another")
	default:
		d.seen[i] = d.stamp
		d.t.feature = &d.contract.Features[i]
	}
	return true
}

func (d *inferDecoder) tensorShape() bool {
	field := d.tensorField(".shape")
	before := d.count
	ok := d.elements(field, "an array of sizes", 3, func(i int) bool {
		d.next()
		v, end := scanNumber(d.data, d.pos)
		if end < 0 {
			return d.wrongKind(field, kindNumber, "whole numbers", 4)
		}
		if !(v >= 0 && v <= math.MaxInt32) || v != math.Trunc(v) || i >= maxDims {
			if d.count == before {
				d.violate(field, kindValue, fmt.Sprintf("expected at most %d whole numbers, got %s", maxDims, clip(d.data[d.pos:end])))
			}
		} else {
			d.t.dims = append(d.t.dims, int(v))
		}
		d.pos = end
		return true
	})
	if ok && d.count == before && len(d.t.dims) == 0 {
		d.violate(field, kindShort, "expected the number of rows first, got no sizes")
	}
	return ok
}

func (d *inferDecoder) tensorDatatype() bool {
	field := d.tensorField(".datatype")
	if d.next() != '"' {
		return d.wrongKind(field, kindValue, "a string", 3)
	}
	name, ok := d.text()
	if !ok {
		return false
	}
	for i := range datatypes {
		if datatypes[i].name == string(name) {
			d.t.datatype = &datatypes[i]
			return true
		}
	}
	d.violate(field, kindUnknown, "expected one of "+datatypeNames()+", got "+strconv.QuoteToASCII(clip(name)))
	return true
}

// fits holds the shape to the feature, and makes room where it is the first.
func (d *inferDecoder) fits() bool {
	t, f := &d.t, d.t.feature
	rows, rest := t.dims[0], t.dims[1:]
	field := d.tensorField(".shape")
	same := len(rest) == len(f.Shape)
	for i := 0; same && i < len(rest); i++ {
		same = rest[i] == f.Shape[i]
	}
	switch {
	case !same && (len(rest) != 1 || rest[0] != f.Size):
		d.violate(field, kindValue, "expected "+shapeWords(f)+", got "+dimWords(t.dims))
		return false
	case rows < 1 || rows > d.maxRows:
		d.violate(field, kindValue, fmt.Sprintf("expected 1 to %d rows, got %d", d.maxRows, rows))
		return false
	case d.rows != 0 && rows != d.rows:
		d.violate(field, kindValue, fmt.Sprintf("expected %d rows as in the tensor before, got %d", d.rows, rows))
		return false
	case d.rows != 0:
		return true
	}
	// Every value takes a byte or more: a body cannot claim more than it holds.
	total := 0
	for i := range d.contract.Features {
		total += d.contract.Features[i].Size
	}
	if rows*total > len(d.body) {
		d.violate(field, kindValue, fmt.Sprintf("expected %d values in all by these rows, got a body that is too short for them", rows*total))
		return false
	}
	d.rows = rows
	for i := range d.contract.Inputs {
		need := rows * d.contract.Inputs[i].Width
		if cap(d.req.Inputs[i]) < need {
			d.req.Inputs[i] = make([]float32, need)
		}
		d.req.Inputs[i] = d.req.Inputs[i][:need]
	}
	return true
}

// shapeWords describes the shapes that a feature is taken in.
func shapeWords(f *policy.Feature) string {
	words := dimWords(append([]int{-1}, f.Shape...))
	if len(f.Shape) != 1 {
		words += " or " + dimWords([]int{-1, f.Size})
	}
	return words
}

// dimWords writes a shape as in JSON; -1 stands for the number of rows.
func dimWords(dims []int) string {
	b := []byte{'['}
	for i, n := range dims {
		if i > 0 {
			b = append(b, ',')
		}
		if n < 0 {
			b = append(b, "rows"...)
		} else {
			b = strconv.AppendInt(b, int64(n), 10)
		}
	}
	return string(append(b, ']'))
}
