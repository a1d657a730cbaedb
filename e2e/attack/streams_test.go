//go:build e2e

package attack_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// upgrade asks for a stream and returns its connection, with the status.
func (p *process) upgrade(path string, header ...string) (net.Conn, int, error) {
	c, err := p.dial()
	if err != nil {
		return nil, 0, err
	}
	status, err := p.handshake(c, path, append(header, "X-API-Key", clientKey)...)
	if err != nil {
		_ = c.Close()
		return nil, 0, err
	}
	return c, status, nil
}

// upgrading is the request for a stream.
func (p *process) upgrading(path string, header ...string) []byte {
	key := base64.StdEncoding.EncodeToString([]byte("the sample nonce"))
	return p.request("GET", path, "", append([]string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", key}, header...)...)
}

// handshake asks for a stream on a connection.
func (p *process) handshake(c net.Conn, path string, header ...string) (status int, err error) {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write(p.upgrading(path, header...)); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(oneByte{c}, 16), nil)
	if err != nil {
		return 0, err
	}
	_ = c.SetDeadline(time.Time{})
	return resp.StatusCode, nil
}

// oneByte reads bytes one by one: what follows the answer is not read ahead.
type oneByte struct{ net.Conn }

func (c oneByte) Read(p []byte) (int, error) { return c.Conn.Read(p[:1]) }

// frame is one of a client, with a mask of zeros.
func frame(first byte, payload []byte) []byte {
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

// closing reads to the end of a stream and returns the code of its Close, -1
// where there was none.
func closing(c net.Conn, patience time.Duration) (int, error) {
	code := -1
	r := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			var n net.Error
			if errors.As(err, &n) && n.Timeout() {
				return code, err
			}
			return code, nil
		}
		n := int64(head[1])
		var more [8]byte
		switch n {
		case 126:
			_, _ = io.ReadFull(r, more[:2])
			n = int64(binary.BigEndian.Uint16(more[:]))
		case 127:
			_, _ = io.ReadFull(r, more[:])
			n = int64(binary.BigEndian.Uint64(more[:]))
		}
		payload := make([]byte, min(n, 1<<20))
		if n, _ := io.ReadFull(r, payload); n < len(payload) {
			return code, nil // it ended within a frame
		}
		if head[0] == 0x88 && len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
		}
	}
}

// TestStreamOrigins (H7, S3): a page of another origin opens no stream, however its
// origin is written, and no client needs one.
func TestStreamOrigins(t *testing.T) {
	p := serve(t, "CORS_ORIGINS=https://console.example")
	tried := 0
	for origin, want := range map[string]int{
		"": 101, "https://console.example": 101, "http://" + p.addr: 101,
		"https://evil": 403, "null": 403, "http://console.example": 403, "https://console.example.evil": 403, "https://evil-console.example": 403,
		"https://console.example:444": 403, "https://console.example@evil": 403, "file://": 403, "http://" + p.addr + ".evil": 403, "http://[::1]": 403,
	} {
		for _, path := range []string{"/v1/stream", "/"} {
			var header []string
			if origin != "" {
				header = []string{"Origin", origin}
			}
			c, status, err := p.upgrade(path, header...)
			if err != nil || status != want {
				t.Errorf("%s of Origin %q: %d %v, want %d", path, origin, status, err, want)
			}
			if c != nil {
				_ = c.Close()
			}
			tried++
		}
	}
	ledger.Add(t, ledger.Row{ID: "H7", Test: "streams of pages of other origins", Inputs: ledger.N(tried, "upgrades"), Lost: ledger.Nothing, Figures: []string{"403, and 101 for those that may"}})
}

