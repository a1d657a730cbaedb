package server_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// questioned is a backend that notes what it was asked.
type questioned struct {
	*fakeBackend
	last serving.Request
	end  time.Time
}

func question(c *policy.Contract, answer func(req *serving.Request) error) *questioned {
	q := &questioned{fakeBackend: &fakeBackend{contract: c}}
	q.act = func(ctx context.Context, req *serving.Request) error {
		q.end, _ = ctx.Deadline()
		q.last = serving.Request{
			Rows: req.Rows, Deterministic: req.Deterministic, Seed: req.Seed, Step: req.Step, Row: req.Row, WantExtras: req.WantExtras, Priority: req.Priority, Masks: slices.Clone(req.Masks),
		}
		for _, in := range req.Inputs {
			q.last.Inputs = append(q.last.Inputs, slices.Clone(in))
		}
		for _, part := range req.State {
			q.last.State = append(q.last.State, slices.Clone(part))
			for i := range part {
				part[i]++ // the next state
			}
		}
		if answer != nil {
			return answer(req)
		}
		return nil
	}
	return q
}

// posted is an answer of POST /predict as a tree.
func posted(t *testing.T, s *site, body string, headers ...string) map[string]any {
	t.Helper()
	r := s.do("POST", "/predict", body, headers...)
	var tree map[string]any
	if err := json.Unmarshal([]byte(r.body), &tree); err != nil || r.status != 200 {
		t.Fatalf("%s: %d %v: %s", body, r.status, err, r.body)
	}
	return tree
}

// refusedPost holds a body to be refused with the message.
func refusedPost(t *testing.T, s *site, body string, status int, message string, headers ...string) {
	t.Helper()
	r := s.do("POST", "/predict", body, headers...)
	var e struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != status || e.Message != message {
		t.Errorf("%s:\n got %d %s (%v)\nwant %d %s", body, r.status, e.Message, err, status, message)
	}
}

func TestPredictKeysOfDraws(t *testing.T) {
	c := driving()
	b := question(c, nil)
	s := serve(t, b, server.Options{Limits: fast()})
	draw := strings.TrimSuffix(guideRequest, `"deterministic":true}`)
	a := posted(t, s, draw+`"deterministic":false,"seed":9007199254740991,"step":3,"row":40}`)
	if b.last.Seed != 1<<53-1 || b.last.Step != 3 || b.last.Row != 40 || a["seed"] != float64(1<<53-1) {
		t.Errorf("asked with seed %d, step %d, row %d; told %v", b.last.Seed, b.last.Step, b.last.Row, a["seed"])
	}
	a = posted(t, s, draw+`"deterministic":false}`)
	seed := b.last.Seed
	if a["seed"] != float64(seed) || seed > 1<<53-1 || b.last.Step != 0 || b.last.Row != 0 {
		t.Errorf("asked with seed %d, step %d, row %d; told %v", seed, b.last.Step, b.last.Row, a["seed"])
	}
	if posted(t, s, draw+`"deterministic":false}`); b.last.Seed == seed {
		t.Errorf("two requests draw with the seed %d", seed)
	}
	if a = posted(t, s, guideRequest); a["seed"] != nil {
		t.Errorf("nothing was drawn, and the seed is %v", a["seed"])
	}
	c.Stochastic = false
	if a = posted(t, s, draw+`"deterministic":false,"seed":5}`); a["seed"] != nil || a["deterministic"] != false {
		t.Errorf("a policy that does not draw tells %v", a)
	}
	const two = `{"observations":[{"speed":1,"steering":0,"sensors":[0,0,0,0,0]},{"speed":2,"steering":0,"sensors":[0,0,0,0,0]}],"row":`
	posted(t, s, two+`9007199254740990}`)
	if b.last.Row != 1<<53-2 {
		t.Errorf("asked with row %d", b.last.Row)
	}
	refusedPost(t, s, two+`9007199254740991}`, 422, "row: expected at most 9007199254740990, so that the number of the last of 2 rows is below 2^53, got 9007199254740991")
}

