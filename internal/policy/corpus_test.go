package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// recorded is what a library answered for a folder.
type recorded struct {
	Sequence     bool
	Squashed     bool `json:"squash_output"`
	Normalized   any  `json:"normalized_obs"`
	Atol         float64
	N            int
	Input        struct{ Obs any }
	Expect       map[string]any
	EpisodeStart []bool         `json:"episode_start"`
	Masks        [][]any        `json:"action_masks"`
	ExpectMasked map[string]any `json:"expect_masked"`

	compared map[string]int // extras, over all folders
}

// TestRecordedAgents opens folders as they are and holds actions, outputs and
// states against the library's.
func TestRecordedAgents(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 40 cases not run")
		return
	}
	var dirs []string
	for _, set := range []string{"sb3_real", "sb3_gen"} {
		more, _ := filepath.Glob(filepath.Join(root, set, "*", "cases.json"))
		dirs = append(dirs, more...)
	}
	compared := map[string]int{}
	for _, path := range dirs {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r := recorded{Atol: 1e-5}
			if err := json.Unmarshal(data, &r); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(data), `"npy"`) {
				return // Images beside the file: package sb3 reads them.
			}
			a, err := artifact.OpenPath(dir, artifact.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Release()
			for _, engine := range []Engine{Plan, Reference} {
				p, err := Open(a, Options{Engine: engine})
				if strings.HasPrefix(filepath.Base(dir), "ppo_custom_extractor") {
					if err == nil {
						t.Error("a class of the training program was not refused")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				r.compared = compared
				r.check(t, p, false)
				if r.ExpectMasked != nil {
					r.check(t, p, true)
				}
			}
		})
	}
	t.Logf("numbers compared: %v", compared)
	for _, name := range []string{"value", "log_prob", "mean", "std", "logits", "q_values", "raw_action", NormalizedObservation} {
		if compared[name] == 0 {
			t.Errorf("%s was compared with nothing", name)
		}
	}
}

// normalized are the recorded observations behind VecNormalize, one part of
// them where they have several; those that were sent where there is none.
func (r *recorded) normalized(part string) ([]any, bool) {
	from := r.Normalized
	if from == nil {
		from = r.Input.Obs
	}
	parts, several := from.(map[string]any)
	if several {
		from = parts[part]
	}
	// An old agent with goals has the parts recorded as one row.
	rows, ok := from.([]any)
	return rows, ok && several == (part != "")
}

func (r *recorded) rows() []any {
	rows := make([]any, r.N)
	switch obs := r.Input.Obs.(type) {
	case []any:
		copy(rows, obs)
	case map[string]any:
		for i := range rows {
			row := map[string]any{}
			for key, values := range obs {
				if list, ok := values.([]any); ok {
					row[key] = list[i]
				}
			}
			rows[i] = row
		}
	}
	return rows
}

