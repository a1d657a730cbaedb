package policy

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
)

// answered is a call with its extras by name.
type answered struct {
	*Call
	extras map[string][]float32
}

// askAll runs drawn observations with all extras.
func askAll(t *testing.T, p *Policy, rows int, deterministic bool, masks []float32) answered {
	t.Helper()
	call := drawnCall(p, 0, rows)
	call.withExtras(p)
	call.Deterministic, call.Masks = deterministic, masks
	if err := p.Runner(0).Act(call); err != nil {
		t.Fatal(err)
	}
	a := answered{call, map[string][]float32{}}
	for i, e := range p.contract.Extras {
		a.extras[e.Name] = call.Extras[i]
	}
	return a
}

// TestExtrasOfAgents holds what each agent gives beside its action to the kind of
// its distribution, and the numbers to the formulas in 64 bits: the library's are
// recorded, or asked in the parity tests.
func TestExtrasOfAgents(t *testing.T) {
	gaussian := []string{"distribution.mean", "distribution.std"}
	categories := []string{"distribution.logits", "distribution.probs"}
	kinds := map[string][]string{
		"gaussian":          append([]string{"value", "log_prob", "entropy"}, gaussian...),
		"squashed_gaussian": append([]string{"log_prob"}, gaussian...),
		"gsde":              append([]string{"log_prob"}, gaussian...),
		"categorical":       append([]string{"value", "log_prob", "entropy"}, categories...),
		"multi_categorical": append([]string{"value", "log_prob", "entropy"}, categories...),
		"bernoulli":         append([]string{"value", "log_prob", "entropy"}, categories...),
		"":                  nil,
	}
	seen := map[string]int{}
	everyAgent(t, func(t *testing.T, _ string, n format.Network) {
		p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
		c := p.Contract()
		seen[c.Distribution]++
		var names []string
		for _, e := range c.Extras {
			names = append(names, e.Name)
		}
		for _, name := range append([]string{"raw_action"}, kinds[c.Distribution]...) {
			if !slices.Contains(names, name) {
				t.Errorf("a policy of kind %q has no %s: %v", c.Distribution, name, names)
			}
		}
		if c.Distribution == "" && slices.ContainsFunc(names, func(s string) bool {
			return s == "log_prob" || s == "entropy" || strings.HasPrefix(s, "distribution.")
		}) {
			t.Errorf("a policy without a distribution has %v", names)
		}
		for _, deterministic := range []bool{true, false} {
			checkExtras(t, p, askAll(t, p, 7, deterministic, nil), nil)
			if c.Masks == 0 {
				continue
			}
			masks := make([]float32, 7*c.Masks)
			for i := range masks {
				masks[i] = float32((i + i/c.Masks) % 2) // of each part at least one, as every part has two or more
			}
			checkExtras(t, p, askAll(t, p, 7, deterministic, masks), masks)
		}
	})
	for kind := range kinds {
		if seen[kind] == 0 {
			t.Errorf("no agent is of kind %q", kind)
		}
	}
}

// checkExtras computes the numbers of each row again.
func checkExtras(t *testing.T, p *Policy, a answered, masks []float32) {
	t.Helper()
	c := p.Contract()
	near := func(what string, row int, got float32, want, tolerance float64) {
		t.Helper()
		if !(math.Abs(float64(got)-want) <= tolerance*(1+math.Abs(want))) {
			t.Errorf("%s of row %d is %v, want %v", what, row, got, want)
		}
	}
	for row := range a.Rows {
		of := func(name string) []float32 {
			if a.extras[name] == nil {
				return nil
			}
			return part(a.extras[name], row, a.Rows)
		}
		raw, entropy := of("raw_action"), of("entropy")
		if q := of("q_values"); q != nil {
			near("value", row, of("value")[0], float64(slices.Max(q)), 0)
		}
		if mean := of("distribution.mean"); mean != nil {
			logProb, h := 0.0, 0.0
			squashed := p.description.Distribution == "squashed_gaussian" || entropy == nil
			moved := 0.0 // by a unit in the last place of tanh
			for i := range mean {
				m, s, x := float64(mean[i]), float64(of("distribution.std")[i]), float64(raw[i])
				if squashed {
					logProb -= math.Log(1 - x*x + 1e-6)
					moved += 4 * 0x1p-23 / (1 - x*x + 1e-6) * (1 + math.Abs(math.Atanh(x)-m)/(s*s))
					x = math.Atanh(max(-1+0x1p-23, min(1-0x1p-23, x)))
				}
				logProb -= (x-m)*(x-m)/(2*s*s) + math.Log(s) + math.Log(2*math.Pi)/2
				h += (1+math.Log(2*math.Pi))/2 + math.Log(s)
			}
			near("log_prob", row, of("log_prob")[0], logProb, 2e-4+moved)
			if !squashed {
				near("entropy", row, entropy[0], h, 1e-5)
			}
			if a.Deterministic && !squashed && !slices.Equal(raw, mean) {
				t.Errorf("the deterministic raw action of row %d is %v, the mean %v", row, raw, mean)
			}
		}
		if logits := of("distribution.logits"); logits != nil {
			probs := of("distribution.probs")
			logProb, h := p.recompute(raw, logits, probs, func(i int) bool { return masks == nil || part(masks, row, a.Rows)[i] != 0 }, func(what string, got float32, want float64) {
				t.Helper()
				near(what, row, got, want, 1e-5)
			})
			near("log_prob", row, of("log_prob")[0], logProb, 1e-5)
			near("entropy", row, entropy[0], h, 1e-5)
		}
		if c.Actions[0].Discrete && !slices.Equal(raw, part(a.Actions, row, a.Rows)) {
			t.Errorf("the action of row %d is %v, before that it was %v", row, part(a.Actions, row, a.Rows), raw)
		}
	}
}

