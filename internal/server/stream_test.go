package server_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tinylib/msgp/msgp"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// wire is the client's end of a stream.
type wire struct {
	*websocket.Conn
	conn net.Conn
	t    testing.TB
}

// handshake sends an upgrade and returns the connection with its answer.
func (s *site) handshake(path string, headers ...string) (net.Conn, reply) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	given := map[string]string{
		"Host": s.addr, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": base64.StdEncoding.EncodeToString([]byte("the sample nonce")),
	}
	for i := 0; i < len(headers); i += 2 {
		given[headers[i]] = headers[i+1]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\n", path)
	for name, value := range given {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	if _, err := c.Write([]byte(b.String() + "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	// Nothing is read ahead of: the first frame may follow the answer.
	resp, err := http.ReadResponse(bufio.NewReaderSize(oneByte{c}, 16), nil)
	if err != nil {
		s.t.Fatalf("upgrade of %s: %v", path, err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header, close: resp.Close}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b := make([]byte, resp.ContentLength)
		for n := 0; n < len(b); {
			m, err := resp.Body.Read(b[n:])
			if n += m; err != nil && n < len(b) {
				s.t.Fatal(err)
			}
		}
		r.body = string(b)
	}
	return c, r
}

// oneByte reads bytes one by one.
type oneByte struct{ net.Conn }

func (c oneByte) Read(p []byte) (int, error) { return c.Conn.Read(p[:1]) }

// stream opens a stream.
func (s *site) stream(path string, headers ...string) *wire {
	s.t.Helper()
	c, r := s.handshake(path, headers...)
	if r.status != http.StatusSwitchingProtocols {
		s.t.Fatalf("upgrade of %s: %d %s", path, r.status, r.body)
	}
	return &wire{Conn: websocket.New(c, websocket.Options{Client: true}), conn: c, t: s.t}
}

// answerOf is an answer of a stream, an error among them.
type answerOf struct {
	Actions       []map[string]float64 `json:"actions"`
	Version       string               `json:"version"`
	TimingMs      float64              `json:"timingMs"`
	Deterministic bool                 `json:"deterministic"`
	Model         string               `json:"model"`
	Seed          *uint64              `json:"seed"`
	SessionID     string               `json:"session_id"`
	Step          int                  `json:"step"`
	Episode       int                  `json:"episode"`
	Reset         string               `json:"reset"`
	Seq           *int                 `json:"seq"`
	Skipped       int                  `json:"skipped"`
	AgeMS         float64              `json:"age_ms"`
	Timing        map[string]float64   `json:"timing"`

	Error     string         `json:"error"`
	Message   string         `json:"message"`
	Details   map[string]any `json:"details"`
	Timestamp float64        `json:"timestamp"`
}

func (w *wire) send(text string) {
	w.t.Helper()
	if err := w.Send(websocket.Text, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) read() websocket.Message {
	w.t.Helper()
	m, err := w.Read()
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *wire) answer() (a answerOf) {
	w.t.Helper()
	m := w.read()
	if m.Op != websocket.Text {
		w.t.Fatalf("the answer to a text message is binary")
	}
	if err := json.Unmarshal(m.Payload, &a, json.RejectUnknownMembers(true)); err != nil {
		w.t.Fatalf("%v: %s", err, m.Payload)
	}
	return a
}

func (w *wire) ask(text string) answerOf {
	w.t.Helper()
	w.send(text)
	return w.answer()
}

// closed reads until the stream ends and returns how.
func (w *wire) closed() *websocket.CloseError {
	w.t.Helper()
	for {
		_, err := w.Read()
		var e *websocket.CloseError
		if errors.As(err, &e) {
			return e
		}
		if err != nil {
			w.t.Fatalf("the stream ended with %v, and no Close", err)
		}
	}
}

const guideObservation = `{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}`

func TestStreamActs(t *testing.T) {
	metrics := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Metrics: metrics})
	w := s.stream("/v1/stream")
	for i := range 3 {
		a := w.ask(fmt.Sprintf(`{"observation":%s,"deterministic":true,"seq":%d}`, guideObservation, 7+i))
		if a.Error != "" || len(a.Actions) != 1 || a.Actions[0]["throttle"] != 0.255 || a.Seq == nil || *a.Seq != 7+i || a.Step != i || a.Episode != 0 || a.Version != "v0.1.0" || a.Skipped != 0 {
			t.Fatalf("answer %d: %+v", i, a)
		}
	}
	if a := w.ask(`{"observations":[` + guideObservation + `],"episode_start":true}`); a.Episode != 1 || a.Step != 3 || a.Seq != nil {
		t.Errorf("an episode that begins: %+v", a)
	}
	if metrics.streams() != 1 || s.StreamCount() != 1 {
		t.Errorf("%d streams", metrics.streams())
	}
	// A message is counted behind its answer.
	waitFor(t, "four messages to be counted", func() bool { return metrics.get("stream json ok") == 4 })
	w.Close(1000, "")
	waitFor(t, "the stream to end and be counted", func() bool {
		return metrics.streams() == 0 && metrics.get("stream closed 0") == 1 && metrics.get("GET /v1/stream 101") == 1
	})
}

// waitFor waits for what happens in another goroutine.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// TestStreamGoesOnAfterBadMessages sends what is refused, each answered with an
// error and its seq where that could be read.
func TestStreamGoesOnAfterBadMessages(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	w := s.stream("/v1/stream")
	f := func(text, code string, seq int, words string) {
		t.Helper()
		a := w.ask(text)
		if a.Error != code || !strings.Contains(a.Message, words) || a.Details["request_id"] == "" || a.Timestamp == 0 {
			t.Errorf("%s: %+v", text, a)
		}
		if got := -1; seq != got {
			if a.Seq != nil {
				got = *a.Seq
			}
			if got != seq {
				t.Errorf("%s: seq %d, want %d", text, got, seq)
			}
		}
	}
	f(`{`, "MALFORMED_JSON", -1, "not well-formed JSON")
	f(`{"seq":3,"observation":{"speed":1e9,"steering":0,"sensors":[0,0,0,0,0]}}`, "VALIDATION_ERROR", 3, "speed")
	f(`{"observation":`+guideObservation+`,"seq":4,"nonsense":1}`, "VALIDATION_ERROR", 4, "nonsense")
	f(`{"seq":5}`, "VALIDATION_ERROR", 5, "observation")
	f(`{"seq":6,"observation":`+guideObservation+`,"step":9}`, "STEP_MISMATCH", 6, "step 0")
	f(`{"seq":7,"observation":`+guideObservation+`,"state":"x"}`, "VALIDATION_ERROR", 7, "state")
	f(`{"seq":8,"observation":`+guideObservation+`,"seed":1}`, "VALIDATION_ERROR", 8, "seed")
	f(`{"seq":9,"observation":`+guideObservation+`,"return":["value"]}`, "VALIDATION_ERROR", 9, "value")
	f(`{"seq":10,"observation":`+guideObservation+`,"action_masks":[1]}`, "VALIDATION_ERROR", 10, "masks")
	f(`{"seq":-1,"observation":`+guideObservation+`}`, "VALIDATION_ERROR", 0, "seq")
	f(`{"seq":11,"observations":[`+guideObservation+`,`+guideObservation+`]}`, "VALIDATION_ERROR", 11, "1 observation")
	f(`{"seq":12,"observation":`+guideObservation+`,"observed_at":1}`, "VALIDATION_ERROR", 12, "observed_at")
	if a := w.ask(`{"observation":` + guideObservation + `,"seq":13}`); a.Error != "" || a.Step != 0 || *a.Seq != 13 {
		t.Errorf("a good message after them: %+v", a)
	}
}

func TestStreamQuery(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	w := s.stream("/v1/stream?model=carla-ppo&version=v0.1.0&deterministic=true&seed=7")
	if a := w.ask(`{"observation":` + guideObservation + `}`); !a.Deterministic || a.Seed != nil {
		t.Errorf("deterministic by the query: %+v", a)
	}
	if a := w.ask(`{"observation":` + guideObservation + `,"deterministic":false}`); a.Deterministic || a.Seed == nil || *a.Seed != serving.SessionSeed(7, a.SessionID) {
		t.Errorf("not deterministic by the message: %+v", a)
	}
	f := func(query string, status int, code string) {
		t.Helper()
		if _, r := s.handshake("/v1/stream?" + query); r.status != status || r.code(t) != code {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
	f("model=nobody", 404, "MODEL_NOT_FOUND")
	f("model=../x", 404, "MODEL_NOT_FOUND")
	f("version=v9", 404, "VERSION_NOT_FOUND")
	f("deterministic=1", 422, "VALIDATION_ERROR")
	f("seed=-1", 422, "VALIDATION_ERROR")
	f("seed=1&seed=2", 422, "VALIDATION_ERROR")
	f("sed=1", 422, "VALIDATION_ERROR")
}

func TestStreamLimit(t *testing.T) {
	limits := fast()
	limits.MaxStreams = 2
	metrics := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits, Metrics: metrics})
	a, b := s.stream("/v1/stream"), s.stream("/")
	if _, r := s.handshake("/v1/stream"); r.status != 503 || r.code(t) != "TOO_MANY_STREAMS" || r.header.Get("Retry-After") == "" {
		t.Errorf("a stream beyond the limit: %d %s", r.status, r.body)
	}
	if metrics.get("rejected streams") != 1 {
		t.Errorf("%v", metrics.seen)
	}
	a.conn.Close()
	waitFor(t, "the stream to end", func() bool { return s.StreamCount() == 1 })
	s.stream("/v1/stream")
	b.conn.Close()
}

// TestStreamsAreSessions counts streams as sessions, and ends these with them.
func TestStreamsAreSessions(t *testing.T) {
	store := serving.NewSessions(serving.SessionOptions{Max: 1})
	t.Cleanup(store.Shutdown)
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Sessions: store})
	w := s.stream("/v1/stream")
	a := w.ask(`{"observation":` + guideObservation + `}`)
	if store.Len() != 1 {
		t.Errorf("%d sessions", store.Len())
	}
	if _, r := s.handshake("/v1/stream"); r.status != 429 {
		t.Errorf("a stream without room for its session: %d %s", r.status, r.body)
	}
	if r := s.do("POST", "/v1/sessions/"+a.SessionID+"/act", `{"observation":`+guideObservation+`}`); r.status != 409 || r.code(t) != "SESSION_BUSY" {
		t.Errorf("an act of a stream's session by another way: %d %s", r.status, r.body)
	}
	w.conn.Close()
	waitFor(t, "the session to end", func() bool { return store.Len() == 0 && s.StreamCount() == 0 })
	s.stream("/v1/stream")
}

