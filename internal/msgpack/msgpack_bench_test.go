package msgpack_test

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
)

// BenchmarkFromJSON makes MessagePack of the answer of a stream.
func BenchmarkFromJSON(b *testing.B) {
	text := []byte(`{"actions":[{"throttle":0.0,"brake":0.12720175,"steer":-0.85249764}],"version":"v0.1.0","timingMs":0.003406,"deterministic":true,"model":"carla-ppo","session_id":"HN5LX56BZSAPXDNINUQATSEW2R","step":1,"episode":0,"seq":1,"timing":{"queue_ms":0.00042,"preprocess_ms":0.003825,"infer_ms":0.003406,"postprocess_ms":0.001883}}`)
	var out []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		out = msgpack.AppendFromJSON(out[:0], text)
	}
}