// TestHostileFrames (H7) ends each stream by its code and within its time.
func TestHostileFrames(t *testing.T) {
	p := serve(t, "CARLA_RL_BODY_TIMEOUT=3s", "CARLA_RL_STREAM_PING=5s")
	n := ledger.Size(3, 200)
	deep := append([]byte("\x81\xabobservation"), bytes.Repeat([]byte{0x91}, 10_000)...)
	object := []byte("\x81\xabobservation\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x08\x80\x04K\x01.\x00\x00\x00\xc4\x05dtype\xa1O\xc4\x05shape\x91\x01")
	for _, k := range []struct {
		name string
		code int // of the Close, 0 for an error message and an open stream
		sent []byte
	}{
		{"a frame of 1 GiB, announced", 1009, []byte{0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0}},
		{"a frame of 2^63, announced", 1002, []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"a message of 9 MiB in fragments", 1009, append(frame(0x02, make([]byte, 5<<20)), frame(0x80, make([]byte, 4<<20))...)},
		{"fragments without an end, pongs between", 1008, append(frame(0x01, nil), bytes.Repeat(append(frame(0x00, nil), frame(0x8a, nil)...), 3000)...)},
		{"half a message", 1008, frame(0x82, make([]byte, 1000))[:500]},
		{"a flood of pings", 1008, bytes.Repeat(frame(0x89, nil), 1000)},
		{"reserved bits", 1002, frame(0xf1, []byte("{}"))},
		{"no mask", 1002, []byte{0x81, 2, '{', '}'}},
		{"no UTF-8", 1007, frame(0x81, []byte{'"', 0xff, '"'})},
		{"MessagePack 10,000 deep", 0, frame(0x82, deep)},
		{"MessagePack with an extension", 0, frame(0x82, []byte("\x81\xabobservation\xd4\x01\x00"))},
		{"MessagePack with an extension of 4 GiB", 0, frame(0x82, []byte("\x81\xabobservation\xc9\xff\xff\xff\xff\x01"))},
		{"an array of Python objects", 0, frame(0x82, object)},
	} {
		t.Run(k.name, func(t *testing.T) {
			p.t = t
			ledger.Begin(t)
			before := p.rss()
			g := p.beside(func() {
				var wg sync.WaitGroup
				for range n {
					wg.Go(func() {
						c, status, err := p.upgrade("/v1/stream")
						if err != nil || status != 101 {
							t.Errorf("%d %v", status, err)
							return
						}
						defer c.Close()
						go func() { _, _ = c.Write(k.sent) }()
						if k.code == 0 {
							text := make([]byte, 4096)
							_ = c.SetReadDeadline(time.Now().Add(time.Minute))
							m, err := c.Read(text)
							if err != nil || text[0] != 0x82 || !strings.Contains(string(text[:m]), "MALFORMED_MSGPACK") && !strings.Contains(string(text[:m]), "VALIDATION_ERROR") {
								t.Errorf("%v %q", err, text[:m])
							}
							return
						}
						if code, err := closing(c, time.Minute); err != nil || code != k.code && code != -1 && code != 1013 { // 1013: there is no memory for another
							t.Errorf("closed with %d, %v, want %d", code, err, k.code)
						}
					})
				}
				wg.Wait()
			})
			if after := p.rss(); after > before+bombMemory {
				t.Errorf("memory went from %.0f to %.0f MiB", before, after)
			}
			figure := fmt.Sprintf("closed with %d", k.code)
			if k.code == 0 {
				figure = "refused with the reason, and the stream goes on"
			}
			ledger.Add(t, ledger.Row{ID: "H7", Test: k.name, Load: g.String(), Inputs: ledger.N(n, "streams"), Lost: lost(g), Figures: []string{figure, fmt.Sprintf("memory %.0f MiB before, peak %.0f MiB", before, p.peak())}})
		})
		p.t = t
	}
}

