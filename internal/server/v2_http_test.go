package server_test

import (
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

const tensorRequest = `{"id":"a<7>","inputs":[{"name":"speed","shape":[2],"datatype":"FP32","data":[25.5,50]},` +
	`{"name":"steering","shape":[2],"datatype":"FP32","data":[0.1,0]},` +
	`{"name":"sensors","shape":[2,5],"datatype":"FP32","data":[[0.8,0.2,0.5,0.9,0.1],[1,1,1,1,1]]}]}`

// asked is tensorRequest with parameters and outputs.
func asked(parameters, outputs string) string {
	body := strings.TrimSuffix(tensorRequest, "}")
	if outputs != "" {
		body += `,"outputs":` + outputs
	}
	return body + `,"parameters":{` + parameters + `}}`
}

func equalBody(t *testing.T, r reply, status int, want string) {
	t.Helper()
	if r.status != status || r.body != want {
		t.Errorf("got %d %s\nwant %d %s", r.status, r.body, status, want)
	}
}

func TestOpenInference(t *testing.T) {
	b := &fakeBackend{contract: driving()}
	s := serve(t, b, server.Options{Version: "v1.2.3", Limits: fast()})
	equalBody(t, s.do("GET", "/v2", ""), 200, `{"name":"carla-rl-serving","version":"v1.2.3","extensions":["binary_tensor_data","sequence","sequence(string_id)"]}`)
	equalBody(t, s.do("GET", "/v2/health/live", ""), 200, `{"live":true}`)
	equalBody(t, s.do("GET", "/v2/health/ready", ""), 200, `{"ready":true,"live":true}`)
	model := `{"name":"carla-ppo","versions":["v0.1.0"],"platform":"carla_rl_policy","inputs":[{"name":"speed","datatype":"FP32","shape":[-1]},{"name":"steering","datatype":"FP32","shape":[-1]},{"name":"sensors","datatype":"FP32","shape":[-1,5]}],` +
		`"outputs":[{"name":"throttle","datatype":"FP32","shape":[-1]},{"name":"brake","datatype":"FP32","shape":[-1]},{"name":"steer","datatype":"FP32","shape":[-1]}]}`
	for _, path := range []string{"/v2/models/carla-ppo", "/v2/models/carla-ppo/versions/v0.1.0"} {
		equalBody(t, s.do("GET", path, ""), 200, model)
		equalBody(t, s.do("GET", path+"/ready", ""), 200, `{"name":"carla-ppo","ready":true}`)
		equalBody(t, s.do("POST", path+"/infer", asked(`"deterministic":true`, "")), 200,
			`{"model_name":"carla-ppo","model_version":"v0.1.0","id":"a\u003c7\u003e","parameters":{"deterministic":true},"outputs":[{"name":"throttle","datatype":"FP32","shape":[2],"data":[0.255,0.5]},`+
				`{"name":"brake","datatype":"FP32","shape":[2],"data":[0.001,0.0]},{"name":"steer","datatype":"FP32","shape":[2],"data":[0.008,0.01]}]}`)
	}
	equalBody(t, s.do("POST", "/v2/models/carla-ppo/infer", asked(`"seed":9007199254740993,"deterministic":false`, `[{"name":"steer"}]`)), 200,
		`{"model_name":"carla-ppo","model_version":"v0.1.0","id":"a\u003c7\u003e","parameters":{"deterministic":false,"seed":9007199254740993},"outputs":[{"name":"steer","datatype":"FP32","shape":[2],"data":[0.008,0.01]}]}`)
}

// TestOpenInferenceUnnamed holds the names and datatypes of policies that have
// none of their own.
func TestOpenInferenceUnnamed(t *testing.T) {
	c := unnamed(2, 2)
	c.Actions = []policy.Action{{Size: 1, Discrete: true}, {Offset: 1, Size: 2, Shape: []int{2}}}
	b := &fakeBackend{contract: c, act: func(_ context.Context, req *serving.Request) error {
		copy(req.Actions, []float32{3, 0.5, 1.5})
		return nil
	}}
	s := serve(t, b, server.Options{Limits: fast()})
	equalBody(t, s.do("GET", "/v2/models/carla-ppo", ""), 200, `{"name":"carla-ppo","versions":["v0.1.0"],"platform":"carla_rl_policy","inputs":[{"name":"observation","datatype":"FP32","shape":[-1,2,2]}],`+
		`"outputs":[{"name":"action_0","datatype":"INT64","shape":[-1]},{"name":"action_1","datatype":"FP32","shape":[-1,2]}]}`)
	equalBody(t, s.do("POST", "/v2/models/carla-ppo/infer", `{"inputs":[{"name":"observation","shape":[1,4],"datatype":"UINT8","data":[1,2,3,4]}]}`), 200,
		`{"model_name":"carla-ppo","model_version":"v0.1.0","parameters":{"deterministic":false},"outputs":[{"name":"action_0","datatype":"INT64","shape":[1],"data":[3]},{"name":"action_1","datatype":"FP32","shape":[1,2],"data":[0.5,1.5]}]}`)
	r := s.do("POST", "/v2/models/carla-ppo/infer", `{"inputs":[{"name":"observation","shape":[1,4],"datatype":"UINT8","data":[1,2,3,4]}],"parameters":{"binary_data_output":true},"outputs":[{"name":"action_1"},{"name":"action_0"}]}`)
	head, err := strconv.Atoi(r.header.Get("Inference-Header-Content-Length"))
	if err != nil || r.header.Get("Content-Type") != "application/octet-stream" || len(r.body) != head+16 {
		t.Fatalf("%v %v %q", err, r.header, r.body)
	}
	blob := []byte(r.body[head:])
	if math.Float32frombits(binary.LittleEndian.Uint32(blob[4:])) != 1.5 || binary.LittleEndian.Uint64(blob[8:]) != 3 {
		t.Errorf("% x", blob)
	}
}

// TestOpenInferenceBinary sends a tensor behind the JSON text, with and without
// a media type, and asks for one of the outputs in binary.
func TestOpenInferenceBinary(t *testing.T) {
	s := serve(t, &fakeBackend{contract: unnamed(2)}, server.Options{Limits: fast()})
	text := `{"inputs":[{"name":"observation","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}`
	body := text + string(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, math.Float32bits(50)), math.Float32bits(25)))
	want := `{"model_name":"carla-ppo","model_version":"v0.1.0","parameters":{"deterministic":false},"outputs":[{"name":"action","datatype":"FP32","shape":[1,2],"data":[0.5,0.25]}]}`
	length := strconv.Itoa(len(text))
	for _, media := range []string{"application/octet-stream", "application/json", ""} {
		equalBody(t, s.do("POST", "/v2/models/carla-ppo/infer", body, "Content-Type", media, "Inference-Header-Content-Length", length), 200, want)
	}
	for value, status := range map[string]int{"0": 400, "-1": 400, "x": 400, "9999": 400, "99999999999": 400, strconv.Itoa(len(text) - 1): 400, strconv.Itoa(len(text) + 1): 400} {
		if r := s.do("POST", "/v2/models/carla-ppo/infer", body, "Inference-Header-Content-Length", value); r.status != status {
			t.Errorf("%s: %d %s", value, r.status, r.body)
		}
	}
}

