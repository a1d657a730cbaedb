package policy

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// TestHotPaths holds an act of each kind of policy to no allocation.
func TestHotPaths(t *testing.T) {
	acts := func(p *Policy, call *Call) func() {
		return func() {
			if err := p.Runner(0).Act(call); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, k := range []struct{ name, file string }{
		{"ppo", "ppo_box"}, {"gsde", "ppo_gsde_squashed"}, {"sac", "sac_her"}, {"dqn", "dqn"},
		{"multidiscrete", "ppo_multidiscrete"}, {"dict", "ppo_dict"}, {"lstm", "rppo_two_layers"},
	} {
		n, _, _ := agent(t, k.file)
		p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
		call := p.newCall(1)
		call.Deterministic = true
		hot.Path(t, "policy act "+k.name, 100, 0, acts(p, call))
		drawn := drawnCall(p, 0, 1)
		hot.Path(t, "policy act "+k.name+" drawn", 100, 0, acts(p, drawn))
	}
	n, _, _ := agent(t, "ppo_box")
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
	detailed := drawnCall(p, 0, 1)
	detailed.withExtras(p)
	hot.Path(t, "policy act with extras", 100, 0, acts(p, detailed))
	hot.Path(t, "policy act 32 rows", 20, 0, acts(p, drawnCall(p, 0, 32)))

	e := &artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{{Feature: "speed", Mean: []float64{0}, Std: []float64{1}}}}
	guarded := mustCompose(t, pedals(t, e, &artifact.Fallback{Word: "brake"}))
	hot.Path(t, "policy act enveloped", 100, 0, acts(guarded, guarded.newCall(1)))

	c := p.Contract()
	in := p.newCall(1).In
	hot.Path(t, "policy check", 1000, 0, func() {
		if err := c.Check(1, in); err != nil {
			t.Fatal(err)
		}
	})
}
