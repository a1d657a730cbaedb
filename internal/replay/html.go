package replay

import (
	"fmt"
	"html"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// style is that of the page. Colours differ in lightness as well as in hue.
const style = `:root{color-scheme:light dark;--fg:#1b1f24;--dim:#57606a;--bg:#fff;--card:#f6f8fa;--line:#d0d7de;--a:#0b5cad;--b:#b35900;--bad:#b3261e;--good:#1a7f37}
@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--dim:#9aa4af;--bg:#0d1117;--card:#161b22;--line:#30363d;--a:#6cb6ff;--b:#f0a868;--bad:#ff8077;--good:#56d364}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1.5rem;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.2rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:1.2rem 0 .3rem}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child,.text td,.text th{text-align:left}.text td{white-space:normal;overflow-wrap:anywhere}caption{text-align:left;color:var(--dim);padding:.25rem 0}
.dim{color:var(--dim)}.verdict{display:inline-block;padding:.15rem .7rem;border:2px solid;border-radius:1rem;font-weight:600}.bad{color:var(--bad)}.good{color:var(--good)}
.plots{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}figure{margin:0;min-width:0;background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem;flex:1 1 24rem}.long{flex-basis:100%}
figcaption{color:var(--dim);font-size:.85rem}svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font:10px system-ui,sans-serif}
.frame{fill:none;stroke:var(--line)}.tick{stroke:var(--dim)}.same{stroke:var(--dim);stroke-dasharray:4 3;fill:none}.dots{stroke:var(--a);stroke-width:3;stroke-linecap:round;opacity:.55;fill:none}
.mean{stroke:var(--a);fill:none;stroke-width:1.5}.most{stroke:var(--b);fill:none;opacity:.8}.bar{fill:var(--a)}.zero{fill:var(--dim)}
.key::before{content:"";display:inline-block;width:1.2em;height:.25em;margin:0 .4em .2em 0;background:currentColor}.ka{color:var(--a)}.kb{color:var(--b)}
details{border:1px solid var(--line);border-radius:.5rem;padding:.4rem .8rem;margin:.4rem 0;background:var(--card)}summary{cursor:pointer}code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
@media print{details{break-inside:avoid}}`

// page is HTML that is written; the first error of the writer stays.
type page struct {
	w   io.Writer
	err error
}

func (p *page) raw(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// put writes a format whose strings are texts, not HTML.
func (p *page) put(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = html.EscapeString(s)
		}
	}
	p.raw(fmt.Sprintf(format, args...))
}

// WriteHTML writes the report as one page, which loads nothing and runs nothing.
// It needs a report that Run made.
func (r *Report) WriteHTML(w io.Writer) error {
	p := &page{w: w}
	p.raw(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width,initial-scale=1"/>` +
		`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"/><link rel="icon" href="data:,"/>`)
	p.put(`<title>Replay of %s</title><style>`, r.New.Path)
	p.raw(style + `</style></head><body><main>`)
	r.head(p)
	r.gateTable(p)
	r.valueTable(p)
	for i := range r.Actions {
		r.valuePlots(p, i)
	}
	r.worstSteps(p)
	r.countTable(p)
	p.put(`<p class="dim">Each version saw what the recorded one brought about. Quantiles are at most 1/128 too large. The replay took %s.</p></main></body></html>`, fmt.Sprintf("%.2f s", r.Took.Seconds()))
	p.raw("\n")
	return p.err
}

func (r *Report) head(p *page) {
	verdict, class := "every threshold holds", "good"
	if !r.Gate.Passed {
		verdict, class = "a threshold does not hold", "bad"
	}
	p.raw(`<h1>Replay</h1>`)
	if len(r.Gate.Checks) > 0 {
		p.put(`<p><span class="verdict %s">%s</span></p>`, class, verdict)
	}
	p.raw(`<table class="text"><caption>What was compared</caption><tbody>`)
	p.put(`<tr><th scope="row">new</th><td><code>%s</code></td></tr>`, r.New.text())
	p.put(`<tr><th scope="row">base</th><td><code>%s</code></td></tr>`, r.base())
	if r.From != "" {
		p.put(`<tr><th scope="row">log</th><td><code>%s</code></td></tr>`, r.From)
	}
	if r.Compares == "raw" {
		p.raw(`<tr><th scope="row">numbers</th><td>of the actions before their envelopes</td></tr>`)
	}
	p.put(`<tr><th scope="row">steps</th><td>%s read, %s compared, %s of them different</td></tr></tbody></table>`, count(r.Steps.Read), count(r.Steps.Compared), count(r.Steps.Different))
}