// TestIdleStreams (H7): thousands of streams that answer pings stay, at a price
// that is known, and those that say nothing are given up within twice the ping.
func TestIdleStreams(t *testing.T) {
	ledger.Begin(t)
	n := ledger.Size(100, 10_000)
	ping := time.Duration(ledger.Size(5, 15)) * time.Second
	p := serve(t, "CARLA_RL_MAX_STREAMS=20000", "CARLA_RL_MAX_CONNECTIONS=21000", "CARLA_RL_MAX_SESSIONS=20000", "CARLA_RL_SESSION_TTL=10m", "CARLA_RL_STREAM_PING="+ping.String())
	before := p.rss()
	var kept, silent []net.Conn
	closeAll := func(list []net.Conn) {
		for _, c := range list {
			_ = c.Close()
		}
	}
	defer func() { closeAll(kept); closeAll(silent) }()
	var wg sync.WaitGroup
	var with float64
	g := p.beside(func() {
		// Streams that answer pings: n less a tenth; the rest says nothing.
		for i := range n {
			c, status, err := p.upgrade("/v1/stream")
			if err != nil || status != 101 {
				t.Errorf("stream %d: %d %v", i, status, err)
				return
			}
			if i%10 == 9 {
				silent = append(silent, c)
				continue
			}
			kept = append(kept, c)
			wg.Go(func() {
				head := make([]byte, 2)
				for {
					if _, err := io.ReadFull(c, head); err != nil {
						return
					}
					if head[0] == 0x89 {
						_, _ = c.Write(frame(0x8a, nil))
					}
				}
			})
		}
		with = p.rss()
		for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
			if left := p.metric("carla_rl_streams"); left <= float64(len(kept)) {
				break
			}
			if time.Since(begun) > 2*ping+slack() {
				t.Errorf("%.0f streams are open after %v, want the %d that answer", p.metric("carla_rl_streams"), time.Since(begun), len(kept))
				break
			}
		}
		time.Sleep(ping) // and those that answer are there still
		if left := int(p.metric("carla_rl_streams")); left != len(kept) {
			t.Errorf("%d streams are open, want %d", left, len(kept))
		}
	})
	closeAll(kept)
	closeAll(silent)
	wg.Wait()
	p.settles(4)
	ledger.Add(t, ledger.Row{
		ID: "H7", Test: "idle and silent streams", Load: g.String(), Inputs: ledger.N(n, "streams, of which %d say nothing", len(silent)), Lost: lost(g),
		Figures: []string{
			fmt.Sprintf("silent ones closed within %v", 2*ping), fmt.Sprintf("%.1f KiB a stream", (with-before)*1024/float64(n)), g.figure(),
		},
	})
}

// TestStreamsThatAreNotRead (H7): clients that ask and never read are given up; what
// waits for them is bounded.
func TestStreamsThatAreNotRead(t *testing.T) {
	ledger.Begin(t)
	p := serve(t)
	n := ledger.Size(5, 300)
	before := p.rss()
	nonsense := make([]string, 40) // whose refusal is longer than they are
	for i := range nonsense {
		nonsense[i] = fmt.Sprintf(`"nonsense %d":1`, i)
	}
	ask := frame(0x81, []byte(`{"observation":{`+strings.Join(nonsense, ",")+`}}`))
	var mu sync.Mutex
	var longest time.Duration
	g := p.beside(func() {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				c, status, err := p.upgrade("/v1/stream")
				if err != nil || status != 101 {
					t.Errorf("%d %v", status, err)
					return
				}
				defer c.Close()
				_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
				begun := time.Now()
				for time.Since(begun) < 10*time.Minute {
					_ = c.SetWriteDeadline(time.Now().Add(3 * time.Minute))
					if _, err := c.Write(ask); err != nil {
						mu.Lock()
						longest = max(longest, time.Since(begun))
						mu.Unlock()
						return
					}
					time.Sleep(time.Millisecond) // or the next message would overtake this one, which then is not answered
				}
				t.Error("a stream that is not read goes on")
			})
		}
		wg.Wait()
	})
	if after := p.rss(); after > before+bombMemory {
		t.Errorf("memory went from %.0f to %.0f MiB", before, after)
	}
	p.settles(4)
	ledger.Add(t, ledger.Row{
		ID: "H7", Test: "streams that ask and are not read", Load: g.String(), Inputs: ledger.N(n, "streams"), Lost: lost(g),
		Figures: []string{fmt.Sprintf("given up after %v at most", longest.Round(10*time.Millisecond)), fmt.Sprintf("memory %.0f MiB before, peak %.0f MiB", before, p.peak())},
	})
}
