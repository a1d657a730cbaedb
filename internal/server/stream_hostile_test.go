package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// rawFrame is a frame of a client with a mask of zeros.
func rawFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// closeCode reads the frames of a server to its Close and returns the code, and
// to the end of the connection behind it.
func closeCode(t testing.TB, c net.Conn) int {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	code := -1
	for {
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			if code < 0 || err != io.EOF {
				t.Fatalf("the connection ended with %v, after code %d", err, code)
			}
			return code
		}
		n := int(head[1])
		if n == 126 {
			var more [2]byte
			if _, err := io.ReadFull(c, more[:]); err != nil {
				t.Fatal(err)
			}
			n = int(binary.BigEndian.Uint16(more[:]))
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(c, payload); err != nil {
			t.Fatal(err)
		}
		if head[0] == 0x88 {
			code = int(binary.BigEndian.Uint16(payload))
		}
	}
}

// TestHostileStreams (H7) ends each within its bound and by its code; the server
// serves on, and nothing of them is left.
func TestHostileStreams(t *testing.T) {
	limits := fast()
	limits.MaxStreamMessage, limits.BodyTimeout, limits.StreamPing, limits.WriteTimeout = 64<<10, 200*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
	metrics := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits, Metrics: metrics})
	f := func(name string, code int, sent ...[]byte) {
		t.Helper()
		for _, path := range []string{"/v1/stream", "/"} {
			c, r := s.handshake(path)
			if r.status != 101 {
				t.Fatalf("%s: %d", name, r.status)
			}
			_, _ = c.Write(bytes.Join(sent, nil)) // the server may have closed by then
			if got := closeCode(t, c); got != code {
				t.Errorf("%s on %s: closed with %d, want %d", name, path, got, code)
			}
		}
	}
	many := func(frame []byte, n int) []byte { return bytes.Repeat(frame, n) }
	f("1 GiB announced", 1009, []byte{0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0})
	f("a message above the limit", 1009, rawFrame(0x82, make([]byte, 64<<10+1)))
	f("a message above the limit in fragments", 1009, rawFrame(0x02, make([]byte, 40<<10)), rawFrame(0x80, make([]byte, 40<<10)))
	f("reserved bits", 1002, rawFrame(0xf1, []byte("{}")))
	f("no mask", 1002, []byte{0x81, 2, '{', '}'})
	f("no UTF-8", 1007, rawFrame(0x81, []byte{'"', 0xff, '"'}))
	f("a long ping", 1002, rawFrame(0x89, make([]byte, 126)))
	f("endless fragments with pongs between", 1008, rawFrame(0x01, nil), many(append(rawFrame(0x00, nil), rawFrame(0x8a, nil)...), 3000))
	f("half a message", 1008, rawFrame(0x82, make([]byte, 1000))[:500])
	f("a flood of pings", 1008, many(rawFrame(0x89, nil), 1000))
	waitFor(t, "the streams to end", func() bool { return s.StreamCount() == 0 })
	if n := metrics.open(); n > 1 {
		t.Errorf("%d connections are open", n)
	}
}

// TestSilentStreams (H7) ends streams whose client says nothing, one that was
// greeted and one that has half a header: within twice the ping.
func TestSilentStreams(t *testing.T) {
	limits := fast()
	limits.StreamPing = 50 * time.Millisecond
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits})
	for _, path := range []string{"/v1/stream", "/"} {
		if _, r := s.handshake(path); r.status != 101 {
			t.Fatal(r.status)
		}
	}
	waitFor(t, "silent streams to be given up", func() bool { return s.StreamCount() == 0 })
}

// TestAnsweredPingsKeepAStream lets a client do no more than answer pings.
func TestAnsweredPingsKeepAStream(t *testing.T) {
	limits := fast()
	limits.StreamPing = 400 * time.Millisecond // in which a busy machine can answer
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits})
	w := s.stream("/v1/stream")
	go func() {
		time.Sleep(3 * limits.StreamPing)
		w.Interrupt()
	}()
	_, _ = w.Read() // answers pings until it is interrupted
	if s.StreamCount() != 1 {
		t.Error("a client that answers pings was given up")
	}
	w.conn.Close()
}

