package server

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// An observation of openpi is a map of numpy arrays and numbers, flat with
// slashes in its keys ("observation/state", "observation/image") or nested. A
// key names a feature by its name, with "observation/" before it or without.
// A policy whose observation is one vector takes it whole as well, as
// "observation/state", and one that sees a single image takes it as
// "observation/image". "prompt", which a policy for language reads, is of no
// use here and left out of account.

// openpiReader reads one observation.
type openpiReader struct {
	*packDecoder
	d    *decoder
	key  []byte // of the value that is being read, with slashes
	some bool   // features were given one by one
	all  bool   // the observation was given whole
}

// decodeOpenpi reads an observation.
func (a *act) decodeOpenpi(m websocket.Message) error {
	if a.pack == nil {
		a.pack = &packDecoder{}
	}
	p, d, c := a.pack, &a.decoder, a.target.Contract
	p.Begin(m.Payload)
	d.start(c, 1, &a.req)
	d.form, d.options = formStream, &a.options
	beginAct(c, &a.req, &a.options)
	d.grow(0)
	if d.stamp++; d.stamp == 0 {
		clear(d.seen)
		d.stamp = 1
	}
	r := openpiReader{packDecoder: p, d: d, key: p.name[:0]}
	ok := r.members(a, 0) && p.End()
	if p.name = r.key[:0]; cap(p.name) > maxNameLen*8 {
		p.name = nil
	}
	if !ok {
		problem, at := p.Problem()
		return explain(faultMalformedPack, "the observation is not well-formed MessagePack: %s, at byte %d", problem, at)
	}
	r.missing(c)
	d.rows, a.req.Rows = 1, 1
	a.options.Given |= 1 << memberObservations
	if d.count == 0 {
		d.choices()
	}
	return a.settle(formStream, &d.refusal)
}

// members reads the members of a map, those of maps within it as well.
func (r *openpiReader) members(a *act, depth int) bool {
	n, ok := r.Map(depth)
	if !ok {
		return false
	}
	before := len(r.key)
	for range n {
		key, ok := r.Key()
		if !ok {
			return false
		}
		if before > 0 {
			r.key = append(r.key, '/')
		}
		r.key = append(r.key, key...)
		if !r.member(a, depth+1) {
			return false
		}
		r.key = r.key[:before]
	}
	return true
}

// member reads the value of the key.
func (r *openpiReader) member(a *act, depth int) bool {
	d := r.d
	if d.full() {
		return r.Skip(depth)
	}
	switch string(r.key) {
	case "prompt":
		return r.Skip(depth)
	case memberNames[memberDeterministic]:
		if r.Kind() == msgpack.Bool {
			v, ok := r.Bool()
			a.req.Deterministic = v
			a.options.Given |= 1 << memberDeterministic
			return ok
		}
		d.violate(string(r.key), kindBool, "expected true or false, got "+r.Kind().String())
		return r.Skip(depth)
	case memberNames[memberStart]:
		if r.Kind() == msgpack.Bool {
			v, ok := r.Bool()
			a.options.Starts = append(a.options.Starts[:0], v)
			return ok
		}
		d.violate(string(r.key), kindBool, "expected true or false, got "+r.Kind().String())
		return r.Skip(depth)
	}
	if r.Kind() == msgpack.Map && !r.IsArray() {
		return r.members(a, depth)
	}
	c := d.contract
	if i := openpiFeature(c, r.key); i >= 0 {
		f := &c.Features[i]
		if d.seen[i] == d.stamp || r.all {
			d.violate(clip(r.key), kindDuplicate, "expected each feature once, got "+f.Name+" again")
			return r.Skip(depth)
		}
		d.seen[i] = d.stamp
		r.some = true
		return r.value(f, d.values(0, f), depth)
	}
	if r.whole(c) {
		if r.some || r.all {
			d.violate(clip(r.key), kindDuplicate, "expected the observation whole or by its features, got both, or it twice")
			return r.Skip(depth)
		}
		r.all = true
		in := &c.Inputs[0]
		f := policy.Feature{Name: string(r.key), Shape: []int{in.Width}, Size: in.Width, Low: math.Inf(-1), High: math.Inf(1)}
		count := d.count
		if !r.value(&f, d.req.Inputs[0][:in.Width], depth) {
			return false
		}
		if d.count == count {
			r.ranges(c)
		}
		return true
	}
	d.violate(clip(r.key), kindUnknown, "expected one of "+openpiNames(c)+", got "+strconv.QuoteToASCII(clip(r.key)))
	return r.Skip(depth)
}

var openpiPrefix = []byte("observation/")

// openpiFeature returns the feature that a key names, -1 for none.
func openpiFeature(c *policy.Contract, key []byte) int {
	short := bytes.TrimPrefix(key, openpiPrefix)
	for i := range c.Features {
		f := &c.Features[i]
		name := inputName(c, i)
		if name == string(key) || name == string(short) {
			return i
		}
		if len(c.Features) == 1 && (f.Image || pixels(f)) && string(short) == "image" {
			return i
		}
	}
	// The parts of a nested name may be joined by points.
	if bytes.Contains(short, []byte("/")) {
		for i := range c.Features {
			if strings.ReplaceAll(c.Features[i].Name, ".", "/") == string(short) {
				return i
			}
		}
	}
	return -1
}

// whole reports whether the key names the whole observation of a policy that
// takes one vector.
func (r *openpiReader) whole(c *policy.Contract) bool {
	switch string(r.key) {
	case "observation/state", "state", "observation":
	default:
		return false
	}
	return len(c.Inputs) == 1 && len(c.Inputs[0].Shape) <= 1 && (r.Kind() == msgpack.List || r.IsArray())
}

