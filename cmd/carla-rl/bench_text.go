package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/load"
)

// benchBar shows on a terminal how far the runs are.
type benchBar struct {
	bar
	done  int // runs that are over
	total int
}

func newBenchBar(w io.Writer, c *benchCmd) *benchBar {
	return &benchBar{bar: newBar(w), total: len(c.Connections) + 2}
}

// show draws the bar when a part of the present run is over.
func (b *benchBar) show(part float64, what string) {
	b.draw((float64(b.done)+part)/float64(b.total), what)
}

// text is the report for people.
func (r *benchReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Model)
	if len(r.Forward) > 0 {
		fmt.Fprintf(&b, "\nThe policy alone, one lane\n  %6s %14s %14s %14s\n", "rows", "median", "least", "rows/s")
		for _, f := range r.Forward {
			fmt.Fprintf(&b, "  %6d %14s %14s %14.0f\n", f.Rows, duration(f.RunNS), duration(f.LeastNS), f.RowsASec)
		}
	}
	fmt.Fprintf(&b, "\nThe server, closed loop\n  %11s %10s", "connections", "answers/s")
	for _, p := range benchPercentiles {
		fmt.Fprintf(&b, " %10s", strings.ToUpper(p.name[:1])+p.name[1:])
	}
	b.WriteByte('\n')
	for i := range r.Closed {
		r.Closed[i].line(&b)
	}
	if o := r.Open; o != nil {
		fmt.Fprintf(&b, "\nThe server, open loop of %.0f requests a second, from the planned sending\n", o.Rate)
		o.line(&b)
		b.WriteByte('\n')
		b.WriteString(histogramText(o.histogram))
	}
	return b.String()
}

func (l *benchLoop) line(b *strings.Builder) {
	fmt.Fprintf(b, "  %11d %10.0f", l.Connections, l.Answers)
	for _, p := range benchPercentiles {
		fmt.Fprintf(b, " %10s", duration(1e3*l.Latency[p.name]))
	}
	if l.Failed > 0 {
		fmt.Fprintf(b, "  %d of %d failed %v", l.Failed, l.Sent, l.Status)
	}
	b.WriteByte('\n')
}

// duration writes nanoseconds with three digits.
func duration(ns float64) string {
	for _, u := range []struct {
		name string
		ns   float64
	}{{"s", 1e9}, {"ms", 1e6}, {"us", 1e3}} {
		if ns >= u.ns {
			return fmt.Sprintf("%.3g %s", ns/u.ns, u.name)
		}
	}
	return fmt.Sprintf("%.0f ns", ns)
}

// histogramText draws the counts between powers of two.
func histogramText(h *load.Histogram) string {
	const width = 50
	type line struct {
		upTo  time.Duration
		count uint64
	}
	var lines []line
	most := uint64(0)
	for from, to := time.Duration(-1), 16*time.Microsecond; from < h.Max(); from, to = to, 2*to {
		n := h.Between(from, to)
		lines = append(lines, line{to, n})
		most = max(most, n)
	}
	for len(lines) > 0 && lines[0].count == 0 {
		lines = lines[1:]
	}
	var b strings.Builder
	for _, l := range lines {
		share := 0.0
		if h.Count() > 0 {
			share = 100 * float64(l.count) / float64(h.Count())
		}
		bar := strings.Repeat("#", int(float64(width)*float64(l.count)/float64(max(most, 1))))
		fmt.Fprintf(&b, "  up to %8s %6.2f %% %s\n", duration(float64(l.upTo)), share, bar)
	}
	return b.String()
}