// TestOpenInferenceErrors holds the protocol's form of errors.
func TestOpenInferenceErrors(t *testing.T) {
	b := &fakeBackend{contract: driving()}
	keys, err := server.NewKeys(server.PlainKey("k", server.ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, b, server.Options{Limits: fast(), Keys: keys})
	f := func(method, path, body string, status int, want string, headers ...string) {
		t.Helper()
		r := s.do(method, path, body, append([]string{"X-API-Key", "k"}, headers...)...)
		var e struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal([]byte(r.body), &e, json.RejectUnknownMembers(true)); err != nil || r.status != status || !strings.Contains(e.Error, want) {
			t.Errorf("%s %s: %d %v %s\nwant %d %s", method, path, r.status, err, r.body, status, want)
		}
	}
	const infer = "/v2/models/carla-ppo/infer"
	f("POST", infer, "{", 400, "not well-formed JSON")
	f("POST", infer, "{}", 400, "inputs: expected the tensors speed, steering, sensors, got nothing")
	f("POST", infer, asked(`"sequence_id":1`, ""), 400, "inputs: expected one row in a sequence, got 2")
	f("POST", infer, asked("", `[{"name":"nobody"}]`), 400, "outputs.0.name: expected one of throttle, brake, steer")
	f("POST", infer, tensorRequest, 415, "application/json", "Content-Type", "text/plain")
	f("POST", infer, tensorRequest, 415, "application/json", "Content-Type", "application/octet-stream")
	f("POST", infer, tensorRequest, 415, "uncompressed", "Content-Encoding", "gzip")
	f("POST", infer, tensorRequest, 401, "API key", "X-API-Key", "wrong")
	f("POST", infer, tensorRequest, 403, "origin", "Origin", "https://evil")
	f("GET", infer, "", 405, "POST")
	f("POST", "/v2/models/nobody/infer", tensorRequest, 404, "no such model")
	f("POST", "/v2/models/carla-ppo/versions/v9/infer", tensorRequest, 404, "no such version")
	f("GET", "/v2/models/carla-ppo/versions/v9/ready", "", 404, "no such version")
	for _, path := range []string{"/v2/", "/v2/models", "/v2/models/", "/v2/models/carla-ppo/", "/v2/models/carla-ppo/stats", "/v2/models/carla-ppo/versions", "/v2/models/carla-ppo/versions/", "/v2/models/a..b", "/v2/models/a%2e/ready", "/v2/repository/index", "/v2//health/live"} {
		f("GET", path, "", 404, "no such route")
	}
	b.act = func(_ context.Context, req *serving.Request) error {
		req.Actions[0] = float32(math.NaN())
		return nil
	}
	f("POST", infer, tensorRequest, 500, "no usable action")
	b.readiness.Store(&server.NotReadyError{Model: "carla-ppo", State: "loading"})
	f("POST", infer, tensorRequest, 503, "carla-ppo is not ready (loading)")
	f("GET", "/v2/models/carla-ppo/ready", "", 503, "not ready")
	f("GET", "/v2/health/ready", "", 503, "not ready")
	if r := s.do("GET", "/v2/health/live", ""); r.status != http.StatusOK { // asks for no key
		t.Errorf("live: %d", r.status)
	}
}

// TestOpenInferenceSeed holds that the seed of a request, or the one that the
// answer names, is what the policy drew with.
func TestOpenInferenceSeed(t *testing.T) {
	var seen uint64
	b := &fakeBackend{contract: driving(), act: func(_ context.Context, req *serving.Request) error {
		seen = req.Seed
		return nil
	}}
	s := serve(t, b, server.Options{Limits: fast()})
	for _, parameters := range []string{`"seed":18446744073709551615`, `"seed":0`, ""} {
		r := s.do("POST", "/v2/models/carla-ppo/infer", asked(parameters, ""))
		if want := `"seed":` + strconv.FormatUint(seen, 10) + `}`; r.status != 200 || !strings.Contains(r.body, want) || !strings.Contains(want, parameters) {
			t.Errorf("%s: %d %s, want %s", parameters, r.status, r.body, want)
		}
	}
}
