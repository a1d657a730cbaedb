//go:build unix

package apptest

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"
)

// TestConvertedAgentIsServed turns a zip of Stable-Baselines3 into an artifact
// and into an ONNX model, serves both, and compares what they answer with what
// the zip itself does.
func TestConvertedAgentIsServed(t *testing.T) {
	zip := filepath.FromSlash("../../../internal/format/sb3/testdata/ppo_box/model.zip")
	var c struct {
		Input struct {
			Obs []any `json:"obs"`
		} `json:"input"`
		Expect map[string]any `json:"expect"`
	}
	readCase(t, filepath.Dir(zip), &c)
	question, err := json.Marshal(map[string]any{"observations": c.Input.Obs, "deterministic": true})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "agent")
	file := filepath.Join(t.TempDir(), "agent.onnx")
	for _, out := range []string{folder, file} {
		if r := execute(t, "", "convert", zip, out); r.code != 0 {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		p := start(t, []string{"ARTIFACT_DIR=" + out})
		a := p.post("/predict", string(question))
		if a.status != http.StatusOK {
			t.Fatalf("%s: status %d: %s", out, a.status, a.body)
		}
		got := a.json(t)
		if near(t, filepath.Base(out), got["actions"], c.Expect["action"], 1e-5, 1e-5) == 0 {
			t.Error("nothing was compared")
		}
		p.stop()
	}
}
