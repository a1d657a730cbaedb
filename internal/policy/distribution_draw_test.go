package policy

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// splitter is a network that gives parts of its observation as outputs, in their
// order: a test says the parameters by the observation.
func splitter(t *testing.T, outputs ...string) func(widths ...int) *network {
	return func(widths ...int) *network {
		t.Helper()
		g := graph.New("split")
		x := g.Input("obs", graph.Float32, graph.Shape{graph.Batch, sum(widths)})
		at := 0
		for i, name := range outputs {
			y, err := g.Add(graph.OpSlice, graph.Attrs{"axis": 1, "start": at, "end": at + widths[i]}, x)
			if err != nil {
				t.Fatal(err)
			}
			at += widths[i]
			g.Output(name, y)
		}
		return fixed(g)
	}
}

// drawnFrom composes a network with a distribution.
func drawnFrom(t *testing.T, n *network, d artifact.Distribution) (*Policy, error) {
	t.Helper()
	card := &artifact.Card{ModelName: "drawn", Postprocess: "none", Distribution: &d}
	drawn, err := withDistribution(n, card)
	if err != nil {
		return nil, err
	}
	p, err := compose(&sources{card: card, network: drawn}, Options{})
	if err != nil {
		return nil, err
	}
	r, err := p.newRunner()
	if err != nil {
		return nil, err
	}
	p.runners = append(p.runners, r)
	return p, nil
}

const drawCount = 100_000

// draw returns the extras of n draws by name, "action" among them, a list of
// rows each, all of one observation.
func draw(t *testing.T, p *Policy, obs []float32, n, batch int) map[string][]float32 {
	t.Helper()
	c := p.Contract()
	all := map[string][]float32{}
	for first := 0; first < n; first += batch {
		rows := min(batch, n-first)
		call := p.newCall(rows)
		call.Deterministic, call.Seed, call.Step, call.Row = false, 20, 3, uint64(first)
		copy(call.In[0], slices.Repeat(obs, rows))
		for _, e := range c.Extras {
			call.Extras = append(call.Extras, make([]float32, rows*e.Width))
		}
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
		all["action"] = append(all["action"], call.Actions...)
		for i, e := range c.Extras {
			all[e.Name] = append(all[e.Name], call.Extras[i]...)
		}
	}
	return all
}

// column returns every width-th value from the first.
func column(x []float32, first, width int) []float64 {
	var out []float64
	for i := first; i < len(x); i += width {
		out = append(out, float64(x[i]))
	}
	return out
}

// follows holds draws to a cumulative distribution by Kolmogorov and Smirnov:
// 2.7/sqrt(n) is passed by chance once in a million times.
func follows(t *testing.T, name string, x []float64, cdf func(x float64) float64) {
	t.Helper()
	x = slices.Sorted(slices.Values(x))
	n, worst := float64(len(x)), 0.0
	for i, v := range x {
		worst = max(worst, math.Abs(cdf(v)-float64(i)/n), math.Abs(cdf(v)-float64(i+1)/n))
	}
	if worst > 2.7/math.Sqrt(n) {
		t.Errorf("%s: the distribution of %d draws is off by %v", name, len(x), worst)
	}
}

// independent holds two columns of draws to a correlation of 0, to within five
// standard errors.
func independent(t *testing.T, name string, x, y []float64) {
	t.Helper()
	var sx, sy, xx, yy, xy float64
	n := float64(len(x))
	for i := range x {
		sx, sy = sx+x[i], sy+y[i]
	}
	for i := range x {
		dx, dy := x[i]-sx/n, y[i]-sy/n
		xx, yy, xy = xx+dx*dx, yy+dy*dy, xy+dx*dy
	}
	if r := xy / math.Sqrt(xx*yy); math.Abs(r) > 5/math.Sqrt(n) {
		t.Errorf("%s: a correlation of %v", name, r)
	}
}

// fits holds counts to probabilities by the chi-square test. Its statistic is
// above k + 5·sqrt(2k) + 12, k categories less one, by chance less than once in
// a million times.
func fits(t *testing.T, name string, x []float64, probabilities []float64) {
	t.Helper()
	counts := make([]float64, len(probabilities))
	for _, v := range x {
		counts[int(v)]++
	}
	chi, n := 0.0, float64(len(x))
	for i, p := range probabilities {
		chi += (counts[i] - n*p) * (counts[i] - n*p) / (n * p)
	}
	if k := float64(len(probabilities) - 1); chi > k+5*math.Sqrt(2*k)+12 {
		t.Errorf("%s: drawn %v of %v times, wanted the probabilities %v (chi-square %v)", name, counts, n, probabilities, chi)
	}
}

func normalCDF(mean, std float64) func(float64) float64 {
	return func(x float64) float64 { return 0.5 * math.Erfc(-(x-mean)/(std*math.Sqrt2)) }
}

