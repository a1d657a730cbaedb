package server_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// volatile are the parts of an answer that differ from one request to the next.
var volatile = regexp.MustCompile(`("(?:timestamp|queue_ms|preprocess_ms|infer_ms|postprocess_ms)":)[0-9.]+|("request_id":")[^"]+`)

func fixed(body string) string { return volatile.ReplaceAllString(body, "${1}${2}*") }

func TestBodies(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Version: "v9.9.9", Commit: "abc123ef", Limits: fast()})
	f := func(method, path, body, want string) {
		t.Helper()
		r := s.do(method, path, body)
		if r.status != 200 {
			t.Errorf("%s %s: status %d\n%s", method, path, r.status, r.body)
		}
		if got := fixed(r.body); got != want {
			t.Errorf("%s %s:\n got %s\nwant %s", method, path, got, want)
		}
		if ct := r.header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("%s %s: Content-Type %q", method, path, ct)
		}
		if r.header.Get("X-Request-ID") == "" || r.header.Get("X-Process-Time") == "" || r.header.Get("Date") == "" {
			t.Errorf("%s %s: headers %v", method, path, r.header)
		}
		if server := r.header.Get("Server"); server != "" {
			t.Errorf("%s %s: says what it runs on: %q", method, path, server)
		}
	}
	const answer = `{"actions":[{"throttle":0.255,"brake":0.001,"steer":0.008}],"version":"v0.1.0","timingMs":0.0085,"deterministic":true,"model":"carla-ppo",` +
		`"timing":{"queue_ms":*,"preprocess_ms":*,"infer_ms":*,"postprocess_ms":*}}`
	f("POST", "/predict", guideRequest, answer)
	f("POST", "/predict?x=1", guideRequest, answer)
	f("POST", "/v1/models/carla-ppo/predict", guideRequest, answer)
	f("POST", "/v1/models/carla-ppo/versions/v0.1.0/predict", guideRequest, answer)
	f("GET", "/healthz", "", `{"status":"ok","version":"v0.1.0","git":"abc123ef","device":"cpu","timestamp":*}`)
	f("GET", "/livez", "", `{"status":"ok"}`)
	f("GET", "/readyz", "", `{"status":"ready"}`)
	f("GET", "/startupz", "", `{"status":"started"}`)
	metadata := `{"modelName":"carla-ppo","version":"v0.1.0","device":"cpu","inputShape":[7],"actionSpace":{"brake":[0,1],"steer":[-1,1],"throttle":[0,1]},` +
		`"observation":[{"name":"speed","shape":[],"unit":"km/h","low":0,"high":200,"space":{"type":"Box","shape":[],"dtype":"float32","low":0,"high":200}},` +
		`{"name":"steering","shape":[],"low":-1,"high":1,"space":{"type":"Box","shape":[],"dtype":"float32","low":-1,"high":1}},` +
		`{"name":"sensors","shape":[5],"unit":"m","low":0,"high":1,"space":{"type":"Box","shape":[5],"dtype":"float32","low":0,"high":1}}],` +
		`"action":[{"name":"throttle","shape":[],"low":0,"high":1,"discrete":false,"space":{"type":"Box","shape":[],"dtype":"float32","low":0,"high":1}},` +
		`{"name":"brake","shape":[],"low":0,"high":1,"discrete":false,"space":{"type":"Box","shape":[],"dtype":"float32","low":0,"high":1}},` +
		`{"name":"steer","shape":[],"low":-1,"high":1,"discrete":false,"space":{"type":"Box","shape":[],"dtype":"float32","low":-1,"high":1}}],` +
		`"named":true,"stochastic":true,"deterministicDefault":false,"digest":"sha256:abc",` +
		`"name":"carla-ppo","ready":true,"batchable":false,"recurrent":false,"state":null,"masks":null,"envelope":null,"maxRows":1000,"return":[]}`
	f("GET", "/metadata", "", metadata)
	f("GET", "/v1/models/carla-ppo", "", metadata)
	f("GET", "/v1/models/carla-ppo/versions/v0.1.0", "", metadata)
	f("GET", "/v1/models", "", `{"models":[{"name":"carla-ppo","default":true,"ready":true,"current":"v0.1.0","versions":[{"version":"v0.1.0","state":"ready","ready":true,"stable":true,"digest":"sha256:abc"}]}]}`)
	f("GET", "/versions", "", `{"current_version":"v0.1.0","available_versions":[{"version":"v0.1.0","is_stable":true,"is_current":true,"performance_metrics":{"reward":850.5},"model_card":{"model_name":"carla-ppo"},`+
		`"model":"carla-ppo","state":"ready","digest":"sha256:abc","hashed":true,"answers":true,"previous":false,"under_root":true,"sessions":0}],"selection_strategy":"fallback","artifacts_root":"artifacts","current_model":"carla-ppo","models":[],"root":{"poll_interval_s":0}}`)
}

