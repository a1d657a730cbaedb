package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// agentCase is the cases.json of an agent of Stable-Baselines3.
type agentCase struct {
	Model         string         `json:"model"`
	VecNormalize  string         `json:"vecnormalize"`
	Atol          float64        `json:"atol"`
	N             int            `json:"n"`
	SquashOutput  bool           `json:"squash_output"`
	EpisodeStart  []bool         `json:"episode_start"`
	ActionMasks   [][]bool       `json:"action_masks"`
	ExpectMasked  map[string]any `json:"expect_masked"`
	ExpectedInput struct {
		Obs any `json:"obs"`
	} `json:"input"`
	Expect map[string]any `json:"expect"`
}

// agentsRefused are the agents that are not run, each with what the reason
// must say.
var agentsRefused = map[string]string{
	"ppo_custom_extractor_byvalue": "features_extractor_class",
}

// agentNotes are recorded keys that are no output of a policy.
var agentNotes = map[string]bool{
	"action": true, "action_dtype": true, "dist_class": true, "logits_note": true, "critic_note": true,
	"raw_action": true, "scaled_action": true, // the action before it was clipped or unscaled
	"critic_quantiles": true, "quantiles_first2": true, // of which critic_q and q_values are the means
	"h_pi": true, "c_pi": true, "h_vf": true, "c_vf": true, // compared as the state
}

func TestCorpusAgents(t *testing.T) {
	const cases = 47
	dir, ok := corpusDir(t, cases)
	if !ok {
		return
	}
	for _, folder := range caseFolders(t, dir, cases, "sb3_gen/*", "sb3_real/*") {
		name := filepath.Base(folder)
		var c agentCase
		readCases(t, folder, &c)
		if c.Atol == 0 {
			c.Atol = 1e-5
		}
		c.ExpectedInput.Obs = withArrays(t, folder, c.ExpectedInput.Obs)
		file := []string{"--model", filepath.Join(folder, c.Model)}
		if c.VecNormalize != "" {
			file = append(file, "--vecnormalize", filepath.Join(folder, c.VecNormalize))
		}
		for _, from := range []struct {
			name string
			args []string
		}{{"file", file}, {"folder", []string{"--model", folder}}} {
			for _, engine := range testEngines() {
				t.Run(name+"/"+from.name+"/"+engine, func(t *testing.T) {
					err := c.check(t, append([]string{"--engine", engine}, from.args...)...)
					switch reason, refused := agentsRefused[name]; {
					case refused && (err == nil || !strings.Contains(err.Error(), "unsupported: ") || !strings.Contains(err.Error(), reason)):
						t.Errorf("%v; want a refusal that says %q", err, reason)
					case !refused && err != nil:
						t.Error(err)
					}
				})
			}
		}
	}
}

// testEngines are the engines that the corpus is run on.
func testEngines() []string {
	if openONNXRuntime == nil {
		return []string{enginePlan, engineReference}
	}
	return []string{enginePlan, engineReference, engineONNXRuntime}
}

