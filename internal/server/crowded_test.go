package server_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// crowdedBackend answers nobody while it is full.
type crowdedBackend struct {
	*fakeBackend
	full  atomic.Bool
	asked atomic.Int64
}

func (b *crowdedBackend) Crowded(now time.Time, wait time.Duration) error {
	b.asked.Add(1)
	switch {
	case time.Since(now) > time.Minute || wait != server.DefaultLimits().RequestTimeout:
		return fmt.Errorf("asked for %v from %v", wait, now)
	case b.full.Load():
		return serving.ErrQueueFull
	}
	return nil
}

// TestCrowdedIsToldFirst: where nobody would be answered, a request is told so
// before its body is decoded, so that what is wrong with that is not: on every
// route that asks for actions and on every way to it.
func TestCrowdedIsToldFirst(t *testing.T) {
	counted := &countingMetrics{}
	b := &crowdedBackend{fakeBackend: &fakeBackend{contract: driving()}}
	s := serve(t, b, server.Options{Limits: fast(), Metrics: counted})
	s.ask("POST", "/v1/sessions", `{"id":"robot"}`, 201)
	const broken = `{"observations":[{"speed":`
	routes := []struct{ path, template, good string }{
		{"/predict", "/predict", guideRequest},
		{"/v1/models/carla-ppo/predict", "/v1/models/{model}/predict", guideRequest},
		{"/v1/models/carla-ppo/versions/v0.1.0/predict", "/v1/models/{model}/versions/{version}/predict", guideRequest},
		{"/v1/sessions/robot/act", "/v1/sessions/{id}/act", `{"observation":` + guideObservation + `}`},
		{"/v2/models/carla-ppo/infer", "/v2/models/{model}/infer", asked("", "")},
		{"/v2/models/carla-ppo/versions/v0.1.0/infer", "/v2/models/{model}/versions/{version}/infer", asked("", "")},
	}
	for _, r := range routes {
		for _, hot := range []bool{false, true} {
			ask := func(body string) reply {
				t.Helper()
				if !hot {
					return s.do("POST", r.path, body, "Content-Type", "application/json")
				}
				c := s.warm()
				fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"+
					"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", r.path, len(body), body)
				answers, _ := readAnswers(t, c, time.Minute)
				if len(answers) != 2 || answers[1].status != 200 {
					t.Fatalf("%s: %+v", r.path, answers)
				}
				return answers[0]
			}
			b.full.Store(true)
			was, failed := counted.get("rejected queue_full"), counted.get("error RESOURCE_EXHAUSTED "+r.template)
			inferred := counted.get("infer carla-ppo v0.1.0 rows=0 deterministic=false err=true") + counted.get("infer carla-ppo v0.1.0 rows=0 deterministic=true err=true")
			for _, body := range []string{broken, r.good} {
				if a := ask(body); a.status != 429 || a.header.Get("Retry-After") != "1" {
					t.Errorf("%s, hot %v: %d, Retry-After %q: %s", r.path, hot, a.status, a.header.Get("Retry-After"), a.body)
				}
			}
			if n := counted.get("rejected queue_full") - was; n != 2 {
				t.Errorf("%s, hot %v: %d of 2 are counted as refused", r.path, hot, n)
			}
			if n := counted.get("error RESOURCE_EXHAUSTED "+r.template) - failed; n != 2 {
				t.Errorf("%s, hot %v: %d of 2 are counted as errors", r.path, hot, n)
			}
			if n := counted.get("infer carla-ppo v0.1.0 rows=0 deterministic=false err=true") + counted.get("infer carla-ppo v0.1.0 rows=0 deterministic=true err=true") - inferred; n != 2 {
				t.Errorf("%s, hot %v: %d of 2 are counted of their version", r.path, hot, n)
			}
			b.full.Store(false)
			if a := ask(broken); a.status != 400 {
				t.Errorf("%s, hot %v: %d for a broken body: %s", r.path, hot, a.status, a.body)
			}
			if a := ask(r.good); a.status != 200 {
				t.Errorf("%s, hot %v: %d afterwards: %s", r.path, hot, a.status, a.body)
			}
		}
	}
	// What is wrong with the rest of a request is told all the same.
	b.full.Store(true)
	if a := s.do("POST", "/v1/models/nobody/predict", guideRequest); a.status != 404 {
		t.Errorf("%d for a model that there is not", a.status)
	}
	if a := s.do("POST", "/predict", guideRequest, "Content-Type", "text/plain"); a.status != 415 {
		t.Errorf("%d for a text", a.status)
	}
	// A message of a stream is read first: its answer says what it is of.
	asked := b.asked.Load()
	w := s.stream("/v1/stream")
	w.send(`{"observation":` + guideObservation + `,"seq":7}`)
	if m := w.read(); !strings.Contains(string(m.Payload), `"actions"`) || b.asked.Load() != asked {
		t.Errorf("a stream: %s", m.Payload)
	}
}
