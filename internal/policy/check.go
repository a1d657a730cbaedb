package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// InputError says that an observation does not fit the contract: where, what
// was expected and what came.
type InputError struct {
	Row      int
	Field    string // the feature, with the position of the value where it has several; empty for the whole row
	Expected string
	Got      string
}

func (e *InputError) Error() string {
	where := fmt.Sprintf("observation %d", e.Row)
	if e.Field != "" {
		where += ", " + e.Field
	}
	return fmt.Sprintf("%s: expected %s, got %s", where, e.Expected, e.Got)
}

// Check holds rows of inputs to the contract: every value finite and within
// the range of its feature, and a choice one of those there are. in is as in Runner.Act.
func (c *Contract) Check(rows int, in [][]float32) error {
	for i := range c.Features {
		f := &c.Features[i]
		width := c.Inputs[f.Input].Width
		low, high := float32(f.Low), float32(f.High)
		for row := range rows {
			for j, v := range in[f.Input][row*width+f.Offset:][:f.Size] {
				// Written so that a NaN, which compares false, is refused.
				if !(v >= low && v <= high && v-v == 0) {
					return &InputError{Row: row, Field: f.field(j), Expected: f.Range(), Got: fmt.Sprint(v)}
				}
				if n := f.Choices(j); n > 0 && !IsChoice(v, n) {
					return &InputError{Row: row, Field: f.field(j), Expected: fmt.Sprintf("a whole number from 0 to %d", n-1), Got: fmt.Sprint(v)}
				}
			}
		}
	}
	return nil
}

// CheckMasks holds the action masks of rows to the contract: as many as there
// are, each 0 or 1. A row that allows no action is no error: the trainers'
// frameworks answer it, and the policy answers the same.
func (c *Contract) CheckMasks(rows int, masks []float32) error {
	const field = "action_masks"
	switch {
	case c.Masks == 0:
		return &InputError{Field: field, Expected: "none, because the policy takes no masks", Got: "some"}
	case len(masks) != rows*c.Masks:
		return &InputError{Field: field, Expected: fmt.Sprintf("%d for each of %d rows", c.Masks, rows), Got: fmt.Sprintf("%d in all", len(masks))}
	}
	for i, m := range masks {
		if m != 0 && m != 1 { // NaN too
			return &InputError{Row: i / c.Masks, Field: fmt.Sprintf("%s[%d]", field, i%c.Masks), Expected: "0 or 1", Got: fmt.Sprint(m)}
		}
	}
	return nil
}

// Pack writes one observation into row of the inputs, which have room for it.
// obs is an object of named features, each a number or nested lists of
// numbers of the feature's shape, or one such list for the whole of a policy
// with one input. It is the slow twin of a protocol's own decoder.
func (c *Contract) Pack(obs any, row int, in [][]float32) error {
	features, ok := obs.(map[string]any)
	if !ok {
		if len(c.Inputs) != 1 {
			return &InputError{Row: row, Expected: "an object of " + c.featureNames(), Got: kind(obs)}
		}
		width := c.Inputs[0].Width
		flat, ok := flatten(nil, obs, 0)
		if !ok || len(flat) != width {
			return &InputError{Row: row, Expected: fmt.Sprintf("%d numbers (%s)", width, c.featureNames()), Got: describe(obs, flat, ok)}
		}
		if len(c.Features) == 1 && c.Features[0].channelsFirst(obs) {
			flat = channelsLast(flat, c.Features[0].Shape)
		} else if !nested(obs, c.Inputs[0].Shape) {
			return &InputError{Row: row, Expected: fmt.Sprintf("numbers in the shape %v, or in one flat list", c.Inputs[0].Shape), Got: fmt.Sprintf("the shape %v", nesting(obs))}
		}
		copyFloat32(in[0][row*width:], flat)
		return nil
	}
	if !c.Named {
		return &InputError{Row: row, Expected: fmt.Sprintf("a list of %d numbers", c.Inputs[0].Width), Got: "an object"}
	}
	for name := range features {
		if c.feature(name) == nil {
			return &InputError{Row: row, Field: name, Expected: "one of " + c.featureNames(), Got: "an unknown feature"}
		}
	}
	for i := range c.Features {
		f := &c.Features[i]
		v, ok := features[f.Name]
		if !ok {
			return &InputError{Row: row, Field: f.Name, Expected: f.shape(), Got: "nothing"}
		}
		flat, ok := flatten(nil, v, 0)
		if !ok || len(flat) != f.Size || isNumber(v) != (f.Shape == nil) {
			return &InputError{Row: row, Field: f.Name, Expected: f.shape(), Got: describe(v, flat, ok)}
		}
		if f.channelsFirst(v) {
			flat = channelsLast(flat, f.Shape)
		} else if !nested(v, f.Shape) {
			return &InputError{Row: row, Field: f.Name, Expected: f.shape(), Got: fmt.Sprintf("the shape %v", nesting(v))}
		}
		copyFloat32(in[f.Input][row*c.Inputs[f.Input].Width+f.Offset:], flat)
	}
	return nil
}

