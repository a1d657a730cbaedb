package main

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// networkCase is the cases.json of a network in several forms.
type networkCase struct {
	Format      string            `json:"format"`
	Files       map[string]string `json:"files"`
	Sequence    bool              `json:"sequence"`
	ResetBefore []int             `json:"reset_before_steps"`
	Atol        float64           `json:"atol"`
	Batches     []networkStep     `json:"batches"`
	Steps       []networkStep     `json:"steps"`
}

type networkStep struct {
	Inputs  map[string]any `json:"inputs"`
	Outputs map[string]any `json:"outputs"`
}

// networksRefused are the files that are not run, by case and form, each with
// what the reason must say: files of weights alone, and classes whose
// computation is in no file.
var networksRefused = map[string]string{
	"torch/*/state": "weights only", "torch/*/state_legacy": "weights only", "torch/*/safetensors": "weights only", "torch/*/ckpt": "weights only",
	"torch/*/pickle":                  "class",
	"rsl_rl/mlp_beta/ckpt":            "weights only", // The distribution is not in the file.
	"rsl_rl/mlp_hetero/ckpt":          "weights only",
	"other_libs/sample_factory/model": "weights only",
}

// networksRun are files that a pattern above means and that run all the same:
// modules made of torch.nn alone.
var networksRun = []string{"torch/seq_mlp_tanh/pickle"}

func refusalOf(t *testing.T, dir, folder, form string) (string, bool) {
	t.Helper()
	name, err := filepath.Rel(dir, folder)
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.ToSlash(name) + "/" + form
	if slices.Contains(networksRun, name) {
		return "", false
	}
	for pattern, reason := range networksRefused {
		if ok, err := path.Match(pattern, name); err != nil || ok {
			return reason, true
		}
	}
	return "", false
}

func TestCorpusNetworks(t *testing.T) {
	const cases = 24 + 3 + 4
	dir, ok := corpusDir(t, cases)
	if !ok {
		return
	}
	for _, folder := range caseFolders(t, dir, cases, "torch/*", "rsl_rl/*", "other_libs/*") {
		var c networkCase
		readCases(t, folder, &c)
		if c.Atol == 0 {
			c.Atol = 1e-5
		}
		c.Steps = append(c.Steps, c.Batches...)
		for i := range c.Steps {
			for name, v := range c.Steps[i].Inputs {
				c.Steps[i].Inputs[name] = withArrays(t, folder, v)
			}
		}
		for _, form := range slices.Sorted(maps.Keys(c.Files)) {
			for _, engine := range testEngines() {
				t.Run(filepath.Base(folder)+"/"+form+"/"+engine, func(t *testing.T) {
					err := c.check(t, "--model", filepath.Join(folder, c.Files[form]), "--engine", engine)
					switch reason, refused := refusalOf(t, dir, folder, form); {
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

// check asks for each batch by itself, or for all steps as one sequence.
func (c *networkCase) check(t *testing.T, args ...string) error {
	if !c.Sequence {
		for i, b := range c.Steps {
			p, err := predict(t, map[string]any{"inputs": b.Inputs}, args...)
			if err != nil {
				return err
			}
			if err := p.compare(b.Outputs, c.Atol); err != nil {
				return fmt.Errorf("batch %d: %w", i, err)
			}
		}
		return nil
	}
	var steps []any
	stacked := map[string]any{}
	for _, s := range c.Steps {
		steps = append(steps, s.Inputs)
		for name, v := range s.Outputs {
			list, _ := stacked[name].([]any)
			stacked[name] = append(list, v)
		}
	}
	question := map[string]any{"sequence": steps}
	if c.ResetBefore != nil {
		question["reset_before"] = c.ResetBefore
	}
	p, err := predict(t, question, args...)
	if err != nil {
		return err
	}
	return p.compare(stacked, c.Atol)
}

// compare holds the outputs to those recorded, which are out, or out0, out1
// and so on where a form of the model has names of its own; those that a form
// has besides are its state.
func (p *prediction) compare(want map[string]any, atol float64) error {
	for name, w := range want {
		got, ok := p.outputs[name]
		if i, isNumber := outputNumber(name); !ok && isNumber && i < len(p.names) {
			got, ok = p.outputs[p.names[i]]
		}
		if !ok {
			return fmt.Errorf("there is no output %s, the outputs are %v", name, p.names)
		}
		if err := same(got, w, atol); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// outputNumber is the place of an output that was recorded as out or out2.
func outputNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "out")
	if digits == "" {
		return 0, ok
	}
	i, err := strconv.Atoi(digits)
	return i, ok && err == nil
}
