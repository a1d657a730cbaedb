package server

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// decoder reads the body of a prediction,
//
//	{"observations":[{"speed":25.5,"steering":0.1,"sensors":[...]}],"deterministic":true}
//
// straight into the rows of a request, by a policy's contract. It refuses and
// never guesses: duplicate, unknown, missing and null members, values of
// another kind, wrong sizes and values out of range are violations, each with
// its field. It reads to the end of the body whatever it finds, so that a body
// that is no JSON is told as that and not as something else.
//
// Numbers are rounded to float64 and from there to float32, as they are on the
// way through Python into a framework's tensor, and ranges are those of
// float32: a bound of 0.1 admits the float32 that is nearest to 0.1. A decoder is reused and
// allocates nothing once its buffers have grown, unless the body is refused.
type decoder struct {
	scanner
	refusal
	contract *policy.Contract
	req      *serving.Request
	form     *actForm
	options  *actOptions
	maxRows  int

	root   string   // field of the array of rows
	lone   bool     // root is the one row itself
	rows   int      // that were read
	seen   []uint32 // by feature: stamp of the row that last gave it
	stamp  uint32
	index  [maxDepth]int // position in the nested arrays of a feature
	masks  []float32
	image  []float32 // one with its channels first
	packed []byte    // bytes that came as base64
	quoted []byte    // base64 that was written with escapes

	whole policy.Feature // a row of raw bytes
	flat  []int          // its shape
}

// decode reads the act of a form that data holds into req and o, of which
// nothing of the act before is left. Times are read and not judged:
// actOptions.due. The error is a *detailed of faultMalformed or faultContract.
func (d *decoder) decode(data []byte, form *actForm, c *policy.Contract, maxRows int, req *serving.Request, o *actOptions) error {
	d.begin(data)
	d.start(c, maxRows, req)
	d.form, d.options = form, o
	beginAct(c, req, o)

	if !d.body() || !d.ends() {
		return d.malformed()
	}
	req.Rows = d.rows
	if d.count == 0 {
		o.settle(&d.refusal, form, c, req)
		d.choices()
	}
	if d.count > 0 {
		req.Rows = 0
		return d.refused()
	}
	return nil
}

// start makes the decoder ready for observations of a contract.
func (d *decoder) start(c *policy.Contract, maxRows int, req *serving.Request) {
	d.contract, d.req, d.maxRows = c, req, maxRows
	d.root, d.lone, d.rows = memberFields[memberObservations], false, 0
	d.refusal.reset()
	for len(d.seen) < len(c.Features) {
		d.seen = append(d.seen, 0)
	}
}

// beginAct empties req and o before an act is read into them.
func beginAct(c *policy.Contract, req *serving.Request, o *actOptions) {
	for len(req.Inputs) < len(c.Inputs) {
		req.Inputs = append(req.Inputs, nil)
	}
	req.Inputs = req.Inputs[:len(c.Inputs)]
	for i := range req.Inputs {
		req.Inputs[i] = req.Inputs[i][:0]
	}
	req.Plain()
	req.Rows, req.Deterministic = 0, c.DeterministicDefault
	o.reset()
}

// release lets go of the request's bytes and of buffers that grew large.
func (d *decoder) release() {
	d.data, d.contract, d.req, d.options = nil, nil, nil, nil
	for _, b := range []*[]byte{&d.scratch, &d.packed, &d.quoted} {
		if cap(*b) > maxKeptBytes {
			*b = nil
		}
	}
	for _, b := range []*[]float32{&d.masks, &d.image} {
		if cap(*b) > maxKeptBytes/4 {
			*b = nil
		}
	}
	clear(d.violations)
}

// observations reads the array of rows.
func (d *decoder) observations() bool {
	if d.next() != '[' {
		return d.wrongKind("body.observations", kindList, "an array of observations", 1)
	}
	return d.list("body.observations", nil)
}

// list reads the rows of an array that has been opened: observations, or where
// f is given the values of that one feature.
func (d *decoder) list(field string, f *policy.Feature) bool {
	rows := 0
	if !d.empty(']') {
		for {
			if !d.element(rows, f) {
				return false
			}
			rows++
			more, ok := d.more(']')
			if !ok {
				return false
			}
			if !more {
				break
			}
		}
	}
	d.rows = rows
	return d.countRows(field, rows)
}

func (d *decoder) element(row int, f *policy.Feature) bool {
	switch {
	case d.full():
		return d.skip(2)
	case f == nil:
		return d.observation(row)
	}
	return d.row(row, d.grow(row), f)
}

func (d *decoder) countRows(field string, rows int) bool {
	switch {
	case d.form != nil && d.form.single && rows != 1:
		d.sized(field, 1, rows, "observations")
	case rows == 0:
		d.violate(field, kindShort, fmt.Sprintf("expected 1 to %d observations, got 0", d.maxRows))
	case rows > d.maxRows:
		d.violate(field, kindLong, fmt.Sprintf("expected 1 to %d observations, got %d", d.maxRows, rows))
	}
	return true
}