func (r *Report) gateTable(p *page) {
	if len(r.Gate.Checks) == 0 {
		return
	}
	p.raw(`<h2>Thresholds</h2>` + wide + `<table><thead><tr><th scope="col">threshold</th><th scope="col">action</th><th scope="col">found</th><th scope="col">allowed</th><th scope="col">verdict</th></tr></thead><tbody>`)
	for _, c := range r.Gate.Checks {
		word, class := "holds", "good"
		if !c.Passed {
			word, class = "does not hold", "bad"
		}
		p.put(`<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td class="%s">%s</td></tr>`, c.Name, c.Action, number(c.Got), c.allowed(), class, word)
	}
	p.raw(`</tbody></table></div>`)
}

func (r *Report) valueTable(p *page) {
	p.raw(`<h2>Actions</h2>`)
	r.valueTableOf(p, false, []string{"action", "different", "mean", "p50", "p90", "p99", "p99.9", "max", "bias", "sign flips", "saturated", "envelope"}, func(v *Value) []string {
		q := &v.Quantiles
		return []string{count(v.Different), number(v.Mean), number(q.P50), number(q.P90), number(q.P99), number(q.P999), number(v.Max), number(v.Bias),
			count(v.SignFlips), v.Saturated.arrow(), v.Interventions.arrow()}
	})
	r.valueTableOf(p, true, []string{"choice", "disagree", "share", "envelope"}, func(v *Value) []string {
		return []string{count(v.Disagree), fmt.Sprintf("%.3g %%", 100*float64(v.Disagree)/max(1, float64(v.Steps))), v.Interventions.arrow()}
	})
}

// valueTableOf writes the table of numbers, or that of choices, where there are
// any.
func (r *Report) valueTableOf(p *page, discrete bool, columns []string, cells func(*Value) []string) {
	if !slices.ContainsFunc(r.Actions, func(v Value) bool { return v.Discrete == discrete }) {
		return
	}
	caption := "|new − base| in the unit of the action; counts are of steps, base → new"
	if discrete {
		caption = "Choices; counts are of steps, base → new"
	}
	p.put(wide+`<table><caption>%s</caption><thead><tr>`, caption)
	for _, name := range columns {
		p.put(`<th scope="col">%s</th>`, name)
	}
	p.raw(`</tr></thead><tbody>`)
	for i := range r.Actions {
		v := &r.Actions[i]
		if v.Discrete != discrete {
			continue
		}
		p.put(`<tr><th scope="row">%s</th>`, v.Name)
		for _, c := range cells(v) {
			p.put(`<td>%s</td>`, c)
		}
		p.raw(`</tr>`)
	}
	p.raw(`</tbody></table></div>`)
}

// wide begins what is scrolled sideways on a small screen, by keyboard too.
const wide = `<div class="wide" tabindex="0">`

func (p Pair) arrow() string { return count(p.Base) + " → " + count(p.New) }

// valuePlots draws one value of the action.
func (r *Report) valuePlots(p *page, i int) {
	if r.measures == nil || r.Steps.Compared == 0 {
		return
	}
	v, m := &r.Actions[i], r.measures
	p.put(`<h2>%s</h2>`, v.Name)
	p.raw(`<div class="plots">`)
	figure := func(class, svg, caption string) {
		p.raw(`<figure class="` + class + `">` + svg + "<figcaption>" + caption + "</figcaption></figure>")
	}
	along := `<span class="key ka">mean</span>`
	if v.Discrete {
		r.choices(p, v)
	} else {
		figure("", m.scatter(i), fmt.Sprintf("One dot a step, %s steps evenly from the log; on the dashed line both do the same.", count(uint64(m.samples.n))))
		figure("", m.magnitudes(i), "All steps. The first bar is of those that agree exactly.")
		along += ` <span class="key kb">largest</span>`
	}
	figure("long", m.timeline(i), along+fmt.Sprintf(" of every %s steps in the order of the log.", count(uint64(m.series.steps))))
	p.raw(`</div>`)
	if len(v.Kinds) > 0 {
		p.put(`<p class="dim">The envelope changed: %s.</p>`, v.kinds())
	}
}

func (v *Value) kinds() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(v.Kinds)) {
		parts = append(parts, kind+" "+v.Kinds[kind].arrow())
	}
	return strings.Join(parts, ", ")
}

// maxMatrix is the most choices of which a matrix is drawn; of more the most
// frequent pairs are listed.
const maxMatrix = 16

