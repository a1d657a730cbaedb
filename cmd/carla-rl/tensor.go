package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
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
}

// parseTensor reads nested lists of numbers. NaN and the infinities, which
// JSON does not have, are the strings "NaN", "Infinity" and "-Infinity".
func parseTensor(v jsontext.Value) (*tensor, error) {
	var x any
	if err := json.Unmarshal(v, &x); err != nil {
		return nil, err
	}
	t := &tensor{}
	if err := t.fill(x, 0); err != nil {
		return nil, err
	}
	return t, nil
}

// fill appends x, which lies depth lists deep, in row-major order. The first
// list met at each depth sets the size that all others there must have.
func (t *tensor) fill(x any, depth int) error {
	list, isList := x.([]any)
	if !isList {
		f, err := number(x)
		if err != nil {
			return err
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
	switch {
	case depth == tensorDepthMax:
		return fmt.Errorf("a tensor has more than %d dimensions", tensorDepthMax)
	case depth == len(t.shape):
		if len(t.data) > 0 {
			return errors.New("lists of one tensor differ in depth")
		}
		t.shape = append(t.shape, len(list))
	case t.shape[depth] != len(list):
		return fmt.Errorf("lists of one tensor differ in length: expected %d, got %d", t.shape[depth], len(list))
	}
	for _, e := range list {
		if err := t.fill(e, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func number(x any) (float64, error) {
	switch x := x.(type) {
	case float64:
		return x, nil
	case bool:
		if x {
			return 1, nil
		}
		return 0, nil
	case string:
		switch x {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
	}
	return 0, fmt.Errorf("expected a number, got %s", kindOf(x))
}

func kindOf(x any) string {
	switch x := x.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(x)
	case bool:
		return strconv.FormatBool(x)
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	return fmt.Sprint(x)
}

// values is a result: a tensor of a type, for printing.
type values struct {
	shape []int
	dtype graph.DType
	data  []float64
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
	for k := range v.shape[depth] {
		if k > 0 {
			b = append(b, ',')
		}
		b = v.nest(b, depth+1, i)
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
