package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// plots of what was measured, by file name. They are SVG with a style that
// follows the reader's light or dark.
func (r *results) plots() map[string]string {
	all := map[string]string{}
	if r.Engine != nil {
		var bars []bar
		for _, x := range r.Engine.Rows {
			if x.Ratio > 0 {
				bars = append(bars, bar{fmt.Sprintf("%s, batch %d", x.Name, x.Batch), "ratio", x.Ratio, fmt.Sprintf("%.2f", x.Ratio), 0})
			}
		}
		all["engine.svg"] = barChart("Time of a run, in times of ONNX Runtime's (below 1 is faster)", bars, false, 1)
	}
	if r.Server != nil {
		all["server.svg"] = barChart("POST /predict, answers a second, median", closedBars(r.Server), false, 0)
	}
	if r.Peers != nil {
		bars := closedBars(r.Peers)
		if r.AllCores != nil {
			for _, x := range closedBars(r.AllCores) {
				x.group += ", all cores"
				bars = append(bars, x)
			}
		}
		all["peers.svg"] = barChart("The same policy, answers a second, median (logarithmic)", bars, true, 0)
	}
	if r.Open != nil {
		all["open.svg"] = r.Open.chart()
	}
	return all
}

func closedBars(c *closed) []bar {
	var bars []bar
	colours := map[string]int{}
	for _, x := range c.Cells {
		if _, ok := colours[x.Subject]; !ok {
			colours[x.Subject] = len(colours)
		}
		name := x.Name
		if x.Workers > 1 {
			name += fmt.Sprintf(", %d workers", x.Workers)
		}
		bars = append(bars, bar{name, fmt.Sprintf("%d connections", x.Connections), x.Throughput.Median, group(x.Throughput.Median), colours[x.Subject]})
	}
	return bars
}

// bar of a chart; groups have a heading.
type bar struct {
	name, group string
	value       float64
	label       string
	colour      int
}

const (
	chartWidth = 760
	nameWidth  = 270
	barHeight  = 20
)

