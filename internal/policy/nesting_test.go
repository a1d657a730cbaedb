package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// list makes nested lists of zeros.
func list(dims ...int) any {
	if len(dims) == 0 {
		return 0.0
	}
	l := make([]any, dims[0])
	for i := range l {
		l[i] = list(dims[1:]...)
	}
	return l
}

// imageContract takes images of 4 rows, 5 columns and 3 channels.
func imageContract(named bool) *Contract {
	shape := []int{4, 5, 3}
	return &Contract{Named: named, Inputs: []Input{{Name: "obs", Shape: shape, Width: 60}}, Features: []Feature{{Name: "obs", Shape: shape, Size: 60}}}
}

func TestPackNested(t *testing.T) {
	for _, obs := range []any{list(4, 5, 3), list(60), list(1, 4, 5, 3), list(1, 60)} {
		in := [][]float32{make([]float32, 60)}
		if err := imageContract(false).Pack(obs, 0, in); err != nil {
			t.Errorf("%v: %v", nesting(obs), err)
		}
		if err := imageContract(true).Pack(map[string]any{"obs": obs}, 0, in); err != nil {
			t.Errorf("%v by name: %v", nesting(obs), err)
		}
	}
}

// TestPackOtherOrder refuses numbers that are as many as wanted and stand in
// another order: channels first where they come last.
func TestPackOtherOrder(t *testing.T) {
	for _, obs := range []any{list(3, 4, 5), list(20, 3), list(5, 4, 3)} {
		in := [][]float32{make([]float32, 60)}
		for _, err := range []error{imageContract(false).Pack(obs, 0, in), imageContract(true).Pack(map[string]any{"obs": obs}, 0, in)} {
			var wrong *InputError
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "[4 5 3]") {
				t.Errorf("%v: %v", nesting(obs), err)
			}
		}
	}
}

// TestPackChannelsFirst takes an image in both orders, as the library does.
func TestPackChannelsFirst(t *testing.T) {
	c := imageContract(false)
	c.Features[0].Image = true
	last, first := list(4, 5, 3), list(3, 4, 5)
	for y := range 4 {
		for x := range 5 {
			for k := range 3 {
				v := float64(100*y + 10*x + k)
				last.([]any)[y].([]any)[x].([]any)[k] = v
				first.([]any)[k].([]any)[y].([]any)[x] = v
			}
		}
	}
	in := [][]float32{make([]float32, 120)}
	if err := c.Pack(last, 0, in); err != nil {
		t.Fatal(err)
	}
	if err := c.Pack(first, 1, in); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(in[0][:60], in[0][60:]) || in[0][1] != 1 {
		t.Errorf("%v", in[0])
	}
	if err := c.Pack(list(5, 4, 3), 0, in); err == nil {
		t.Error("rows and columns in the other order were taken")
	}
	// One that is the same both ways round is as the contract has it.
	cube := Feature{Shape: []int{2, 2, 2}, Size: 8, Image: true}
	if cube.channelsFirst(list(2, 2, 2)) {
		t.Error("a cube was turned")
	}
}