// Range describes the values that a feature takes, for messages and documents.
func (f *Feature) Range() string {
	unit := ""
	if f.Unit != "" {
		unit = " " + f.Unit
	}
	switch lowless, highless := math.IsInf(f.Low, -1), math.IsInf(f.High, 1); {
	case lowless && highless:
		return "a finite number" + unit
	case lowless:
		return fmt.Sprintf("at most %v%s", f.High, unit)
	case highless:
		return fmt.Sprintf("at least %v%s", f.Low, unit)
	}
	return fmt.Sprintf("%v to %v%s", f.Low, f.High, unit)
}

// field names value j of the feature.
func (f *Feature) field(j int) string {
	if f.Shape == nil {
		return f.Name
	}
	return fmt.Sprintf("%s[%d]", f.Name, j)
}

func (f *Feature) shape() string {
	switch len(f.Shape) {
	case 0:
		return "a number"
	case 1:
		return fmt.Sprintf("%d numbers", f.Size)
	}
	return fmt.Sprintf("%d numbers of shape %v", f.Size, f.Shape)
}

func (c *Contract) feature(name string) *Feature {
	for i := range c.Features {
		if c.Features[i].Name == name {
			return &c.Features[i]
		}
	}
	return nil
}

func (c *Contract) featureNames() string {
	names := make([]string, len(c.Features))
	for i := range c.Features {
		names[i] = c.Features[i].Name
		if c.Features[i].Shape != nil {
			names[i] += strings.ReplaceAll(fmt.Sprint(c.Features[i].Shape), " ", ",")
		}
	}
	return strings.Join(names, ", ")
}

// maxDepth bounds how deep the lists of one feature nest.
const maxDepth = 16

// flatten appends the numbers of nested lists in row-major order. It reports
// false for lists that are ragged or hold anything else.
func flatten(dst []float64, v any, depth int) ([]float64, bool) {
	switch v := v.(type) {
	case float64:
		return append(dst, v), true
	case float32:
		return append(dst, float64(v)), true
	case int:
		return append(dst, float64(v)), true
	case []float64:
		return append(dst, v...), true
	case []float32:
		for _, f := range v {
			dst = append(dst, float64(f))
		}
		return dst, true
	case []any:
		if depth == maxDepth {
			return dst, false
		}
		size := -1
		for _, e := range v {
			before := len(dst)
			var ok bool
			if dst, ok = flatten(dst, e, depth+1); !ok {
				return dst, false
			}
			if size >= 0 && len(dst)-before != size {
				return dst, false
			}
			size = len(dst) - before
		}
		return dst, true
	}
	return dst, false
}

// nested reports whether lists that hold the right number of values hold them
// in the order of the shape: flat, or nested as it is. An image with its
// channels first has as many numbers as one with its channels last, and is
// another one. Dimensions of 1 change no order and are not looked at.
func nested(v any, shape []int) bool {
	one := func(n int) bool { return n == 1 }
	have := slices.DeleteFunc(nesting(v), one)
	return len(have) < 2 || len(shape) < 2 || slices.Equal(have, slices.DeleteFunc(slices.Clone(shape), one))
}

// channelsFirst reports whether an image is nested as channels, rows, columns,
// and not in the order of its shape, which a cube has both ways.
// Stable-Baselines3's predict takes images in both orders too
// (BasePolicy.obs_to_tensor).
func (f *Feature) channelsFirst(v any) bool {
	if !f.Image {
		return false
	}
	dims := nesting(v)
	return slices.Equal(dims, []int{f.Shape[2], f.Shape[0], f.Shape[1]}) && !slices.Equal(dims, f.Shape)
}

// channelsLast brings an image of channels, rows, columns into the order of
// its shape: rows, columns, channels.
func channelsLast(flat []float64, shape []int) []float64 {
	pixels, channels := shape[0]*shape[1], shape[2]
	out := make([]float64, 0, len(flat))
	for i := range pixels {
		for c := range channels {
			out = append(out, flat[c*pixels+i])
		}
	}
	return out
}

// nesting returns the dimensions of nested lists that are not ragged.
func nesting(v any) []int {
	var dims []int
	for {
		switch l := v.(type) {
		case []any:
			dims = append(dims, len(l))
			if len(l) == 0 {
				return dims
			}
			v = l[0]
			continue
		case []float64:
			return append(dims, len(l))
		case []float32:
			return append(dims, len(l))
		}
		return dims
	}
}

func isNumber(v any) bool {
	switch v.(type) {
	case float64, float32, int:
		return true
	}
	return false
}

func copyFloat32(dst []float32, src []float64) {
	for i, v := range src {
		dst[i] = float32(v)
	}
}

func describe(v any, flat []float64, ok bool) string {
	if !ok {
		return kind(v)
	}
	if len(flat) == 1 {
		return "one number"
	}
	return fmt.Sprintf("%d numbers", len(flat))
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case []any:
		return "a list that is ragged or holds something other than numbers"
	case map[string]any:
		return "an object"
	case float64:
		return "a number"
	}
	return fmt.Sprintf("%T", v)
}
