package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// weightReport are the constants of a graph that are held in one type.
type weightReport struct {
	DType    string `json:"dtype"`
	Elements int    `json:"elements"`
	Bytes    int    `json:"bytes"` // with the scales of i8
}

// weightsHeld counts the constants of a graph by the type that a file holds
// them in, the narrow ones first; nil where none is narrow.
func weightsHeld(g *graph.Graph) []weightReport {
	if g == nil {
		return nil
	}
	var held []weightReport
	narrow := false
	seen := map[*graph.Tensor]bool{}
	g.Walk(func(n *graph.Node) bool {
		for _, v := range n.In {
			if v.Const == nil || seen[v.Const] {
				continue
			}
			seen[v.Const] = true
			dt := v.DType
			if w := v.Const.AsNarrow(); w != nil {
				dt, narrow = w.DType, true
			}
			i := slices.IndexFunc(held, func(r weightReport) bool { return r.DType == dt.String() })
			if i < 0 {
				i = len(held)
				held = append(held, weightReport{DType: dt.String()})
			}
			held[i].Elements += v.Const.Len()
			held[i].Bytes += v.Const.HeldBytes()
		}
		return true
	})
	if !narrow {
		return nil
	}
	slices.SortStableFunc(held, func(a, b weightReport) int { return b.Elements - a.Elements })
	return held
}

// weightsText is one line of weightsHeld.
func weightsText(held []weightReport) string {
	var parts []string
	for _, r := range held {
		parts = append(parts, fmt.Sprintf("%s %d in %d bytes", r.DType, r.Elements, r.Bytes))
	}
	return strings.Join(parts, ", ")
}