// TestNewestObservationWins lets observations come while an act is under way:
// the newest of them is answered, and told how many it overtook. That one of
// those began an episode is not lost.
func TestNewestObservationWins(t *testing.T) {
	var hold chan struct{}
	started := make(chan struct{}, 1)
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error {
		select {
		case started <- struct{}{}:
		default:
		}
		<-hold
		return nil
	}}
	metrics := &countingMetrics{}
	limits := fast()
	limits.RequestTimeout = time.Minute
	for _, codec := range []string{"json", "msgpack"} {
		hold = make(chan struct{})
		s := serve(t, b, server.Options{Limits: limits, Metrics: metrics})
		w := s.stream("/v1/stream")
		send := func(text string) {
			t.Helper()
			if codec == "json" {
				w.send(text)
			} else if err := w.Send(websocket.Binary, pack(t, text)); err != nil {
				t.Fatal(err)
			}
		}
		read := func() answerOf {
			t.Helper()
			if codec == "json" {
				return w.answer()
			}
			return w.unpacked()
		}
		send(`{"observation":` + guideObservation + `,"seq":0}`)
		<-started
		send(`{"observation":` + guideObservation + `,"seq":1}`)
		send(`{"seq":2,"episode_start":true,"observation":` + guideObservation + `}`)
		send(`not JSON`)
		send(`{"observation":` + guideObservation + `,"seq":4,"episode_start":false}`)
		time.Sleep(20 * time.Millisecond) // for the kernel to hand them over; the act waits longer
		close(hold)
		if a := read(); *a.Seq != 0 || a.Skipped != 0 || a.Episode != 0 {
			t.Errorf("%s: the first: %+v", codec, a)
		}
		if a := read(); *a.Seq != 4 || a.Skipped != 3 || a.Episode != 1 || a.Step != 1 {
			t.Errorf("%s: the newest: %+v", codec, a)
		}
		<-started
	}
	if metrics.get("stream skipped") != 6 {
		t.Errorf("%d were skipped, want 6", metrics.get("stream skipped"))
	}
}

