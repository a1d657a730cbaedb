//go:build unix

package apptest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// The recurrent agents and the stacks of frames that are in the tree.
var (
	recurrentAgents = []string{"rppo_two_layers", "rppo_shared", "rppo_no_critic", "old_rppo"}
	frameStacks     = []string{"plain", "dict", "image", "matrix_first", "normalize_then_stack", "stack_then_normalize"}
)

const (
	agentFolder = "../../../internal/format/sb3/testdata"
	frameFolder = "../../../testdata/frames"
)

// statefulModels lays out every policy with state as a model of one artifact
// root.
func statefulModels(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range recurrentAgents {
		layModel(t, root, agentFolder, name)
	}
	for _, name := range frameStacks {
		layModel(t, root, frameFolder, name)
	}
	return root
}

// layModel lays out the files of one policy as a model, with a card that says
// no more than it must where there is none.
func layModel(t *testing.T, root, folder, name string) {
	t.Helper()
	dir := filepath.Join(root, name, "v0.0.1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"model.zip", "model_card.yaml", "vecnormalize.pkl"} {
		data, err := os.ReadFile(filepath.Join(folder, name, file))
		if os.IsNotExist(err) && file == "model_card.yaml" {
			data, err = []byte("model_name: "+name+"\nversion: v0.0.1\nmodel_type: sb3\nmodel_filename: model.zip\n"), nil
		}
		if os.IsNotExist(err) && file != "model.zip" {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// waitModels waits until so many models answer.
func (p *process) waitModels(count int) {
	p.t.Helper()
	for ; ; time.Sleep(time.Millisecond) {
		var list struct {
			Models []struct {
				Name     string
				Ready    bool
				Versions []struct{ State, Reason string }
			}
		}
		a := p.get("/v1/models")
		if err := json.Unmarshal([]byte(a.body), &list, json.MatchCaseInsensitiveNames(true)); err != nil || a.status != http.StatusOK {
			p.t.Fatalf("%d %v %s", a.status, err, a.body)
		}
		ready := 0
		for _, m := range list.Models {
			if m.Ready {
				ready++
			} else if m.Versions[0].State == "failed" {
				p.t.Fatalf("%s: %s", m.Name, m.Versions[0].Reason)
			}
		}
		if ready == count {
			return
		}
	}
}

// open begins a session and returns its path.
func (p *process) open(body string) string {
	p.t.Helper()
	a := p.post("/v1/sessions", body)
	if a.status != http.StatusCreated {
		p.t.Fatalf("%s: %d %s", body, a.status, a.body)
	}
	return a.header.Get("Location")
}

// actIn acts in a session and returns the action. An observation without names
// is nested as the network takes it.
func (p *process) actIn(path string, observation any, start, deterministic bool) any {
	p.t.Helper()
	body := map[string]any{"episode_start": start, "deterministic": deterministic, "obs": observation}
	if _, named := observation.(map[string]any); named {
		delete(body, "obs")
		body["observation"] = observation
	}
	text, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	a := p.post(path+"/act", string(text))
	if a.status != http.StatusOK {
		p.t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	return a.json(p.t)["actions"].([]any)[0]
}

// single rounds the numbers of an answer to float32, which is what they are.
func single(v any) any {
	switch v := v.(type) {
	case float64:
		return float64(float32(v))
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = single(v[i])
		}
		return out
	}
	return v
}

// TestSessionsActAsStableBaselines3 runs recurrent agents and stacks of frames
// in sessions, many at once, and compares each step with what the library
// answered, and with what `carla-rl predict` does to the bit.
func TestSessionsActAsStableBaselines3(t *testing.T) {
	p := start(t, []string{"ARTIFACT_DIR=" + statefulModels(t)})
	p.waitModels(len(recurrentAgents) + len(frameStacks))
	for _, name := range recurrentAgents {
		t.Run(name, func(t *testing.T) { compareRecurrent(t, p, name) })
	}
	for _, name := range frameStacks {
		t.Run(name, func(t *testing.T) { compareFrames(t, p, name) })
	}
}

func compareRecurrent(t *testing.T, p *process, name string) {
	folder := filepath.Join(agentFolder, name)
	var c agentCase
	readCase(t, folder, &c)
	rows, ok := c.rows()
	if !ok {
		t.Fatal("the observations are not in the file")
	}
	question, err := json.Marshal(map[string]any{"observations": rows, "episode_start": c.EpisodeStart, "deterministic": true})
	if err != nil {
		t.Fatal(err)
	}
	r := execute(t, string(question), "predict", "--model", filepath.Join(folder, "model.zip"), "--input", "-")
	var alone struct {
		Actions []any `json:"actions"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &alone); err != nil || len(alone.Actions) != len(rows) {
		t.Fatalf("%v: %s", err, r.stderr)
	}
	want := c.Expect["action"].([]any)
	// Three sessions that are at different steps.
	paths, at := make([]string, 3), make([]int, 3)
	for i := range paths {
		paths[i] = p.open(`{"model":"` + name + `"}`)
	}
	for turn := 0; slices.Min(at) < len(rows); turn++ {
		i := turn * turn % len(paths)
		if turn%7 == 0 {
			i = 2
		}
		if at[i] == len(rows) {
			i = slices.Index(at, slices.Min(at))
		}
		step := at[i]
		at[i]++
		got := p.actIn(paths[i], rows[step], c.EpisodeStart[step], true)
		where := fmt.Sprintf("session %d step %d", i, step)
		if near(t, where, got, want[step], 1e-5, 1e-5) == 0 {
			t.Fatal("nothing was compared")
		}
		if fmt.Sprint(single(got)) != fmt.Sprint(single(alone.Actions[step])) {
			t.Errorf("%s: %v, carla-rl predict says %v", where, got, alone.Actions[step])
		}
	}
	for _, path := range paths {
		if a := p.do(http.MethodDelete, path, "", nil); a.status != http.StatusNoContent {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

func compareFrames(t *testing.T, p *process, name string) {
	var c struct {
		Atol  float64
		Steps []struct {
			Frames, Actions []any
			Begins          []bool
		}
	}
	data, err := os.ReadFile(filepath.Join(frameFolder, name, "cases.json"))
	if err == nil {
		err = json.Unmarshal(data, &c, json.MatchCaseInsensitiveNames(true))
	}
	if err != nil || len(c.Steps) == 0 {
		t.Fatal(err)
	}
	envs := len(c.Steps[0].Frames)
	paths := make([]string, envs)
	for env := range paths {
		paths[env] = p.open(`{"model":"` + name + `"}`)
	}
	for i, s := range c.Steps {
		for env, path := range paths {
			if near(t, fmt.Sprintf("step %d of %d", i, env), p.actIn(path, s.Frames[env], s.Begins[env], true), s.Actions[env], c.Atol, 1e-5) == 0 {
				t.Fatal("nothing was compared")
			}
		}
	}
}

// TestSessionsReplay draws actions of a recurrent agent in a session, and again
// in one of the same name and seed after the server was started anew.
func TestSessionsReplay(t *testing.T) {
	root := statefulModels(t)
	var c agentCase
	readCase(t, filepath.Join(agentFolder, "rppo_two_layers"), &c)
	rows, _ := c.rows()
	run := func(p *process, body string) string {
		path := p.open(body)
		var actions []any
		for i, row := range rows {
			actions = append(actions, p.actIn(path, row, c.EpisodeStart[i], false))
		}
		if a := p.do(http.MethodDelete, path, "", nil); a.status != http.StatusNoContent {
			t.Errorf("%d %s", a.status, a.body)
		}
		return fmt.Sprint(actions)
	}
	const body = `{"model":"rppo_two_layers","id":"robot-7","seed":42}`
	var first string
	for range 2 {
		p := start(t, []string{"ARTIFACT_DIR=" + root})
		p.waitModels(len(recurrentAgents) + len(frameStacks))
		got := run(p, body)
		if first == "" {
			first = got
		}
		if got != first {
			t.Errorf("drawn %s, before the server was started anew %s", got, first)
		}
		if other := run(p, strings.Replace(body, "42", "43", 1)); other == first {
			t.Error("another seed draws the same")
		}
		if other := run(p, strings.Replace(body, "robot-7", "robot-8", 1)); other == first {
			t.Error("another session of the same seed draws the same")
		}
		p.stop()
	}
}

// TestMetadataOfAgents holds what is told of agents to what their files have.
func TestMetadataOfAgents(t *testing.T) {
	const (
		box     = `"space":{"type":"Box","shape":[5],"dtype":"float32","low":-2,"high":2}`
		parts   = `"space":{"type":"Box","shape":[3],"dtype":"float32","low":[-2,-1,0],"high":[3,1,0.5]}`
		returns = `"return":["raw_action","distribution","log_std","entropy","value","log_prob","normalized_observation"]`
	)
	agents := map[string][]string{
		"ppo_box":                {box, parts, returns, `"distribution":"gaussian"`, `"recurrent":false,"state":null,"masks":null`},
		"ppo_multidiscrete":      {`"space":{"type":"MultiDiscrete","shape":[3],"dtype":"int64","nvec":[3,2,4]}`, `"distribution":"multi_categorical"`},
		"maskable_discrete":      {`"space":{"type":"Discrete","shape":[],"dtype":"int64","n":4}`, `"masks":{"width":4,"parts":[4]}`},
		"maskable_multibinary":   {`"space":{"type":"MultiBinary","shape":[3],"dtype":"int8"}`, `"masks":{"width":6,"parts":[2,2,2]}`},
		"maskable_multidiscrete": {`"space":{"type":"MultiDiscrete","shape":[2],"dtype":"int64","nvec":[3,3]}`, `"masks":{"width":6,"parts":[3,3]}`},
		"ppo_dict": {`"named":true`, `{"name":"a","shape":[2,2],"low":null,"high":null,"space":{"type":"Box","shape":[2,2],"dtype":"float32","low":-1,"high":1}}`,
			`{"name":"b","shape":[],"low":0,"high":2,"space":{"type":"Discrete","shape":[],"dtype":"int64","n":3}}`, `{"name":"c","shape":[2,2],"low":0,"high":1,"space":{"type":"MultiBinary","shape":[2,2],"dtype":"int8"}}`},
		"ppo_images":      {`"image":true,"channels":"last","space":{"type":"Box","shape":[36,37,1],"dtype":"uint8","low":0,"high":255}`},
		"rppo_two_layers": {box, parts, `"recurrent":true,"state":{"width":32,"parts":[{"name":"lstm_pi_h","shape":[8]}`, `"onVersionChange":"drain"`},
		"plain":           {`"recurrent":true`, `"frameStack":4`, `"name":"frames","shape":[9]`},
	}
	root := t.TempDir()
	for name := range agents {
		folder := agentFolder
		if name == "plain" {
			folder = frameFolder
		}
		layModel(t, root, folder, name)
	}
	p := start(t, []string{"ARTIFACT_DIR=" + root})
	p.waitModels(len(agents))
	for name, want := range agents {
		a := p.get("/v1/models/" + name)
		for _, part := range append(want, `"name":"`+name+`","ready":true`) {
			if a.status != http.StatusOK || !strings.Contains(a.body, part) {
				t.Errorf("%s: %d without %s\n%s", name, a.status, part, a.body)
			}
		}
	}
}
