package server

import (
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// packDecoder reads an act in MessagePack: the members of the JSON body, in
// which bytes stand for base64, and arrays and scalars of numpy for what they
// hold.
//
// There are two ways. What an act mostly is goes straight into the rows of the
// request. Everything else, and above all everything that is wrong, is made
// JSON and read as that, so that both forms are refused for the same reasons
// and in the same words. The fast way must take nothing that the slow one would
// not take, or take differently.
type packDecoder struct {
	msgpack.Reader
	array msgpack.Array
	buf   []byte // numbers that came big-endian
	one   [1]int
	name  []byte // of a nested key
	slow  msgpack.ToJSON
	text  []byte // JSON
}

// release lets go of the bytes of the body, and of buffers that grew large.
func (p *packDecoder) release() {
	if p == nil {
		return
	}
	p.Begin(nil)
	p.slow.Release(maxKeptBytes)
	p.array.Data = nil
	if cap(p.text) > maxKeptBytes {
		p.text = nil
	}
	if cap(p.buf) > maxKeptBytes {
		p.buf = nil
	}
}

// decodePack reads the act of a form.
func (a *act) decodePack(body []byte, form *actForm) error {
	if a.pack == nil {
		a.pack = &packDecoder{}
	}
	if a.fastPack(body, form) {
		return a.judge()
	}
	return a.slowPack(body, form)
}

// slowPack is decodePack by way of JSON.
func (a *act) slowPack(body []byte, form *actForm) error {
	p := a.pack
	var ok bool
	if p.text, ok = p.slow.Append(p.text[:0], body); !ok {
		problem, at := p.slow.Problem()
		return explain(faultMalformedPack, "the body is not well-formed MessagePack: %s, at byte %d", problem, at)
	}
	err := a.decodeJSON(p.text, form)
	if err != nil && (p.slow.NaN && !p.slow.Nil || p.slow.Infinite) {
		return sayNumbers(err)
	}
	return err
}

// sayNumbers calls numbers that JSON does not have by their names.
func sayNumbers(err error) error {
	var d *detailed
	if !errors.As(err, &d) {
		return err
	}
	names := strings.NewReplacer("got null", "got NaN", "got 1e999", "got +Inf", "got -1e999", "got -Inf")
	return &detailed{fault: d.fault, message: names.Replace(d.message), details: []byte(names.Replace(string(d.details)))}
}

// fastPack reads an act that is what acts mostly are. It reports false for any
// other, and for one that is refused.
func (a *act) fastPack(body []byte, form *actForm) bool {
	p, d, c := a.pack, &a.decoder, a.target.Contract
	maxRows := a.s.limits.MaxRows
	if form.single {
		maxRows = 1
	}
	p.Begin(body)
	d.start(c, maxRows, &a.req)
	d.form, d.options = form, &a.options
	beginAct(c, &a.req, &a.options)
	n, ok := p.Map(0)
	for range n {
		if !ok || !a.fastMember(form) {
			return false
		}
	}
	if !ok || !p.End() || d.count > 0 || !a.options.Given.has(memberObservations) {
		return false
	}
	a.req.Rows = d.rows
	a.options.settle(&d.refusal, form, c, &a.req)
	d.choices()
	return d.count == 0
}

// fastMember reads one member.
func (a *act) fastMember(form *actForm) bool {
	p, d, o := a.pack, &a.decoder, &a.options
	name, ok := p.Text()
	if !ok {
		return false
	}
	m := memberCount
	switch string(name) {
	case "observation":
		if !form.single {
			return false
		}
		m = memberObservations
	case "observations":
		m = memberObservations
	default:
		for i := memberDeterministic; i < memberCount; i++ {
			if memberNames[i] == string(name) {
				m = i
			}
		}
	}
	if m == memberCount || !form.members.has(m) || o.Given.has(m) {
		return false
	}
	o.Given |= 1 << m
	switch m {
	case memberObservations:
		if string(name) == "observation" {
			d.rows = 1
			return a.fastRow(0)
		}
		return a.fastRows()
	case memberDeterministic:
		a.req.Deterministic, ok = p.Bool()
	case memberSeed:
		a.req.Seed, ok = p.safeInteger()
	case memberStep:
		a.req.Step, ok = p.safeInteger()
	case memberRow:
		a.req.Row, ok = p.safeInteger()
	case memberSeq:
		o.Seq, ok = p.safeInteger()
	case memberStart:
		var v bool
		v, ok = p.Bool()
		o.Starts, o.startList = append(o.Starts[:0], v), false
	case memberDeadline:
		o.DeadlineMS, ok = p.positive()
	case memberObserved:
		o.ObservedAt, ok = p.positive()
	default:
		return false
	}
	return ok
}

func (p *packDecoder) safeInteger() (uint64, bool) {
	n, whole, ok := p.Integer()
	return n, ok && whole && n <= maxSafeInteger
}

func (p *packDecoder) positive() (float64, bool) {
	v, ok := p.Number()
	return v, ok && v > 0 && v <= math.MaxFloat64
}

// fastRows reads the rows of "observations".
func (a *act) fastRows() bool {
	p, d := a.pack, &a.decoder
	n, ok := p.List(1)
	if !ok || n == 0 || n > d.maxRows {
		return false
	}
	for row := range n {
		if !a.fastRow(row) {
			return false
		}
	}
	d.rows = n
	return true
}

// fastRow reads one row: a map of all features, or the one feature of a policy
// without names.
func (a *act) fastRow(row int) bool {
	p, d, features := a.pack, &a.decoder, a.target.Contract.Features
	at := d.grow(row)
	if !d.contract.Named {
		return a.fastFeature(row, &features[0], d.values(at, &features[0]), 2)
	}
	n, ok := p.Map(2)
	if !ok || n != len(features) {
		return false
	}
	if d.stamp++; d.stamp == 0 {
		clear(d.seen)
		d.stamp = 1
	}
	for expected := range n {
		name, ok := p.Text()
		if !ok {
			return false
		}
		i := expected
		if features[i].Name != string(name) {
			i = d.feature(name)
		}
		if i < 0 || d.seen[i] == d.stamp {
			return false
		}
		d.seen[i] = d.stamp
		if !a.fastFeature(row, &features[i], d.values(at, &features[i]), 3) {
			return false
		}
	}
	return true
}

// fastFeature reads the values of a feature: numbers nested to its shape, an
// array of numpy, or the bytes of an image.
func (a *act) fastFeature(row int, f *policy.Feature, dst []float32, depth int) bool {
	p, d := a.pack, &a.decoder
	switch kind := p.Kind(); {
	case kind == msgpack.Number && len(f.Shape) == 0:
		return p.number(f, &dst[0])
	case kind == msgpack.List && len(f.Shape) > 0:
		levels, innermost := 1, 0
		if len(f.Shape) > 1 {
			levels, innermost = p.Opening()
		}
		if levels == 1 && depth == 2 && len(f.Shape) > 1 {
			p.one[0] = f.Size
			return p.numbers(f, p.one[:], dst, depth) // a row without names may be flat
		}
		if f.Image && innermost == f.Shape[1] {
			return false // its channels may come first
		}
		return p.numbers(f, f.Shape, dst, depth)
	case kind == msgpack.Bytes && pixels(f):
		data, ok := p.Bytes()
		if !ok || len(data) != f.Size {
			return false
		}
		d.unpack(row, f, dst, data, defaultType(f), false)
		return d.count == 0
	case kind == msgpack.Map && p.IsArray():
		if !p.Array(&p.array, depth) {
			return false
		}
		return a.fastArray(row, f, dst)
	}
	return false
}

// fastArray stores the array of numpy that was just read.
func (a *act) fastArray(row int, f *policy.Feature, dst []float32) bool {
	p, d, v := a.pack, &a.decoder, &a.pack.array
	if v.Scalar {
		if len(f.Shape) > 0 {
			return false
		}
		return store(f, v.Value, &dst[0])
	}
	if v.Swapped {
		p.buf = v.Little(p.buf)
		v.Data = p.buf
	}
	t := dtype.Of(v.DType)
	channelsFirst := isChannelsFirst(f, v.Shape)
	if t == nil || len(v.Data) != f.Size*t.Bytes || !channelsFirst && !slices.Equal(v.Shape, f.Shape) {
		return false
	}
	d.unpack(row, f, dst, v.Data, t, channelsFirst)
	return d.count == 0
}

// numbers reads numbers that are nested to a shape.
func (p *packDecoder) numbers(f *policy.Feature, shape []int, dst []float32, depth int) bool {
	n, ok := p.List(depth)
	if !ok || n != shape[0] {
		return false
	}
	if len(shape) > 1 {
		size := len(dst) / max(1, n)
		for i := range n {
			if !p.numbers(f, shape[1:], dst[i*size:][:size], depth+1) {
				return false
			}
		}
		return true
	}
	for i := range dst {
		if !p.number(f, &dst[i]) {
			return false
		}
	}
	return true
}

func (p *packDecoder) number(f *policy.Feature, dst *float32) bool {
	v, ok := p.Number()
	return ok && store(f, v, dst)
}

// store stores a value, unless it is not finite or out of range.
func store(f *policy.Feature, v float64, dst *float32) bool {
	x := float32(v)
	*dst = x
	return x >= float32(f.Low) && x <= float32(f.High) && v >= -math.MaxFloat32 && v <= math.MaxFloat32
}

// packStarts looks for "episode_start":true or [true] among the members of a
// map.
func packStarts(data []byte) bool {
	var r msgpack.Reader
	r.Begin(data)
	n, ok := r.Map(0)
	for range n {
		if !ok {
			return false
		}
		name, isText := r.Key()
		if !isText {
			return false
		}
		if string(name) == memberNames[memberStart] {
			if r.Kind() == msgpack.List {
				if _, ok := r.List(1); !ok {
					return false
				}
			}
			v, isBool := r.Bool()
			return isBool && v
		}
		ok = r.Skip(1)
	}
	return false
}
