//go:build e2e

package attack_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// smuggling are messages that two parsers could read differently, each with some more
// fields.
func (p *process) smuggling(fields string) map[string]string {
	post := "POST /predict HTTP/1.1\r\nHost: " + p.addr + "\r\nContent-Type: application/json\r\n" + fields
	return map[string]string{
		"CL and TE":                 post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and CL":                 post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
		"TE":                        post + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE twice":                  post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"TE of another name":        post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"TE behind a blank":         post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"TE behind a tab":           post + "\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE folded":                 post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"a chunk of no number":      post + "Transfer-Encoding: chunked\r\n\r\nzz\r\na\r\n0\r\n\r\n",
		"a negative chunk":          post + "Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
		"a chunk of 2^64":           post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\na\r\n0\r\n\r\n",
		"a chunk with a bare LF":    post + "Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
		"a chunk with an extension": post + "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("a", 4000) + "\r\na\r\n0\r\n\r\n",
		"trailers":                  post + "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
		"CL twice":                  post + "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
		"CL as a list":              post + "Content-Length: 0, 44\r\n\r\n",
		"CL with a sign":            post + "Content-Length: +0\r\n\r\n",
		"CL in hexadecimal":         post + "Content-Length: 0x0\r\n\r\n",
		"CL with a bare CR":         post + "Content-Length: 0\r\rX: 1\r\n\r\n",
		"a folded field":            "GET /livez HTTP/1.1\r\nHost: " + p.addr + "\r\nX: 1\r\n  y\r\n\r\n",
		"a bare LF behind the line": "GET /livez HTTP/1.1\nHost: " + p.addr + "\r\n\r\n",
		"a bare LF behind a field":  "GET /livez HTTP/1.1\r\nHost: " + p.addr + "\nX: 1\r\n\r\n",
		"bare LF throughout":        "GET /livez HTTP/1.1\nHost: " + p.addr + "\n\n",
		"a NUL":                     "GET /livez HTTP/1.1\r\nHost: " + p.addr + "\r\nX: \x00\r\n\r\n",
		"two hosts":                 "GET /livez HTTP/1.1\r\nHost: " + p.addr + "\r\nHost: evil\r\n\r\n",
		"HTTP/2 without an upgrade": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/0.9":                  "GET /livez\r\n",
	}
}

// TestSmuggled (H3): messages that two parsers could read differently, each with a
// request hidden behind it and a good one before: the good one is answered, the
// other refused, and the connection ends there.
func TestSmuggled(t *testing.T) {
	ledger.Begin(t)
	p := serve(t)
	hidden := "GET /versions HTTP/1.1\r\nHost: " + p.addr + "\r\nX-Request-ID: hidden\r\n\r\n"
	forms := p.smuggling(keyField)
	first := string(p.request("POST", "/predict", goodBody, "X-Request-ID", "first"))
	rounds := ledger.Size(1, 50)
	g := p.beside(func() {
		for range rounds {
			var wg sync.WaitGroup
			for name, form := range forms {
				wg.Go(func() {
					for _, before := range []string{"", first, first + first} {
						list, closed := p.answers([]byte(before+form+hidden), time.Minute)
						want := strings.Count(before, "POST") + 1
						ok := closed && len(list) <= want
						for i, a := range list {
							ok = ok && a.header.Get("X-Request-ID") != "hidden" && (i == want-1 || a.status == 200) && (i < want-1 || a.status >= 400 && a.status < 600 && a.status != 500)
						}
						if !ok || len(list) < want-1 {
							t.Errorf("%s behind %d requests: closed %v, %.300v", name, want-1, closed, list)
						}
					}
				})
			}
			wg.Wait()
		}
	})
	if p.metric("http_requests_total", `path="/versions"`) > 0 || p.metric("http_requests_total", `endpoint="/versions"`) > 0 {
		t.Error("a hidden request was answered")
	}
	ledger.Add(t, ledger.Row{
		ID: "H3", Test: "requests hidden in requests", Load: g.String(), Inputs: ledger.N(rounds*3*len(forms), "messages of %d forms", len(forms)), Lost: lost(g),
		Figures: []string{"0 hidden requests answered", g.figure()},
	})
}

// TestPipelines (H4) puts requests without end on connections and reads the answers
// late: all come, in order, memory stays, and clients beside them are answered.
func TestPipelines(t *testing.T) {
	ledger.Begin(t)
	// A machine that is busy reads and writes slowly, and is none of the slow clients.
	p := serve(t, "CARLA_RL_WRITE_TIMEOUT=5m", "CARLA_RL_HEADER_TIMEOUT=1m")
	n, conns := ledger.Size(2000, 50_000), ledger.Size(4, 20)
	before := p.rss()
	var mu sync.Mutex
	answered := 0
	g := p.beside(func() {
		var wg sync.WaitGroup
		for k := range conns {
			wg.Go(func() {
				got, err := p.pipeline(n, k%2 == 0)
				mu.Lock()
				defer mu.Unlock()
				answered += got
				if err != nil || got != n {
					t.Errorf("%d of %d requests were answered: %v", got, n, err)
				}
			})
		}
		wg.Wait()
	})
	if after := p.rss(); after > before+bombMemory {
		t.Errorf("memory went from %.0f to %.0f MiB", before, after)
	}
	ledger.Add(t, ledger.Row{
		ID: "H4", Test: "pipelines without end", Load: g.String(), Inputs: ledger.N(answered, "requests on %d connections, sent without waiting", conns), Lost: lost(g),
		Figures: []string{"all answered, in order", g.figure(), fmt.Sprintf("peak %.0f MiB", p.peak())},
	})
}

func (p *process) pipeline(n int, hot bool) (answered int, err error) {
	c, err := p.dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c, 64<<10)
		for i := range n {
			id := fmt.Sprint("p", i)
			m := p.request("GET", "/livez", "", "X-Request-ID", id)
			if hot {
				m = p.request("POST", "/predict", goodBody, "X-Request-ID", id)
			}
			if _, err := w.Write(m); err != nil {
				sent <- err
				return
			}
		}
		sent <- w.Flush()
	}()
	r := bufio.NewReaderSize(c, 64<<10)
	for ; answered < n; answered++ {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answered, err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return answered, err
		}
		if id := resp.Header.Get("X-Request-ID"); resp.StatusCode != 200 || id != fmt.Sprint("p", answered) {
			return answered, fmt.Errorf("answer %d has status %d and id %s", answered, resp.StatusCode, id)
		}
	}
	return answered, <-sent
}