// ranges holds the features of an observation that came whole to their ranges.
func (r *openpiReader) ranges(c *policy.Contract) {
	for i := range c.Features {
		f := &c.Features[i]
		for k, x := range r.d.values(0, f) {
			if v := float64(x); !store(f, v, &x) && !r.d.full() {
				r.outside(f, f.Offset+k, v)
			}
		}
	}
}

// outside notes a value that is not finite or out of range.
func (r *openpiReader) outside(f *policy.Feature, k int, v float64) {
	kind := kindValue
	if v-v != 0 {
		kind = kindFinite
	}
	name := clip(r.key)
	if f.Size > 1 || r.all {
		name += "." + strconv.Itoa(k)
	}
	r.d.violate(name, kind, "expected "+f.Range()+", got "+strconv.FormatFloat(v, 'g', -1, 64))
}

// value reads the values of a feature.
func (r *openpiReader) value(f *policy.Feature, dst []float32, depth int) bool {
	switch kind := r.Kind(); {
	case kind == msgpack.Number, kind == msgpack.List:
		n, ok := r.flat(f, dst, 0, depth)
		if ok && n != f.Size && !r.d.full() {
			r.d.violate(clip(r.key), kindShort, fmt.Sprintf("expected %s, got %d", sizeWords(f.Shape), n))
		}
		return ok
	case kind == msgpack.Map && r.IsArray():
		return r.Array(&r.array, depth) && r.store(f, dst)
	default:
		r.d.violate(clip(r.key), kindNumber, "expected "+sizeWords(f.Shape)+", got "+kind.String())
		return r.Skip(depth)
	}
}

// flat reads numbers nested in any way as the values of a feature from the k-th
// on, and returns the position behind them.
func (r *openpiReader) flat(f *policy.Feature, dst []float32, k, depth int) (int, bool) {
	switch r.Kind() {
	case msgpack.Number:
		v, ok := r.Number()
		if ok && k < len(dst) && !store(f, v, &dst[k]) && !r.d.full() {
			r.outside(f, k, v)
		}
		return k + 1, ok
	case msgpack.List:
		n, ok := r.List(depth)
		for range n {
			if !ok {
				return k, false
			}
			k, ok = r.flat(f, dst, k, depth+1)
		}
		return k, ok
	}
	if !r.d.full() {
		r.d.violate(clip(r.key), kindNumber, "expected numbers, got "+r.Kind().String())
	}
	return k + 1, r.Skip(depth)
}

// store stores the array of numpy that was just read. Its shape is the
// feature's, but that there may be axes of one before it.
func (r *openpiReader) store(f *policy.Feature, dst []float32) bool {
	v := &r.array
	if v.Scalar {
		if f.Size != 1 {
			r.d.violate(clip(r.key), kindShort, "expected "+sizeWords(f.Shape)+", got one")
		} else if !store(f, v.Value, &dst[0]) {
			r.outside(f, 0, v.Value)
		}
		return true
	}
	if v.Swapped {
		r.buf = v.Little(r.buf)
		v.Data = r.buf
	}
	t := dtype.Of(v.DType)
	if t == nil {
		r.d.violate(clip(r.key), kindValue, "expected an array of "+dtype.Words()+", got "+strconv.QuoteToASCII(v.DType))
		return true
	}
	size := 1
	for _, n := range v.Shape {
		if size = size * n; size > len(v.Data) {
			break // no larger shape has so few bytes
		}
	}
	channelsFirst := isChannelsFirst(f, v.Shape)
	switch {
	case size*t.Bytes != len(v.Data):
		r.d.violate(clip(r.key), kindValue, fmt.Sprintf("expected the bytes of an array of %v, got %d", v.Shape, len(v.Data)))
		return true
	case size != f.Size || !channelsFirst && !slices.Equal(ones(v.Shape), ones(f.Shape)):
		r.d.violate(clip(r.key), kindValue, fmt.Sprintf("expected an array of %v, got one of %v", f.Shape, v.Shape))
		return true
	}
	bad := r.d.count
	r.d.unpack(0, f, dst, v.Data, t, channelsFirst)
	for i := bad; i < len(r.d.violations); i++ {
		r.d.violations[i].field = clip(r.key) + strings.TrimPrefix(r.d.violations[i].field, r.d.fieldOf(0, f, 0))
	}
	return true
}

// ones leaves out the axes of one that a shape begins with.
func ones(shape []int) []int {
	for len(shape) > 0 && shape[0] == 1 {
		shape = shape[1:]
	}
	return shape
}

// missing notes the features that were not given.
func (r *openpiReader) missing(c *policy.Contract) {
	if r.all {
		return
	}
	for i := range c.Features {
		if r.d.seen[i] != r.d.stamp && !r.d.full() {
			name := inputName(c, i)
			if name != observationName {
				name = string(openpiPrefix) + name
			}
			r.d.violate(name, kindMissing, "expected "+sizeWords(c.Features[i].Shape)+", got nothing")
		}
	}
}

// openpiNames lists the keys of an observation.
func openpiNames(c *policy.Contract) string {
	var names []string
	for i := range c.Features {
		names = append(names, inputName(c, i))
	}
	if len(c.Inputs) == 1 && len(c.Inputs[0].Shape) <= 1 {
		names = append(names, "observation/state")
	}
	return strings.Join(names, ", ")
}
