package policy

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// TestNamedActions holds that a card's names for the parts of an agent's action
// change nothing but the names: values are those of the library, clipped or
// unscaled to its space, each part with its own categories.
func TestNamedActions(t *testing.T) {
	f := func(agentName string, specs []artifact.ActionSpec, kinds []string, n [][]int) {
		t.Helper()
		network, rows, want := agent(t, agentName)
		card := &artifact.Card{Present: true, ModelName: "m", Action: specs}
		p := mustCompose(t, &sources{card: card, network: network})
		for i := range p.contract.Actions {
			a := &p.contract.Actions[i]
			if a.Name != specs[i].Name || a.Space == nil || a.Space.Kind != kinds[i] || !slices.Equal(a.Space.N, n[i]) || a.Discrete != (kinds[i] != "Box") {
				t.Errorf("%s: action %d is %+v in %+v, want %s of %v", agentName, i, a, a.Space, kinds[i], n[i])
			}
		}
		for i, obs := range rows {
			if x, ok := obs.(float64); ok {
				obs = []any{x}
			}
			got, err := act(p, obs)
			if err != nil {
				t.Fatal(err)
			}
			flat, _ := flatten(nil, want[i], 0)
			for j := range flat {
				if len(got) != len(flat) || math.Abs(float64(got[j])-flat[j]) > 1e-5*(1+math.Abs(flat[j])) {
					t.Errorf("%s: row %d is %v, the library gives %v", agentName, i, got, flat)
				}
			}
		}
	}
	named := func(names ...string) (specs []artifact.ActionSpec) {
		for _, name := range names {
			specs = append(specs, artifact.ActionSpec{Name: name})
		}
		return specs
	}
	choice := []artifact.ActionSpec{{Name: "lane", Discrete: true}}
	f("dqn", choice, []string{"Discrete"}, [][]int{{3}})
	f("maskable_discrete", choice, []string{"Discrete"}, [][]int{{4}})
	f("ppo_box", named("steer", "gas", "brake"), []string{"Box", "Box", "Box"}, [][]int{nil, nil, nil})
	f("td3", named("steer", "gas", "brake"), []string{"Box", "Box", "Box"}, [][]int{nil, nil, nil})
	f("ppo_multidiscrete", named("gear", "lane", "horn"), []string{"Discrete", "Discrete", "Discrete"}, [][]int{{3}, {2}, {4}})
}

// TestDiscreteActionsOfFractions holds a card that calls an action discrete to the
// network.
func TestDiscreteActionsOfFractions(t *testing.T) {
	network, _, _ := agent(t, "td3")
	card := &artifact.Card{Present: true, ModelName: "m", Action: []artifact.ActionSpec{{Name: "a", Shape: []int{3}, Discrete: true}}}
	if _, err := compose(&sources{card: card, network: network}, Options{}); !errors.Is(err, errDisagree) {
		t.Errorf("got %v, want two sources that disagree", err)
	}
}
