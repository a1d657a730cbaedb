//go:build unix

package apptest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// wireCase is a case of an agent with what a request says beside observations.
type wireCase struct {
	agentCase
	Masks        []any          `json:"action_masks"`
	ExpectMasked map[string]any `json:"expect_masked"`
	Normalized   any            `json:"normalized_obs"`
}

// wireAgents are the agents of the corpus in one root of models, served.
type wireAgents struct {
	t     *testing.T
	p     *process
	ready map[string]string // why a model is not, empty where it is
	// Numbers of what was answered.
	answered, recurrent, masked, images, replayed int
	values                                        map[string]int // by name, of what was returned
}

// TestAgentsActOverTheWire asks a server for the actions of every agent of
// Stable-Baselines3 as its cases have them: those that keep state step by step
// with the state of the answer before, those that take masks with and without
// them, images as bytes in base64. What the cases know beside the actions is
// returned and compared as well.
func TestAgentsActOverTheWire(t *testing.T) {
	const files, answeredMin, recurrentMin, imagesMin, replayedMin = 47, 44, 3, 4, 20
	dir, ok := corpus(t, files)
	if !ok {
		return
	}
	cases, err := filepath.Glob(filepath.Join(dir, "sb3_*", "*", "cases.json"))
	if err != nil || len(cases) != files {
		t.Fatalf("%d cases, %v, want %d", len(cases), err, files)
	}
	w := serveAgents(t, cases)
	for _, file := range cases {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) { w.compare(t, filepath.Dir(file)) })
	}
	t.Logf("%d of %d agents answered, %d of them recurrent, %d with images; 1 with masks: %d; draws of %d replayed; values returned: %v", w.answered, files, w.recurrent, w.images, w.masked, w.replayed, w.values)
	if w.answered < answeredMin || w.recurrent < recurrentMin || w.images < imagesMin || w.masked != 1 || w.replayed < replayedMin {
		t.Errorf("want at least %d agents, %d recurrent, %d with images, 1 with masks", answeredMin, recurrentMin, imagesMin)
	}
	for _, name := range []string{"value", "log_prob", "raw_action", "mean", "std", "logits"} {
		if w.values[name] == 0 {
			t.Errorf("%s was never returned", name)
		}
	}
}