// recompute returns log_prob and entropy of categories, and holds their
// probabilities to their logits.
func (p *Policy) recompute(raw, logits, probs []float32, allowed func(i int) bool, near func(what string, got float32, want float64)) (logProb, h float64) {
	if p.contract.Distribution == "bernoulli" {
		for i, l := range logits {
			q := 1 / (1 + math.Exp(-float64(l)))
			near("probs", probs[i], q)
			if raw[i] == 0 {
				logProb += math.Log(1 - q)
			} else {
				logProb += math.Log(q)
			}
			h -= q*math.Log(q) + (1-q)*math.Log(1-q)
		}
		return logProb, h
	}
	parts := p.contract.Actions[0].Space.N
	if parts == nil { // a MultiBinary with masks has two categories for each value
		parts = slices.Repeat([]int{2}, len(logits)/2)
	}
	at := 0
	for i, n := range parts {
		total := 0.0
		for j := at; j < at+n; j++ {
			q := math.Exp(float64(logits[j]))
			near("probs", probs[j], q)
			if !allowed(j) {
				near("probs of what is not allowed", probs[j], 0)
			}
			total += q
			if q > 0 {
				h -= q * float64(logits[j])
			}
		}
		near("the sum of probs", float32(total), 1)
		logProb += float64(logits[at+int(raw[i])])
		at += n
	}
	return logProb, h
}

// TestExtrasCostNothingUnasked holds that a form with extras is made when one is
// first asked for, and that neither kind of request allocates.
func TestExtrasCostNothingUnasked(t *testing.T) {
	n, _, _ := agent(t, "ppo_box")
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
	p.Prepare(1)
	plain, detailed := drawnCall(p, 0, 3), drawnCall(p, 0, 3)
	detailed.withExtras(p)
	f := p.forms[formOf(false, false, true)]
	allocates := func(c *Call) float64 {
		return testing.AllocsPerRun(100, func() {
			if err := p.Runner(0).Act(c); err != nil {
				t.Fatal(err)
			}
		})
	}
	if n := allocates(plain); n != 0 {
		t.Errorf("a plain request allocates %v times", n)
	}
	if f.graph != nil || f.program != nil {
		t.Error("the form with extras was made, and nobody asked for it")
	}
	if err := p.Runner(0).Act(detailed); err != nil {
		t.Fatal(err)
	}
	if n := allocates(detailed); n != 0 {
		t.Errorf("a request for extras allocates %v times", n)
	}
	if f.program == nil || p.forms[formOf(true, false, true)].program != nil {
		t.Error("another form was made than the one that was asked for")
	}
}

func TestExtrasNeedRoom(t *testing.T) {
	n, _, _ := agent(t, "ppo_box")
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
	f := func(want string, change func(c *Call)) {
		t.Helper()
		call := drawnCall(p, 0, 2)
		call.withExtras(p)
		change(call)
		if err := p.Runner(0).Act(call); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("1 extras", func(c *Call) { c.Extras = c.Extras[:1] })
	f("value has 1 values, 2 rows need 2", func(c *Call) {
		i := slices.IndexFunc(p.contract.Extras, func(e ExtraSpec) bool { return e.Name == "value" })
		c.Extras[i] = c.Extras[i][:1]
	})
}

// TestNormalizedObservation holds that it is what the network takes: behind the
// statistics, of each part of an observation that has several.
func TestNormalizedObservation(t *testing.T) {
	n, _, _ := agent(t, "ppo_dict")
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
	a := askAll(t, p, 4, true, nil)
	for i, in := range p.contract.Inputs {
		if got := a.extras["normalized_observation."+in.Name]; !slices.Equal(got, a.In[i]) {
			t.Errorf("%s is %v, sent were %v", in.Name, got, a.In[i])
		}
	}
	if a.extras["normalized_observation"] != nil {
		t.Error("an observation of several parts is given as one")
	}
}
