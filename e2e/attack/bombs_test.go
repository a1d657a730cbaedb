//go:build e2e

package attack_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// bombMemory is what bombs may add to the memory of the server, in MiB: the
// limit of large bodies, buffers of the connections, and what the collector
// leaves.
const bombMemory = 160

// TestBombs (H6): headers and bodies that are larger than they may be, or say
// so, each of them refused with its status before anything is kept of it.
func TestBombs(t *testing.T) {
	p := serve(t, "CARLA_RL_HEADER_TIMEOUT=5s")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	head := "POST /predict HTTP/1.1\r\nHost: " + p.addr + "\r\n" + keyField + "Content-Type: application/json\r\n"
	small, large := ledger.Size(20, 2000), ledger.Size(5, 300)
	for _, c := range []struct {
		name   string
		n      int
		sent   []byte
		status []int
	}{
		{"5,000 header fields", small, []byte("GET /livez HTTP/1.1\r\nHost: a\r\n" + keyField + strings.Repeat("X-A: 1\r\n", 5000) + "\r\n"), []int{431}},
		{"a header of 1 MiB", large, []byte("GET /livez HTTP/1.1\r\nHost: a\r\n" + keyField + "X: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), []int{431}},
		{"a header of 5 MiB", large, []byte("GET /livez HTTP/1.1\r\nHost: a\r\n" + keyField + "X: " + strings.Repeat("a", 5<<20) + "\r\n\r\n"), []int{431}},
		{"a target of 1 MiB", large, []byte("GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n"), []int{431}},
		{"a body of 2 GiB, declared", small, []byte(head + "Content-Length: 2147483648\r\n\r\n{"), []int{413}},
		{"a body of 2^63, declared", small, []byte(head + "Content-Length: 9223372036854775808\r\n\r\n{"), []int{400}},
		{"a body of 11 MiB, sent", large, []byte(head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 11<<20, strings.Repeat(" ", 11<<20))), []int{413}},
		{"1,000,000 chunks of one byte", large, []byte(head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\na\r\n", 1_000_000) + "0\r\n\r\n"), []int{411}},
		{"a gzip bomb of 1,000:1", small, append([]byte(head+fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", zipped.Len())), zipped.Bytes()...), []int{415}},
		{"a JSON bomb: 30,000 lists in lists", small, []byte(head + "Connection: close\r\nContent-Length: 30000\r\n\r\n" + strings.Repeat("[", 30_000)), []int{400}},
		{"a JSON bomb: 1e6 digits", large, []byte(head + "Connection: close\r\nContent-Length: 1000026\r\n\r\n" + `{"observations":[{"speed":` + strings.Repeat("9", 1_000_000)), []int{400, 422, 503}},
		{"Expect: 100-continue for 2 GiB", small, []byte(head + "Expect: 100-continue\r\nContent-Length: 2147483648\r\n\r\n"), []int{413}},
		{"Expect: 100-continue, and nothing", ledger.Size(16, 160), []byte(head + "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n"), []int{408}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			ledger.Begin(t)
			before := p.rss()
			var mu sync.Mutex
			left, wrong := c.n, 0
			var longest time.Duration
			g := p.beside(func() {
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						for {
							mu.Lock()
							if left--; left < 0 || wrong > 3 {
								mu.Unlock()
								return
							}
							mu.Unlock()
							begun := time.Now()
							list, closed := p.answers(c.sent, time.Minute)
							took := time.Since(begun)
							mu.Lock()
							longest = max(longest, took)
							// A connection may be reset before its answer was read: what is closed is closed.
							if !closed || len(list) > 1 || len(list) == 1 && !slices.Contains(c.status, list[0].status) {
								wrong++
								t.Errorf("%d answers, closed %v: %.300v; want %v", len(list), closed, list, c.status)
							}
							mu.Unlock()
						}
					})
				}
				wg.Wait()
			})
			after := p.rss()
			if after > before+bombMemory {
				t.Errorf("memory went from %.0f to %.0f MiB", before, after)
			}
			ledger.Add(t, ledger.Row{
				ID: "H6", Test: c.name, Load: g.String(), Inputs: ledger.N(c.n, "requests"), Lost: lost(g),
				Figures: []string{fmt.Sprintf("all refused with %v, after %v at most", c.status, longest.Round(10*time.Millisecond)), fmt.Sprintf("memory %.0f MiB before, %.0f MiB after", before, after)},
			})
		})
		p.t = t
	}
}
