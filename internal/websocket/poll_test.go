package websocket_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// TestPollTakesWhatHasArrived is the one slot of newest-wins: what is there is
// taken to the last whole message, and what is not whole is waited for by Read
// alone.
func TestPollTakesWhatHasArrived(t *testing.T) {
	big := strings.Repeat("0123456789", 1000)
	f := func(name string, sent []byte, more []byte, want ...string) {
		t.Helper()
		server, client := dial(t)
		c := websocket.New(server, websocket.Options{})
		defer c.End()
		send(t, client, sent)
		// The bytes are in the socket before the first Read.
		arrived(t, server, min(len(sent), 64))
		m, err := c.Read()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for {
			got = append(got, string(m.Payload))
			next, ok, err := c.Poll()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if string(m.Payload) != got[len(got)-1] && !ok {
				t.Fatalf("%s: a Poll without a message spoilt the one before", name)
			}
			if !ok {
				break
			}
			m = next
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d messages had arrived, want %d", name, len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: message %d is %.20q, want %.20q", name, i, got[i], want[i])
			}
		}
		if more != nil {
			send(t, client, more)
			if m, err := c.Read(); err != nil || string(m.Payload) != "last" {
				t.Errorf("%s: then %.20q, %v", name, m.Payload, err)
			}
		}
	}
	last := frame(text, "last")
	f("one", frame(text, "a"), last, "a")
	f("three", bytes.Join([][]byte{frame(text, "a"), frame(text, "b"), frame(text, "c")}, nil), last, "a", "b", "c")
	f("one and a half", append(frame(text, "a"), last[:5]...), last[5:], "a")
	f("one and a header", append(frame(text, "a"), last[:1]...), last[1:], "a")
	f("large and a half", append(frame(binry, big[:3000]), last[:7]...), last[7:], big[:3000])
	f("fragments", bytes.Join([][]byte{frame(0x01, "a"), frame(0x80, "b"), frame(0x01, "c"), frame(0x80, "d")}, nil), last, "ab", "cd")
	f("a fragment of the next", bytes.Join([][]byte{frame(0x01, "a"), frame(0x80, "b"), frame(0x01, "la")}, nil), frame(0x80, "st"), "ab")
	f("a ping behind", append(frame(text, "a"), frame(ping, "")...), last, "a")
}

// arrived waits until n bytes can be read from a socket, without reading them.
func arrived(t testing.TB, c net.Conn, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if peeked(t, c) >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the bytes do not arrive")
		}
	}
}

// TestPollOfManyLarge takes a backlog of frames that no buffer holds at once,
// the newest of them last, each intact.
func TestPollOfManyLarge(t *testing.T) {
	server, client := dial(t)
	c := websocket.New(server, websocket.Options{})
	defer c.End()
	const n, size = 40, 30_000
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range n {
			_, _ = client.Write(frame(binry, strings.Repeat(string(rune('A'+i)), size)))
		}
	})
	defer writer.Wait()
	seen := -1
	for seen < n-1 {
		m, err := c.Read()
		if err != nil {
			t.Fatal(err)
		}
		for ok := true; ok; {
			i := int(m.Payload[0] - 'A')
			if i <= seen || len(m.Payload) != size || strings.Trim(string(m.Payload), string(rune('A'+i))) != "" {
				t.Fatalf("message %d after %d: %d bytes", i, seen, len(m.Payload))
			}
			seen = i
			var next websocket.Message
			if next, ok, err = c.Poll(); err != nil {
				t.Fatal(err)
			} else if ok {
				m = next
			} else if strings.Trim(string(m.Payload), string(rune('A'+i))) != "" {
				t.Fatal("a Poll without a message spoilt the one before")
			}
		}
	}
}