// choices shows how often one choice was taken for another.
func (r *Report) choices(p *page, v *Value) {
	most := float32(0)
	counts := map[[2]int]uint64{}
	for _, c := range v.Choices {
		most = max(most, c.Base, c.New)
		counts[[2]int{int(c.Base), int(c.New)}] += c.Steps
	}
	if most >= maxMatrix {
		p.raw(`<table><caption>Most frequent pairs that disagree</caption><thead><tr><th scope="col">base</th><th scope="col">new</th><th scope="col">steps</th></tr></thead><tbody>`)
		shown := 0
		for _, c := range v.Choices {
			if c.Base != c.New && shown < maxMatrix {
				shown++
				p.put(`<tr><td>%g</td><td>%g</td><td>%s</td></tr>`, c.Base, c.New, count(c.Steps))
			}
		}
		p.raw(`</tbody></table>`)
		return
	}
	p.raw(wide + `<table><caption>Steps by choice: rows are of the base, columns of the new version</caption><thead><tr><th scope="col">base ＼ new</th>`)
	for j := range int(most) + 1 {
		p.put(`<th scope="col">%s</th>`, strconv.Itoa(j))
	}
	p.raw(`</tr></thead><tbody>`)
	for i := range int(most) + 1 {
		p.put(`<tr><th scope="row">%s</th>`, strconv.Itoa(i))
		for j := range int(most) + 1 {
			class := ""
			if n := counts[[2]int{i, j}]; i != j && n > 0 {
				class = "bad"
			}
			p.put(`<td class="%s">%s</td>`, class, count(counts[[2]int{i, j}]))
		}
		p.raw(`</tr>`)
	}
	p.raw(`</tbody></table></div>`)
}

func (r *Report) worstSteps(p *page) {
	if len(r.Worst) == 0 {
		return
	}
	p.raw(`<h2>Worst steps</h2>`)
	for i := range r.Worst {
		s := &r.Worst[i]
		p.raw(`<details>`)
		p.put(`<summary>%s of %s, by %s</summary><table class="text"><tbody>`, s.StepID.String(), s.Version, s.Value)
		cells := [][2]string{{"request", s.RequestID + " row " + strconv.Itoa(s.Row)}}
		if s.Session != "" {
			cells = append(cells, [2]string{"session", fmt.Sprintf("%s, episode %d, step %d", s.Session, s.Episode, s.SessionStep)})
		}
		for j := range r.Actions {
			cells = append(cells, [2]string{r.Actions[j].Name, fmt.Sprintf("%v → %v", s.Base[j], s.New[j])})
		}
		for _, f := range r.observed(s.Observation) {
			cells = append(cells, [2]string{"saw " + f[0], f[1]})
		}
		for _, c := range cells {
			p.put(`<tr><th scope="row">%s</th><td><code>%s</code></td></tr>`, c[0], c[1])
		}
		p.raw(`</tbody></table></details>`)
	}
}

// observed names the parts of an observation.
func (r *Report) observed(obs []float32) [][2]string {
	var out [][2]string
	for i := range r.features {
		f := &r.features[i]
		from := r.bases[f.Input] + f.Offset
		if from+f.Size > len(obs) {
			break
		}
		out = append(out, [2]string{f.Name, row32(obs[from : from+f.Size])})
	}
	if out == nil {
		out = append(out, [2]string{"", row32(obs)})
	}
	return out
}

func (r *Report) countTable(p *page) {
	p.raw(`<h2>Steps</h2><table class="text"><tbody>`)
	line := func(n uint64, text string) {
		p.put(`<tr><td>%s</td><td>%s</td></tr>`, count(n), text)
	}
	for _, v := range r.Recorded {
		line(v.Steps, fmt.Sprintf("recorded of %s %s %s", v.Model, v.Version, short(v.Digest)))
	}
	for _, l := range r.LeftOut {
		line(l.Steps, fmt.Sprintf("left out: %s (first: %s)", l.Text, l.First))
	}
	for _, f := range r.RefusedBase {
		line(f.Steps, fmt.Sprintf("refused by the base: %s (first: %s)", f.Text, f.First))
	}
	for _, f := range r.RefusedNew {
		line(f.Steps, fmt.Sprintf("refused by the new version: %s (first: %s)", f.Text, f.First))
	}
	if r.Steps.Lost > 0 {
		line(r.Steps.Lost, "lost when they were recorded")
	}
	if r.Steps.Forgotten > 0 {
		line(r.Steps.Forgotten, "streams forgotten, because too many were under way")
	}
	p.raw(`</tbody></table>`)
}
