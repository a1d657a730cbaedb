package replay

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Text writes the report for people. What names in it come from the log may hold
// any characters: making them safe to print is the caller's.
func (r *Report) Text(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "new      %s\nagainst  %s\n", r.New.text(), r.base())
	if r.From != "" {
		fmt.Fprintf(b, "from     %s\n", r.From)
	}
	if r.Compares == "raw" {
		b.WriteString("numbers  of the actions before their envelopes\n")
	}
	b.WriteByte('\n')
	r.writeCounts(b)
	r.writeValues(b)
	r.writeWorst(b)
	r.writeGate(b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Side) text() string {
	parts := []string{s.Path}
	if name := strings.TrimSpace(s.Model + " " + s.Version); name != "" {
		parts = append(parts, name)
	}
	if s.Digest != "" {
		parts = append(parts, short(s.Digest))
	}
	return strings.Join(parts, "  ")
}

// short cuts a digest to what people compare.
func short(digest string) string { return digest[:min(len(digest), 12)] }

// base names what New is compared with.
func (r *Report) base() string {
	if r.Against != nil {
		return r.Against.text()
	}
	return "the recorded actions"
}

func (r *Report) writeCounts(b *strings.Builder) {
	fmt.Fprintf(b, "%s steps read, %s compared, %s of them different\n", count(r.Steps.Read), count(r.Steps.Compared), count(r.Steps.Different))
	for _, v := range r.Recorded {
		fmt.Fprintf(b, "  %12s  recorded of %s %s %s\n", count(v.Steps), v.Model, v.Version, short(v.Digest))
	}
	for _, l := range r.LeftOut {
		fmt.Fprintf(b, "  %12s  left out: %s (first: %s)\n", count(l.Steps), l.Text, l.First)
	}
	for _, f := range r.RefusedBase {
		fmt.Fprintf(b, "  %12s  refused by the version that is compared with: %s (first: %s)\n", count(f.Steps), f.Text, f.First)
	}
	for _, f := range r.RefusedNew {
		fmt.Fprintf(b, "  %12s  refused by the new version: %s (first: %s)\n", count(f.Steps), f.Text, f.First)
	}
	if r.Steps.Lost > 0 {
		fmt.Fprintf(b, "  %12s  lost when they were recorded\n", count(r.Steps.Lost))
	}
	if r.Steps.Forgotten > 0 {
		fmt.Fprintf(b, "  %12s  streams forgotten, because more were under way than --max-streams\n", count(r.Steps.Forgotten))
	}
}

func (r *Report) writeValues(b *strings.Builder) {
	if r.Steps.Compared == 0 {
		return
	}
	b.WriteByte('\n')
	numbers := slices.ContainsFunc(r.Actions, func(v Value) bool { return !v.Discrete })
	choices := slices.ContainsFunc(r.Actions, func(v Value) bool { return v.Discrete })
	if numbers {
		t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "|new - base|\tmean\tp50\tp90\tp99\tp99.9\tmax\tbias\tsign flips\tsaturated\tenvelope\t")
		for i := range r.Actions {
			v := &r.Actions[i]
			if v.Discrete {
				continue
			}
			q := &v.Quantiles
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", v.Name, number(v.Mean), number(q.P50), number(q.P90), number(q.P99), number(q.P999),
				number(v.Max), number(v.Bias), count(v.SignFlips), v.Saturated.text(), v.Interventions.text())
		}
		t.Flush() // A strings.Builder takes all.
	}
	if choices {
		t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "choice\tdisagree\tshare\tenvelope\t")
		for i := range r.Actions {
			if v := &r.Actions[i]; v.Discrete {
				fmt.Fprintf(t, "%s\t%s\t%.3g %%\t%s\t\n", v.Name, count(v.Disagree), 100*float64(v.Disagree)/max(1, float64(v.Steps)), v.Interventions.text())
			}
		}
		t.Flush()
	}
}

func (p Pair) text() string { return count(p.Base) + " -> " + count(p.New) }

// worstShown is how many numbers of an observation are printed on a line.
const worstShown = 16

func (r *Report) writeWorst(b *strings.Builder) {
	if len(r.Worst) == 0 {
		return
	}
	b.WriteString("\nworst steps\n")
	for i := range r.Worst {
		s := &r.Worst[i]
		fmt.Fprintf(b, "  %d. %s of %s by %s\n", i+1, s.StepID, s.Version, s.Value)
		where := "request " + s.RequestID
		if s.Row > 0 {
			where += fmt.Sprintf(" row %d", s.Row)
		}
		if s.Session != "" {
			where += fmt.Sprintf(", session %s episode %d step %d", s.Session, s.Episode, s.SessionStep)
		}
		fmt.Fprintf(b, "     %s\n     base %s\n     new  %s\n     saw  %s\n", where, row32(s.Base), row32(s.New), row32(s.Observation))
	}
}

func (r *Report) writeGate(b *strings.Builder) {
	if len(r.Gate.Checks) == 0 {
		return
	}
	b.WriteString("\nthresholds\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, c := range r.Gate.Checks {
		word := "ok"
		if !c.Passed {
			word = "FAILED"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\tallowed %s\n", word, c.Name, c.Action, number(c.Got), c.allowed())
	}
	t.Flush()
}

// allowed says what a check lets through.
func (c *Check) allowed() string {
	if c.Name == minSteps {
		return "≥ " + number(c.Limit)
	}
	return "≤ " + number(c.Limit)
}

// row32 writes numbers on one line, the first of them where they are many.
func row32(x []float32) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, v := range x {
		if i == worstShown {
			fmt.Fprintf(&b, " and %d more", len(x)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.FormatFloat(float64(v), 'g', -1, 32))
	}
	return b.String() + "]"
}

// number writes a measure with three digits.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	if v >= 1000 && v < 1e15 && v == float64(int64(v)) {
		return count(uint64(v))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// count writes a number with its thousands apart.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
