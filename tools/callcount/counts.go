package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
)

// counts are the instructions of every path.
type counts struct {
	Go    string           `json:"go"`
	Paths map[string]*path `json:"paths"`
}

// path is what one operation of a path takes.
type path struct {
	Instructions float64            `json:"instructions"`
	Limit        float64            `json:"limit_percent"`
	Functions    map[string]float64 `json:"functions"` // those with a share worth telling
}

// share is the part of a path that a function must have to be recorded.
const share = 0.02

func readCounts(name string) (*counts, error) {
	c := &counts{Paths: map[string]*path{}}
	data, err := os.ReadFile(name)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// write writes the counts with little in them that changes from run to run.
func (c *counts) write(name string) error {
	out := &counts{Go: c.Go, Paths: map[string]*path{}}
	for n, p := range c.Paths {
		q := &path{Instructions: round(p.Instructions), Limit: p.Limit, Functions: map[string]float64{}}
		for f, x := range p.Functions {
			if x >= share*p.Instructions {
				q.Functions[f] = round(x)
			}
		}
		out.Paths[n] = q
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(out); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// round keeps five digits.
func round(x float64) float64 {
	if x <= 0 {
		return 0
	}
	scale := math.Pow(10, 4-math.Floor(math.Log10(x)))
	return math.Round(math.Round(x*scale)/scale*10) / 10
}

// unreleased is the section of the changelog that is not released yet.
func unreleased(changelog string) string {
	_, rest, ok := strings.Cut(changelog, "\n## ")
	if !ok || !strings.Contains(strings.ToLower(strings.SplitN(rest, "\n", 2)[0]), "unreleased") {
		return ""
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	return section
}

// rose returns expressions of the paths that take more than those recorded, by
// more than their limits.
func (c *counts) rose(was *counts) (paths []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Paths)) {
		p := c.Paths[name]
		if old := was.Paths[name]; old != nil && p.Instructions > old.Instructions*(1+p.Limit/100) {
			paths = append(paths, regexp.QuoteMeta(name))
		}
	}
	return paths
}

// lower takes over what others counted less of.
func (c *counts) lower(others *counts) {
	for name, p := range others.Paths {
		if c.Paths[name] == nil || p.Instructions < c.Paths[name].Instructions {
			c.Paths[name] = p
		}
	}
}

// compare prints a line a path and returns how many rose beyond the limit or
// are not recorded. When counts are recorded, a rise that the changelog names
// is allowed, and so is a new path.
func compare(w io.Writer, was, now *counts, some bool, changelog string, record bool) (rose int) {
	if was.Go != "" && was.Go != now.Go {
		fmt.Fprintf(w, "recorded with %s, counted with %s: what differs everywhere is the compiler's\n", was.Go, now.Go)
	}
	fell := 0
	fmt.Fprintf(w, "%-38s %12s %12s %8s\n", "instructions of one operation", "recorded", "now", "")
	for _, name := range slices.Sorted(maps.Keys(now.Paths)) {
		p := now.Paths[name]
		old, ok := was.Paths[name]
		if !ok {
			fmt.Fprintf(w, "%-38s %12s %12.1f\n", name, "-", p.Instructions)
			if !record {
				rose++
				fmt.Fprintf(w, "  FAIL: it is not recorded: run make counts-record\n")
			}
			continue
		}
		by := 100 * (p.Instructions/old.Instructions - 1)
		fmt.Fprintf(w, "%-38s %12.1f %12.1f %+7.2f%%\n", name, old.Instructions, p.Instructions, by)
		switch {
		case by > p.Limit && record && strings.Contains(changelog, "`"+name+"`"):
			fmt.Fprintf(w, "  the changelog says why\n")
		case by > p.Limit:
			rose++
			fmt.Fprintf(w, "  FAIL: it rose by more than %.0f %%; by function, instructions an operation:\n", p.Limit)
			explain(w, old, p)
		case by < -p.Limit:
			fell++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was.Paths)) {
		if now.Paths[name] == nil && !some {
			fmt.Fprintf(w, "%-38s %12.1f %12s\n", name, was.Paths[name].Instructions, "gone")
			if !record {
				rose++
				fmt.Fprintf(w, "  FAIL: no test counts it any more: run make counts-record\n")
			}
		}
	}
	if fell > 0 && !record {
		fmt.Fprintf(w, "%d paths fell by more than their limit: run make counts-record, so that they stay there\n", fell)
	}
	return rose
}

// explain prints the functions that differ most. A function that is not in the
// record had less than its share then, and is taken to have had that.
func explain(w io.Writer, old, now *path) {
	type change struct {
		name string
		by   float64
	}
	var list []change
	for name := range now.Functions {
		before, ok := old.Functions[name]
		if !ok {
			before = min(now.Functions[name], share*old.Instructions)
		}
		if by := now.Functions[name] - before; math.Abs(by) >= 0.05 {
			list = append(list, change{name, by})
		}
	}
	for name, x := range old.Functions {
		if _, ok := now.Functions[name]; !ok {
			list = append(list, change{name, -x})
		}
	}
	slices.SortFunc(list, func(a, b change) int {
		if x, y := math.Abs(a.by), math.Abs(b.by); x != y {
			if x > y {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	for _, c := range list[:min(8, len(list))] {
		fmt.Fprintf(w, "    %+10.1f  %s\n", c.by, c.name)
	}
}
