package conformance

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// agentFile is the cases.json beside an agent of Stable-Baselines3.
type agentFile struct {
	Source string         `json:"source"`
	Atol   float64        `json:"atol"`
	N      int            `json:"n"`
	Input  map[string]any `json:"input"` // obs
	// Normalized is what the network takes, behind VecNormalize.
	Normalized   any            `json:"normalized_obs"`
	Expect       map[string]any `json:"expect"`
	Masks        any            `json:"action_masks"`
	ExpectMasked map[string]any `json:"expect_masked"`
	Squash       bool           `json:"squash_output"`
	Sequence     bool           `json:"sequence"`
	EpisodeStart []bool         `json:"episode_start"`
}

// agentOutputs are the recorded answers by the name of the graph's output.
var agentOutputs = map[string]string{
	"action": "action", "mean": "mean", "std": "std", "log_std": "log_std", "logits": "logits", "q_values": "q_values",
	"value": "value", "log_prob": "log_prob",
	"h_pi": "lstm_pi_h_out", "c_pi": "lstm_pi_c_out", "h_vf": "lstm_vf_h_out", "c_vf": "lstm_vf_c_out",
}

func agentCases(dir string, data []byte) ([]Case, error) {
	var f agentFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	if f.Atol == 0 {
		f.Atol = 1e-5
	}
	producer, _, _ := strings.Cut(f.Source, ", ")
	all := []Case{}
	for _, masked := range []bool{false, true} {
		expect := f.Expect
		if masked {
			expect = f.ExpectMasked
		}
		if expect == nil {
			continue
		}
		c := Case{
			Name: label(dir, "model"), Source: Source{"stable-baselines3", producer},
			Sequence: f.Sequence, Atol: f.Atol, Rtol: 1e-5,
			Graph: func() (*graph.Graph, error) { return f.graph(dir, masked) },
		}
		if masked {
			c.Name = label(dir, "masked")
		}
		run, err := f.run(dir, expect, masked)
		if err != nil {
			return nil, err
		}
		c.Runs = []Run{run}
		if f.Sequence {
			if c.Runs, err = run.steps(f.EpisodeStart); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

func (f *agentFile) graph(dir string, masked bool) (*graph.Graph, error) {
	n, err := decode(filepath.Join(dir, "model.zip"))
	if err != nil {
		return nil, err
	}
	o := format.LowerOptions{Deterministic: true, ActionMasks: masked}
	// Images may have been recorded as the policy stores them.
	if m, ok := f.Input["obs"].(map[string]any); ok && m["npy"] != nil {
		d, err := read(dir, m)
		if err != nil {
			return nil, err
		}
		shape := append([]int{graph.Batch}, d.shape[1:]...)
		if in := n.Describe().Inputs[0]; !slices.Equal(in.Shape, shape) {
			o.InputShapes = map[string][]int{in.Name: shape}
		}
	}
	return n.Lower(o)
}

func (f *agentFile) run(dir string, expect map[string]any, masked bool) (Run, error) {
	run := Run{Rows: f.N, Outputs: map[string][]float64{}}
	obs := f.Input["obs"]
	if f.Normalized != nil {
		obs = f.Normalized
	}
	var err error
	if run.Inputs, err = flat(dir, map[string]any{"obs": obs}); err != nil {
		return run, err
	}
	if masked {
		d, err := read(dir, f.Masks)
		if err != nil {
			return run, err
		}
		run.Inputs["action_masks"] = d.flat
	}
	for name, v := range expect {
		output, known := agentOutputs[name]
		// The density of a squashed action hangs on the last digit of tanh.
		if !known || name == "log_prob" && f.Squash {
			continue
		}
		d, err := read(dir, v)
		if err != nil {
			return run, err
		}
		run.Outputs[output] = d.flat
	}
	return run, nil
}

// steps makes of the rows of one run a run each.
func (r *Run) steps(start []bool) ([]Run, error) {
	if len(start) != r.Rows {
		return nil, fmt.Errorf("%d rows, and starts of episodes for %d", r.Rows, len(start))
	}
	all := make([]Run, r.Rows)
	for i := range all {
		all[i] = Run{Rows: 1, Reset: start[i], Inputs: r.row(r.Inputs, i), Outputs: r.row(r.Outputs, i)}
	}
	return all, nil
}

func (r *Run) row(all map[string][]float64, i int) map[string][]float64 {
	out := map[string][]float64{}
	for name, x := range all {
		n := len(x) / r.Rows
		out[name] = x[i*n : (i+1)*n]
	}
	return out
}
