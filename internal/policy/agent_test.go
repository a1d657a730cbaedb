package policy

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
)

// agent reads an agent of Stable-Baselines3 and what the library answered.
func agent(t testing.TB, name string) (format.Network, []any, []any) {
	t.Helper()
	dir := filepath.Join("..", "format", "sb3", "testdata", name)
	data, err := os.ReadFile(filepath.Join(dir, "model.zip"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := format.Decode("model.zip", data)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(filepath.Join(dir, "cases.json")); err != nil {
		t.Fatal(err)
	}
	var c struct {
		Input  struct{ Obs any }
		Expect struct{ Action []any }
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	var rows []any
	switch obs := c.Input.Obs.(type) {
	case []any:
		rows = obs
	case map[string]any: // one list for each key
		for i := range c.Expect.Action {
			row := map[string]any{}
			for key, values := range obs {
				row[key] = values.([]any)[i]
			}
			rows = append(rows, row)
		}
	}
	return n, rows, c.Expect.Action
}

// TestAgent holds whole policies against the library's predict: an agent
// brings its spaces, and a card without a contract does not make an ancestor
// of it.
func TestAgent(t *testing.T) {
	f := func(name string, card *artifact.Card, named bool, low, high float64) {
		t.Helper()
		n, rows, want := agent(t, name)
		p := mustCompose(t, &sources{card: card, network: n})
		c := p.Contract()
		if c.Named != named || len(c.Actions) != 1 || c.Actions[0].Name != "" || c.Actions[0].Low != low || c.Actions[0].High != high {
			t.Errorf("%s: contract = %+v", name, c)
		}
		for i, obs := range rows {
			if x, ok := obs.(float64); ok {
				obs = []any{x}
			}
			got, err := act(p, obs)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			flat, _ := flatten(nil, want[i], 0)
			for j, w := range flat {
				if d := math.Abs(float64(got[j]) - w); len(got) != len(flat) || !(d <= 1e-5+1e-5*math.Abs(w)) {
					t.Errorf("%s: row %d gives %v, the library %v", name, i, got, flat)
					break
				}
			}
		}
	}
	bare, card := &artifact.Card{ModelName: "agent"}, &artifact.Card{Present: true, ModelName: "agent"}
	f("ppo_box", bare, false, -2, 3)
	f("ppo_box", card, false, -2, 3)
	f("td3", card, false, -2, 3)
	f("crossq", card, false, -2, 3)
	f("ppo_matrix_actions", card, false, -1, 1)
	f("ppo_multibinary", card, false, 0, 1)
	f("ppo_dict", card, true, -2, 3)
	f("dqn", card, false, 0, 2)
}

func TestAgentRefuses(t *testing.T) {
	n, _, _ := agent(t, "dqn")
	p := mustCompose(t, &sources{card: &artifact.Card{}, network: n})
	if _, err := act(p, []any{4.0}); err == nil {
		t.Error("a category beyond the last was taken")
	}
	n, _, _ = agent(t, "td3")
	low, high := -1.0, 1.0
	card := &artifact.Card{Present: true, Postprocess: "unscale", Action: []artifact.ActionSpec{{Name: "a", Shape: []int{3}, Low: &low, High: &high}}}
	if _, err := compose(&sources{card: card, network: n}, Options{}); err == nil {
		t.Error("actions that are in their space already were unscaled")
	}
}