// serveAgents lays the agents out as models of one root and serves it.
func serveAgents(t *testing.T, cases []string) *wireAgents {
	t.Helper()
	root := t.TempDir()
	for _, file := range cases {
		var c agentCase
		folder := filepath.Dir(file)
		readCase(t, folder, &c)
		to := filepath.Join(root, filepath.Base(folder), "v1.0.0")
		if err := os.MkdirAll(to, 0o755); err != nil {
			t.Fatal(err)
		}
		card := "model_name: " + filepath.Base(folder) + "\nversion: v1.0.0\nmodel_type: sb3\nmodel_filename: " + c.Model + "\n"
		files := []string{c.Model}
		if c.VecNormalize != "" {
			files = append(files, c.VecNormalize)
			card += "preprocessor_filename: " + c.VecNormalize + "\n"
		}
		for _, name := range files {
			data, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(to, "model_card.yaml"), []byte(card), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := &wireAgents{t: t, p: start(t, []string{"ARTIFACT_DIR=" + root, "CARLA_RL_REQUEST_TIMEOUT=10s"}), ready: map[string]string{}, values: map[string]int{}}
	var listed struct {
		Models []struct {
			Name     string `json:"name"`
			Ready    bool   `json:"ready"`
			Versions []struct {
				Reason string `json:"reason"`
			} `json:"versions"`
		} `json:"models"`
	}
	if err := json.Unmarshal([]byte(w.p.get("/v1/models").body), &listed); err != nil {
		t.Fatal(err)
	}
	for _, m := range listed.Models {
		if !m.Ready {
			w.ready[m.Name] = m.Versions[0].Reason
		}
	}
	return w
}

func (w *wireAgents) compare(t *testing.T, folder string) {
	name := filepath.Base(folder)
	if reason := w.ready[name]; reason != "" {
		if !strings.Contains(reason, "unsupported: ") {
			t.Fatalf("it is not ready: %s", reason)
		}
		t.Logf("refused: %s", reason)
		return
	}
	var c wireCase
	readCase(t, folder, &c)
	rows, ok := c.rows()
	if !ok {
		rows = c.imageRows(t, folder)
		w.images++
	}
	if c.Atol == 0 {
		c.Atol = 1e-5
	}
	returns := w.returns(t, name)
	if c.EpisodeStart != nil {
		w.recurrent++
		w.steps(t, name, folder, &c, rows, returns)
	} else {
		got := w.ask(t, name, map[string]any{"observations": rows, "deterministic": true, "return": returns})
		w.near(t, "answer", &c, got, c.Expect, -1)
		w.replay(t, name, rows, returns)
	}
	if c.Masks != nil {
		w.masked++
		got := w.ask(t, name, map[string]any{"observations": rows, "deterministic": true, "action_masks": c.Masks})
		w.near(t, "masked", &c, got, c.ExpectMasked, -1)
	}
	w.answered++
}

// returns is what a model can return, by its metadata.
func (w *wireAgents) returns(t *testing.T, name string) []string {
	t.Helper()
	var m struct {
		Return []string `json:"return"`
	}
	if err := json.Unmarshal([]byte(w.p.get("/v1/models/"+name).body), &m); err != nil {
		t.Fatal(err)
	}
	return m.Return
}

func (w *wireAgents) ask(t *testing.T, name string, body map[string]any) map[string]any {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	a := w.p.post("/v1/models/"+name+"/predict", string(data))
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %.500s", a.status, a.body)
	}
	return a.json(t)
}

// replay draws actions for all rows, and again for each of the first few alone,
// the second time with all that may be returned: the same seed, step and row
// must draw the same bits.
func (w *wireAgents) replay(t *testing.T, name string, rows []any, returns []string) {
	t.Helper()
	const step = 11
	drawn := w.ask(t, name, map[string]any{"observations": rows, "deterministic": false, "step": step})
	seed, ok := drawn["seed"]
	if !ok {
		return // It does not draw.
	}
	w.replayed++
	for i, want := range drawn["actions"].([]any)[:min(4, len(rows))] {
		body := map[string]any{"observations": rows[i : i+1], "deterministic": false, "seed": seed, "step": step, "row": i}
		for range 2 {
			got := w.ask(t, name, body)
			near(t, fmt.Sprintf("row %d again", i), got["actions"].([]any)[0], want, 0, 0)
			body["return"] = returns
		}
	}
}

// steps asks for one step after the other, each with the state of the answer
// before, and holds the actions to those that `predict` gives for the whole
// sequence.
func (w *wireAgents) steps(t *testing.T, name, folder string, c *wireCase, rows []any, returns []string) {
	t.Helper()
	var state any
	var actions []any
	for i, row := range rows {
		got := w.ask(t, name, map[string]any{
			"observations": []any{row}, "deterministic": true, "state": state, "episode_start": c.EpisodeStart[i], "return": returns,
		})
		w.near(t, fmt.Sprintf("step %d", i), c, got, c.Expect, i)
		state = got["state"]
		actions = append(actions, got["actions"].([]any)[0])
	}
	if _, text := rows[0].(string); text {
		return // `predict` takes images as lists.
	}
	input, err := json.Marshal(map[string]any{"observations": rows, "deterministic": true, "episode_start": c.EpisodeStart})
	if err != nil {
		t.Fatal(err)
	}
	r := execute(t, string(input), "predict", "--model", filepath.Join(folder, c.Model), "--input", "-")
	var want struct {
		Actions []any `json:"actions"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &want); err != nil {
		t.Fatalf("%v: %s", err, r.stderr)
	}
	if n := near(t, "the actions of predict", actions, want.Actions, 0, 0); n < len(rows) {
		t.Errorf("%d values were compared", n)
	}
}

// near compares an answer with what is expected of all rows, or of one.
func (w *wireAgents) near(t *testing.T, where string, c *wireCase, got, expect map[string]any, row int) {
	t.Helper()
	of := func(name string) (any, bool) {
		want, ok := expect[name].([]any)
		if !ok || len(want) != c.N { // scalars and notes
			return nil, false
		}
		if row >= 0 {
			want = want[row : row+1]
		}
		return want, true
	}
	want, ok := of("action")
	if !ok || near(t, where+": actions", got["actions"], want, c.Atol, 1e-5) == 0 {
		t.Errorf("%s: nothing was compared", where)
	}
	parts := maps.Clone(got)
	maps.Copy(parts, columns(got["distribution"]))
	for _, name := range []string{"value", "log_prob", "raw_action", "q_values", "mean", "std", "logits"} {
		if name == "raw_action" && expect["dist_class"] == nil {
			continue // of ARS, whose cases call the network's output so
		}
		values := parts[name]
		if want, ok := of(name); ok && values != nil {
			if name == "logits" { // the parts of several choices one after another
				want = flatRows(want.([]any))
			}
			rtol := 1e-5
			if kind, _ := expect["dist_class"].(string); name == "log_prob" && strings.HasPrefix(kind, "Squashed") {
				// Its log(1 - a² + 1e-6) hangs on the last bits of an action
				// that is almost 1.
				rtol = 1e-2
			}
			w.values[name] += near(t, where+": "+name, values, want, c.Atol, rtol)
		}
	}
}

// flatRows makes of each row of lists one list.
func flatRows(rows []any) []any {
	out := make([]any, len(rows))
	for i, row := range rows {
		var flat []any
		for _, v := range row.([]any) {
			if list, ok := v.([]any); ok {
				flat = append(flat, list...)
			} else {
				flat = append(flat, v)
			}
		}
		out[i] = flat
	}
	return out
}

// columns turns rows of objects into an object of rows.
func columns(rows any) map[string]any {
	list, _ := rows.([]any)
	out := map[string]any{}
	for _, row := range list {
		for name, v := range row.(map[string]any) {
			column, _ := out[name].([]any)
			out[name] = append(column, v)
		}
	}
	return out
}

// imageRows are rows of which images lie in files of numpy.
func (c *wireCase) imageRows(t *testing.T, folder string) []any {
	t.Helper()
	columns := c.Input.Obs.(map[string]any)
	if _, alone := columns["npy"]; alone {
		return npyRows(t, folder, columns, c.N)
	}
	rows := make([]any, c.N)
	for i := range rows {
		rows[i] = map[string]any{}
	}
	for name, column := range columns {
		list, ok := column.([]any)
		if !ok {
			list = npyRows(t, folder, column.(map[string]any), c.N)
		}
		for i := range rows {
			rows[i].(map[string]any)[name] = list[i]
		}
	}
	return rows
}

// npyRows returns the rows of a file of bytes as base64.
func npyRows(t *testing.T, folder string, file map[string]any, n int) []any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, file["npy"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	if len(data) < 10 || string(data[:6]) != "\x93NUMPY" || data[6] != 1 {
		t.Fatalf("%s is no file of numpy", file["npy"])
	}
	data = data[10+(int(data[8])|int(data[9])<<8):]
	size := len(data) / n
	rows := make([]any, n)
	for i := range rows {
		rows[i] = base64.StdEncoding.EncodeToString(data[i*size:][:size])
	}
	return rows
}

// TestRecurrentExportActsOverTheWire steps through the recorded episodes of a
// GRU that rsl_rl exported, whose state is in buffers of its TorchScript.
func TestRecurrentExportActsOverTheWire(t *testing.T) {
	dir, ok := corpus(t, 1)
	if !ok {
		return
	}
	folder := filepath.Join(dir, "rsl_rl", "gru2_gaussian")
	var c struct {
		networkCase
		Reset []int `json:"reset_before_steps"`
	}
	readCase(t, folder, &c)
	root := t.TempDir()
	data, err := os.ReadFile(filepath.Join(folder, c.Files["script"]))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "model.pt"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "model_card.yaml"), []byte("model_name: gru\nversion: v1.0.0\nmodel_type: torchscript\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"ARTIFACT_DIR=" + root})
	state, compared := "null", 0
	for i, step := range c.Steps {
		var in struct {
			X []any `json:"x"`
		}
		if err := json.Unmarshal(step.Inputs, &in); err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(map[string]any{"observations": in.X, "episode_start": slices.Contains(c.Reset, i)})
		if err != nil {
			t.Fatal(err)
		}
		a := p.post("/predict", strings.TrimSuffix(string(body), "}")+`,"state":`+state+`}`)
		if a.status != http.StatusOK {
			t.Fatalf("step %d: %d %s", i, a.status, a.body)
		}
		got := a.json(t)
		state = fmt.Sprintf("%q", got["state"])
		compared += near(t, fmt.Sprintf("step %d", i), got["actions"], step.Outputs["out"], c.Atol, 1e-5)
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