// Every kind draws what it says, of 100,000 rows with a fixed seed.
func TestDistributionsOfDraws(t *testing.T) {
	must := func(n *network, d artifact.Distribution) *Policy {
		t.Helper()
		p, err := drawnFrom(t, n, d)
		if err != nil {
			t.Fatal(err)
		}
		if p.Contract().Distribution != d.Kind || !p.Contract().Stochastic {
			t.Errorf("%s: the contract says %q, stochastic %v", d.Kind, p.Contract().Distribution, p.Contract().Stochastic)
		}
		return p
	}
	t.Run("gaussian", func(t *testing.T) {
		p := must(splitter(t, "mean", "log_std")(2, 2), artifact.Distribution{Kind: "gaussian"})
		x := draw(t, p, []float32{1, -2, 0.5, -1}, drawCount, 1000)["action"]
		a, b := column(x, 0, 2), column(x, 1, 2)
		follows(t, "first", a, normalCDF(1, math.Exp(0.5)))
		follows(t, "second", b, normalCDF(-2, math.Exp(-1)))
		independent(t, "both", a, b)
		independent(t, "neighbours", a[1:], a[:len(a)-1])
	})
	t.Run("squashed", func(t *testing.T) {
		p := must(splitter(t, "mean", "std")(2, 2), artifact.Distribution{Kind: "squashed_gaussian"})
		x := draw(t, p, []float32{0.3, -1, 0.5, 1}, drawCount, 1000)["action"]
		before := func(mean, std float64) func(float64) float64 {
			return func(y float64) float64 { return normalCDF(mean, std)(math.Atanh(y)) }
		}
		follows(t, "first", column(x, 0, 2), before(0.3, 0.5))
		follows(t, "second", column(x, 1, 2), before(-1, 1))
		independent(t, "both", column(x, 0, 2), column(x, 1, 2))
	})
	t.Run("categorical", func(t *testing.T) {
		p := must(splitter(t, "logits")(4), artifact.Distribution{Kind: "categorical"})
		q := []float64{0.1, 0.2, 0.3, 0.4}
		var obs []float32
		for _, v := range q {
			obs = append(obs, float32(math.Log(v))+3)
		}
		fits(t, "choice", column(draw(t, p, obs, drawCount, 1000)["action"], 0, 1), q)
	})
	t.Run("multi_categorical", func(t *testing.T) {
		p := must(splitter(t, "logits")(5), artifact.Distribution{Kind: "multi_categorical", Sizes: []int{2, 3}})
		ln := func(v float64) float32 { return float32(math.Log(v)) }
		x := draw(t, p, []float32{ln(0.7), ln(0.3), ln(0.2), ln(0.3), ln(0.5)}, drawCount, 1000)["action"]
		fits(t, "first", column(x, 0, 2), []float64{0.7, 0.3})
		fits(t, "second", column(x, 1, 2), []float64{0.2, 0.3, 0.5})
		var both []float64
		for i := 0; i < len(x); i += 2 {
			both = append(both, float64(3*x[i]+x[i+1]))
		}
		fits(t, "both", both, []float64{0.14, 0.21, 0.35, 0.06, 0.09, 0.15})
	})
	t.Run("bernoulli", func(t *testing.T) {
		p := must(splitter(t, "probs")(2), artifact.Distribution{Kind: "bernoulli"})
		x := draw(t, p, []float32{0.9, 0.25}, drawCount, 1000)["action"]
		fits(t, "first", column(x, 0, 2), []float64{0.1, 0.9})
		fits(t, "second", column(x, 1, 2), []float64{0.75, 0.25})
		independent(t, "both", column(x, 0, 2), column(x, 1, 2))
	})
	t.Run("beta", func(t *testing.T) {
		p := must(splitter(t, "alpha", "beta")(3, 3), artifact.Distribution{Kind: "beta", Low: []float64{-1, 0, 0}, High: []float64{1, 2, 1}})
		x := draw(t, p, []float32{2, 0.5, 3, 2, 0.5, 1}, drawCount, 1000)["action"]
		follows(t, "first", column(x, 0, 3), func(y float64) float64 { u := (y + 1) / 2; return u * u * (3 - 2*u) })
		follows(t, "second", column(x, 1, 3), func(y float64) float64 { return 2 / math.Pi * math.Asin(math.Sqrt(y/2)) })
		follows(t, "third", column(x, 2, 3), func(u float64) float64 { return u * u * u })
		independent(t, "both", column(x, 0, 3), column(x, 1, 3))
	})
	t.Run("gsde", func(t *testing.T) {
		n, rows, _ := agent(t, "sac_gsde_linear")
		p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "agent"}, network: n})
		var obs []float32
		for _, v := range rows[0].([]any) {
			obs = append(obs, float32(v.(float64)))
		}
		x := draw(t, p, obs, drawCount, 1000)
		width := p.Contract().ActionWidth()
		for i := range width {
			mean, std := float64(x["distribution.mean"][i]), float64(x["distribution.std"][i])
			follows(t, fmt.Sprint("action ", i), column(x["raw_action"], i, width), func(y float64) float64 { return normalCDF(mean, std)(math.Atanh(y)) })
		}
		independent(t, "both", column(x["raw_action"], 0, width), column(x["raw_action"], 1, width))
	})
}

// A row is drawn the same alone and in batches of any size, by another runner of
// another policy that was opened anew.
func TestDrawsDoNotDependOnTheBatch(t *testing.T) {
	for _, c := range []struct {
		d       artifact.Distribution
		outputs []string
		obs     []float32
	}{
		{artifact.Distribution{Kind: "gaussian"}, []string{"mean", "std"}, []float32{1, 2}},
		{artifact.Distribution{Kind: "squashed_gaussian"}, []string{"mean", "std"}, []float32{1, 2}},
		{artifact.Distribution{Kind: "categorical"}, []string{"logits", "value"}, []float32{1, 2}},
		{artifact.Distribution{Kind: "bernoulli"}, []string{"logits", "value"}, []float32{1, 2}},
		{artifact.Distribution{Kind: "beta", Low: []float64{0}, High: []float64{1}}, []string{"alpha", "beta"}, []float32{1, 2}},
	} {
		var want map[string][]float32
		for _, batch := range []int{1, 7, 1000} {
			p, err := drawnFrom(t, splitter(t, c.outputs...)(1, 1), c.d)
			if err != nil {
				t.Fatal(err)
			}
			got := draw(t, p, c.obs, 1000, batch)
			if want == nil {
				want = got
			}
			for name, x := range want {
				if !slices.Equal(x, got[name]) {
					t.Errorf("%s: %s differs in batches of %d", c.d.Kind, name, batch)
				}
			}
		}
	}
}
