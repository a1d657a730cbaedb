//go:build unix

package apptest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// ask sends one observation with the state of the client, and returns the
// answer.
func (p *process) ask(members map[string]any) answer {
	p.t.Helper()
	body, err := json.Marshal(members)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.post("/predict", string(body))
}

// TestStateGoesFromReplicaToReplica carries an episode of a recurrent agent
// between two servers with one key, against the library's actions and against a
// session of one of them. A server without the key refuses it.
func TestStateGoesFromReplicaToReplica(t *testing.T) {
	folder := filepath.Join(agentFolder, "rppo_two_layers")
	var c agentCase
	readCase(t, folder, &c)
	rows, _ := c.rows()
	want := c.Expect["action"].([]any)
	env := []string{"CARLA_RL_SESSION_TOKEN_KEY=" + strings.Repeat("k", 32)}
	model, err := filepath.Abs(filepath.Join(folder, "model.zip"))
	if err != nil {
		t.Fatal(err)
	}
	replicas := []*process{start(t, env, model), start(t, env, model)}
	stranger := start(t, nil, model)
	for _, p := range append(replicas, stranger) {
		p.waitReady()
		if a := p.post("/warmup", ""); a.status != http.StatusOK {
			t.Errorf("the warm-up of a policy that keeps state: %d %s", a.status, a.body)
		}
	}

	// Two rows in one state, whose episodes begin at different steps.
	var state any
	for i, row := range rows {
		other := rows[(i+1)%len(rows)]
		a := replicas[i%2].ask(map[string]any{"observations": []any{row, other}, "state": state, "deterministic": true, "episode_start": []bool{c.EpisodeStart[i], i == 2}})
		if a.status != http.StatusOK {
			t.Fatalf("step %d: %d %s", i, a.status, a.body)
		}
		state = a.json(t)["state"]
		if near(t, fmt.Sprint("step ", i), a.json(t)["actions"].([]any)[0], want[i], c.Atol, 1e-5) == 0 {
			t.Fatal("nothing was compared")
		}
	}
	a := stranger.ask(map[string]any{"observations": []any{rows[0], rows[1]}, "state": state})
	if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "sessions.token_key") {
		t.Errorf("the state of another server: %d %s", a.status, a.body)
	}
	a = replicas[0].ask(map[string]any{"observations": []any{rows[0]}, "state": state})
	if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "the state is of 2 rows, the request has 1") {
		t.Errorf("the state of other rows: %d %s", a.status, a.body)
	}
	if text := stranger.get("/metrics").body; !strings.Contains(text, `carla_rl_session_tokens_refused_total{reason="unauthentic"} 1`) {
		t.Error("the refused state was not counted")
	}
	if !strings.Contains(stranger.stdout(), "sessions.token_key") || strings.Contains(replicas[0].stdout(), "sessions.token_key") {
		t.Error("a server tells that it drew its key, and no other does")
	}

	// What a session draws, a client that carries its state draws with the seed
	// that the session answers with.
	path := replicas[0].open(`{"id":"robot-7","seed":42}`)
	members := map[string]any{"state": nil}
	for i, row := range rows {
		body, err := json.Marshal(map[string]any{"observations": []any{row}, "episode_start": i == 3, "step": i, "deterministic": false})
		if err != nil {
			t.Fatal(err)
		}
		s := replicas[0].post(path+"/act", string(body)).json(t)
		if i == 0 {
			members["seed"] = s["seed"]
		}
		members["observations"], members["episode_start"], members["deterministic"] = []any{row}, i == 3, false
		a := replicas[i%2].ask(members)
		if a.status != http.StatusOK {
			t.Fatalf("step %d: %d %s", i, a.status, a.body)
		}
		got := a.json(t)
		if !reflect.DeepEqual(got["actions"], s["actions"]) || got["seed"] != s["seed"] {
			t.Errorf("step %d: %v with seed %v, in the session %v with seed %v", i, got["actions"], got["seed"], s["actions"], s["seed"])
		}
		members = map[string]any{"state": got["state"]}
	}
}