func TestPredictMasks(t *testing.T) {
	b := question(keeping(), nil)
	s := serve(t, b, server.Options{Limits: fast()})
	posted(t, s, `{"action_masks":[[true,false,1,0],[0,0,0,1]],"observations":[[1,2,3],[4,5,6]],"state":null}`)
	if !slices.Equal(b.last.Masks, []float32{1, 0, 1, 0, 0, 0, 0, 1}) {
		t.Errorf("masks %v", b.last.Masks)
	}
	if posted(t, s, `{"observations":[[1,2,3]],"state":null}`); b.last.Masks != nil {
		t.Errorf("masks of the request before: %v", b.last.Masks)
	}
	const rows = `"observations":[[1,2,3],[4,5,6]],"state":null}`
	refusedPost(t, s, `{"action_masks":[[1,1,1,1]],`+rows, 422, "action_masks: expected 2 lists of masks, one for each observation, got 1")
	refusedPost(t, s, `{"action_masks":[[1,1,1],[1,1,1,1]],`+rows, 422, "action_masks.0: expected 4 masks, got 3")
	refusedPost(t, s, `{"action_masks":[[1,1,1,2],[1,1,1,1]],`+rows, 422, "action_masks.0.3: expected true, false, 0 or 1, got 2")
	refusedPost(t, s, `{"action_masks":[[1,1,1,"1"],[1,1,1,1]],`+rows, 422, "action_masks.0.3: expected true, false, 0 or 1, got a string")
	refusedPost(t, s, `{"action_masks":[1,1,1,1],`+rows, 422, "action_masks.0: expected an array of 4 masks, got a number (and 3 more)")
	refusedPost(t, s, `{"action_masks":null,`+rows, 422, "action_masks: expected an array of masks for each observation, got null")
	unmasked := serve(t, question(unnamed(3), nil), server.Options{Limits: fast()})
	refusedPost(t, unmasked, `{"observations":[[1,2,3]],"action_masks":[[1]]}`, 422, "action_masks: expected none, because the policy takes no masks, got some")
}

func TestPredictState(t *testing.T) {
	b := question(keeping(), nil)
	s := serve(t, b, server.Options{Limits: fast()})
	state := func(want ...float32) {
		t.Helper()
		if len(b.last.State) != 1 || !slices.Equal(b.last.State[0], want) {
			t.Errorf("asked with the state %v, want %v", b.last.State, want)
		}
	}
	a := posted(t, s, `{"observations":[[1,2,3],[4,5,6]],"state":null,"seed":7}`)
	state(0, 0, 0, 0)
	token := a["state"].(string)
	next := fmt.Sprintf(`{"observations":[[1,2,3],[4,5,6]],"state":%q`, token)
	for range 2 { // what was answered changes nothing
		posted(t, s, next+`}`)
		state(1, 1, 1, 1)
		if b.last.Seed != 7 || b.last.Step != 1 {
			t.Errorf("seed %d and step %d, want those of the token", b.last.Seed, b.last.Step)
		}
	}
	posted(t, s, next+`,"episode_start":[false,true],"seed":8,"step":5,"row":2}`)
	state(1, 1, 9, 9)
	if b.last.Seed != 8 || b.last.Step != 5 || b.last.Row != 2 {
		t.Errorf("seed %d, step %d, row %d; want what was sent", b.last.Seed, b.last.Step, b.last.Row)
	}
	posted(t, s, next+`,"episode_start":true}`)
	state(9, 9, 9, 9)
	posted(t, s, next+`,"episode_start":false}`)
	state(1, 1, 1, 1)
	a = posted(t, s, `{"observations":[[1,2,3]],"state":null,"deterministic":true}`)
	state(0, 0)
	posted(t, s, fmt.Sprintf(`{"observations":[[1,2,3]],"state":%q,"deterministic":false}`, a["state"]))
	if b.last.Seed == 0 {
		t.Error("an episode that began without draws has no seed for those that follow")
	}

	refusedPost(t, s, `{"observations":[[1,2,3]]}`, 422, "state: this policy keeps state: send state (null to begin, then that of the answer before), or use a session")
	refusedPost(t, s, `{"observations":[[1,2,3]],"state":7}`, 422, "state: expected null or the state of an answer, got a number")
	refusedPost(t, s, `{"observations":[[1,2,3]],"state":"abc"}`, 422, "state: the state is no token of this server: send the state of the answer before as it is, or null to begin")
	refusedPost(t, s, fmt.Sprintf(`{"observations":[[1,2,3]],"state":%q}`, token), 422, "state: the state is of 2 rows, the request has 1")
	refusedPost(t, s, next+`,"episode_start":[true]}`, 422, "episode_start: expected 2 booleans, one for each observation, got 1")
	refusedPost(t, s, next+`,"episode_start":1}`, 422, "episode_start: expected true, false or an array of them, got a number")
	if r := s.do("POST", "/predict", `{"observations":[[1,2,3]],"state":"abc"}`); !strings.Contains(r.body, `{"field":"body.state","message":"the state is no token of this server: send the state of the answer before as it is, or null to begin","type":"state_token"}`) {
		t.Errorf("the violation: %s", r.body)
	}
	plain := serve(t, question(unnamed(3), nil), server.Options{Limits: fast()})
	posted(t, plain, `{"observations":[[1,2,3]],"state":null,"episode_start":true}`)
	refusedPost(t, plain, `{"observations":[[1,2,3]],"state":"abc"}`, 422, "state: expected null or nothing, because the policy keeps no state, got a string")
}

