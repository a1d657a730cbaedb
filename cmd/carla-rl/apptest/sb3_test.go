//go:build unix

package apptest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// agentCase is cases.json of an agent of Stable-Baselines3.
type agentCase struct {
	Model        string  `json:"model"`
	VecNormalize string  `json:"vecnormalize"`
	Atol         float64 `json:"atol"`
	N            int     `json:"n"`
	EpisodeStart []bool  `json:"episode_start"`
	Input        struct {
		Obs any `json:"obs"`
	} `json:"input"`
	Expect map[string]any `json:"expect"`
}

// rows turns columns (an object of lists) into rows.
func (c *agentCase) rows() ([]any, bool) {
	columns, isDict := c.Input.Obs.(map[string]any)
	if !isDict {
		rows, ok := c.Input.Obs.([]any)
		return rows, ok
	}
	rows := make([]any, c.N)
	for i := range rows {
		row := map[string]any{}
		for name, column := range columns {
			list, ok := column.([]any)
			if !ok || len(list) != c.N {
				return nil, false // An image, which lies beside the file.
			}
			row[name] = list[i]
		}
		rows[i] = row
	}
	return rows, true
}

// TestAgentsActAsStableBaselines3 runs `predict` on zip files as training left
// them, with their VecNormalize, and compares actions, values, logits and
// means. A file that is refused must say "unsupported:" and what.
func TestAgentsActAsStableBaselines3(t *testing.T) {
	const files, answeredMin = 47, 42
	dir, ok := corpus(t, files)
	if !ok {
		return
	}
	cases, err := filepath.Glob(filepath.Join(dir, "sb3_*", "*", "cases.json"))
	if err != nil || len(cases) != files {
		t.Fatalf("%d cases, %v, want %d", len(cases), err, files)
	}
	answered := 0
	for _, file := range cases {
		folder := filepath.Dir(file)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			var c agentCase
			readCase(t, folder, &c)
			rows, ok := c.rows()
			if !ok {
				t.Log("1 case not run here: its images lie in a file of numpy")
				return
			}
			c.compare(t, folder, rows, &answered)
		})
	}
	t.Logf("%d of %d agents answered", answered, files)
	if answered < answeredMin {
		t.Errorf("%d agents answered, want at least %d", answered, answeredMin)
	}
}

func (c *agentCase) compare(t *testing.T, folder string, rows []any, answered *int) {
	t.Helper()
	question := map[string]any{"observations": rows, "deterministic": true}
	if c.EpisodeStart != nil {
		question["episode_start"] = c.EpisodeStart
	}
	input, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"predict", "--model", filepath.Join(folder, c.Model), "--input", "-"}
	if c.VecNormalize != "" {
		args = append(args, "--vecnormalize", filepath.Join(folder, c.VecNormalize))
	}
	r := execute(t, string(input), args...)
	if r.code == 1 && strings.Contains(r.stderr, "unsupported: ") {
		t.Logf("refused: %s", strings.TrimSpace(r.stderr))
		return
	}
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	var got struct {
		Actions any            `json:"actions"`
		Outputs map[string]any `json:"outputs"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if c.Atol == 0 {
		c.Atol = 1e-5
	}
	n := near(t, "action", got.Actions, c.Expect["action"], c.Atol, 1e-5)
	for _, name := range []string{"mean", "std", "logits", "q_values", "value"} {
		if want, ok := c.Expect[name]; ok {
			n += near(t, name, got.Outputs[name], want, c.Atol, 1e-5)
		}
	}
	if n == 0 {
		t.Error("nothing was compared")
	}
	*answered++
}
