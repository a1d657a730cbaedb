package policy

import (
	"math"
	"os"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The mean, the mode and the extras of each kind, by their formulas.
func TestDistributionFormulas(t *testing.T) {
	f := func(d artifact.Distribution, outputs []string, widths []int, obs []float32, want map[string]float64, of func(x map[string][]float32) map[string]float64) {
		t.Helper()
		p, err := drawnFrom(t, splitter(t, outputs...)(widths...), d)
		if err != nil {
			t.Fatal(err)
		}
		call := p.newCall(1)
		copy(call.In[0], obs)
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
		if w, ok := want["deterministic"]; ok && math.Abs(float64(call.Actions[0])-w) > 1e-6 {
			t.Errorf("%s: deterministic %v, want %v", d.Kind, call.Actions[0], w)
		}
		x := draw(t, p, obs, 20, 20)
		for i := range 20 {
			row := map[string][]float32{}
			for name, v := range x {
				w := len(v) / 20
				row[name] = v[i*w:][:w]
			}
			for name, w := range of(row) {
				if g, ok := row[name]; !ok || math.Abs(float64(g[0])-w) > 2e-5*(1+math.Abs(w)) {
					t.Errorf("%s: %s is %v, want %v, of action %v", d.Kind, name, g, w, row["action"])
				}
			}
		}
		for name, w := range want {
			if g, ok := x[name]; name != "deterministic" && (!ok || math.Abs(float64(g[0])-w) > 2e-5*(1+math.Abs(w))) {
				t.Errorf("%s: %s is %v, want %v", d.Kind, name, g, w)
			}
		}
	}
	half := 0.5 * math.Log(2*math.Pi)
	logProb := func(x, mean, std float64) float64 {
		return -(x-mean)*(x-mean)/(2*std*std) - math.Log(std) - half
	}
	f(artifact.Distribution{Kind: "gaussian"}, []string{"mean", "std"}, []int{1, 1}, []float32{2, 3},
		map[string]float64{"deterministic": 2, "distribution.mean": 2, "distribution.std": 3, "entropy": 0.5 + half + math.Log(3)},
		func(x map[string][]float32) map[string]float64 {
			return map[string]float64{"log_prob": logProb(float64(x["action"][0]), 2, 3)}
		})
	f(artifact.Distribution{Kind: "squashed_gaussian", Params: map[string]artifact.ParamSource{"scale": {Constant: []float64{2}}, "shift": {Constant: []float64{-1}}}},
		[]string{"mean", "std"}, []int{1, 1}, []float32{0.5, 0.25}, map[string]float64{"deterministic": 2*math.Tanh(0.5) - 1},
		func(x map[string][]float32) map[string]float64 {
			y := (float64(x["action"][0]) + 1) / 2
			return map[string]float64{"log_prob": logProb(math.Atanh(y), 0.5, 0.25) - math.Log(2*(1-y*y)+1e-6)}
		})
	f(artifact.Distribution{Kind: "categorical"}, []string{"probs"}, []int{3}, []float32{0.2, 0.5, 0.3},
		map[string]float64{"deterministic": 1, "distribution.logits": math.Log(0.2), "distribution.probs": 0.2, "entropy": -0.2*math.Log(0.2) - 0.5*math.Log(0.5) - 0.3*math.Log(0.3)},
		func(x map[string][]float32) map[string]float64 {
			return map[string]float64{"log_prob": math.Log([]float64{0.2, 0.5, 0.3}[int(x["action"][0])])}
		})
	f(artifact.Distribution{Kind: "bernoulli"}, []string{"logits"}, []int{1}, []float32{1.5},
		map[string]float64{"deterministic": 1, "distribution.probs": 1 / (1 + math.Exp(-1.5))},
		func(x map[string][]float32) map[string]float64 {
			q := 1 / (1 + math.Exp(-1.5))
			w := map[string]float64{"log_prob": math.Log(q), "entropy": -q*math.Log(q) - (1-q)*math.Log(1-q)}
			if x["action"][0] == 0 {
				w["log_prob"] = math.Log(1 - q)
			}
			return w
		})
	lgamma := func(x float64) float64 { v, _ := math.Lgamma(x); return v }
	digamma := func(x float64) float64 { return (lgamma(x+1e-5) - lgamma(x-1e-5)) / 2e-5 }
	for _, c := range []struct{ a, b, mode float64 }{{2.5, 1.5, 0.75}, {0.4, 0.7, 0.4 / 1.1}, {30, 60, 29.0 / 88}, {1, 1, 0.5}, {3, 0.5, 1}} {
		logB := lgamma(c.a) + lgamma(c.b) - lgamma(c.a+c.b)
		s := c.a + c.b
		entropy := logB - (c.a-1)*digamma(c.a) - (c.b-1)*digamma(c.b) + (s-2)*digamma(s)
		d := artifact.Distribution{Kind: "beta", Low: []float64{-1}, High: []float64{3}}
		of := func(x map[string][]float32) map[string]float64 {
			y := (float64(x["action"][0]) + 1) / 4
			return map[string]float64{"log_prob": (c.a-1)*math.Log(y) + (c.b-1)*math.Log1p(-y) - logB - math.Log(4)}
		}
		if c.b < 1 { // An action at its bound has lost the digits of its distance from it.
			of = func(map[string][]float32) map[string]float64 { return nil }
		}
		want := map[string]float64{"deterministic": 4*c.a/s - 1, "distribution.mean": 4*c.a/s - 1, "distribution.std": 4 * math.Sqrt(c.a*c.b/(s*s*(s+1))),
			"distribution.alpha": c.a, "distribution.beta": c.b, "entropy": entropy + math.Log(4)}
		f(d, []string{"alpha", "beta"}, []int{1, 1}, []float32{float32(c.a), float32(c.b)}, want, of)
		d.Deterministic = "mode"
		want["deterministic"] = 4*c.mode - 1
		f(d, []string{"alpha", "beta"}, []int{1, 1}, []float32{float32(c.a), float32(c.b)}, want, of)
	}
}

// Where parameters are found without a word of the card, and with one.
func TestDistributionFindsItsParameters(t *testing.T) {
	f := func(text string, outputs []string, widths []int, note string) {
		t.Helper()
		card, _, err := artifact.ParseCard([]byte("model_name: m\nversion: v0.0.1\nmodel_type: x\ndistribution: " + text + "\n"))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		p, err := drawnFrom(t, splitter(t, outputs...)(widths...), *card.Distribution)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got := strings.Join(p.Notes(), "\n"); !strings.Contains(got, note) {
			t.Errorf("%s: the notes lack %q:\n%s", text, note, got)
		}
	}
	f("gaussian", []string{"mu", "sigma"}, []int{2, 2}, "mean from the output mu and std from the output sigma")
	f("gaussian", []string{"action", "log_std", "value"}, []int{2, 1, 1}, "log_std from the output log_std and mean from the output action")
	f("{kind: gaussian, log_std: [0.1, -0.2]}", []string{"out"}, []int{2}, "log_std [0.1 -0.2] and mean from the output out")
	f("{kind: gaussian, std: 0.3}", []string{"out", "value"}, []int{2, 1}, "std [0.3] and mean from the output out")
	f("{kind: gaussian, mean: {output: 1}, log_std: {output: out0, min: -5, max: 2}}", []string{"out0", "out1"}, []int{2, 2}, "mean from the output out1 and log_std from the output out0")
	f("{kind: gaussian, mean: {output: 0, end: 2}, std: {output: 0, start: 2, transform: softplus}}", []string{"out"}, []int{4}, "mean from the output out and std from the output out")
	f("categorical", []string{"out"}, []int{3}, "logits from the output out")
	f("categorical", []string{"value", "pi"}, []int{1, 3}, "logits from the output pi")
	f("multi_categorical", []string{"gear", "lane"}, []int{3, 2}, "logits from the output gear and logits from the output lane")
	f("{kind: multi_categorical, logits: [lane, gear]}", []string{"gear", "lane"}, []int{3, 2}, "logits from the output lane and logits from the output gear")
	f("{kind: multi_categorical, sizes: [2, 2]}", []string{"out"}, []int{4}, "logits from the output out")
	f("bernoulli", []string{"probs"}, []int{3}, "probs from the output probs")
	f("{kind: beta, low: 0, high: 1}", []string{"out0", "out1"}, []int{2, 2}, "alpha from the output out0 and beta from the output out1")
	f("{kind: beta, low: [0, 1], high: [1, 2], alpha: {output: 0, end: 2, transform: softplus_plus_one}, beta: {output: 0, start: 2, transform: softplus_plus_one}}", []string{"out"}, []int{4}, "alpha from")
}

func TestDistributionRefuses(t *testing.T) {
	f := func(text string, outputs []string, widths []int, words string) {
		t.Helper()
		card, _, err := artifact.ParseCard([]byte("model_name: m\nversion: v0.0.1\nmodel_type: x\ndistribution: " + text + "\n"))
		if err == nil {
			_, err = drawnFrom(t, splitter(t, outputs...)(widths...), *card.Distribution)
		}
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want an error with %q", text, err, words)
		}
	}
	f("gaussian", []string{"out"}, []int{2}, "the deviation is not known: the network gives out[2]")
	f("gaussian", []string{"out0", "out1"}, []int{2, 2}, "the deviation is not known")
	f("gaussian", []string{"a", "b", "std"}, []int{2, 2, 2}, "which output is mean is not known")
	f("gaussian", []string{"mean", "mu", "std"}, []int{2, 2, 2}, `mean may be the output "mean" or "mu"`)
	f("{kind: gaussian, std: {output: 4}}", []string{"out"}, []int{2}, "there is no output 4")
	f("{kind: gaussian, std: {tensor: s}}", []string{"out"}, []int{2}, `the file has no tensor "s"`)
	f("{kind: gaussian, std: sd}", []string{"out"}, []int{2}, `there is no "sd"; the network gives out[2]`)
	f("{kind: gaussian, std: -1}", []string{"out"}, []int{2}, "above 0")
	f("{kind: gaussian, std: [1, 2, 3]}", []string{"out"}, []int{2}, "std has 3 values, the action 2")
	f("{kind: gaussian, mean: {output: 0, start: 1, end: 1}, std: 1}", []string{"out"}, []int{2}, "start 1 and end 1 of 2 values")
	f("{kind: gaussian, mean: [0, 0], std: 1}", []string{"out"}, []int{2}, "one for all observations")
	f("multi_categorical", []string{"out"}, []int{4}, "the sizes of the parts are not known")
	f("{kind: multi_categorical, sizes: [2, 3]}", []string{"out"}, []int{4}, "5 categories, the network gives 4")
	f("categorical", []string{"a", "b"}, []int{2, 2}, "which output is logits")
	f("beta", []string{"alpha", "beta"}, []int{2, 2}, "low and high of the distribution")
	f("{kind: beta, low: 0, high: 1}", []string{"alpha"}, []int{2}, "alpha and beta are not known")
	f("{kind: beta, low: 1, high: 1}", []string{"alpha", "beta"}, []int{2, 2}, "low must be below high")
	f("{kind: beta, low: [1, 2, 3], high: 5}", []string{"alpha", "beta"}, []int{2, 2}, "one for each action")
	f("gsde", []string{"out"}, []int{2}, "a gsde is that of an agent")
}

