package graph

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Int returns the int attribute of the name, 0 where it is absent.
func (a Attrs) Int(name string) int { v, _ := a[name].(int); return v }

// Float returns the float64 attribute of the name, 0 where it is absent.
func (a Attrs) Float(name string) float64 { v, _ := a[name].(float64); return v }

// Bool returns the bool attribute of the name, false where it is absent.
func (a Attrs) Bool(name string) bool { v, _ := a[name].(bool); return v }

// Text returns the string attribute of the name, "" where it is absent.
func (a Attrs) Text(name string) string { v, _ := a[name].(string); return v }

// Ints returns the []int attribute of the name, nil where it is absent. The
// slice is the attribute itself and must not change.
func (a Attrs) Ints(name string) []int { v, _ := a[name].([]int); return v }

// DType returns the DType attribute of the name, Invalid where it is absent.
func (a Attrs) DType(name string) DType { v, _ := a[name].(DType); return v }

// Graph returns the *Graph attribute of the name, nil where it is absent.
func (a Attrs) Graph(name string) *Graph { v, _ := a[name].(*Graph); return v }

// Has reports whether the attribute is present.
func (a Attrs) Has(name string) bool { _, ok := a[name]; return ok }

// ClampBounds returns the bounds of a clamp, infinite where one is absent.
func (a Attrs) ClampBounds() (lo, hi float64) {
	lo, hi = math.Inf(-1), math.Inf(1)
	if a.Has("min") {
		lo = a.Float("min")
	}
	if a.Has("max") {
		hi = a.Float("max")
	}
	return lo, hi
}

// clone copies the attributes but for graphs, which are the same ones.
func (a Attrs) clone() Attrs {
	if len(a) == 0 {
		return nil
	}
	c := make(Attrs, len(a))
	for k, v := range a {
		if ints, ok := v.([]int); ok {
			v = append([]int{}, ints...)
		}
		c[k] = v
	}
	return c
}

func (a Attrs) equal(b Attrs) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		w, ok := b[k]
		if !ok {
			return false
		}
		x, isInts := v.([]int)
		y, bothInts := w.([]int)
		switch {
		case isInts != bothInts:
			return false
		case isInts && !slices.Equal(x, y):
			return false
		case !isInts && v != w:
			return false
		}
	}
	return true
}

// kind is the type of an attribute's value.
type kind uint8

const (
	kindInt kind = iota
	kindFloat
	kindBool
	kindText
	kindInts
	kindShape // an []int printed as a shape
	kindDType
	kindGraph
	kindModel
)

var kindNames = [...]string{"int", "float64", "bool", "string", "[]int", "[]int", "DType", "*Graph", "*Model"}

// holds reports whether v is a value of the kind.
func (k kind) holds(v any) bool {
	ok := false
	switch k {
	case kindInt:
		_, ok = v.(int)
	case kindFloat:
		_, ok = v.(float64)
	case kindBool:
		_, ok = v.(bool)
	case kindText:
		_, ok = v.(string)
	case kindInts, kindShape:
		_, ok = v.([]int)
	case kindDType:
		_, ok = v.(DType)
	case kindGraph:
		g, is := v.(*Graph)
		ok = is && g != nil
	case kindModel:
		m, is := v.(*Model)
		ok = is && m != nil
	}
	return ok
}

// format prints a value of the kind as the text form has it.
func (k kind) format(v any) string {
	switch x := v.(type) {
	case string:
		return strconv.Quote(x)
	case float64:
		return formatFloat(x, 64)
	case []int:
		if k == kindShape {
			return Shape(x).String()
		}
		return strings.ReplaceAll(fmt.Sprint(x), " ", ",")
	default:
		return fmt.Sprint(x)
	}
}

// formatFloat prints the shortest decimal that reads back as x.
func formatFloat(x float64, bits int) string {
	switch {
	case math.IsNaN(x):
		return "nan"
	case math.IsInf(x, 1):
		return "inf"
	case math.IsInf(x, -1):
		return "-inf"
	}
	return strconv.FormatFloat(x, 'g', -1, bits)
}
