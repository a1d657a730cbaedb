package server_test

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"strings"
	"testing"

	shield "github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

func TestInterventionsInTheAnswer(t *testing.T) {
	counted, log := &countingMetrics{}, &bytes.Buffer{}
	var list []shield.Intervention
	b := &fakeBackend{contract: driving(), act: func(_ context.Context, req *serving.Request) error {
		req.Interventions = list
		return nil
	}}
	s := serve(t, b, server.Options{Limits: fast(), Metrics: counted, Logger: slog.New(slog.NewTextHandler(log, nil))})
	f := func(want string, given ...shield.Intervention) {
		t.Helper()
		list = given
		r := s.do("POST", "/predict", guideRequest)
		if r.status != 200 || !strings.Contains(r.body, `"model":"carla-ppo"`+want+`,"timing":`) {
			t.Errorf("status %d, %s\nwant %s", r.status, r.body, want)
		}
	}
	none := shield.Cause{Kind: shield.Bound, Feature: shield.NoFeature}
	f("")
	f(`,"interventions":[{"row":0,"action":"steer","kind":"bound","from":1.3,"to":1.0}]`, shield.Intervention{Value: 2, Cause: none, From: 1.3, To: 1})
	strange := shield.Cause{Kind: shield.Unlike, Feature: 0, Score: math.Inf(1)}
	f(`,"interventions":[{"row":0,"action":"throttle","kind":"not_finite","fallback":"brake","from":null,"to":0.0},`+
		`{"row":1,"action":"brake","kind":"out_of_distribution","fallback":"constant","feature":"speed","score":1e+30,"from":0.5,"to":1.0},`+
		`{"row":1,"action":"steer","kind":"out_of_distribution","fallback":"constant","score":4.5,"from":0.5,"to":1.0}]`,
		shield.Intervention{Cause: shield.Cause{Kind: shield.NotFinite, Feature: shield.NoFeature}, Fallback: shield.FallbackBrake, From: float32(math.NaN())},
		shield.Intervention{Row: 1, Value: 1, Cause: strange, Fallback: shield.FallbackConstant, From: 0.5, To: 1},
		shield.Intervention{Row: 1, Value: 2, Cause: shield.Cause{Kind: shield.Unlike, Feature: shield.NoFeature, Score: 4.5}, Fallback: shield.FallbackConstant, From: 0.5, To: 1})
	f(`,"interventions":[{"row":0,"action":"steer","kind":"out_of_distribution","fallback":"brake","feature":"speed","score":null,"from":0.5,"to":0.0}]`,
		shield.Intervention{Value: 2, Cause: shield.Cause{Kind: shield.Unlike, Feature: 0, Score: math.NaN()}, Fallback: shield.FallbackBrake, From: 0.5})
	f("")
	list = []shield.Intervention{{Value: 2, Cause: none, From: 1.3, To: 1}}
	r := s.do("POST", "/v2/models/carla-ppo/infer", asked(`"deterministic":true`, `[{"name":"steer"}]`))
	if want := `"parameters":{"deterministic":true,"interventions":"[{\"row\":0,\"action\":\"steer\",\"kind\":\"bound\",\"from\":1.3,\"to\":1.0}]"}`; r.status != 200 || !strings.Contains(r.body, want) {
		t.Errorf("status %d, %s\nwant %s", r.status, r.body, want)
	}

	for key, want := range map[string]int{
		"carla-ppo v0.1.0: bound of steer": 2, "carla-ppo v0.1.0: not_finite of throttle": 1,
		"carla-ppo v0.1.0: out_of_distribution of brake": 1, "carla-ppo v0.1.0: out_of_distribution of steer": 2,
	} {
		if counted.get(key) != want {
			t.Errorf("%s: %d, want %d of %v", key, counted.get(key), want, counted.seen)
		}
	}
	// One line for two answers: the second came too soon.
	if n := strings.Count(log.String(), "The envelope changed an action."); n != 1 || !strings.Contains(log.String(), "action=steer kind=bound from=1.2999") {
		t.Errorf("%d lines: %s", n, log)
	}
}

// TestInterventionsOfStrangeObservations: one that no action is given for is a
// fault of the request.
func TestInterventionsOfStrangeObservations(t *testing.T) {
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error {
		return &policy.InputError{Row: 0, Field: "speed", Expected: "an observation like those of the training", Got: "a value 9 standard deviations from the mean"}
	}}
	s := serve(t, b, server.Options{Limits: fast()})
	if r := s.do("POST", "/predict", guideRequest); r.status != 422 ||
		!strings.Contains(r.body, `"validation_errors":[{"field":"body.observations.0.speed","message":"expected an observation like those of the training, got a value 9 standard deviations from the mean","type":"value_error"}],"request_id"`) {
		t.Errorf("status %d, %s", r.status, r.body)
	}
}

func TestInterventionLogOfWhatIsNoNumber(t *testing.T) {
	log := &bytes.Buffer{}
	b := &fakeBackend{contract: driving(), act: func(_ context.Context, req *serving.Request) error {
		req.Interventions = []shield.Intervention{{Cause: shield.Cause{Kind: shield.Unlike, Feature: 1, Score: math.Inf(1)}, Fallback: shield.FallbackBrake, From: float32(math.NaN())}}
		return nil
	}}
	s := serve(t, b, server.Options{Limits: fast(), Logger: slog.New(slog.NewJSONHandler(log, nil))})
	if r := s.do("POST", "/predict", guideRequest); r.status != 200 || !strings.Contains(log.String(), `"from":"NaN","to":0,`) || !strings.Contains(log.String(), `"fallback":"brake","feature":"steering","score":"+Inf"`) {
		t.Errorf("status %d, %s", r.status, log)
	}
}
