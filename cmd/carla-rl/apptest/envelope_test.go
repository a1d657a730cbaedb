//go:build unix

package apptest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// movingCard limits how fast the third action may change, to 0.1 in a step, and
// has the action before in the place of one that may not leave.
const movingCard = `
model_name: weights
version: v0.1.0
model_type: pytorch
model_filename: model.pth
observation: [{name: obs, shape: [5]}]
action: [{name: a, low: -1, high: 1}, {name: b, low: -1, high: 1}, {name: c, low: 0, high: 1}]
postprocess: none
architecture: [{linear: 0}, tanh, {linear: 2}, relu, {linear: 4}]
control_hz: 10
envelope:
  limits: {c: {rate: 1}}
  max_zscore: 5
  statistics: {obs: {mean: 0, std: 1}}
fallback: hold
`

// moving serves a policy with that card.
func moving(t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	weights, err := os.ReadFile("../../../testdata/modules/2.8.0/seq_mlp/state_dict.pth")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"model.pth": weights, "model_card.yaml": []byte(movingCard)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, nil, dir)
	p.waitReady()
	return p
}

// movingSteps are three steps of an episode: the policy gives c 0.418 and then
// 0.049, and the third observation is unlike the training.
var movingSteps = []string{`[-1.7822044,-0.3122457,-1.7094785,-1.0696787,0.913396]`, `[0,0,0,0,0]`, `[0,0,8,0,0]`}

// movingAnswers are what comes of them in a stream: as it is, moved, held.
var movingAnswers = []string{
	`"c":0.4183959}]`, `"c":0.3183959}]`, `"a":-0.07457666,"b":-0.10617779,"c":0.3183959}]`,
}

// heldTo checks the answers of a stream.
func heldTo(t *testing.T, what string, step int, a answer) {
	t.Helper()
	if a.status != http.StatusOK || !strings.Contains(a.body, movingAnswers[step]) || strings.Contains(a.body, "unheld") {
		t.Errorf("%s, step %d: %d %s, want %s", what, step, a.status, a.body, movingAnswers[step])
	}
	for i, kind := range []string{`"kind":"rate","from":0.048678`, `"kind":"out_of_distribution","fallback":"hold","feature":"obs[2]","score":8.0`} {
		if strings.Contains(a.body, kind) != (step == i+1) {
			t.Errorf("%s, step %d: %s", what, step, a.body)
		}
	}
}

// TestTheActionBefore drives a policy whose envelope counts from it: in a
// session, by a state that the client carries, and without either, where the
// answer says what it could not be held to.
func TestTheActionBefore(t *testing.T) {
	p := moving(t)
	body := func(step int, more string) string {
		return fmt.Sprintf(`{"observations":[{"obs":%s}],"deterministic":true%s}`, movingSteps[step], more)
	}
	if a := p.get("/metadata"); !strings.Contains(a.body, `"needsHistory":true`) || !strings.Contains(a.body, `"recurrent":false`) {
		t.Errorf("/metadata: %s", a.body)
	}

	if a := p.post("/v1/sessions", `{"id":"one"}`); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for range 2 { // The second time after an episode, from which nothing is left.
		for step := range movingSteps {
			heldTo(t, "session", step, p.post("/v1/sessions/one/act", body(step, fmt.Sprintf(`,"episode_start":%v`, step == 0))))
		}
	}

	state := "null"
	for step := range movingSteps {
		a := p.post("/predict", body(step, `,"state":`+state))
		heldTo(t, "state", step, a)
		next, _ := a.json(t)["state"].(string)
		if next == "" {
			t.Fatalf("no state: %s", a.body)
		}
		state = `"` + next + `"`
	}
	// An episode that begins has no action before it.
	heldTo(t, "state of an episode that begins", 0, p.post("/predict", body(0, `,"state":`+state+`,"episode_start":true`)))

	for step := range 2 {
		a := p.post("/predict", body(step, ""))
		if a.status != http.StatusOK || !strings.Contains(a.body, `,"unheld":["rate"],`) || strings.Contains(a.body, "interventions") || strings.Contains(a.body, `"state"`) {
			t.Errorf("without a stream: %d %s", a.status, a.body)
		}
	}
	const tensor = `{"inputs":[{"name":"obs","datatype":"FP32","shape":[1,5],"data":%s}],"parameters":{"deterministic":true}}`
	if a := p.post("/v2/models/weights/infer", fmt.Sprintf(tensor, movingSteps[0])); a.status != http.StatusOK || !strings.Contains(a.body, `"unheld":"[\"rate\"]"`) {
		t.Errorf("without a sequence: %d %s", a.status, a.body)
	}

	// Without an action before, hold has nothing to give, and says so.
	const want = "the fallback hold has no action before this one"
	for _, more := range []string{"", `,"state":null`} {
		if a := p.post("/predict", body(2, more)); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, want) {
			t.Errorf("%q: %d %s", more, a.status, a.body)
		}
	}
	if a := p.post("/v1/sessions/one/act", body(2, `,"episode_start":true`)); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, want) {
		t.Errorf("first step of a session: %d %s", a.status, a.body)
	}
	// The refused step has left no trace: the stream goes on from the action
	// that was held.
	heldTo(t, "after a refusal", 2, p.post("/v1/sessions/one/act", body(2, "")))
}
