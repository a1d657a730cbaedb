package server

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// replayConn is a connection on which one frame comes again and again.
type replayConn struct {
	net.Conn
	frame []byte
}

func (c *replayConn) Read(p []byte) (int, error)       { return copy(p, c.frame), nil }
func (c *replayConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *replayConn) SetReadDeadline(time.Time) error  { return nil }
func (c *replayConn) SetWriteDeadline(time.Time) error { return nil }

// stillBackend acts at once.
type stillBackend struct{ t Target }

func (b *stillBackend) Resolve(string, string) (Target, error) { return b.t, nil }
func (b *stillBackend) Act(_ context.Context, t *Target, req *serving.Request) error {
	if req.Actions == nil {
		req.Actions = make([]float32, t.Contract.ActionWidth())
	}
	for i := range req.Actions {
		req.Actions[i] = 0.1234567 * float32(i+1)
	}
	return nil
}
func (b *stillBackend) Warmup(context.Context) error { return nil }
func (b *stillBackend) Readiness() error             { return nil }
func (b *stillBackend) Started() bool                { return true }
func (b *stillBackend) Current() string              { return "" }
func (b *stillBackend) Listing() Listing             { return Listing{} }

// BenchmarkStreamStep measures what the server does for one message, without
// the network and the policy, beside an echo on the same stack.
func BenchmarkStreamStep(b *testing.B) {
	text := []byte(`{"observation":{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]},"deterministic":true,"seq":1}`)
	for _, codec := range []struct {
		name    string
		first   byte
		payload []byte
	}{{"json", 0x81, text}, {"msgpack", 0x82, msgpack.AppendFromJSON(nil, text)}} {
		frame := append([]byte{codec.first, 0x80 | byte(len(codec.payload)), 0, 0, 0, 0}, codec.payload...)
		b.Run("echo/"+codec.name, func(b *testing.B) {
			c := websocket.New(&replayConn{frame: frame}, websocket.Options{})
			b.ReportAllocs()
			for b.Loop() {
				m, err := c.Read()
				if err == nil {
					err = c.Write(m.Op, append(c.Frame(), m.Payload...))
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(codec.name, func(b *testing.B) {
			store := serving.NewSessions(serving.SessionOptions{})
			defer store.Shutdown()
			t := Target{Model: "carla-ppo", Version: "v0.1.0", Digest: "sha256:abc", Contract: drivingContract()}
			s, err := New(&stillBackend{t}, Options{Sessions: store})
			if err != nil {
				b.Fatal(err)
			}
			st := &stream{s: s, protocol: actStream{}, endpoint: s.routes.exact["/v1/stream"], id: []byte("id")}
			if err := st.open(versionOf(&t), &streamQuery{}); err != nil {
				b.Fatal(err)
			}
			st.conn = websocket.New(&replayConn{frame: frame}, websocket.Options{})
			b.ReportAllocs()
			for b.Loop() {
				m, err := st.conn.Read()
				if err == nil {
					var over overtaken
					if m, over, err = st.newest(m); err == nil {
						err = st.step(m, over)
					}
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			if st.answers == 0 {
				b.Fatal("nothing was answered")
			}
		})
	}
}
