package server

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// isPacked reports whether a value is a feature in base64.
func isPacked(v any, f *policy.Feature) bool {
	members, _ := v.([]treeMember)
	_, isText := v.(string)
	image := len(f.Shape) == 3 && (f.Image || f.Low == 0 && f.High == 255)
	return isText && image || slices.ContainsFunc(members, func(m treeMember) bool { return m.name == "base64" })
}

func (t *twin) packed(at string, v any, f *policy.Feature) []float32 {
	text, _ := v.(string)
	dtype, shape := "float32", f.Shape
	if len(f.Shape) == 3 && (f.Image || f.Low == 0 && f.High == 255) {
		dtype = "uint8"
	}
	members, _ := v.([]treeMember)
	seen, bad := map[string]bool{}, false
	wrong := func(field string) { t.wrong(field); bad = true }
	for _, m := range members {
		if seen[m.name] {
			wrong(at + "." + m.name)
		}
		seen[m.name] = true
		ok := false
		switch m.name {
		case "base64":
			text, ok = m.value.(string)
		case "dtype":
			dtype, ok = m.value.(string)
			ok = ok && widths[dtype] > 0
		case "shape":
			list, isList := m.value.([]any)
			shape = nil
			for _, e := range list {
				n, _ := e.(numeral)
				i, err := strconv.Atoi(n.text)
				if err != nil || strings.HasPrefix(n.text, "-") {
					i = -1
				}
				shape = append(shape, i)
			}
			ok = isList && (slices.Equal(shape, f.Shape) || f.Image && slices.Equal(shape, []int{f.Shape[2], f.Shape[0], f.Shape[1]}))
		default:
			m.name = clip([]byte(m.name))
		}
		if !ok {
			wrong(at + "." + m.name)
		}
	}
	if bad {
		return nil
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") || len(data) != f.Size*widths[dtype] {
		t.wrong(at)
		return nil
	}
	first := !slices.Equal(shape, f.Shape)
	order := f.Shape
	if first {
		order = shape
	}
	var values []float32
	for i := range f.Size {
		values = append(values, float32(elements[dtype](data[i*widths[dtype]:])))
	}
	if first {
		values = channelsLast(values, f)
	}
	for k, v := range values { // positions are those of the contract's order
		where := at
		for i, rest := 0, f.Size; i < len(order); i++ {
			rest /= f.Shape[i]
			where += "." + strconv.Itoa(k/rest%f.Shape[i])
		}
		t.value(where, float64(v), true, f, nil)
	}
	return values
}

// widths are the element types that bytes may have.
var widths = map[string]int{
	"uint8": 1, "int8": 1, "bool": 1, "uint16": 2, "int16": 2, "float16": 2, "uint32": 4, "int32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8,
}

// elements read one element.
var elements = map[string]func(b []byte) float64{
	"uint8": func(b []byte) float64 { return float64(b[0]) }, "int8": func(b []byte) float64 { return float64(int8(b[0])) },
	"bool": func(b []byte) float64 {
		if b[0] > 1 {
			return math.NaN()
		}
		return float64(b[0])
	},
	"uint16":  func(b []byte) float64 { return float64(unsigned(b, 2)) },
	"int16":   func(b []byte) float64 { return float64(int16(unsigned(b, 2))) },
	"uint32":  func(b []byte) float64 { return float64(unsigned(b, 4)) },
	"int32":   func(b []byte) float64 { return float64(int32(unsigned(b, 4))) },
	"uint64":  func(b []byte) float64 { return float64(unsigned(b, 8)) },
	"int64":   func(b []byte) float64 { return float64(int64(unsigned(b, 8))) },
	"float32": func(b []byte) float64 { return float64(math.Float32frombits(uint32(unsigned(b, 4)))) },
	"float64": func(b []byte) float64 { return math.Float64frombits(unsigned(b, 8)) },
	"float16": func(b []byte) float64 { return dtype.Float16.Value(b) },
}

func unsigned(b []byte, n int) (v uint64) {
	for i := range n {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}
