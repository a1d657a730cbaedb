package websocket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime/metrics"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/carla-rl/carla-rl-serving/e2e/inputs"
	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// memoryConn is a peer that has sent everything and reads everything.
type memoryConn struct {
	in      bytes.Reader
	portion int
	wrote   int
}

func (c *memoryConn) Read(p []byte) (int, error)       { return c.in.Read(p[:min(len(p), c.portion)]) }
func (c *memoryConn) Write(p []byte) (int, error)      { c.wrote += len(p); return len(p), nil }
func (c *memoryConn) Close() error                     { return nil }
func (c *memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// heard is what a Conn makes of some bytes: its messages one behind the other,
// and how it ends.
type heard struct {
	messages []byte
	count    int
	code     int // of a CloseError, 0 for the end of the connection
}

const fuzzMessage = 1 << 10

func hear(t *testing.T, data []byte, portion int) (h heard, conn *memoryConn) {
	t.Helper()
	conn = &memoryConn{portion: portion}
	conn.in.Reset(data)
	c := websocket.New(conn, websocket.Options{MaxMessage: fuzzMessage, MaxFragments: 16})
	defer c.End()
	for {
		m, err := c.Read()
		if err != nil {
			var closed *websocket.CloseError
			switch {
			case errors.As(err, &closed):
				h.code = closed.Code
				if !closed.Peer && (closed.Code < 1000 || closed.Code > 1013 || closed.Reason == "") {
					t.Fatalf("%x: closed by %v", data, closed)
				}
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			default:
				t.Fatalf("%x: %v", data, err)
			}
			return h, conn
		}
		if m.Op != websocket.Text && m.Op != websocket.Binary || len(m.Payload) > fuzzMessage || m.Op == websocket.Text && !utf8.Valid(m.Payload) {
			t.Fatalf("%x: message %v of %d bytes", data, m.Op, len(m.Payload))
		}
		h.messages = append(append(h.messages, byte(m.Op)), m.Payload...)
		h.count++
	}
}

// FuzzFrames (H2) gives a Conn any bytes in any portions: nothing panics, each
// message is within its limits and, where it is text, UTF-8, the portions make
// no difference, and neither memory nor what is written grows beyond what came.
func FuzzFrames(f *testing.F) {
	for _, data := range frameSeeds() {
		f.Add(data, uint16(len(data)))
		f.Add(data, uint16(1))
	}
	f.Fuzz(holdFrames)
}

// allocated is how many bytes this process has ever taken for objects.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// frameSeeds are what a peer may send.
func frameSeeds() (list [][]byte) {
	for _, parts := range [][][]byte{
		{frame(text, `{"observation":{}}`), frame(binry, "\x80"), frame(ping, "a"), frame(closed, "\x03\xe8bye")},
		{frame(0x01, "a"), frame(ping, ""), frame(0x00, "b"), frame(0x80, "c")},
		{frame(0x02, ""), bytes.Repeat(frame(0x00, ""), 20)},
		{frame(text, "\xff"), frame(text, "a")},
		{frame(text, string(make([]byte, fuzzMessage+1)))},
		{{0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0}},
		{{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}},
		{{0x81, 2, 'a', 'b'}, frame(0xc1, "a")},
		{frame(closed, "\x03"), frame(closed, "\x03\xed")},
		{bytes.Repeat(frame(pong, ""), 200)},
	} {
		list = append(list, bytes.Join(parts, nil))
	}
	return list
}

func holdFrames(t *testing.T, data []byte, portion uint16) {
	t.Helper()
	whole, conn := hear(t, data, len(data)+1)
	if conn.wrote > 2*len(data)+256 {
		t.Fatalf("%x: %d bytes were written in answer", data, conn.wrote)
	}
	parts, _ := hear(t, data, int(portion)%64+1)
	if !bytes.Equal(whole.messages, parts.messages) || whole.code != parts.code || whole.count != parts.count {
		t.Fatalf("%x: %d messages and %d whole, %d and %d in portions of %d", data, whole.count, whole.code, parts.count, parts.code, int(portion)%64+1)
	}
	limit := uint64(100*len(data) + 64<<10)
	var took uint64
	for try := range 3 { // what others of the process take is not counted
		before := allocated()
		hear(t, data, len(data)+1)
		if n := allocated() - before; try == 0 || n < took {
			took = n
		}
		if took <= limit {
			return
		}
	}
	t.Fatalf("%x: %d bytes of memory for %d", data, took, len(data))
}

// TestExecutions (H2) gives a Conn many bad inputs, made of good ones: what
// FuzzFrames holds is held of each.
func TestExecutions(t *testing.T) {
	ledger.Begin(t)
	n := ledger.Size(2000, 1_000_000)
	s := inputs.New(1, frameSeeds(), 4<<10, string(frame(text, "a")), string(frame(0x00, "")), string(frame(ping, "")), string(frame(closed, "")))
	for range n {
		holdFrames(t, s.Next(), uint16(s.IntN(256)))
	}
	ledger.Add(t, ledger.Row{
		ID: "H2", Test: "mutated inputs for the decoder: frames of WebSocket", Inputs: ledger.N(n, "inputs"), Lost: ledger.Nothing,
		Figures: []string{"0 panics", "0 above 100 times their length in memory"},
	})
}
