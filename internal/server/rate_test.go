package server_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestRateLimitOfAddress: without a key the client is its address. The rate is by the
// day, so that nothing comes back while the test runs.
func TestRateLimitOfAddress(t *testing.T) {
	metrics := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Metrics: metrics, RateLimit: server.Rate{Count: 5, Per: 24 * time.Hour}, MetricsHandler: emptyMetrics})
	f := func(method, path, body string, want int) reply {
		t.Helper()
		r := s.do(method, path, body)
		if r.status != want {
			t.Errorf("%s %s: %d, want %d", method, path, r.status, want)
		}
		return r
	}
	f("POST", "/predict", guideRequest, 200)
	f("POST", "/predict", guideRequest, 200)
	f("GET", "/metadata", "", 200)
	f("GET", "/docs", "", 200)
	f("POST", "/predict", "{}", 422)
	for range 2 { // by the way of all requests, and by the hot one
		r := f("POST", "/predict", guideRequest, 429)
		if after, err := strconv.Atoi(r.header.Get("Retry-After")); r.code(t) != "RATE_LIMITED" || err != nil || after < 17000 || after > 17280 {
			t.Errorf("%s with Retry-After %q", r.body, r.header.Get("Retry-After"))
		}
	}
	f("GET", "/metadata", "", 429)
	for _, open := range []string{"/healthz", "/livez", "/readyz", "/metrics"} {
		f("GET", open, "", 200)
	}
	if _, r := s.handshake("/v1/stream"); r.status != 429 {
		t.Errorf("an upgrade: %d", r.status)
	}
	if metrics.get("rejected rate") != 4 {
		t.Errorf("%v", metrics.seen)
	}
}

// TestRateLimitOfKeys: each key has a rate of its own, that of the server or
// one that it was given, and guesses at keys are limited by address.
func TestRateLimitOfKeys(t *testing.T) {
	day := 24 * time.Hour
	slow, quick := infer("slow-key"), infer("quick-key")
	slow.Limit, quick.Limit = server.Rate{Count: 1, Per: day}, server.Rate{Count: 1000, Per: day}
	keys := keysOf(t, slow, quick, infer("plain-key"))
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keys, RateLimit: server.Rate{Count: 3, Per: day}})
	f := func(key string, want ...int) {
		t.Helper()
		for i, status := range want {
			if r := s.do("POST", "/predict", guideRequest, "X-API-Key", key); r.status != status {
				t.Errorf("key %s, request %d: %d, want %d", key, i, r.status, status)
			}
		}
	}
	f("slow-key", 200, 429, 429)
	f("plain-key", 200, 200, 200, 429)
	f("quick-key", 200, 200, 200, 200, 200, 200)
	f("wrong-key", 401, 401, 401, 429, 429)
	f("quick-key", 200)
	// A key that stays has spent what it spent.
	if err := keys.Replace(quick, slow); err != nil {
		t.Fatal(err)
	}
	f("slow-key", 429)
	slow.Limit.Count = 2
	if err := keys.Replace(quick, slow); err != nil {
		t.Fatal(err)
	}
	f("slow-key", 200, 200, 429)
}

// TestRateLimitOfStreams counts each message that is to be answered.
func TestRateLimitOfStreams(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), RateLimit: server.Rate{Count: 4, Per: 24 * time.Hour}})
	w := s.stream("/v1/stream")
	for i := range 5 {
		want := ""
		if i > 2 { // the upgrade was one
			want = "RATE_LIMITED"
		}
		if got := w.ask(fmt.Sprintf(`{"observation":%s,"seq":%d}`, guideObservation, i)); got.Error != want || got.Seq == nil || *got.Seq != i {
			t.Errorf("message %d: %+v", i, got)
		}
	}
}
