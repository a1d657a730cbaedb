package server

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// pixels reports whether a feature is an image of bytes.
func pixels(f *policy.Feature) bool {
	return len(f.Shape) == 3 && (f.Image || f.Space != nil && f.Space.DType == "uint8" || f.Low == 0 && f.High == 255)
}

// defaultType is the type of a feature's bytes where they do not say it.
func defaultType(f *policy.Feature) *dtype.Type {
	if pixels(f) {
		return dtype.Uint8
	}
	return dtype.Float32
}

// packedWords describes the bytes of a feature.
func packedWords(f *policy.Feature, t *dtype.Type) string {
	return fmt.Sprintf("%d bytes (%s of %s)", f.Size*t.Bytes, t.Name, sizesOf(f.Shape))
}

// sizesOf describes a shape: "84 x 84 x 3".
func sizesOf(shape []int) string { return strings.TrimSuffix(sizeWords(shape), " numbers") }

// unpack stores the little-endian values of data as a feature of a row, which
// has room for them. The number of values is right. channelsFirst tells that an
// image is of channels, rows, columns.
func (d *decoder) unpack(row int, f *policy.Feature, dst []float32, data []byte, t *dtype.Type, channelsFirst bool) {
	low, high := float32(f.Low), float32(f.High)
	stride := 1
	if channelsFirst {
		stride = f.Shape[2]
	}
	bytes := t == dtype.Uint8
	for i, k := 0, 0; i < f.Size; i++ {
		var v float64
		if bytes {
			v = float64(data[i])
		} else {
			v = t.Value(data[i*t.Bytes:])
		}
		x := float32(v)
		dst[k] = x
		if !(x >= low && x <= high && x-x == 0) && !d.full() {
			d.outsideFlat(row, f, k, v)
		}
		if k += stride; k >= f.Size { // the next channel
			k -= f.Size - 1
		}
	}
}

// outsideFlat notes that the k-th value of a feature is not finite or out of
// range.
func (d *decoder) outsideFlat(row int, f *policy.Feature, k int, v float64) {
	d.point(f, k)
	text := strconv.AppendFloat(nil, v, 'g', -1, 64)
	if v-v != 0 {
		d.violate(d.fieldOf(row, f, len(f.Shape)), kindFinite, "expected "+f.Range()+", got "+string(text))
		return
	}
	d.outside(row, f, len(f.Shape), v, text)
}

// point puts the place of the k-th value of a feature into index.
func (d *decoder) point(f *policy.Feature, k int) {
	for i := len(f.Shape) - 1; i >= 0; i-- {
		d.index[i] = k % f.Shape[i]
		k /= f.Shape[i]
	}
}

// packedAhead reports whether the value at pos, which begins with c, is a
// feature that comes as bytes: the string of an image, or an object with
// "base64".
func (d *decoder) packedAhead(c byte, f *policy.Feature, depth int) bool {
	if c != '{' {
		return c == '"' && pixels(f)
	}
	ahead := d.scanner
	ahead.scratch = nil
	if ahead.empty('}') {
		return false
	}
	for {
		name, ok := ahead.key()
		if !ok || string(name) == "base64" {
			return ok
		}
		if !ahead.skip(depth + 1) {
			return false
		}
		if more, ok := ahead.more('}'); !more || !ok {
			return false
		}
	}
}

// packedFeature reads a feature that comes as bytes: base64 in a string, or in
// an object that says what they are,
//
//	{"base64":"AAEC...","dtype":"uint8","shape":[84,84,3]}
func (d *decoder) packedFeature(row int, f *policy.Feature, dst []float32, depth int) bool {
	p := packedObject{t: defaultType(f)}
	if d.next() == '"' {
		text, ok := d.text()
		if !ok {
			return false
		}
		p.text = text
	} else {
		before := d.count
		if !d.packedMembers(row, f, &p, depth) {
			return false
		}
		if d.count > before {
			return true
		}
	}
	if want := f.Size * p.t.Bytes; base64.StdEncoding.EncodedLen(want) != len(p.text) {
		d.violate(d.packedField(row, f), kindValue, fmt.Sprintf("expected %s in %d characters of base64, got %d characters",
			packedWords(f, p.t), base64.StdEncoding.EncodedLen(want), len(p.text)))
		return true
	}
	d.packed = slices.Grow(d.packed[:0], base64.StdEncoding.DecodedLen(len(p.text)))
	n, err := strictBase64.Decode(d.packed[:cap(d.packed)], p.text)
	if err != nil || n != f.Size*p.t.Bytes {
		d.violate(d.packedField(row, f), kindValue, "expected "+packedWords(f, p.t)+" in base64 with its padding, got what is none")
		return true
	}
	d.unpack(row, f, dst, d.packed[:n], p.t, p.channelsFirst)
	return true
}

