package server

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// loopback gives a server one end of a TCP connection and returns the other;
// served receives that end when it has been served.
func loopback(t *testing.T, s *Server) (client *net.TCPConn, served <-chan *gatedConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan *gatedConn, 1)
	go func() {
		g := newGatedConn(other, connAddr(other), s)
		_ = s.http.ServeConn(g) // its error is the client's
		_ = g.Close()
		done <- g
	}()
	return c.(*net.TCPConn), done
}

// TestDirectTwin sends the same messages over a socket that is read directly,
// in portions, and through memory to a server that has fasthttp read them all.
// The client ends its side behind the last of them, mostly in the same segment,
// and must not be left waiting for the answers or for the end.
func TestDirectTwin(t *testing.T) {
	h := newHotTwins(t, Options{})
	first := "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
	hot, others := hotMessages()
	direct := 0
	f := func(text string, portion int) {
		t.Helper()
		data := []byte(first + text)
		m := &pausingConn{memoryConn: memoryConn{in: bytes.NewReader(data), n: len(data)}, pause: len(first)}
		_ = h.cold.http.ServeConn(newGatedConn(m, connAddr(m), h.cold))
		want := answersOf(data, m.out.Bytes())

		c, served := loopback(t, h.hot)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(data[:len(first)]); err != nil {
			t.Fatal(err)
		}
		begun := make([]byte, 1)
		if _, err := io.ReadFull(c, begun); err != nil {
			t.Fatal(err)
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for rest := data[len(first):]; len(rest) > 0; {
				n := min(portion, len(rest))
				if _, err := c.Write(rest[:n]); err != nil {
					return // The server has refused what came before.
				}
				rest = rest[n:]
			}
			_ = c.CloseWrite()
		}()
		out, err := io.ReadAll(c)
		<-sent
		if err != nil {
			t.Fatalf("%q in portions of %d: %v", text, portion, err)
		}
		if got := answersOf(data, slices.Concat(begun, out)); !slices.Equal(got, want) {
			t.Fatalf("%q in portions of %d: answers\n%s\nwant\n%s", text, portion, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if g := <-served; g.direct != nil && g.direct.possible() && g.answered > 0 {
			direct++
		}
	}
	for _, portion := range []int{1 << 20, 100, 7} {
		for _, text := range append(hot, others...) {
			f(text, portion)
		}
		f(strings.Join(hot, ""), portion)
	}
	f(strings.Repeat(hot[0], 1000), 1<<20)
	if direct < len(hot) { // A header that comes in pieces is not hot.
		t.Errorf("%d connections were read directly, want %d", direct, len(hot))
	}
}
