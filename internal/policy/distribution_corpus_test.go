package policy

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// Networks of every format with a distribution from the card: the action without
// a draw and what tells of the distribution are those of torch.distributions.
func TestRecordedDistributions(t *testing.T) {
	paths, _ := filepath.Glob("../../testdata/distributions/*/cases.json")
	if len(paths) == 0 {
		t.Fatal("no cases in testdata/distributions")
	}
	for _, path := range paths {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Atol   float64
				Input  [][]float64
				Expect map[string][]any
			}
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			a, err := artifact.OpenPath(dir, artifact.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Release()
			for _, engine := range []Engine{Plan, Reference} {
				p, err := Open(a, Options{Engine: engine})
				if err != nil {
					t.Fatal(err)
				}
				p.Prepare(1)
				contract := p.Contract()
				if !contract.Stochastic || contract.Distribution == "" {
					t.Errorf("stochastic %v, distribution %q", contract.Stochastic, contract.Distribution)
				}
				call := p.newCall(len(c.Input))
				for i, row := range c.Input {
					copyFloat32(call.In[0][i*len(row):], row)
				}
				got := map[string][]float32{"action": call.Actions}
				for _, e := range contract.Extras {
					call.Extras = append(call.Extras, make([]float32, call.Rows*e.Width))
					got[e.Name] = call.Extras[len(call.Extras)-1]
				}
				if err := p.Runner(0).Act(call); err != nil {
					t.Fatal(err)
				}
				for name, want := range c.Expect {
					flat, _ := flatten(nil, want, 0)
					if len(got[name]) != len(flat) {
						t.Errorf("%s: %s has %d values, torch gave %d; extras %+v", engine.Name(), name, len(got[name]), len(flat), contract.Extras)
						continue
					}
					for i, w := range flat {
						if g := float64(got[name][i]); !(math.Abs(g-w) <= c.Atol+2e-5*math.Abs(w)) {
							t.Errorf("%s: %s[%d] is %v, torch gave %v", engine.Name(), name, i, g, w)
							break
						}
					}
				}
			}
		})
	}
}
