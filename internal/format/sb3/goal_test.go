package sb3_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// inputNames lists the inputs of a graph with their shapes.
func inputNames(g *graph.Graph) string {
	var s []string
	for _, in := range g.Inputs {
		s = append(s, in.Name+in.Shape.String())
	}
	return strings.Join(s, " ")
}

// TestGoal holds what the policies of HER before version 1.1 take: the parts of
// the observation where their sizes are known, else the row.
func TestGoal(t *testing.T) {
	f := func(name string, shapes map[string][]int, want string) {
		t.Helper()
		p, err := decodeFile("testdata/" + name + "/model.zip")
		if err != nil {
			t.Fatal(err)
		}
		if p.Algorithm != "SAC with HER" || !slices.ContainsFunc(p.Notes, func(n string) bool { return strings.Contains(n, "desired_goal") }) {
			t.Errorf("%s: %s with the notes %q", name, p.Algorithm, p.Notes)
		}
		g, err := p.Lower(sb3.LowerOptions{Deterministic: true, InputShapes: shapes})
		if err != nil {
			t.Fatal(err)
		}
		if got := inputNames(g); got != want {
			t.Errorf("%s: the inputs are %s, %s was wanted", name, got, want)
		}
	}
	const parts = "achieved_goal[B,2] desired_goal[B,2] observation[B,5]"
	f("first_her", nil, parts)
	f("first_her_untrained", nil, "obs[B,7]")
	f("first_her_untrained", map[string][]int{"observation": {graph.Batch, 5}, "desired_goal": {graph.Batch, 2}}, parts)
	f("first_her_untrained", map[string][]int{"observation": {graph.Batch, 5}, "desired_goal": {graph.Batch, 3}}, "obs[B,7]")
}

// TestActionMasks holds the number of masks of each kind of action.
func TestActionMasks(t *testing.T) {
	f := func(name string, want int) {
		t.Helper()
		p, err := decodeFile("testdata/" + name + "/model.zip")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.ActionMasks(); got != want {
			t.Errorf("%s takes %d masks, %d were wanted", name, got, want)
		}
		g, err := p.Lower(sb3.LowerOptions{Deterministic: true, ActionMasks: true})
		if want == 0 {
			if err == nil {
				t.Errorf("%s was lowered with masks", name)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if in := g.Inputs[len(g.Inputs)-1]; in.Name != "action_masks" || in.DType != graph.Bool || !in.Shape.Equal(graph.Shape{graph.Batch, want}) {
			t.Errorf("%s: the last input is %s %v %v", name, in.Name, in.DType, in.Shape)
		}
	}
	f("maskable_discrete", 4)
	f("maskable_multidiscrete", 6)
	f("maskable_multibinary", 6)
	f("ppo_multidiscrete", 0)
}

// TestVersions holds what a policy computes by the version that wrote it.
func TestVersions(t *testing.T) {
	f := func(version string, tanh int) {
		t.Helper()
		files := members(t, "ars_squashed")
		files["_stable_baselines3_version"] = []byte(version)
		files["data"] = []byte(strings.Replace(string(files["data"]), `"with_bias": false`, `"squash_output": false`, 1))
		p, err := decode(archive(t, files))
		if err != nil {
			t.Fatal(err)
		}
		g, err := p.Lower(sb3.LowerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, n := range g.Nodes {
			if n.Op == graph.OpTanh {
				got++
			}
		}
		if p.SquashOutput || got != tanh {
			t.Errorf("version %s: squashes %v, %d tanh, %d were wanted", version, p.SquashOutput, got, tanh)
		}
	}
	f("1.6.2", 1)
	f("1.7.0", 0)
	f("1.10.0", 0)
	f("2.9.2\n", 0)
}