var strictBase64 = base64.StdEncoding.Strict()

// packedField names the bytes of a feature: it is the feature itself.
func (d *decoder) packedField(row int, f *policy.Feature) string { return d.fieldOf(row, f, 0) }

// packedObject is what an object says of bytes.
type packedObject struct {
	text          []byte
	t             *dtype.Type
	channelsFirst bool
	given         bool // base64
	dtype, shape  bool
}

var packedNames = []string{"base64", "dtype", "shape"}

// packedMembers reads the members of the object at pos.
func (d *decoder) packedMembers(row int, f *policy.Feature, p *packedObject, depth int) bool {
	if d.empty('}') {
		return true
	}
	for {
		name, ok := d.key()
		if !ok {
			return false
		}
		field := ""
		switch {
		case d.full():
			ok = d.skip(depth + 1)
		case string(name) == "base64":
			if p.given {
				field = ".base64"
			}
			p.given = true
			if d.next() != '"' {
				ok = d.wrongKind(d.fieldOf(row, f, 0)+".base64", kindText, "the bytes in base64", depth+1)
				break
			}
			if p.text, ok = d.text(); ok && d.escaped(p.text) {
				d.quoted = append(d.quoted[:0], p.text...)
				p.text = d.quoted
			}
		case string(name) == "dtype":
			if p.dtype {
				field = ".dtype"
			}
			p.dtype = true
			ok = d.packedDtype(row, f, p, depth+1)
		case string(name) == "shape":
			if p.shape {
				field = ".shape"
			}
			p.shape = true
			ok = d.packedShape(row, f, p, depth+1)
		default:
			ok = d.unknown(d.fieldOf(row, f, 0), name, packedNames) && d.skip(depth+1)
		}
		if !ok {
			return false
		}
		if field != "" {
			d.violate(d.fieldOf(row, f, 0)+field, kindDuplicate, "expected one member of this name, got another")
		}
		if more, ok := d.more('}'); !more {
			return ok
		}
	}
}

func (d *decoder) packedDtype(row int, f *policy.Feature, p *packedObject, depth int) bool {
	if d.next() != '"' {
		return d.wrongKind(d.fieldOf(row, f, 0)+".dtype", kindText, "one of "+dtype.Words(), depth)
	}
	name, ok := d.text()
	if !ok {
		return false
	}
	if t := dtype.Of(name); t != nil {
		p.t = t
	} else {
		d.violate(d.fieldOf(row, f, 0)+".dtype", kindValue, "expected one of "+dtype.Words()+", got "+strconv.QuoteToASCII(clip(name)))
	}
	return true
}

// packedShape reads a shape, which says no more than in which order the
// channels of an image are.
func (d *decoder) packedShape(row int, f *policy.Feature, p *packedObject, depth int) bool {
	field := func() string { return d.fieldOf(row, f, 0) + ".shape" }
	if d.next() != '[' {
		return d.wrongKind(field(), kindList, "an array of numbers", depth)
	}
	start := d.pos
	var dims [maxDims]int
	n, numbers := 0, true
	if !d.empty(']') {
		for {
			d.next()
			_, end := scanNumber(d.data, d.pos)
			if end < 0 {
				numbers = false
				if !d.skip(depth + 1) {
					return false
				}
			} else {
				v, whole := wholeNumber(d.data[d.pos:end])
				numbers = numbers && whole && v <= math.MaxInt32
				if n < maxDims {
					dims[n] = int(min(v, math.MaxInt32))
				}
				d.pos = end
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
	if numbers && n <= maxDims {
		if slices.Equal(dims[:n], f.Shape) {
			p.channelsFirst = false
			return true
		}
		if p.channelsFirst = isChannelsFirst(f, dims[:n]); p.channelsFirst {
			return true
		}
	}
	d.violate(field(), kindValue, "expected "+shapeChoices(f)+", got "+clip(d.data[start:d.pos]))
	return true
}

// isChannelsFirst reports whether a shape is that of an image as channels,
// rows, columns, where the contract has rows, columns, channels, and not the
// contract's own.
func isChannelsFirst(f *policy.Feature, shape []int) bool {
	return f.Image && len(shape) == 3 && shape[0] == f.Shape[2] && shape[1] == f.Shape[0] && shape[2] == f.Shape[1] && !slices.Equal(shape, f.Shape)
}

// shapeChoices are the shapes that bytes of a feature may have.
func shapeChoices(f *policy.Feature) string {
	text := strings.ReplaceAll(fmt.Sprint(f.Shape), " ", ",")
	if f.Image {
		text += strings.ReplaceAll(fmt.Sprintf(" or %v", []int{f.Shape[2], f.Shape[0], f.Shape[1]}), " ", ",")
		text = strings.Replace(text, ",or,", " or ", 1)
	}
	return text
}
