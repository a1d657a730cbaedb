package server_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestHotRoutesAllocateNothing holds every form of a request for actions to no
// allocation between the read and the write of its connection, as soon as its
// buffers have grown.
func TestHotRoutesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Log("not under the race detector: sync.Pool drops what it holds there; no case run")
		return
	}
	const asJSON, asPack, asBytes = "Content-Type: application/json\r\n", "Content-Type: application/msgpack\r\n", "Content-Type: application/octet-stream\r\n"
	one := `{"observation":` + guideObservation + `,"deterministic":true}`
	tensors := `{"id":"7","inputs":[{"name":"speed","shape":[1],"datatype":"FP32","data":[25.5]},{"name":"steering","shape":[1],"datatype":"FP32","data":[0.1]},` +
		`{"name":"sensors","shape":[1,5],"datatype":"FP32","data":[0.8,0.2,0.5,0.9,0.1]}],"parameters":{"deterministic":true},"outputs":[{"name":"steer"},{"name":"brake"}]}`
	header, blob := binaryTensors()
	f := func(name, path, header, body string) {
		t.Helper()
		b := &crowdedBackend{fakeBackend: &fakeBackend{contract: driving()}}
		s := serve(t, b, server.Options{Limits: fast()})
		if r := s.do("POST", "/v1/sessions", `{"id":"robot"}`); r.status != 201 {
			t.Fatal(r)
		}
		trip, _ := exchanges(t, s, message(path, header, body))
		for range 100 {
			trip()
		}
		if n := testing.AllocsPerRun(1000, trip); n >= 1 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
		if b.asked.Load() < 1100 {
			t.Errorf("%s: the backend was asked %d times whether it is crowded", name, b.asked.Load())
		}
		// Where it is, the words of the refusal are all that is made.
		b.full.Store(true)
		for range 100 {
			trip()
		}
		if n := testing.AllocsPerRun(1000, trip); n > 6 {
			t.Errorf("%s, refused: %v allocations a request", name, n)
		}
	}
	f("predict", "/predict", asJSON, guideRequest)
	f("many rows", "/predict", asJSON, `{"observations":[`+guideObservation+strings.Repeat(","+guideObservation, 7)+`]}`)
	f("model", "/v1/models/carla-ppo/predict", asJSON, guideRequest)
	f("version", "/v1/models/carla-ppo/versions/v0.1.0/predict", asJSON, guideRequest)
	f("with times and a request id", "/predict", asJSON+"X-Request-ID: abc\r\n", strings.TrimSuffix(guideRequest, "}")+`,"deadline_ms":50}`)
	f("drawn", "/predict", asJSON, strings.Replace(guideRequest, "true", "false", 1))
	f("msgpack", "/predict", asPack, string(pack(t, guideRequest)))
	f("octets", "/predict?deterministic=true&deadline_ms=50", asBytes, blob[strings.LastIndex(blob, "}")+1:])
	f("session", "/v1/sessions/robot/act", asJSON, one)
	f("session msgpack", "/v1/sessions/robot/act", asPack, string(pack(t, one)))
	f("tensors", "/v2/models/carla-ppo/infer", asJSON, tensors)
	f("tensors of a version", "/v2/models/carla-ppo/versions/v0.1.0/infer", asJSON, tensors)
	f("binary tensors", "/v2/models/carla-ppo/infer", header, blob)
}