// TestStreamThatIsNotRead (H7) asks and never reads: once the kernel's buffers are
// full, an answer is given up in the time for it.
func TestStreamThatIsNotRead(t *testing.T) {
	limits := fast()
	limits.WriteTimeout = 100 * time.Millisecond
	metrics := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits, Metrics: metrics})
	c, r := s.handshake("/v1/stream")
	if r.status != 101 {
		t.Fatal(r.status)
	}
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	members := make([]string, 40) // their refusal is longer than they are
	for i := range members {
		members[i] = fmt.Sprintf(`"nonsense %d":1`, i)
	}
	message := rawFrame(0x81, []byte(`{"observation":{`+strings.Join(members, ",")+`}}`))
	for asked := 1; asked < 100_000 && s.StreamCount() > 0; asked++ {
		_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(message); err != nil {
			break
		}
		// Each is answered before the next, or that would overtake it.
		waitFor(t, "an answer, or the end", func() bool { return metrics.get("stream json error") >= asked || s.StreamCount() == 0 })
	}
	waitFor(t, "the stream to end", func() bool { return s.StreamCount() == 0 })
}

// TestStreamsShareMemory refuses a large message where others hold what there
// is.
func TestStreamsShareMemory(t *testing.T) {
	limits := fast()
	limits.MaxBodyBytes, limits.MaxBufferBytes, limits.MaxStreamMessage = 300<<10, 600<<10, 1<<20
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits})
	hold := rawFrame(0x82, make([]byte, 250<<10))
	first, _ := s.handshake("/v1/stream")
	if _, err := first.Write(hold[:100<<10]); err != nil {
		t.Fatal(err)
	}
	// One address has half of the memory.
	waitFor(t, "memory to run out", func() bool {
		c, r := s.handshake("/v1/stream")
		if r.status != 101 {
			t.Fatal(r.status)
		}
		defer c.Close()
		_, _ = c.Write(rawFrame(0x82, make([]byte, 250<<10)))
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		var head [4]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return false
		}
		return head[0] == 0x88 && binary.BigEndian.Uint16(head[2:]) == 1013
	})
	first.Close()
	// What was held is given back.
	waitFor(t, "memory to come back", func() bool {
		c, _ := s.handshake("/v1/stream")
		defer c.Close()
		_, _ = c.Write(rawFrame(0x82, append([]byte{0xda, 0xff, 0xff}, make([]byte, 250<<10)...)))
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		var head [1]byte
		_, err := io.ReadFull(c, head[:])
		return err == nil && head[0] == 0x82 // an error message, and no Close
	})
}

// TestDeepMessagePack (H7) nests 10,000 deep, where the policy would not look and
// where it would.
func TestDeepMessagePack(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	deep := bytes.Repeat([]byte{0x91}, 10_000)
	w := s.stream("/v1/stream")
	for i, body := range [][]byte{deep, append([]byte("\x81\xabobservation"), deep...), append([]byte("\x81\xa1x"), deep...), append([]byte("\x81\xa6return"), deep...)} {
		if err := w.Send(2, body); err != nil {
			t.Fatal(err)
		}
		if a := w.unpacked(); a.Error != "MALFORMED_MSGPACK" || !strings.Contains(a.Message, "deep") {
			t.Errorf("body %d: %+v", i, a)
		}
	}
	pi := s.stream("/")
	pi.read()
	if err := pi.Send(2, append([]byte("\x81\xa1x"), deep...)); err != nil {
		t.Fatal(err)
	}
	if m := pi.read(); m.Op != 1 || !strings.HasPrefix(string(m.Payload), "MALFORMED_MSGPACK: ") {
		t.Errorf("openpi: %v %q", m.Op, m.Payload)
	}
	if e := pi.closed(); e.Code != 1011 {
		t.Errorf("openpi: %v", e)
	}
}

// TestMessagePackOverHTTP answers a body of MessagePack in MessagePack, and its
// errors in JSON.
func TestMessagePackOverHTTP(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	session := s.do("POST", "/v1/sessions", `{"id":"robot"}`)
	if session.status != 201 {
		t.Fatal(session.body)
	}
	for path, body := range map[string]string{
		"/predict":               guideRequest,
		"/v1/sessions/robot/act": fmt.Sprintf(`{"observation":%s,"deterministic":true}`, guideObservation),
	} {
		for _, media := range []string{"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"} {
			r := s.do("POST", path, string(pack(t, body)), "Content-Type", media)
			if r.status != 200 || r.header.Get("Content-Type") != "application/msgpack" {
				t.Fatalf("%s: %d %s", path, r.status, r.body)
			}
			if a := unpackAnswer(t, []byte(r.body)); a.Actions[0]["throttle"] != 0.255 || a.Version != "v0.1.0" {
				t.Errorf("%s: %+v", path, a)
			}
		}
		if r := s.do("POST", path, "\xc1", "Content-Type", "application/msgpack"); r.status != 400 || r.code(t) != "MALFORMED_MSGPACK" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		if r := s.do("POST", path, string(pack(t, `{}`)), "Content-Type", "application/msgpack"); r.status != 422 || r.code(t) != "VALIDATION_ERROR" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}
