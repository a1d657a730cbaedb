package server

import (
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// TestHotParts holds what a request goes through, each by itself.
func TestHotParts(t *testing.T) {
	d, req, o, c := &decoder{}, &serving.Request{}, &actOptions{}, drivingContract()
	decodes := func(form *actForm, body string) func() {
		data := []byte(body)
		return func() {
			if err := d.decode(data, form, c, 1000, req, o); err != nil {
				t.Fatal(err)
			}
			d.release()
		}
	}
	hot.Path(t, "server decode", 1000, 0, decodes(formPredict, guide))
	hot.Path(t, "server decode 50 rows", 100, 0, decodes(formPredict, `{"observations":[`+repeated(50)+`]}`))

	id, target := &inferDecoder{}, &Target{Contract: c}
	tensors := []byte(guideTensors)
	hot.Path(t, "server decode tensors", 1000, 0, func() {
		if err := id.decodeInfer(tensors, len(tensors), target, 1000, req); err != nil {
			t.Fatal(err)
		}
		id.release()
	})

	a := act{
		target: Target{Model: "carla-ppo", Version: "v0.1.0", Contract: c}, begun: time.Now().Add(-time.Second), // so that the digits of what it took are as many each time

		req: serving.Request{Rows: 1, Actions: []float32{0.7312345, 0, -0.1098765}, Deterministic: true, Infer: 8500},
	}
	var out []byte
	hot.Path(t, "server encode", 1000, 0, func() { out, _ = a.appendAnswer(out[:0], nil) })
	s, st := packing(t)
	a.s = s
	hot.Path(t, "server encode msgpack", 1000, 0, func() { out, _ = a.packAnswer(out[:0], carried{session: st.session}) })

	g := newGate()
	g.maxBody = 1000
	message := []byte("POST /predict HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello")
	hot.Path(t, "server gate", 1000, 0, func() {
		if _, f := g.scan(message); f != nil {
			t.Fatal(f)
		}
	})
}

// repeated is the guide's observation so many times.
func repeated(n int) string {
	b := []byte{}
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}`...)
	}
	return string(b)
}

// TestHotStream holds what the server does for one message of a stream, without
// the network and the policy.
func TestHotStream(t *testing.T) {
	text := []byte(`{"observation":{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]},"deterministic":true,"seq":1}`)
	for _, codec := range []struct {
		name    string
		first   byte
		payload []byte
	}{{"json", 0x81, text}, {"msgpack", 0x82, msgpack.AppendFromJSON(nil, text)}} {
		store := serving.NewSessions(serving.SessionOptions{})
		defer store.Shutdown()
		target := Target{Model: "carla-ppo", Version: "v0.1.0", Digest: "sha256:abc", Contract: drivingContract()}
		s, err := New(&stillBackend{target}, Options{Sessions: store})
		if err != nil {
			t.Fatal(err)
		}
		st := &stream{s: s, protocol: actStream{}, endpoint: s.routes.exact["/v1/stream"], id: []byte("id")}
		if err := st.open(versionOf(&target), &streamQuery{}); err != nil {
			t.Fatal(err)
		}
		frame := append([]byte{codec.first, 0x80 | byte(len(codec.payload)), 0, 0, 0, 0}, codec.payload...)
		st.conn = websocket.New(&replayConn{frame: frame}, websocket.Options{})
		hot.Path(t, "server stream step "+codec.name, 1000, 0, func() {
			m, err := st.conn.Read()
			if err == nil {
				var over overtaken
				if m, over, err = st.newest(m); err == nil {
					err = st.step(m, over)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
