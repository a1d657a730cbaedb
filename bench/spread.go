package main

import "slices"

// spread is a number of each run of several.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	// Runs are in the order in which they ran: run i of one is beside run i of
	// another.
	Runs []float64 `json:"runs"`
}

func spreadOf(runs []float64) spread {
	if len(runs) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(runs))
	return spread{s[0], median(s), s[len(s)-1], runs}
}

// median of sorted numbers.
func median(s []float64) float64 {
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// paired is the median of the ratios of runs beside each other, a to b; 0
// where they are not as many.
func paired(a, b spread) float64 {
	if len(a.Runs) == 0 || len(a.Runs) != len(b.Runs) {
		return 0
	}
	var r []float64
	for i, x := range a.Runs {
		if b.Runs[i] == 0 {
			return 0
		}
		r = append(r, x/b.Runs[i])
	}
	slices.Sort(r)
	return median(r)
}
