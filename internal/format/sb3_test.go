package format_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// agent decodes an agent of the small corpus.
func agent(t *testing.T, name string) format.Network {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("sb3", "testdata", name, "model.zip"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := format.Decode("model.zip", data)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDescribeAgent(t *testing.T) {
	d := agent(t, "ppo_images").Describe()
	if d.Format != "stable-baselines3" || d.Producer != "Stable-Baselines3 2.9.2" || !d.HasSampling || d.WeightsOnly || d.Parameters == 0 {
		t.Errorf("description = %+v", d)
	}
	if len(d.Inputs) != 2 || d.Inputs[0].Name != "image" || !slices.Equal(d.Inputs[0].Shape, []int{graph.Batch, 36, 37, 1}) || d.Inputs[1].Name != "vec" {
		t.Errorf("inputs = %+v", d.Inputs)
	}
	if s := d.Spaces; s == nil || !s.Named || len(s.Observation) != 2 || !s.Action.Categories || s.Action.High != 2 || s.Action.Text != "Discrete(3)" {
		t.Errorf("spaces = %+v", d.Spaces)
	}
	if notes := strings.Join(d.Notes, "\n"); !strings.Contains(notes, "channels last, [36 37 1]") || !strings.Contains(notes, "clip_range") {
		t.Errorf("notes = %s", notes)
	}
	d = agent(t, "ppo_box").Describe()
	if a := d.Spaces.Action; a.Categories || a.Low != -2 || a.High != 3 || d.Spaces.Named || d.Spaces.Observation[0].Name != "obs" {
		t.Errorf("spaces = %+v", d.Spaces)
	}
	if d = agent(t, "td3").Describe(); d.HasSampling {
		t.Error("TD3 draws")
	}
}

func TestLowerAgent(t *testing.T) {
	n := agent(t, "ppo_box")
	for _, o := range []format.LowerOptions{{Deterministic: true}, {Method: "forward"}} {
		g, err := n.Lower(o)
		if err != nil {
			t.Fatal(err)
		}
		draws := slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return n.Op == graph.OpNormal })
		if g.Outputs[0].Name != "action" || draws == o.Deterministic {
			t.Errorf("%+v: first output %s, draws: %v", o, g.Outputs[0].Name, draws)
		}
	}
	if _, err := n.Lower(format.LowerOptions{Method: "act"}); err == nil {
		t.Error("act was lowered")
	}
}

func TestRefuseAgent(t *testing.T) {
	_, err := format.Decode("model.zip", []byte(zipOf(t, "data", `{"policy_class": {":serialized:": "Y21pbmUKTmV0Ci4="}}`, "policy.pth", "x")))
	if !errors.Is(err, format.ErrUnsupported) || !strings.Contains(err.Error(), "mine.Net") {
		t.Errorf("a policy class of the user: %v", err)
	}
}