// grow makes room for one row and returns its position in the inputs. Once the
// body is refused, rows no longer take memory: all share the first.
func (d *decoder) grow(row int) int {
	if d.count > 0 || row >= d.maxRows {
		row = 0
	}
	for i := range d.contract.Inputs {
		width := d.contract.Inputs[i].Width
		in := d.req.Inputs[i]
		if need := (row + 1) * width; len(in) < need {
			if cap(in) < need {
				in = append(make([]float32, 0, max(need, 2*cap(in))), in...)
			}
			d.req.Inputs[i] = in[:need]
		}
	}
	return row
}

// values returns the place of a feature's values in a row.
func (d *decoder) values(row int, f *policy.Feature) []float32 {
	return d.req.Inputs[f.Input][row*d.contract.Inputs[f.Input].Width+f.Offset:][:f.Size]
}

// observation reads one row.
func (d *decoder) observation(row int) bool {
	at := d.grow(row)
	c := d.next()
	if d.contract.Named {
		if c != '{' {
			return d.wrongKind(d.rowField(row), kindObject, "an object with "+d.names(), 2)
		}
		return d.object(row, at)
	}
	f := &d.contract.Features[0]
	switch {
	case c != '[' && len(f.Shape) == 0:
		return d.number(row, f, d.values(at, f))
	case len(f.Shape) > 0 && d.packedAhead(c, f, 2):
		return d.packedFeature(row, f, d.values(at, f), 2)
	case c != '[':
		return d.wrongKind(d.rowField(row), kindList, fmt.Sprintf("an array of %d numbers", f.Size), 2)
	case len(f.Shape) > 1 && d.opening() == len(f.Shape):
		return d.nest(row, f, d.values(at, f), 2)
	}
	return d.array(row, f, f.Size, 1, 0, d.values(at, f), 2)
}

// one reads "observation": a row without an array around it.
func (d *decoder) one() bool {
	d.root, d.lone, d.rows = "body.observation", true, 1
	return d.observation(0)
}

// object reads the named features of a row.
func (d *decoder) object(row, at int) bool {
	features := d.contract.Features
	if d.stamp++; d.stamp == 0 {
		clear(d.seen)
		d.stamp = 1
	}
	before := d.count
	given, values := 0, 0
	if !d.empty('}') {
		for expected := 0; ; expected++ {
			name, ok := d.key()
			if !ok {
				return false
			}
			// Features mostly come in the contract's order.
			i := expected
			if i >= len(features) || features[i].Name != string(name) {
				i = d.feature(name)
			}
			switch {
			case d.full():
				ok = d.skip(3)
			case i < 0:
				ok = d.unknown(d.rowField(row), name, d.featureNames()) && d.skip(3)
			case d.seen[i] == d.stamp:
				d.violate(d.rowField(row)+"."+features[i].Name, kindDuplicate, "expected one member of this name, got another")
				ok = d.skip(3)
			default:
				d.seen[i] = d.stamp
				given++
				f := &features[i]
				if len(f.Shape) == 0 {
					values++
					ok = d.number(row, f, d.values(at, f))
				} else {
					var n int
					n, ok = d.shaped(row, f, d.values(at, f))
					values += n
				}
				expected = i
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
	switch {
	case d.full():
	case given < len(features):
		d.missing(row)
	case d.count > before:
		d.width(row, values)
	}
	return true
}

func (d *decoder) feature(name []byte) int {
	for i := range d.contract.Features {
		if d.contract.Features[i].Name == string(name) {
			return i
		}
	}
	return -1
}

// number reads a feature of one value.
func (d *decoder) number(row int, f *policy.Feature, dst []float32) bool {
	d.next()
	v, end := scanNumber(d.data, d.pos)
	if end < 0 {
		return d.wrongKind(d.fieldOf(row, f, 0), kindNumber, "a number", 3)
	}
	start := d.pos
	d.pos = end
	dst[0] = float32(v)
	if x := dst[0]; !(x >= float32(f.Low) && x <= float32(f.High) && v >= -math.MaxFloat32 && v <= math.MaxFloat32) {
		d.outside(row, f, 0, v, d.data[start:end])
	}
	return true
}

// nested reads "obs": rows nested to the shape of the one input, or one row
// without the array around it.
func (d *decoder) nested() bool {
	d.root, d.lone = "body.obs", false
	f := &d.contract.Features[0]
	c := d.next()
	if d.opening() == len(f.Shape) || len(f.Shape) > 0 && d.packedAhead(c, f, 2) {
		d.rows = 1
		return d.row(0, d.grow(0), f)
	}
	if c != '[' {
		return d.wrongKind("body.obs", kindList, "an array of "+sizeWords(f.Shape)+", or an array of such", 1)
	}
	return d.list("body.obs", f)
}

func (d *decoder) row(row, at int, f *policy.Feature) bool {
	switch c := d.next(); {
	case len(f.Shape) == 0:
		return d.number(row, f, d.values(at, f))
	case d.packedAhead(c, f, 2):
		return d.packedFeature(row, f, d.values(at, f), 2)
	case len(f.Shape) == 1:
		return d.level(row, f, f.Shape, 0, d.values(at, f), 2)
	}
	return d.nest(row, f, d.values(at, f), 2)
}