func (c *agentCase) check(t *testing.T, args ...string) error {
	question := map[string]any{"observations": c.ExpectedInput.Obs, "deterministic": true}
	if c.EpisodeStart != nil {
		question["episode_start"] = c.EpisodeStart
	}
	p, err := predict(t, question, args...)
	if err != nil {
		return err
	}
	if err := same(p.Actions, c.Expect["action"], c.Atol); err != nil {
		return fmt.Errorf("action: %w", err)
	}
	for name, want := range c.Expect {
		if agentNotes[name] {
			continue
		}
		got, ok := p.outputs[name]
		if !ok {
			return fmt.Errorf("there is no output %s, the outputs are %v", name, p.names)
		}
		if err := c.compare(p, name, got, want); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for recorded, state := range map[string]string{"h_pi": "lstm_pi_h", "c_pi": "lstm_pi_c", "h_vf": "lstm_vf_h", "c_vf": "lstm_vf_c"} {
		if want, ok := c.Expect[recorded]; ok {
			g, _ := arrayOf(p.outputs[state])
			w, _ := arrayOf(want)
			if err := near(g.data, w.data, c.Atol); err != nil {
				return fmt.Errorf("%s: %w", state, err)
			}
		}
	}
	if c.ActionMasks == nil {
		return nil
	}
	question["action_masks"] = c.ActionMasks
	if p, err = predict(t, question, args...); err != nil {
		return err
	}
	if err := same(p.Actions, c.ExpectMasked["action"], c.Atol); err != nil {
		return fmt.Errorf("masked action: %w", err)
	}
	for name, want := range c.ExpectMasked {
		if agentNotes[name] || name == "logits" { // of which those of forbidden actions are no more than small
			continue
		}
		if err := c.compare(p, name, p.outputs[name], want); err != nil {
			return fmt.Errorf("masked %s: %w", name, err)
		}
	}
	return nil
}

func (c *agentCase) compare(p *prediction, name string, got, want any) error {
	switch {
	case name == "critic_q":
		// Recorded with the critics first for SAC and TD3, last for TQC.
		g, err := arrayOf(got)
		if err != nil {
			return err
		}
		w, err := arrayOf(want)
		if err != nil {
			return err
		}
		if w.shape[0] != c.N {
			w = array{[]int{w.shape[1], w.shape[0]}, transposed(w)}
		}
		return near(g.data, w.data, c.Atol)
	case name == "logits" && same(got, want, c.Atol) != nil:
		// Those of several choices are recorded side by side, too.
		var g []float64
		for _, row := range got.([]any) {
			for _, part := range row.([]any) {
				a, err := arrayOf(part)
				if err != nil {
					return err
				}
				g = append(g, a.data...)
			}
		}
		w, err := arrayOf(want)
		if err != nil {
			return same(got, want, c.Atol)
		}
		return near(g, w.data, c.Atol)
	case name == "log_prob" && c.SquashOutput:
		return c.squashedLogProb(p, got, want)
	}
	return same(got, want, c.Atol)
}

func transposed(a array) []float64 {
	out := make([]float64, 0, len(a.data))
	for j := range a.shape[1] {
		for i := range a.shape[0] {
			out = append(out, a.data[i*a.shape[1]+j])
		}
	}
	return out
}

// squashedLogProb compares where moving tanh by one unit in the last place
// keeps the logarithm within the tolerance; elsewhere the number is that of
// rounding, and only finite and of the right sign.
func (c *agentCase) squashedLogProb(p *prediction, got, want any) error {
	g, err := arrayOf(got)
	if err != nil {
		return err
	}
	w, err := arrayOf(want)
	if err != nil {
		return err
	}
	mean, err := arrayOf(p.outputs["mean"])
	if err != nil {
		return err
	}
	std, err := arrayOf(p.outputs["std"])
	if err != nil {
		return err
	}
	width := len(mean.data) / len(w.data)
	for i, want := range w.data {
		tolerance := c.Atol + 1e-5*math.Abs(want)
		moved := 0.0
		for j := range width {
			m, s := mean.data[i*width+j], std.data[i*width+j]
			a := float32(math.Tanh(m))
			for _, to := range []float32{-2, 2} {
				moved = max(moved, math.Abs(squashed(math.Nextafter32(a, to), m, s)-squashed(a, m, s)))
			}
		}
		switch got := g.data[i]; {
		case moved <= tolerance && !(math.Abs(got-want) <= tolerance):
			return fmt.Errorf("row %d: got %v, %v was recorded", i, got, want)
		case math.IsNaN(got) || math.IsInf(got, 0) || math.Signbit(got) != math.Signbit(want):
			return fmt.Errorf("row %d: got %v, which is not as %v", i, got, want)
		}
	}
	return nil
}

func TestCorpusAncestors(t *testing.T) {
	const cases = 9
	dir, ok := corpusDir(t, cases)
	if !ok {
		return
	}
	for _, folder := range caseFolders(t, dir, cases, "ancestor/*") {
		var c struct {
			Dir          string           `json:"dir"`
			Observations []map[string]any `json:"observations"`
			Actions      []map[string]any `json:"actions"`
		}
		readCases(t, folder, &c)
		for _, model := range []string{filepath.Join(folder, c.Dir), folder} {
			for _, engine := range testEngines() {
				t.Run(filepath.Base(folder)+"/"+filepath.Base(model)+"/"+engine, func(t *testing.T) {
					p, err := predict(t, map[string]any{"observations": c.Observations, "deterministic": true}, "--model", model, "--engine", engine)
					if err != nil {
						t.Fatal(err)
					}
					rows, ok := p.Actions.([]any)
					if !ok || len(rows) != len(c.Actions) {
						t.Fatalf("%d actions were recorded, got %v", len(c.Actions), p.Actions)
					}
					for i, want := range c.Actions {
						got, ok := rows[i].(map[string]any)
						if !ok || len(got) != len(want) {
							t.Fatalf("action %d is %v, %v was recorded", i, rows[i], want)
						}
						for name := range want {
							if err := same(got[name], want[name], 1e-5); err != nil {
								t.Errorf("action %d: %s: %v", i, name, err)
							}
						}
					}
				})
			}
		}
	}
}

func TestCorpusTransforms(t *testing.T) {
	const cases = 11
	dir, ok := corpusDir(t, cases)
	if !ok {
		return
	}
	for _, folder := range caseFolders(t, dir, cases, "sklearn/*") {
		var c struct {
			Files  map[string]string `json:"files"`
			Input  any               `json:"input"`
			Expect any               `json:"expect"`
		}
		readCases(t, folder, &c)
		for form, file := range c.Files {
			for _, engine := range testEngines() {
				t.Run(filepath.Base(folder)+"/"+form+"/"+engine, func(t *testing.T) {
					path := filepath.Join(folder, file)
					if _, err := os.Stat(path); err != nil {
						t.Fatal(err)
					}
					p, err := predict(t, map[string]any{"transform": c.Input}, "--model", path, "--engine", engine)
					if err != nil {
						t.Fatal(err)
					}
					if err := same(p.outputs["out"], c.Expect, 1e-5); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