func TestWarmup(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	r := s.do("POST", "/warmup", "")
	if ok, _ := regexp.MatchString(`^\{"status":"warmed","timingMs":[0-9.]+,"device":"cpu"\}$`, r.body); r.status != 200 || !ok {
		t.Errorf("status %d, %s", r.status, r.body)
	}
}

func TestDeterministicDefault(t *testing.T) {
	f := func(fallback bool, member string, want bool) {
		t.Helper()
		c := driving()
		c.DeterministicDefault = fallback
		s := serve(t, &fakeBackend{contract: c}, server.Options{Limits: fast()})
		r := s.do("POST", "/predict", `{"observations":[{"speed":1,"steering":0,"sensors":[0,0,0,0,0]}]`+member+`}`)
		var got struct {
			Deterministic bool `json:"deterministic"`
		}
		if err := json.Unmarshal([]byte(r.body), &got); err != nil || got.Deterministic != want {
			t.Errorf("default %v, member %q: %s (%v)", fallback, member, r.body, err)
		}
	}
	f(true, "", true)
	f(false, "", false)
	f(true, `,"deterministic":null`, true)
	f(true, `,"deterministic":false`, false)
	f(false, `,"deterministic":true`, true)
}

func TestErrorBodies(t *testing.T) {
	b := &fakeBackend{contract: driving()}
	s := serve(t, b, server.Options{Limits: fast()})
	f := func(method, path, body string, status int, want string, headers ...string) {
		t.Helper()
		r := s.do(method, path, body, headers...)
		if r.status != status {
			t.Errorf("%s %s: status %d, want %d", method, path, r.status, status)
		}
		if got := fixed(r.body); got != want {
			t.Errorf("%s %s:\n got %s\nwant %s", method, path, got, want)
		}
	}
	end := `"details":{"request_id":"*"},"timestamp":*}`
	f("GET", "/nowhere", "", 404, `{"error":"NOT_FOUND","message":"there is no such route; /docs lists those that there are",`+end)
	f("GET", "/predict", "", 405, `{"error":"METHOD_NOT_ALLOWED","message":"the route takes POST, OPTIONS, not this method",`+end)
	f("DELETE", "/healthz", "", 405, `{"error":"METHOD_NOT_ALLOWED","message":"the route takes GET, HEAD, OPTIONS, not this method",`+end)
	f("POST", "/v1/models/other/predict", guideRequest, 404, `{"error":"MODEL_NOT_FOUND","message":"there is no such model; /versions lists those that there are",`+end)
	f("POST", "/v1/models/carla-ppo/versions/v7/predict", guideRequest, 404, `{"error":"VERSION_NOT_FOUND","message":"the model has no such version; /versions lists those that there are",`+end)
	f("POST", "/predict", `{"observations":`, 400, `{"error":"MALFORMED_JSON","message":"the body is not well-formed JSON: expected a JSON value, got the end of the body, at byte 16",`+end)
	f("POST", "/predict", guideRequest, 415, `{"error":"UNSUPPORTED_MEDIA_TYPE","message":"the body must be sent as Content-Type: application/json, application/msgpack or application/octet-stream, and uncompressed",`+end, "Content-Type", "text/plain")
	f("POST", "/predict", `{"observations":[{"speed":250,"steering":0,"sensors":[0,0,0,0,0]}]}`, 422,
		`{"error":"VALIDATION_ERROR","message":"observations.0.speed: expected 0 to 200 km/h, got 250","details":{"validation_errors":[{"field":"body.observations.0.speed","message":"expected 0 to 200 km/h, got 250","type":"less_than_equal"}],"request_id":"*"},"timestamp":*}`)

	b.readiness.Store(&server.NotReadyError{Model: "carla-ppo", Version: "v0.1.0", State: "failed", Reason: "model.pt: the file is missing"})
	notReady := `{"error":"SERVICE_UNAVAILABLE","message":"carla-ppo v0.1.0 is not ready (failed): model.pt: the file is missing","details":{"model":"carla-ppo","version":"v0.1.0","state":"failed","reason":"model.pt: the file is missing","request_id":"*"},"timestamp":*}`
	f("POST", "/predict", guideRequest, 503, notReady)
	f("GET", "/readyz", "", 503, notReady)
	f("GET", "/metadata", "", 503, notReady)
	f("POST", "/warmup", "", 503, notReady)
	if r := s.do("GET", "/healthz", ""); r.status != 200 || !strings.Contains(r.body, `"status":"degraded"`) {
		t.Errorf("/healthz of a server that is not ready: %d %s", r.status, r.body)
	}
	if r := s.do("GET", "/versions", ""); r.status != 200 {
		t.Errorf("/versions of a server that is not ready: %d %s", r.status, r.body)
	}
	if r := s.do("GET", "/readyz", ""); r.header.Get("Retry-After") != "1" {
		t.Errorf("503 without Retry-After: %v", r.header)
	}
}

