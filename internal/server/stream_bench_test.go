package server_test

import (
	"fmt"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// BenchmarkStream measures round trips over loopback, the client's end among
// them, without a policy.
func BenchmarkStream(b *testing.B) {
	text := fmt.Sprintf(`{"observation":%s,"deterministic":true,"seq":1}`, guideObservation)
	for _, codec := range []struct {
		name    string
		op      websocket.Op
		payload []byte
	}{{"json", websocket.Text, []byte(text)}, {"msgpack", websocket.Binary, pack(b, text)}} {
		b.Run(codec.name, func(b *testing.B) {
			s := serve(b, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
			w := s.stream("/v1/stream")
			b.ReportAllocs()
			for b.Loop() {
				trip(b, w, codec.op, codec.payload)
			}
		})
	}
}

func trip(t testing.TB, w *wire, op websocket.Op, payload []byte) {
	if err := w.Write(op, append(w.Frame(), payload...)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Read(); err != nil {
		t.Fatal(err)
	}
}

// TestStreamAllocatesNothing holds both ends of a stream to no allocation a
// message once it is under way.
func TestStreamAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	text := fmt.Sprintf(`{"observation":%s,"deterministic":true,"seq":1}`, guideObservation)
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	w := s.stream("/v1/stream")
	for _, codec := range []struct {
		op      websocket.Op
		payload []byte
	}{{websocket.Text, []byte(text)}, {websocket.Binary, pack(t, text)}} {
		for range 10 {
			trip(t, w, codec.op, codec.payload)
		}
		if n := testing.AllocsPerRun(200, func() { trip(t, w, codec.op, codec.payload) }); n >= 1 {
			t.Errorf("op %v: a round trip allocates %v times", codec.op, n)
		}
	}
}
