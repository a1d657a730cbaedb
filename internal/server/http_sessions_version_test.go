package server_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// TestSessionVersions is of sessions whose model has another version, or none.
func TestSessionVersions(t *testing.T) {
	f := func(onChange string) (*memory, *site, *serving.Sessions) {
		b, store := newMemory(), serving.NewSessions(serving.SessionOptions{})
		b.change("v0.1.0", "sha256:one", onChange)
		s := serve(t, b, server.Options{Limits: fast(), Sessions: store})
		s.ask("POST", "/v1/sessions", `{"id":"a","seed":3}`, 201)
		s.act("a", 2, 0, "")
		return b, s, store
	}
	t.Run("the same files", func(t *testing.T) {
		b, s, _ := f("reset")
		b.change("v0.1.0-again", "sha256:one", "reset")
		a := s.act("a", 1, 0, "")
		if equalAction(t, "the state goes over", a, 2, 0); a.Version != "v0.1.0-again" || a.Reset != "" || a.Step != 1 || a.Episode != 0 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("drain", func(t *testing.T) {
		b, s, store := f("drain")
		b.change("v0.2.0", "sha256:two", "drain")
		a := s.act("a", 1, 0, "")
		if equalAction(t, "the state stays", a, 2, 0); a.Version != "v0.1.0" || a.Reset != "" {
			t.Errorf("%+v", a)
		}
		b.fail(&server.NotReadyError{Model: "carla-ppo", State: "loading"})
		if a = s.act("a", 1, 0, ""); a.Version != "v0.1.0" || a.Step != 2 {
			t.Errorf("%+v", a)
		}
		s.refused("POST", "/v1/sessions", `{"id":"b"}`, 503, "SERVICE_UNAVAILABLE")
		s.refused("POST", "/v1/sessions/a/reset", "", 503, "SERVICE_UNAVAILABLE")
		b.fail(server.ErrModelNotFound)
		if a = s.act("a", 1, 0, ""); a.Version != "v0.1.0" || a.Step != 3 {
			t.Errorf("%+v", a)
		}
		b.fail(nil)
		if n := store.Draining(); n != 1 {
			t.Errorf("%d sessions drain", n)
		}
		if i := s.ask("POST", "/v1/sessions/a/reset", "", 200); i.Version != "v0.2.0" || i.Step != 0 || i.Seed != 3 {
			t.Errorf("a session that was reset: %+v", i)
		}
		a = s.act("a", 1, 0, "")
		if equalAction(t, "after the reset", a, 1, 0); a.Version != "v0.2.0" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("reset", func(t *testing.T) {
		b, s, _ := f("reset")
		b.fail(&server.NotReadyError{Model: "carla-ppo", State: "failed"})
		s.refused("POST", "/v1/sessions/a/act", observe(1, 0, ""), 503, "SERVICE_UNAVAILABLE")
		b.fail(nil)
		equalAction(t, "the session waited", s.act("a", 1, 0, ""), 2, 0)
		b.change("v0.2.0", "sha256:two", "reset")
		s.refused("POST", "/v1/sessions/a/act", "{}", 422, "VALIDATION_ERROR")
		a := s.act("a", 1, 0, "")
		if equalAction(t, "the episode begins again", a, 1, 0); a.Version != "v0.2.0" || a.Reset != "version" || a.Step != 2 || a.Episode != 1 {
			t.Errorf("%+v", a)
		}
		if a = s.act("a", 1, 0, ""); a.Reset != "" || a.Step != 3 {
			t.Errorf("%+v", a)
		}
	})
}

// TestSessionResetKeepsItsPlace: another version has taken over, and clients
// wait for the only place there is. None gets it while its session is reset.
func TestSessionResetKeepsItsPlace(t *testing.T) {
	b := newMemory()
	s := serve(t, b, server.Options{Limits: fast(), Sessions: serving.NewSessions(serving.SessionOptions{Max: 1})})
	s.ask("POST", "/v1/sessions", `{"id":"a","seed":3,"ttl_s":60,"deterministic":true}`, 201)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if r := s.do("POST", "/v1/sessions", "{}"); r.status != 429 {
				t.Errorf("another session: %d %s", r.status, r.body)
				return
			}
		}
	})
	for i := range 50 {
		version := fmt.Sprint("v", i)
		b.change(version, "sha256:"+version, "drain")
		a := s.ask("POST", "/v1/sessions/a/reset", "", 200)
		if a.ID != "a" || a.Version != version || a.Seed != 3 || a.TTL != 60 || !a.Deterministic || a.Step != 0 {
			t.Errorf("reset %d: %+v", i, a)
		}
		s.act("a", 1, 0, "")
	}
	close(stop)
	wg.Wait()
}

// closing is a backend under which sessions end while a version is looked up.
type closing struct {
	*memory
	sessions *serving.Sessions
}

func (b *closing) Resolve(model, version string) (server.Target, error) {
	b.sessions.Close("a")
	return b.memory.Resolve(model, version)
}

// TestSessionResetAfterDelete: a session that is deleted while it is reset is
// gone, whether another version has taken over or not.
func TestSessionResetAfterDelete(t *testing.T) {
	for _, digest := range []string{"sha256:one", "sha256:two"} {
		b := &closing{newMemory(), serving.NewSessions(serving.SessionOptions{})}
		s := serve(t, b, server.Options{Limits: fast(), Sessions: b.sessions})
		s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
		b.change("v0.2.0", digest, "drain")
		s.refused("POST", "/v1/sessions/a/reset", "", 404, "SESSION_NOT_FOUND")
		if n := b.sessions.Len(); n != 0 {
			t.Errorf("%d sessions after the only one was deleted", n)
		}
	}
}

// TestSessionDraws replays the draws of a session from its answers.
func TestSessionDraws(t *testing.T) {
	s := serve(t, newMemory(), server.Options{Limits: fast()})
	s.ask("POST", "/v1/sessions", `{"id":"a","seed":5,"deterministic":false}`, 201)
	state := "null"
	for step := range uint64(3) {
		a := s.act("a", 1, 2, "")
		var again struct {
			sessionAnswer
			State string `json:"state"`
		}
		r := s.do("POST", "/predict", fmt.Sprintf(`{"observations":[[1,2]],"deterministic":false,"state":%s,"seed":%d,"step":%d}`, state, a.Seed, a.Step))
		if err := json.Unmarshal([]byte(r.body), &again); r.status != 200 || err != nil {
			t.Fatalf("%d %v %s", r.status, err, r.body)
		}
		if a.Step != step || a.Seed == 5 || a.Actions[0][0] == a.Actions[0][1] {
			t.Errorf("%+v", a)
		}
		equalAction(t, "again", again.sessionAnswer, a.Actions[0][0], a.Actions[0][1])
		state = `"` + again.State + `"`
	}
}