// A card that names another distribution than an agent's own, or its parameters,
// is refused; one that names the same is not.
func TestDistributionOfAgents(t *testing.T) {
	n, _, _ := agent(t, "ppo_box")
	f := func(d artifact.Distribution, words string) {
		t.Helper()
		_, err := withDistribution(n, &artifact.Card{Distribution: &d})
		if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
			t.Errorf("%+v: %v, want %q", d, err, words)
		}
	}
	f(artifact.Distribution{Kind: "gaussian"}, "")
	f(artifact.Distribution{Kind: "categorical"}, "that of the file is gaussian")
	f(artifact.Distribution{Kind: "gaussian", Params: map[string]artifact.ParamSource{"std": {Constant: []float64{1}}}}, "the file draws them itself")
	drawing := splitter(t, "mean", "std")(1, 1)
	drawing.description.HasSampling = true
	n = drawing
	f(artifact.Distribution{Kind: "gaussian"}, "the file draws them itself")
}

// The layouts of training libraries, whose networks the names of the tensors
// fix, draw with the key alone; deviations and scales that are tensors of the
// file are found.
func TestDistributionOfLibraries(t *testing.T) {
	f := func(dir, kind, note string) {
		t.Helper()
		files, _ := os.ReadDir("../../testdata/libraries/" + dir)
		for _, file := range files {
			if file.Name() == "cases.json" {
				continue
			}
			data, err := os.ReadFile("../../testdata/libraries/" + dir + "/" + file.Name())
			if err != nil {
				t.Fatal(err)
			}
			n, err := format.Decode(file.Name(), data)
			if err != nil {
				t.Fatal(err)
			}
			card := &artifact.Card{ModelName: "m", Distribution: &artifact.Distribution{Kind: kind}}
			drawn, err := withDistribution(n, card)
			if err != nil {
				t.Fatal(err)
			}
			p, err := compose(&sources{card: card, network: drawn}, Options{})
			if err != nil {
				t.Errorf("%s: %v", dir, err)
				return
			}
			if got := strings.Join(p.Notes(), "\n"); !strings.Contains(got, note) || !p.Contract().Stochastic {
				t.Errorf("%s: the notes lack %q:\n%s", dir, note, got)
			}
			// The deterministic action is the library's own.
			plain, err := compose(&sources{card: &artifact.Card{ModelName: "m"}, network: n}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			x := graph.Float32s(make([]float32, p.Contract().Inputs[0].Width), 1, p.Contract().Inputs[0].Width)
			for i := range x.F32 {
				x.F32[i] = float32(i%5) - 2
			}
			in := []*graph.Tensor{x}
			for _, s := range p.Contract().State {
				in = append(in, graph.Float32s(make([]float32, s.Width), 1, s.Width))
			}
			got, err := graph.Evaluate(p.Composed(), 1, in, graph.Noise{})
			if err != nil {
				t.Fatal(err)
			}
			want, err := graph.Evaluate(plain.Composed(), 1, in, graph.Noise{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range want[0].Len() {
				if math.Abs(got[0].At(i)-want[0].At(i)) > 1e-6 {
					t.Errorf("%s: the deterministic action is %v, the library's %v", dir, got[0].F32, want[0].F32)
					break
				}
			}
		}
	}
	f("cleanrl_ppo", "categorical", "logits from the output logits")
	f("cleanrl_ppo_continuous", "gaussian", "std from the output std")
	f("cleanrl_sac", "squashed_gaussian", "scale from the tensor")
	f("rsl_rl_3", "gaussian", "std from the output std")
	f("rsl_rl_5_gru", "gaussian", "std from the output std")
	f("rsl_rl_2_lstm", "gaussian", "std from the output std")
}

// A network that takes its rows in turn, with all of its output one row, draws
// for each row what one that takes them together does.
func TestDistributionOfRowsInTurn(t *testing.T) {
	d := artifact.Distribution{Kind: "gaussian", Params: map[string]artifact.ParamSource{"std": {Constant: []float64{0.5, 2}}}}
	together, err := drawnFrom(t, splitter(t, "mean")(2), d)
	if err != nil {
		t.Fatal(err)
	}
	g := graph.New("one")
	x := g.Input("obs", graph.Float32, graph.Shape{1, 2})
	y, err := g.Add(graph.OpReshape, graph.Attrs{"shape": []int{2}}, x)
	if err != nil {
		t.Fatal(err)
	}
	g.Output("mean", y)
	inTurn, err := drawnFrom(t, fixed(g), d)
	if err != nil {
		t.Fatal(err)
	}
	if inTurn.Batchable() {
		t.Error("it is batchable")
	}
	a, b := draw(t, together, []float32{1, -1}, 10, 10), draw(t, inTurn, []float32{1, -1}, 10, 10)
	for _, name := range []string{"action", "log_prob", "entropy"} {
		for i := range a[name] {
			if math.Abs(float64(a[name][i]-b[name][i])) > 1e-6 {
				t.Errorf("%s: together %v, in turn %v", name, a[name], b[name])
				break
			}
		}
	}
}