func (r *recorded) check(t *testing.T, p *Policy, masked bool) {
	t.Helper()
	c, expect := p.Contract(), r.Expect
	if masked {
		expect = r.ExpectMasked
	}
	state := p.Contract().NewState(1)
	for i, obs := range r.rows() {
		if x, ok := obs.(float64); ok {
			obs = []any{x}
		}
		call := p.newCall(1)
		call.withExtras(p)
		call.State = state
		if r.Sequence && r.EpisodeStart[i] {
			p.Contract().ResetState(state, 0)
		}
		if masked {
			call.Masks = make([]float32, c.Masks)
			for j, allowed := range r.Masks[i] {
				if allowed.(bool) {
					call.Masks[j] = 1
				}
			}
		}
		if err := c.Pack(obs, 0, call.In); err != nil {
			t.Fatal(err)
		}
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
		r.compare(t, fmt.Sprintf("%s: row %d: action", p.Engine().Name(), i), call.Actions, expect["action"].([]any)[i])
		for j, e := range c.Extras {
			name := strings.TrimPrefix(e.Name, "distribution.")
			want, ok := expect[name].([]any)
			switch {
			case name == "log_prob" && r.Squashed || name == "critic_q":
				continue // Of the first, the numbers are those of rounding where tanh is flat.
			case name == "raw_action" && c.Actions[0].Discrete && c.Distribution == "":
				continue // ARS: of each action a score.
			case name == "raw_action" && expect["scaled_action"] != nil:
				want, ok = expect["scaled_action"].([]any)
			case strings.HasPrefix(name, NormalizedObservation):
				want, ok = r.normalized(strings.TrimPrefix(strings.TrimPrefix(name, NormalizedObservation), "."))
			}
			switch {
			case !ok:
			case e.Fixed:
				r.compare(t, p.Engine().Name()+": "+name, call.Extras[j], want)
			case len(want) == r.N:
				r.compare(t, fmt.Sprintf("%s: row %d: %s", p.Engine().Name(), i, name), call.Extras[j], want[i])
			}
			if ok {
				r.compared[name]++
			}
		}
		for j, s := range c.State {
			kind, part, _ := strings.Cut(strings.TrimPrefix(s.Name, "lstm_"), "_")
			if want, ok := expect[part+"_"+kind].([]any); ok {
				r.compare(t, fmt.Sprintf("%s: row %d: state %s", p.Engine().Name(), i, s.Name), call.State[j], want[i])
			}
		}
	}
}

func (r *recorded) compare(t *testing.T, what string, got []float32, want any) {
	t.Helper()
	flat := anyNumbers(nil, want)
	if len(got) != len(flat) {
		t.Fatalf("%s has %d values, the library gives %d", what, len(got), len(flat))
	}
	for i, w := range flat {
		if d := math.Abs(float64(got[i]) - w); !(d <= r.Atol+1e-5*math.Abs(w)) {
			t.Errorf("%s is %v, the library gives %v", what, got, flat)
			return
		}
	}
}

// anyNumbers flattens lists, ragged ones too: logits of several parts.
func anyNumbers(dst []float64, v any) []float64 {
	switch v := v.(type) {
	case float64:
		return append(dst, v)
	case []any:
		for _, e := range v {
			dst = anyNumbers(dst, e)
		}
	}
	return dst
}

// TestRecordedSequences runs exported policies that keep state, from a module's
// buffers and from inputs by name, over the recorded steps.
func TestRecordedSequences(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 3 cases not run")
		return
	}
	type step struct {
		Reset   bool
		Inputs  map[string]any
		Outputs map[string]any
	}
	f := func(dir, model string) {
		t.Helper()
		var r struct {
			Steps, Batches []step
			ResetBefore    []int `json:"reset_before_steps"`
		}
		data, err := os.ReadFile(filepath.Join(root, dir, "cases.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		a, err := artifact.OpenPath(filepath.Join(root, dir, model), artifact.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, engine := range []Engine{Plan, Reference} {
			p, err := Open(a, Options{Engine: engine})
			if err != nil {
				t.Fatalf("%s/%s: %v", dir, model, err)
			}
			if len(p.Contract().State) == 0 {
				t.Fatalf("%s/%s: the policy keeps no state", dir, model)
			}
			call := p.newCall(1)
			tolerance := recorded{Atol: 1e-5}
			for i, s := range append(r.Steps, r.Batches...) {
				if s.Reset || slices.Contains(r.ResetBefore, i) {
					p.Contract().ResetState(call.State, 0)
				}
				if err := p.Contract().Pack(s.Inputs["x"].([]any)[0], 0, call.In); err != nil {
					t.Fatal(err)
				}
				if err := p.Runner(0).Act(call); err != nil {
					t.Fatal(err)
				}
				tolerance.compare(t, fmt.Sprintf("%s/%s, %s, step %d", dir, model, engine.Name(), i), call.Actions, s.Outputs["out"])
			}
		}
	}
	f("rsl_rl/gru2_gaussian", "policy.pt")
	f("rsl_rl/gru2_gaussian", "policy.onnx")
	f("torch/rsl_rl_lstm_export", "model_script.pt")
}
