package replay

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Plots are drawn as SVG that takes its colours from the page, so that one
// drawing is right on light and on dark ground.

// plot is a drawing with axes.
type plot struct {
	b                        strings.Builder
	width, height            float64
	left, top, right, bottom float64 // of the frame
	x0, x1, y0, y1           float64 // what the frame shows
}

// newPlot begins a drawing whose frame shows x0 to x1 and y0 to y1. The title is
// what a screen reader says.
func newPlot(title string, width, height, x0, x1, y0, y1 float64) *plot {
	if !(x1 > x0) {
		x0, x1 = x0-0.5, x0+0.5
	}
	if !(y1 > y0) {
		y0, y1 = y0-0.5, y0+0.5
	}
	p := &plot{width: width, height: height, left: 56, top: 10, right: width - 22, bottom: height - 36, x0: x0, x1: x1, y0: y0, y1: y1}
	fmt.Fprintf(&p.b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s"><title>%s</title>`, width, height, html.EscapeString(title), html.EscapeString(title))
	fmt.Fprintf(&p.b, `<rect class="frame" x="%g" y="%g" width="%g" height="%g"/>`, p.left, p.top, p.right-p.left, p.bottom-p.top)
	return p
}

func (p *plot) end() string { return p.b.String() + "</svg>" }

func (p *plot) x(v float64) float64 { return p.left + (v-p.x0)/(p.x1-p.x0)*(p.right-p.left) }
func (p *plot) y(v float64) float64 { return p.bottom - (v-p.y0)/(p.y1-p.y0)*(p.bottom-p.top) }

// in keeps a coordinate of the drawing within the frame.
func (p *plot) in(x, y float64) (float64, float64) {
	return min(max(x, p.left), p.right), min(max(y, p.top), p.bottom)
}

// ticks draws marks and numbers on both axes, and what they count.
func (p *plot) ticks(xLabel, yLabel string) {
	for _, v := range round(p.x0, p.x1, 5) {
		x := p.x(v)
		fmt.Fprintf(&p.b, `<path class="tick" d="M%.1f %gv4"/><text x="%.1f" y="%g" text-anchor="middle">%s</text>`, x, p.bottom, x, p.bottom+16, tick(v))
	}
	p.yTicks()
	p.labels(xLabel, yLabel)
}

func (p *plot) yTicks() {
	for _, v := range round(p.y0, p.y1, 4) {
		y := p.y(v)
		fmt.Fprintf(&p.b, `<path class="tick" d="M%g %.1fh-4"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`, p.left, y, p.left-7, y+3.5, tick(v))
	}
}

func (p *plot) labels(xLabel, yLabel string) {
	fmt.Fprintf(&p.b, `<text x="%g" y="%g" text-anchor="middle">%s</text>`, (p.left+p.right)/2, p.height-4, html.EscapeString(xLabel))
	fmt.Fprintf(&p.b, `<text transform="translate(11 %g) rotate(-90)" text-anchor="middle">%s</text>`, (p.top+p.bottom)/2, html.EscapeString(yLabel))
}

// line joins points; those that are no numbers break it.
func (p *plot) line(class string, xs, ys []float64) {
	var d strings.Builder
	pen := "M"
	for i := range xs {
		if math.IsNaN(ys[i]) {
			pen = "M"
			continue
		}
		x, y := p.in(p.x(xs[i]), p.y(ys[i]))
		fmt.Fprintf(&d, "%s%.1f %.1f", pen, x, y)
		pen = "L"
	}
	fmt.Fprintf(&p.b, `<path class="%s" d="%s"/>`, class, d.String())
}

// dots draws points as one path, whose round ends they are.
func (p *plot) dots(class string, xs, ys []float64) {
	var d strings.Builder
	for i := range xs {
		x, y := p.in(p.x(xs[i]), p.y(ys[i]))
		fmt.Fprintf(&d, "M%.1f %.1fh0", x, y)
	}
	fmt.Fprintf(&p.b, `<path class="%s" d="%s"/>`, class, d.String())
}

// bar draws a bar from x to x+1 of a height, with what it says on hovering.
func (p *plot) bar(class string, x, height float64, says string) {
	left, right := p.x(x), p.x(x+1)
	y := p.y(height)
	fmt.Fprintf(&p.b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
		class, left+1, y, max(1, right-left-2), max(0, p.bottom-y), html.EscapeString(says))
}

// round returns numbers for about so many ticks between two others.
func round(from, to float64, n int) []float64 {
	raw := (to - from) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, k := range []float64{1, 2, 5, 10} {
		if k*step >= raw {
			step *= k
			break
		}
	}
	var out []float64
	for i := math.Ceil(from/step - 1e-9); i*step <= to+1e-9*step && len(out) < 4*n; i++ {
		out = append(out, i*step)
	}
	return out
}

// tick writes a number of an axis.
func tick(v float64) string {
	if math.Abs(v) < 1e-12 {
		return "0"
	}
	if v >= 1000 && v < 1e15 {
		return count(uint64(v + 0.5))
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// column takes value i of rows of a width, as float64.
func column(x []float32, i, width int) []float64 {
	out := make([]float64, 0, len(x)/max(1, width))
	for at := i; at < len(x); at += width {
		out = append(out, float64(x[at]))
	}
	return out
}

// bounds returns the least and the largest of lists of numbers.
func bounds(lists ...[]float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, list := range lists {
		for _, v := range list {
			low, high = min(low, v), max(high, v)
		}
	}
	if low > high {
		return 0, 1
	}
	return low, high
}

// scatter draws the difference against what the base did: a shift, a scale and a
// kink of one side all have their own shape.
func (m *measures) scatter(i int) string {
	v := &m.values[i]
	x, d := column(m.samples.base, i, m.width), column(m.samples.now, i, m.width)
	most := 0.0
	for j := range d {
		d[j] -= x[j]
		most = max(most, math.Abs(d[j]))
	}
	low, high := bounds(x)
	if v.ranged {
		low, high = float64(v.low), float64(v.high)
	}
	if most == 0 {
		most = 1
	}
	p := newPlot(fmt.Sprintf("%s: new minus base against base, %d steps", v.name, len(x)), 420, 260, low, high, -most, most)
	p.line("same", []float64{p.x0, p.x1}, []float64{0, 0})
	p.dots("dots", x, d)
	p.ticks("base", "new − base")
	return p.end()
}

// decades are the classes of the magnitudes that are drawn: exactly 0, below
// 1e-7, and then each decade.
const leastDecade = -7

// magnitudes draws how many steps differ by how much.
func (m *measures) magnitudes(i int) string {
	v := &m.values[i]
	last := leastDecade
	for ; last < 38 && v.apart.above(float32(math.Pow(10, float64(last)))) > 0; last++ {
	}
	last = max(last, leastDecade+4)
	n := float64(max(1, v.apart.n))
	p := newPlot(v.name+": how many steps differ by how much", 420, 260, 0, float64(last-leastDecade+2), 0, 1)
	zero := uint64(v.apart.counts[0])
	before := v.apart.n
	draw := func(at int, label string, steps uint64) {
		share := float64(steps) / n
		class := "bar"
		if at == 0 {
			class = "zero"
		}
		p.bar(class, float64(at), share, fmt.Sprintf("%s: %s steps, %.3g %%", label, count(steps), 100*share))
		fmt.Fprintf(&p.b, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`, p.x(float64(at)+0.5), p.bottom+14, label)
	}
	draw(0, "0", zero)
	before -= zero
	for d := leastDecade; d <= last; d++ {
		above := v.apart.above(float32(math.Pow(10, float64(d))))
		draw(d-leastDecade+1, "≤1e"+strconv.Itoa(d), before-above)
		before = above
	}
	p.yTicks()
	p.labels("|new − base|", "share of steps")
	return p.end()
}

// timeline draws the difference along the log.
func (m *measures) timeline(i int) string {
	s := &m.series
	v := &m.values[i]
	var xs, mean, most []float64
	at := uint64(0)
	for b, n := range s.count {
		c := s.bins[b*s.width+i]
		xs = append(xs, float64(at)+float64(n)/2)
		mean = append(mean, c.sum/float64(n))
		most = append(most, c.max)
		at += n
	}
	_, high := bounds(mean, most)
	if v.discrete {
		_, high = bounds(mean)
	}
	if high == 0 {
		high = 1
	}
	p := newPlot(v.name+": the difference along the log", 900, 200, 0, max(1, float64(at)), 0, high)
	if !v.discrete {
		p.line("most", xs, most)
	}
	p.line("mean", xs, mean)
	p.ticks("compared steps", map[bool]string{false: "|new − base|", true: "share that disagree"}[v.discrete])
	return p.end()
}
