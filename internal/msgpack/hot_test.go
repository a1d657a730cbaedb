package msgpack_test

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// TestHotPaths holds the MessagePack form of one answer.
func TestHotPaths(t *testing.T) {
	text := []byte(`{"actions":[{"throttle":0.0,"brake":0.12720175,"steer":-0.85249764}],"version":"v0.1.0","timingMs":0.003406,"deterministic":true,"seq":1}`)
	var out []byte
	hot.Path(t, "msgpack from json", 500, 0, func() { out = msgpack.AppendFromJSON(out[:0], text) })
}
