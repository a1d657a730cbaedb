package main

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// agentFile is an agent of the small corpus.
func agentFile(name string) string {
	return filepath.FromSlash("../../internal/format/sb3/testdata/" + name + "/model.zip")
}

// TestReturn holds what --return shows, and in which order.
func TestReturn(t *testing.T) {
	f := func(model string, observation any, names string, args ...string) {
		t.Helper()
		p, err := predict(t, map[string]any{"observations": []any{observation}, "deterministic": true}, append([]string{"--model", agentFile(model)}, args...)...)
		if err != nil {
			t.Errorf("%s %v: %v", model, args, err)
			return
		}
		if got := strings.Join(p.names, ","); got != names {
			t.Errorf("%s %v: the outputs are %s, want %s", model, args, got, names)
		}
	}
	box := []any{0.1, 0.2, 0.3, 0.4, 0.5}
	f("ppo_box", box, "mean,std,log_std,entropy,value,log_prob")
	f("ppo_box", box, "entropy,value,log_prob", "--return", "value,log_prob,entropy")
	f("ppo_box", box, "mean,std", "--return", "distribution")
	f("ppo_box", box, "raw_action,normalized_observation", "--return", "normalized_observation,raw_action")
	f("ppo_box", box, "raw_action,mean,std,log_std,entropy,value,log_prob", "--return", "all,raw_action")
	f("ppo_box", box, "std", "--return", "std,q_values")
	f("dqn", 2, "value,raw_action", "--return", "value,log_prob,raw_action,distribution")
	r := execute(`{"observations": [[0.1, 0.2, 0.3, 0.4, 0.5]], "deterministic": true}`, "predict", "--model", agentFile("ppo_box"), "--input", "-", "--return", "advantage")
	if r.code != 2 || !strings.Contains(r.stderr, "--return advantage: there is no such output") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}

// TestReplay draws rows of a batch again, each alone and in another process, by
// its seed, step and row.
func TestReplay(t *testing.T) {
	observations := []any{[]any{0.1, 0.2, 0.3, 0.4, 0.5}, []any{-1.0, 0, 1, 2, 0.25}, []any{3.0, 1, -1, 0, 1}}
	ask := func(observations []any, seed, step, row int) *prediction {
		t.Helper()
		p, err := predict(t, map[string]any{"observations": observations, "deterministic": false, "seed": seed, "step": step, "row": row},
			"--model", agentFile("ppo_box"), "--return", "log_prob,raw_action,mean")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	batch := ask(observations, 5, 2, 40)
	for i := range observations {
		alone := ask(observations[i:i+1], 5, 2, 40+i)
		if got, want := alone.Actions.([]any)[0], batch.Actions.([]any)[i]; !reflect.DeepEqual(got, want) {
			t.Errorf("row %d alone is %v, in the batch %v", i, got, want)
		}
		for _, name := range batch.names {
			if got, want := alone.outputs[name].([]any)[0], batch.outputs[name].([]any)[i]; !reflect.DeepEqual(got, want) {
				t.Errorf("%s of row %d alone is %v, in the batch %v", name, i, got, want)
			}
		}
		others := []*prediction{ask(observations[i:i+1], 6, 2, 40+i), ask(observations[i:i+1], 5, 3, 40+i), ask(observations[i:i+1], 5, 2, 41+i)}
		if slices.ContainsFunc(others, func(p *prediction) bool { return reflect.DeepEqual(p.Actions, alone.Actions) }) {
			t.Errorf("row %d is drawn the same with another seed, step or row", i)
		}
	}
	r := execute(`{"inputs": {"obs": [[1, 2, 3, 4, 5]]}, "row": 3}`, "predict", "--model", agentFile("ppo_box"), "--input", "-")
	if r.code != 1 || !strings.Contains(r.stderr, "row go with observations") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}