// TestPredictStateOfAFailedAct holds that an act which fails leaves no state
// behind in what the next one uses.
func TestPredictStateOfAFailedAct(t *testing.T) {
	fail := true
	b := question(keeping(), func(*serving.Request) error {
		if fail {
			return errors.New("no")
		}
		return nil
	})
	s := serve(t, b, server.Options{Limits: fast()})
	s.do("POST", "/predict", `{"observations":[[1,2,3]],"state":null}`)
	fail = false
	if posted(t, s, `{"observations":[[1,2,3]],"state":null}`); !slices.Equal(b.last.State[0], []float32{0, 0}) {
		t.Errorf("an episode begins with %v", b.last.State)
	}
}

func TestPredictReturns(t *testing.T) {
	b := question(keeping(), func(req *serving.Request) error {
		if req.WantExtras {
			req.Extras = [][]float32{{1.5, -2}, {float32(math.Inf(-1)), -1}, {1, 2, 3, 4, 5, 6, 7, 8}, {0.25, 0.25, 0.25, 0.25, 1, 0, 0, 0}}
		}
		return nil
	})
	s := serve(t, b, server.Options{Limits: fast()})
	f := func(names, want string) {
		t.Helper()
		r := s.do("POST", "/predict", `{"observations":[[1,2,3],[4,5,6]],"state":null,"deterministic":true,"return":`+names+`}`)
		if r.status != 200 || !strings.Contains(r.body, `"model":"carla-ppo"`+want+`,"state":"`) || b.last.WantExtras != (want != "") {
			t.Errorf("%s: %d %s\nwant %s", names, r.status, r.body, want)
		}
	}
	f(`[]`, ``)
	f(`["value"]`, `,"value":[1.5,-2.0]`)
	f(`["log_prob","value"]`, `,"value":[1.5,-2.0],"log_prob":[null,-1.0]`)
	f(`["distribution"]`, `,"distribution":[{"kind":"categorical","logits":[1.0,2.0,3.0,4.0],"probs":[0.25,0.25,0.25,0.25]},{"kind":"categorical","logits":[5.0,6.0,7.0,8.0],"probs":[1.0,0.0,0.0,0.0]}]`)
	const body = `{"observations":[[1,2,3]],"state":null,"return":`
	refusedPost(t, s, body+`["entropy"]}`, 422, `return.0: expected one of value, log_prob, distribution, which is what the policy has, got "entropy"`)
	refusedPost(t, s, body+`["value","value"]}`, 422, `return.1: expected each name once, got value again`)
	refusedPost(t, s, body+`"value"}`, 422, `return: expected an array of names, got a string`)
	refusedPost(t, s, body+`[null]}`, 422, `return.0: expected one of value, log_prob, distribution, which is what the policy has, got null`)
	plain := serve(t, question(unnamed(3), nil), server.Options{Limits: fast()})
	refusedPost(t, plain, `{"observations":[[1,2,3]],"return":["value"]}`, 422, `return.0: expected nothing, as the policy has nothing beside its actions, got "value"`)
}

// TestPredictReturnsNoSecondMember refuses outputs of a network that are called
// as members of the answer are.
func TestPredictReturnsNoSecondMember(t *testing.T) {
	c := unnamed(3)
	for _, name := range []string{"value", "actions", "version", "state.h", "seed", "timing"} {
		c.Extras = append(c.Extras, policy.ExtraSpec{Name: name, Width: 1})
	}
	s := serve(t, question(c, nil), server.Options{Limits: fast()})
	for _, name := range []string{"actions", "version", "state", "seed", "timing"} {
		refusedPost(t, s, `{"observations":[[1,2,3]],"return":["`+name+`"]}`, 422, `return.0: expected one of value, which is what the policy has, got "`+name+`"`)
	}
}