// style has the colours for both backgrounds; the background is the page's.
const style = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}
.t{font-weight:600;font-size:15px}.g{font-weight:600}.s{fill:#59636e}
.a{stroke:#59636e;stroke-width:1;stroke-dasharray:3 3}
.c0{fill:#0969da}.c1{fill:#8c959f}.c2{fill:#b8a15a}.c3{fill:#a475b6}.c4{fill:#5f9e78}.c5{fill:#c26d5a}.c6{fill:#6f8fae}.c7{fill:#94744d}
.l0{stroke:#0969da}.l1{stroke:#8c959f}.l{fill:none;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.a{stroke:#9198a1}.c0{fill:#4493f8}.l0{stroke:#4493f8}}
</style>
`

func open(width, height int, title string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img"><title>%s</title>`, width, height, width, height, html.EscapeString(title)) +
		"\n" + style + fmt.Sprintf(`<text class="t" x="8" y="22">%s</text>`, html.EscapeString(title)) + "\n"
}

// barChart is of horizontal bars. mark is a value that gets a line; 0 is none.
func barChart(title string, bars []bar, logarithmic bool, mark float64) string {
	most, least := 0.0, math.Inf(1)
	groups := 0
	for i, x := range bars {
		if most = max(most, x.value); x.value > 0 {
			least = min(least, x.value)
		}
		if i == 0 || bars[i-1].group != x.group {
			groups++
		}
	}
	grouped := groups > 1
	height := 44 + len(bars)*barHeight
	if grouped {
		height += groups * barHeight
	}
	room := float64(chartWidth - nameWidth - 90)
	length := func(v float64) float64 {
		if logarithmic {
			if v <= 0 {
				return 0
			}
			from := math.Floor(math.Log10(least)) - 0.3
			return room * (math.Log10(v) - from) / (math.Log10(most) - from)
		}
		return room * v / max(most, mark)
	}
	var s strings.Builder
	s.WriteString(open(chartWidth, height, title))
	y := 36
	for i, x := range bars {
		if grouped && (i == 0 || bars[i-1].group != x.group) {
			fmt.Fprintf(&s, "<text class=\"g\" x=\"8\" y=\"%d\">%s</text>\n", y+15, html.EscapeString(x.group))
			y += barHeight
		}
		w := max(1, length(x.value))
		fmt.Fprintf(&s, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text><rect class=\"c%d\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/><text class=\"s\" x=\"%.1f\" y=\"%d\">%s</text>\n",
			nameWidth-8, y+14, html.EscapeString(x.name), x.colour%8, nameWidth, y+3, w, barHeight-6, nameWidth+w+6, y+14, html.EscapeString(x.label))
		y += barHeight
	}
	if mark > 0 {
		at := nameWidth + length(mark)
		fmt.Fprintf(&s, "<line class=\"a\" x1=\"%.1f\" y1=\"34\" x2=\"%.1f\" y2=\"%d\"/>\n", at, at, y)
	}
	return s.String() + "</svg>\n"
}

// chart is of P50 and P99 by rate, logarithmic in time.
func (o *opened) chart() string {
	const height, left, right, top, bottom = 330, 70, 190, 44, 40
	title := "Latency at a constant rate, microseconds (logarithmic)"
	var s strings.Builder
	s.WriteString(open(chartWidth, height, title))
	least, most := math.Inf(1), 0.0
	for _, c := range o.Cells {
		for _, v := range []float64{c.P50.Median, c.P99.Median} {
			if v > 0 {
				least, most = min(least, v), max(most, v)
			}
		}
	}
	if most == 0 {
		return s.String() + "</svg>\n"
	}
	from, to := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	if from == to {
		to++
	}
	x := func(share float64) float64 { return left + share*float64(chartWidth-left-right) }
	y := func(v float64) float64 {
		return top + (to-math.Log10(max(v, least)))/(to-from)*float64(height-top-bottom)
	}
	for e := from; e <= to; e++ {
		v := math.Pow(10, e)
		fmt.Fprintf(&s, "<line class=\"a\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/><text class=\"s\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			left, y(v), chartWidth-right, y(v), left-6, y(v)+4, group(v))
	}
	seen := map[float64]bool{}
	var names []string
	lines := map[string][]openCell{}
	for _, c := range o.Cells {
		if !seen[c.Share] {
			seen[c.Share] = true
			fmt.Fprintf(&s, "<text class=\"s\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f %%</text>\n", x(c.Share), height-18, 100*c.Share)
		}
		if lines[c.Name] == nil {
			names = append(names, c.Name)
		}
		lines[c.Name] = append(lines[c.Name], c)
	}
	for i, name := range names {
		for _, q := range []struct {
			name, dash string
			value      func(openCell) float64
		}{
			{"P50", "", func(c openCell) float64 { return c.P50.Median }},
			{"P99", ` stroke-dasharray="6 4"`, func(c openCell) float64 { return c.P99.Median }},
		} {
			var points []string
			for _, c := range lines[name] {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x(c.Share), y(q.value(c))))
			}
			fmt.Fprintf(&s, "<polyline class=\"l l%d\"%s points=\"%s\"/>\n", i%2, q.dash, strings.Join(points, " "))
		}
		at := top + 20 + 44*i
		fmt.Fprintf(&s, "<line class=\"l l%d\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"%d\">%s, P50</text>\n", i%2, chartWidth-right+12, at, chartWidth-right+40, at, chartWidth-right+46, at+4, html.EscapeString(name))
		fmt.Fprintf(&s, "<line class=\"l l%d\" stroke-dasharray=\"6 4\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"%d\">P99</text>\n", i%2, chartWidth-right+12, at+20, chartWidth-right+40, at+20, chartWidth-right+46, at+24)
	}
	return s.String() + "</svg>\n"
}
