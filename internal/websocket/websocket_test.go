package websocket_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial returns the two ends of a TCP connection.
func dial(t testing.TB) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// frame returns a frame of a client, its mask being of zeros.
func frame(first byte, payload string) []byte {
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

const (
	text   = 0x81
	binry  = 0x82
	ping   = 0x89
	pong   = 0x8a
	closed = 0x88
)

func send(t testing.TB, c net.Conn, frames ...[]byte) {
	t.Helper()
	if _, err := c.Write(bytes.Join(frames, nil)); err != nil {
		t.Fatal(err)
	}
}

// wait lets the kernel hand over what was sent.
func wait(t testing.TB, c net.Conn, payload string) {
	t.Helper()
	send(t, c, frame(ping, payload))
	if got := answer(t, c); string(got) != payload {
		t.Fatalf("pong of %q, want %q", got, payload)
	}
}

// answer returns the payload of the next frame of a server.
func answer(t testing.TB, c net.Conn) []byte {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
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
	return payload
}

func TestReadsMessages(t *testing.T) {
	f := func(name string, want []string, frames ...[]byte) {
		t.Helper()
		server, client := dial(t)
		c := websocket.New(server, websocket.Options{MaxMessage: 1 << 20})
		defer c.End()
		go func() { _, _ = client.Write(bytes.Join(frames, nil)) }()
		for i, w := range want {
			m, err := c.Read()
			if err != nil || string(m.Payload) != w {
				t.Fatalf("%s: message %d = %.40q, %v; want %.40q", name, i, m.Payload, err, w)
			}
		}
	}
	large := strings.Repeat("0123456789", 20_000)
	f("text", []string{"hello"}, frame(text, "hello"))
	f("empty", []string{"", "x"}, frame(text, ""), frame(binry, "x"))
	f("several in one packet", []string{"a", "b", "c"}, frame(text, "a"), frame(binry, "b"), frame(text, "c"))
	f("large", []string{large, "after"}, frame(binry, large), frame(text, "after"))
	f("fragments", []string{"abc", "d"}, frame(0x01, "a"), frame(0x00, "b"), frame(0x80, "c"), frame(text, "d"))
	f("fragments with a ping between", []string{"ab", "cd"}, frame(0x01, "a"), frame(ping, "?"), frame(0x80, "b"), frame(0x01, "c"), frame(0x80, "d"))
	f("an empty last fragment", []string{"ab"}, frame(0x01, "ab"), frame(0x80, ""))
	f("large fragments", []string{large + large}, frame(0x02, large), frame(0x80, large))
	f("a rune across fragments", []string{"ä"}, frame(0x01, "\xc3"), frame(0x80, "\xa4"))
	f("middle sizes", []string{large[:125], large[:126], large[:65535], large[:65536]},
		frame(binry, large[:125]), frame(binry, large[:126]), frame(binry, large[:65535]), frame(binry, large[:65536]))
}

func TestReadsByteByByte(t *testing.T) {
	server, client := dial(t)
	c := websocket.New(server, websocket.Options{})
	defer c.End()
	all := bytes.Join([][]byte{frame(text, "one"), frame(0x01, "t"), frame(ping, ""), frame(0x80, "wo"), frame(binry, strings.Repeat("3", 300))}, nil)
	go func() {
		for i := range all {
			_, _ = client.Write(all[i : i+1])
		}
	}()
	for _, want := range []string{"one", "two", strings.Repeat("3", 300)} {
		if m, err := c.Read(); err != nil || string(m.Payload) != want {
			t.Fatalf("%q, %v; want %q", m.Payload, err, want)
		}
	}
}

func TestUnmasks(t *testing.T) {
	server, client := dial(t)
	c := websocket.New(server, websocket.Options{})
	w := websocket.New(client, websocket.Options{Client: true})
	defer c.End()
	defer w.End()
	for _, n := range []int{0, 1, 7, 8, 125, 126, 5000, 65536} {
		want := bytes.Repeat([]byte("carla"), n)[:n]
		sent := make(chan error, 1)
		go func() { sent <- w.Send(websocket.Binary, want) }()
		m, err := c.Read()
		if err != nil || !bytes.Equal(m.Payload, want) || m.Op != websocket.Binary {
			t.Fatalf("%d bytes: %v, %v", n, m.Op, err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		go func() { sent <- c.Send(websocket.Text, m.Payload) }()
		if m, err = w.Read(); err != nil || !bytes.Equal(m.Payload, want) || m.Op != websocket.Text {
			t.Fatalf("%d bytes back: %v, %v", n, m.Op, err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
}

// TestRefuses sends what no client may send. Each ends the connection at once
// and with the code that says why.
func TestRefuses(t *testing.T) {
	f := func(name string, code int, frames ...[]byte) {
		t.Helper()
		server, client := dial(t)
		c := websocket.New(server, websocket.Options{MaxMessage: 1000, MaxFragments: 8})
		defer c.End()
		go func() { _, _ = client.Write(bytes.Join(frames, nil)) }()
		for range 4 {
			_, err := c.Read()
			var e *websocket.CloseError
			if errors.As(err, &e) {
				if e.Code != code || e.Peer {
					t.Errorf("%s: %v, want code %d", name, e, code)
				}
				return
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
		}
		t.Errorf("%s: was taken", name)
	}
	f("1 GiB announced", websocket.CloseTooBig, []byte{0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4})
	f("2^63 bytes announced", websocket.CloseProtocol, []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
	f("one byte too many", websocket.CloseTooBig, frame(binry, strings.Repeat("x", 1001)))
	f("too big in fragments", websocket.CloseTooBig, frame(0x02, strings.Repeat("x", 600)), frame(0x80, strings.Repeat("x", 401)))
	f("too many fragments", websocket.ClosePolicy, append([][]byte{frame(0x01, "x")}, bytesRepeat(frame(0x00, ""), 8)...)...)
	f("no mask", websocket.CloseProtocol, []byte{0x81, 1, 'x'})
	f("reserved bit 1", websocket.CloseProtocol, frame(text|0x40, "x"))
	f("reserved bit 2", websocket.CloseProtocol, frame(text|0x20, "x"))
	f("reserved bit 3", websocket.CloseProtocol, frame(text|0x10, "x"))
	f("reserved data opcode", websocket.CloseProtocol, frame(0x83, "x"))
	f("reserved control opcode", websocket.CloseProtocol, frame(0x8b, "x"))
	f("long ping", websocket.CloseProtocol, frame(ping, strings.Repeat("x", 126)))
	f("ping in fragments", websocket.CloseProtocol, frame(0x09, "x"))
	f("a continuation of nothing", websocket.CloseProtocol, frame(0x80, "x"))
	f("a message inside a message", websocket.CloseProtocol, frame(0x01, "x"), frame(text, "y"))
	f("no UTF-8", websocket.CloseInvalidText, frame(text, "\xff\xfe"))
	f("half a rune", websocket.CloseInvalidText, frame(0x01, "\xc3"), frame(0x80, "x"))
	f("a Close of one byte", websocket.CloseProtocol, frame(closed, "x"))
	f("a Close with a code that is not sent", websocket.CloseProtocol, frame(closed, "\x03\xed"))
	f("a Close whose reason is no UTF-8", websocket.CloseProtocol, frame(closed, "\x03\xe8\xff"))
	f("a flood of pings", websocket.ClosePolicy, bytesRepeat(frame(ping, ""), 1000)...)
	f("a flood of pongs", websocket.ClosePolicy, bytesRepeat(frame(pong, ""), 1000)...)
}

func bytesRepeat(b []byte, n int) (list [][]byte) {
	for range n {
		list = append(list, b)
	}
	return list
}

// TestEndlessFragments holds a message that never ends, with pongs between its
// fragments, to the time of a message, whatever else keeps coming.
func TestEndlessFragments(t *testing.T) {
	server, client := dial(t)
	c := websocket.New(server, websocket.Options{MessageTimeout: 50 * time.Millisecond, MaxFragments: 1 << 30})
	defer c.End()
	var writer sync.WaitGroup
	writer.Go(func() {
		if _, err := client.Write(frame(0x01, "x")); err != nil {
			return
		}
		for {
			if _, err := client.Write(append(frame(0x00, "x"), frame(pong, "")...)); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	_, err := c.Read()
	var e *websocket.CloseError
	if !errors.As(err, &e) || e.Code != websocket.ClosePolicy || !strings.Contains(e.Reason, "in time") {
		t.Errorf("an endless message: %v", err)
	}
	client.Close()
	writer.Wait()
}

func TestSilentPeer(t *testing.T) {
	server, client := dial(t)
	c := websocket.New(server, websocket.Options{Ping: 30 * time.Millisecond})
	defer c.End()
	begun := time.Now()
	if _, err := c.Read(); !errors.Is(err, websocket.ErrDead) {
		t.Errorf("a peer that never says anything: %v", err)
	}
	if took := time.Since(begun); took < 60*time.Millisecond {
		t.Errorf("given up after %v, want twice 30 ms", took)
	}
	if got := answer(t, client); len(got) != 0 {
		t.Errorf("the silent peer was asked with %q", got)
	}
}

// TestHalfMessage is a peer that begins a message and says no more: it is held
// to the time of a message, though the ping would give it longer.
func TestHalfMessage(t *testing.T) {
	for name, part := range map[string][]byte{"payload": frame(text, "hello")[:8], "header": frame(text, strings.Repeat("x", 200))[:3]} {
		server, client := dial(t)
		c := websocket.New(server, websocket.Options{MessageTimeout: 30 * time.Millisecond})
		send(t, client, part)
		_, err := c.Read()
		var e *websocket.CloseError
		if !errors.As(err, &e) || e.Code != websocket.ClosePolicy {
			t.Errorf("half a %s: %v", name, err)
		}
		c.End()
	}
}

func TestAnswersPings(t *testing.T) {
	server, client := dial(t)
	c := websocket.New(server, websocket.Options{})
	defer c.End()
	done := make(chan error, 1)
	go func() { _, err := c.Read(); done <- err }()
	wait(t, client, "are you there?")
	send(t, client, frame(closed, "\x03\xe9bye"))
	err := <-done
	var e *websocket.CloseError
	if !errors.As(err, &e) || !e.Peer || e.Code != 1001 || e.Reason != "bye" {
		t.Errorf("the peer's Close: %v", err)
	}
	if got := answer(t, client); string(got) != "\x03\xe9" {
		t.Errorf("the answer to a Close is %q", got)
	}
}

func TestInterrupt(t *testing.T) {
	server, _ := dial(t)
	c := websocket.New(server, websocket.Options{})
	defer c.End()
	done := make(chan error, 1)
	go func() { _, err := c.Read(); done <- err }()
	time.Sleep(5 * time.Millisecond) // most of the time it waits by now; it must end in either case
	c.Interrupt()
	if err := <-done; !errors.Is(err, websocket.ErrInterrupted) {
		t.Errorf("an interrupted Read: %v", err)
	}
	if _, err := c.Read(); !errors.Is(err, websocket.ErrInterrupted) {
		t.Errorf("the Read after it: %v", err)
	}
}

func TestClose(t *testing.T) {
	server, client := dial(t)
	c := websocket.New(server, websocket.Options{})
	defer c.End()
	done := make(chan struct{})
	go func() { c.Close(websocket.CloseGoingAway, "the server stops"); close(done) }()
	if got := answer(t, client); string(got) != "\x03\xe9the server stops" {
		t.Errorf("the Close says %q", got)
	}
	send(t, client, frame(text, "too late"), frame(closed, "\x03\xe9"))
	<-done
}

// TestPeerThatDoesNotRead fills what the kernel holds for a connection; then a
// write is given up in the time for it.
func TestPeerThatDoesNotRead(t *testing.T) {
	server, _ := dial(t)
	c := websocket.New(server, websocket.Options{WriteTimeout: 50 * time.Millisecond})
	defer c.End()
	payload := make([]byte, 1<<20)
	for range 1000 {
		if err := c.Send(websocket.Binary, payload); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a write that is not read: %v", err)
			}
			return
		}
	}
	t.Error("a gigabyte was written to a peer that reads nothing")
}

func TestMemoryIsClaimed(t *testing.T) {
	server, client := dial(t)
	var held, most, refused int
	limit := 200_000
	c := websocket.New(server, websocket.Options{Grow: func(n int) bool {
		if n > 0 && held+n > limit {
			refused++
			return false
		}
		held += n
		most = max(most, held)
		return true
	}})
	large := strings.Repeat("x", 100_000)
	go func() { _, _ = client.Write(append(frame(binry, large), frame(text, "small")...)) }()
	for _, want := range []int{len(large), len("small")} {
		if m, err := c.Read(); err != nil || len(m.Payload) != want {
			t.Fatalf("%d bytes, %v; want %d", len(m.Payload), err, want)
		}
	}
	if held < len(large) || held > 2*len(large) {
		t.Errorf("a message of %d bytes claimed %d", len(large), held)
	}
	c.Release()
	if held != 0 {
		t.Errorf("%d bytes are claimed by a connection that was released", held)
	}
	limit = 50_000
	go func() { _, _ = client.Write(frame(binry, large)) }()
	_, err := c.Read()
	var e *websocket.CloseError
	if !errors.As(err, &e) || e.Code != websocket.CloseTryAgain || refused == 0 {
		t.Errorf("a message without memory: %v", err)
	}
	c.End()
	if held != 0 {
		t.Errorf("%d bytes are claimed by a connection that ended", held)
	}
}

func TestAllocatesNothing(t *testing.T) {
	server, client := dial(t)
	c := websocket.New(server, websocket.Options{})
	w := websocket.New(client, websocket.Options{Client: true})
	defer c.End()
	defer w.End()
	payload := bytes.Repeat([]byte("x"), 200)
	trip := func() {
		if err := w.Write(websocket.Binary, append(w.Frame(), payload...)); err != nil {
			t.Fatal(err)
		}
		m, err := c.Read()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := c.Poll(); ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := c.Write(websocket.Binary, append(c.Frame(), m.Payload...)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Read(); err != nil {
			t.Fatal(err)
		}
	}
	trip()
	if n := testing.AllocsPerRun(200, trip); n > 0 {
		t.Errorf("a round trip allocates %v times", n)
	}
}
