package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Limits of what predict reads.
const (
	inputBytesMax    = 256 << 20
	tensorDepthMax   = 16
	tensorNumbersMax = 64 << 20
)

// tensor is a JSON tensor: nested lists of numbers of one shape.
type tensor struct {
	shape []int
	data  []float64

	truths    int  // how many are true or false
	fractions bool // some have a fraction or an exponent, or are not finite
}

// dtype is what the way in which the numbers are written tells of their type:
// true and false are booleans, one with a point is no integer. Integers may
// stand for any type: Invalid.
func (t *tensor) dtype() graph.DType {
	switch {
	case t.truths > 0 && t.truths == len(t.data):
		return graph.Bool
	case t.fractions:
		return graph.Float32
	}
	return graph.Invalid
}

// parseTensor reads nested lists of numbers. NaN and the infinities, which
// JSON does not have, are the strings "NaN", "Infinity" and "-Infinity". It
// takes one number at a time, so that an image costs no more than its numbers.
func parseTensor(v jsontext.Value) (*tensor, error) {
	t := &tensor{}
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if err := t.fill(dec, 0); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the tensor")
	}
	return t, nil
}

// fill appends the next value, which lies depth lists deep, in row-major
// order. The first list met at each depth sets the size that all others there
// must have.
func (t *tensor) fill(dec *jsontext.Decoder, depth int) error {
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '[' {
		f, err := number(token)
		if err != nil {
			return err
		}
		switch token.Kind() {
		case 't', 'f':
			t.truths++
		case '"':
			t.fractions = true
		case '0':
			t.fractions = t.fractions || strings.ContainsAny(token.String(), ".eE")
		}
		if depth != len(t.shape) {
			return errors.New("lists of one tensor differ in depth")
		}
		if len(t.data) == tensorNumbersMax {
			return fmt.Errorf("a tensor has more than %d numbers", tensorNumbersMax)
		}
		t.data = append(t.data, f)
		return nil
	}
	const open = -1 // the size is that of the first list, which is not read yet
	first := depth == len(t.shape)
	switch {
	case depth == tensorDepthMax:
		return fmt.Errorf("a tensor has more than %d dimensions", tensorDepthMax)
	case first && len(t.data) > 0:
		return errors.New("lists of one tensor differ in depth")
	case first:
		t.shape = append(t.shape, open)
	}
	n := 0
	for ; dec.PeekKind() != ']'; n++ {
		if err := t.fill(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	switch {
	case first:
		t.shape[depth] = n
	case t.shape[depth] != n:
		return fmt.Errorf("lists of one tensor differ in length: expected %d, got %d", t.shape[depth], n)
	}
	return nil
}

// withinFloat32 refuses a number that would become infinite as a float32. An
// infinity that is given as one stays.
func (t *tensor) withinFloat32() error {
	for i, f := range t.data {
		if math.IsInf(float64(float32(f)), 0) && !math.IsInf(f, 0) {
			return fmt.Errorf("element %d is %v, beyond float32, whose largest number is %v", i, f, math.MaxFloat32)
		}
	}
	return nil
}

func number(t jsontext.Token) (float64, error) {
	got := ""
	switch t.Kind() {
	case '0':
		return t.Float()
	case 't', 'f':
		if t.Bool() {
			return 1, nil
		}
		return 0, nil
	case '"':
		switch t.String() {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		got = strconv.Quote(t.String())
	case 'n':
		got = "null"
	case '{':
		got = "an object"
	default:
		got = t.String()
	}
	return 0, fmt.Errorf("expected a number, got %s", got)
}

// values is a result: a tensor of a type, for printing.
type values struct {
	shape []int
	dtype graph.DType
	data  []float64

	// parts cuts the last dimension into lists of these lengths, where it
	// holds several things side by side.
	parts []int
}

// append appends the values as JSON, nested to their shape.
func (v values) append(b []byte) []byte {
	i := 0
	return v.nest(b, 0, &i)
}

func (v values) nest(b []byte, depth int, i *int) []byte {
	if depth == len(v.shape) {
		b = v.number(b, v.data[*i])
		*i++
		return b
	}
	b = append(b, '[')
	part, left := 0, 0
	for k := range v.shape[depth] {
		if k > 0 {
			b = append(b, ',')
		}
		cut := v.parts != nil && depth == len(v.shape)-1
		if cut && left == 0 {
			left = v.parts[part]
			part++
			b = append(b, '[')
		}
		b = v.nest(b, depth+1, i)
		if left--; cut && left == 0 {
			b = append(b, ']')
		}
	}
	return append(b, ']')
}

// number appends one number: the shortest text that reads back as the same
// value of the type.
func (v values) number(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	case v.dtype == graph.Bool:
		return strconv.AppendBool(b, f != 0)
	case !v.dtype.IsFloat():
		return strconv.AppendInt(b, int64(f), 10)
	}
	bits := 32
	if v.dtype == graph.Float64 {
		bits = 64
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, bits)
}