func TestStartup(t *testing.T) {
	b := &fakeBackend{contract: driving()}
	b.loading.Store(true)
	s := serve(t, b, server.Options{Limits: fast()})
	if r := s.do("GET", "/startupz", ""); r.status != 503 || r.code(t) != "SERVICE_UNAVAILABLE" {
		t.Errorf("while loading: %d %s", r.status, r.body)
	}
	b.loading.Store(false)
	if r := s.do("GET", "/startupz", ""); r.status != 200 {
		t.Errorf("after loading: %d %s", r.status, r.body)
	}
}

func TestBackendErrors(t *testing.T) {
	var fail error
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error { return fail }}
	s := serve(t, b, server.Options{Limits: fast()})
	f := func(err error, status int, code string) {
		t.Helper()
		fail = err
		r := s.do("POST", "/predict", guideRequest)
		if r.status != status || r.code(t) != code {
			t.Errorf("%v: %d %s", err, r.status, r.body)
		}
		if retry := r.header.Get("Retry-After"); (status == 429 || status >= 503) != (retry != "") {
			t.Errorf("%v: Retry-After %q", err, retry)
		}
	}
	f(serving.ErrQueueFull, 429, "RESOURCE_EXHAUSTED")
	f(serving.ErrDeadline, 504, "DEADLINE_EXCEEDED")
	f(context.DeadlineExceeded, 504, "DEADLINE_EXCEEDED")
	f(&policy.ActionError{}, 500, "INFERENCE_ERROR")
	f(errors.New("open /srv/secret/model.pt: goroutine 7 at 0xc000123"), 500, "INTERNAL_ERROR")
	if r := s.do("POST", "/predict", guideRequest); strings.Contains(r.body, "secret") || strings.Contains(r.body, "0xc0") {
		t.Errorf("an internal error is told to the client: %s", r.body)
	}
}

// TestPanic holds that no request ends the process, on a native route and on
// one behind the adaptor.
func TestPanic(t *testing.T) {
	counted := &countingMetrics{}
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error { panic("boom") }}
	s := serve(t, b, server.Options{Limits: fast(), Metrics: counted, MetricsHandler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("bang") })})
	for _, r := range []reply{s.do("POST", "/predict", guideRequest), s.do("GET", "/metrics", "")} {
		if r.status != 500 || r.code(t) != "INTERNAL_ERROR" || strings.Contains(r.body, "bo") {
			t.Errorf("after a panic: %d %s", r.status, r.body)
		}
	}
	if n := counted.panics.Load(); n != 2 {
		t.Errorf("%d panics counted, want 2", n)
	}
	if r := s.do("GET", "/livez", ""); r.status != 200 {
		t.Errorf("/livez after panics: %d", r.status)
	}
}

