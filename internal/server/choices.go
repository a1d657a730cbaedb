package server

import (
	"fmt"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// choices holds values that are choices to be one of those there are, each value
// of a feature to its own number of them. A network would take another one for
// none, or for a choice of the value after it, and answer. It is called once
// after the rows were read, in any encoding, unless one of them was refused.
func (d *decoder) choices() {
	for i := range d.contract.Features {
		f := &d.contract.Features[i]
		if f.Choices(0) == 0 {
			continue
		}
		for row := range d.rows {
			for j, v := range d.values(row, f) {
				if problem := notOneOf(f, j, v); problem != "" && !d.full() {
					d.point(f, j)
					d.violate(d.fieldOf(row, f, len(f.Shape)), kindValue, problem)
				}
			}
		}
	}
}

// notOneOf says what is wrong with value j of a feature that is a choice;
// nothing where it is one, or is a quantity.
func notOneOf(f *policy.Feature, j int, v float32) string {
	n := f.Choices(j)
	if n == 0 || policy.IsChoice(v, n) {
		return ""
	}
	return fmt.Sprintf("expected a whole number from 0 to %d, got %s", n-1, strconv.FormatFloat(float64(v), 'g', -1, 32))
}