// TestPredictReturnsWholeNumbers has the raw action of a policy with discrete
// actions written as the action is.
func TestPredictReturnsWholeNumbers(t *testing.T) {
	c := keeping()
	c.Extras = []policy.ExtraSpec{{Name: "raw_action", Shape: []int{2}, Width: 2, DType: graph.Int64}}
	b := question(c, func(req *serving.Request) error {
		req.Extras = [][]float32{{3, 1}}
		return nil
	})
	s := serve(t, b, server.Options{Limits: fast()})
	r := s.do("POST", "/predict", `{"observations":[[1,2,3]],"state":null,"return":["raw_action"]}`)
	if r.status != 200 || !strings.Contains(r.body, `"raw_action":[[3,1]]`) {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestPredictDeadline(t *testing.T) {
	var late time.Duration
	b := question(driving(), func(*serving.Request) error { time.Sleep(late); return nil })
	limits := fast()
	limits.RequestTimeout = time.Hour
	s := serve(t, b, server.Options{Limits: limits})
	with := func(members string) string { return strings.TrimSuffix(guideRequest, "}") + members + "}" }
	ago := func(d time.Duration) float64 { return float64(time.Now().Add(-d).UnixMicro()) / 1e6 }
	left := func(atMost time.Duration) {
		t.Helper()
		if d := time.Until(b.end); d > atMost || d < atMost-time.Minute {
			t.Errorf("the deadline is in %v, want a little less than %v", d, atMost)
		}
	}
	posted(t, s, guideRequest)
	left(time.Hour)
	posted(t, s, with(`,"deadline_ms":600000`))
	left(10 * time.Minute)
	posted(t, s, with(`,"deadline_ms":1e300`))
	left(time.Hour)
	a := posted(t, s, with(fmt.Sprintf(`,"deadline_ms":600000,"observed_at":%f`, ago(2*time.Minute))))
	left(8 * time.Minute)
	if age := a["age_ms"].(float64); age < 120_000 || age > 180_000 {
		t.Errorf("the age is %v ms, want 2 minutes", age)
	}
	a = posted(t, s, with(fmt.Sprintf(`,"observed_at":%f`, ago(-900*time.Millisecond))))
	if left(time.Hour); a["age_ms"] != 0.0 {
		t.Errorf("what is a little ahead has the age %v", a["age_ms"])
	}
	if a = posted(t, s, guideRequest); a["age_ms"] != nil {
		t.Errorf("an age of %v of nothing", a["age_ms"])
	}

	const tooLate = "no action could be computed before the deadline"
	b.act = func(ctx context.Context, _ *serving.Request) error { // as the queue does
		if err := ctx.Err(); err != nil {
			return serving.ErrDeadline
		}
		time.Sleep(late)
		return nil
	}
	refusedPost(t, s, with(fmt.Sprintf(`,"deadline_ms":100,"observed_at":%f`, ago(time.Second))), 504, tooLate)
	late = 20 * time.Millisecond
	refusedPost(t, s, with(`,"deadline_ms":10`), 504, tooLate)
	late = 0

	r := s.do("POST", "/predict", with(fmt.Sprintf(`,"observed_at":%f`, ago(-time.Minute))))
	if ok, _ := regexp.MatchString(`observed_at: expected seconds since 1970, at most 1s ahead of the server's clock, got ([345][0-9]|60)\.[0-9]+ s ahead`, r.body); r.status != 422 || !ok {
		t.Errorf("a minute ahead: %d %s", r.status, r.body)
	}
	r = s.do("POST", "/predict", with(fmt.Sprintf(`,"observed_at":%f,"deadline_ms":5`, ago(2*time.Hour))))
	if ok, _ := regexp.MatchString(`observed_at: expected seconds since 1970, at most 1h0m0s behind the server's clock, got 7[0-9.]+ s behind`, r.body); r.status != 422 || !ok {
		t.Errorf("two hours behind: %d %s", r.status, r.body)
	}
	refusedPost(t, s, with(`,"observed_at":1795000000000`), 422, "observed_at: expected seconds since 1970, at most 1s ahead of the server's clock, got what seem to be milliseconds, or still less")
	refusedPost(t, s, with(`,"observed_at":12345.5`), 422, "observed_at: expected seconds since 1970, at most 1h0m0s behind the server's clock, got 12345.500, which is the time of another clock")
	refusedPost(t, s, with(`,"observed_at":0`), 422, "observed_at: expected seconds since 1970, got 0")
	refusedPost(t, s, with(`,"deadline_ms":0`), 422, "deadline_ms: expected a number of milliseconds above 0, got 0")
	refusedPost(t, s, with(`,"deadline_ms":"5"`), 422, "deadline_ms: expected a number of milliseconds above 0, got a string")
	refusedPost(t, s, with(`,"seed":1.5`), 422, "seed: expected a whole number from 0 to 9007199254740991, got 1.5")
	refusedPost(t, s, with(`,"step":null`), 422, "step: expected a whole number, got null")
}

// TestPredictTiming holds the parts of the time to those that the backend
// tells; what is left is the envelope and the answer.
func TestPredictTiming(t *testing.T) {
	b := question(driving(), func(req *serving.Request) error {
		time.Sleep(6 * time.Millisecond)
		req.Queue, req.Infer, req.Enveloping = 3*time.Millisecond, 2*time.Millisecond, 500*time.Microsecond
		return nil
	})
	s := serve(t, b, server.Options{Limits: fast()})
	a := posted(t, s, guideRequest)
	timing := a["timing"].(map[string]any)
	post := timing["postprocess_ms"].(float64)
	if a["timingMs"] != 2.0 || timing["queue_ms"] != 3.0 || timing["infer_ms"] != 1.5 || timing["preprocess_ms"].(float64) <= 0 || post < 1.5 {
		t.Errorf("timing %v beside %v", timing, a["timingMs"])
	}
}