// TestNonFinite holds that no action leaves that is not a number, whatever a
// backend says.
func TestNonFinite(t *testing.T) {
	zero := float32(0)
	b := &fakeBackend{contract: driving(), act: func(_ context.Context, req *serving.Request) error {
		req.Actions[1] = zero / zero
		return nil
	}}
	s := serve(t, b, server.Options{Limits: fast()})
	if r := s.do("POST", "/predict", guideRequest); r.status != 500 || r.code(t) != "INFERENCE_ERROR" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestRequestID(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	f := func(sent string, kept bool) {
		t.Helper()
		r := s.do("GET", "/nowhere", "", "X-Request-ID", sent)
		got := r.header.Get("X-Request-ID")
		if (got == sent) != kept || !kept && !uuid.MatchString(got) {
			t.Errorf("sent %q, got %q", sent, got)
		}
		if id := r.envelope(t).Details.RequestID; id != got {
			t.Errorf("the header says %q, the envelope %q", got, id)
		}
	}
	f("abc-DEF_1.2", true)
	f(strings.Repeat("a", 128), true)
	f(strings.Repeat("a", 129), false)
	f("", false)
	f("a b", false)
	f(`"><script>`, false)
	f("ü", false)
}

func TestHeadAndOptions(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	if r := s.do("HEAD", "/healthz", ""); r.status != 200 || r.body != "" || r.header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d %q %v", r.status, r.body, r.header)
	}
	if r := s.do("OPTIONS", "/predict", ""); r.status != 204 || r.header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("OPTIONS: %d %v", r.status, r.header)
	}
}

// TestPaths (H9) holds that a path is a route byte for byte or none.
func TestPaths(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	for _, path := range []string{
		"//predict", "/predict/", "/./predict", "/x/../predict", "/%70redict", "/predict%00", "/predict;x", "/Predict",
		"/v1/models/../../predict", "/v1/models//predict", "/v1/models/a%2fb/predict", "/v1/models/..%5c/predict", "/v1/models/a..b/predict",
		"/v1/models/" + strings.Repeat("a", 65) + "/predict", "/v1/models/.a/predict", "/v1/models/a/versions//predict",
		"/v1/models/carla-ppo/versions/v0.1.0/predict/x", "/v1/models/\xd1\x81arla-ppo/predict", "/v1/models/carla-ppo/versions/../predict",
	} {
		answers, _ := s.raw("POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		if len(answers) != 1 || answers[0].status != 404 && answers[0].status != 400 {
			t.Errorf("%q: %+v, want one 404 or 400", path, answers)
		}
	}
}

func TestRoot(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	if r := s.do("GET", "/", ""); r.status != 307 || r.header.Get("Location") != "docs" {
		t.Errorf("%d %v", r.status, r.header)
	}
}

func TestMediaTypes(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	f := func(contentType, encoding string, status int) {
		t.Helper()
		headers := []string{"Content-Type", contentType}
		if encoding != "" {
			headers = append(headers, "Content-Encoding", encoding)
		}
		if r := s.do("POST", "/predict", guideRequest, headers...); r.status != status {
			t.Errorf("%q, encoding %q: %d, want %d", contentType, encoding, r.status, status)
		}
	}
	f("application/json", "", 200)
	f("Application/JSON", "", 200)
	f("application/json; charset=utf-8", "", 200)
	f(`application/json;charset="UTF-8"`, "", 200)
	f("application/json; version=1", "", 200)
	f("", "", 415)
	f("text/json", "", 415)
	f("application/jsonx", "", 415)
	f("application/json; charset=latin1", "", 415)
	f("application/x-www-form-urlencoded", "", 415)
	f("multipart/form-data; boundary=x", "", 415)
	f("application/json", "gzip", 415)
	f("application/json", "identity", 415)
}