// pack is the MessagePack of a JSON text, or the text as a string where it is
// no JSON.
func pack(t testing.TB, text string) []byte {
	t.Helper()
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return msgp.AppendString(nil, text)
	}
	b, err := msgp.AppendIntf(nil, integers(v))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// integers makes integers of numbers without a fraction, as writers of MessagePack
// do.
func integers(v any) any {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case map[string]any:
		for k := range v {
			v[k] = integers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	}
	return v
}

// unpacked reads an answer in MessagePack.
func (w *wire) unpacked() answerOf {
	w.t.Helper()
	m := w.read()
	if m.Op != websocket.Binary {
		w.t.Fatalf("the answer to a binary message is %s", m.Payload)
	}
	return unpackAnswer(w.t, m.Payload)
}

func unpackAnswer(t testing.TB, payload []byte) (a answerOf) {
	t.Helper()
	v, rest, err := msgp.ReadIntfBytes(payload)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes more: %q", err, len(rest), payload)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &a, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return a
}

// TestStreamInMessagePack answers in the form in which each message came.
func TestStreamInMessagePack(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	w := s.stream("/v1/stream")
	for i := range 4 {
		text := fmt.Sprintf(`{"seq":%d,"deterministic":true,"observation":%s}`, i, guideObservation)
		var a answerOf
		if i%2 == 0 {
			a = w.ask(text)
		} else {
			if err := w.Send(websocket.Binary, pack(t, text)); err != nil {
				t.Fatal(err)
			}
			a = w.unpacked()
		}
		if a.Error != "" || a.Actions[0]["throttle"] != 0.255 || a.Actions[0]["brake"] != 0.001 || *a.Seq != i || a.Step != i || !a.Deterministic {
			t.Errorf("answer %d: %+v", i, a)
		}
	}
	for text, code := range map[string]string{`{"observation":{},"seq":5}`: "VALIDATION_ERROR", `[1]`: "VALIDATION_ERROR"} {
		if err := w.Send(websocket.Binary, pack(t, text)); err != nil {
			t.Fatal(err)
		}
		if a := w.unpacked(); a.Error != code {
			t.Errorf("%s: %+v", text, a)
		}
	}
	if err := w.Send(websocket.Binary, []byte{0xc1}); err != nil {
		t.Fatal(err)
	}
	if a := w.unpacked(); a.Error != "MALFORMED_MSGPACK" {
		t.Errorf("%+v", a)
	}
}

func TestStreamPanic(t *testing.T) {
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error { panic("a bug") }}
	metrics := &countingMetrics{}
	s := serve(t, b, server.Options{Limits: fast(), Metrics: metrics})
	for _, path := range []string{"/v1/stream"} {
		w := s.stream(path)
		w.send(`{"observation":` + guideObservation + `}`)
		if e := w.closed(); e.Code != 1011 || strings.Contains(e.Reason, "bug") {
			t.Errorf("%s: %v", path, e)
		}
	}
	waitFor(t, "the stream to end", func() bool { return s.StreamCount() == 0 })
	if metrics.panics.Load() != 1 || metrics.active.Load() != 0 {
		t.Errorf("panics %d, active %d", metrics.panics.Load(), metrics.active.Load())
	}
}
