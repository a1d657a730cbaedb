//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// loadConfig is a constant load.
type loadConfig struct {
	url     string
	headers []string // name and value in turn
	rate    int      // requests a second, over all clients
	clients int      // half of them keep their connection, half open one for each request
}

// load is a load that goes on until it is stopped.
type load struct {
	rate   int
	began  time.Time
	cancel context.CancelFunc
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	done   sync.WaitGroup

	mu sync.Mutex // guards result
	r  result
}

// result counts the answers of a load. A request is sent once: nothing is sent
// again where it failed.
type result struct {
	requests, failed int
	reasons          map[string]int // of the failed ones
	latencies        []time.Duration
	slow             []string // the requests of more than a second: how long each waited for what
}

func (r result) String() string {
	slices.Sort(r.latencies)
	at := func(q float64) time.Duration {
		if len(r.latencies) == 0 {
			return 0
		}
		return r.latencies[int(q*float64(len(r.latencies)-1))].Round(10 * time.Microsecond)
	}
	s := fmt.Sprintf("%d requests, %d failed, p50 %v, p99 %v, max %v", r.requests, r.failed, at(0.5), at(0.99), at(1))
	for reason, n := range r.reasons {
		s += fmt.Sprintf("\n  %d × %s", n, reason)
	}
	for _, one := range r.slow[:min(len(r.slow), 10)] {
		s += "\n  slow: " + one
	}
	return s
}

// loads counts the loads of this run.
var loads atomic.Int32

// startLoad sends the guide's request at a constant rate until stop is called.
// It begins when requests are answered: what went before, such as the start of
// the pods, is no part of it. From then on everything counts.
func startLoad(t *testing.T, c loadConfig) *load {
	t.Helper()
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	waitFor(t, "an action from "+c.url, func() error {
		if reason := once(fresh, c); reason != "" {
			return errors.New(reason)
		}
		return nil
	})
	// An address of its own for each load: the connection tracker keeps what went
	// to a pod that was killed for days, and a port that is used again would lead
	// there.
	address := fmt.Sprintf("10.10.0.%d", 10+loads.Add(1))
	if _, err := run("", "ip", "address", "add", address+"/24", "dev", "node0"); err != nil {
		t.Fatal(err)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{rate: c.rate, began: time.Now(), dial: dialer.DialContext, cancel: cancel, r: result{reasons: map[string]int{}}}
	interval := time.Duration(float64(time.Second) * float64(c.clients) / float64(c.rate))
	for i := range c.clients {
		l.done.Go(func() { l.client(ctx, c, i%2 == 0, interval) })
	}
	t.Cleanup(func() { l.stop() })
	return l
}

// client is one client of a load.
func (l *load) client(ctx context.Context, c loadConfig, keep bool, interval time.Duration) {
	transport := &http.Transport{DialContext: l.dial, DisableKeepAlives: !keep, MaxIdleConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for tick := time.NewTicker(interval); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		reason, connected := timed(client, c)
		took := time.Since(began)
		l.mu.Lock()
		l.r.requests++
		l.r.latencies = append(l.r.latencies, took)
		if took > time.Second {
			l.r.slow = append(l.r.slow, fmt.Sprintf("%v, of it %v until there was a connection, begun at %s",
				took.Round(time.Millisecond), connected.Round(time.Millisecond), began.UTC().Format("15:04:05.000")))
		}
		if reason != "" {
			l.r.failed++
			l.r.reasons[reason]++
		}
		l.mu.Unlock()
	}
}

// once sends one request and says why it failed, if it did.
func once(client *http.Client, c loadConfig) string {
	reason, _ := timed(client, c)
	return reason
}

// timed is once, and how long it took until there was a connection.
func timed(client *http.Client, c loadConfig) (reason string, connected time.Duration) {
	began := time.Now()
	// A body of an unknown kind cannot be sent twice, so that the HTTP client of
	// Go does not hide a failure by a second try.
	req, err := http.NewRequest(http.MethodPost, c.url, struct{ io.Reader }{strings.NewReader(guideRequest)})
	if err != nil {
		return err.Error(), 0
	}
	req.ContentLength = int64(len(guideRequest))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(c.headers); i += 2 {
		if c.headers[i] == "Host" {
			req.Host = c.headers[i+1]
			continue
		}
		req.Header.Set(c.headers[i], c.headers[i+1])
	}
	state := "no connection was made"
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		connected = time.Since(began)
		state = "on a new connection"
		if i.Reused {
			state = "on a connection that was kept"
		}
	}}
	res, err := client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		// The text differs by the number of the client's port only.
		text := err.Error()
		if i := strings.LastIndex(text, "->"); i >= 0 {
			text = "connection" + text[i:]
		}
		return text + " (" + state + ")", connected
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "body: " + err.Error(), connected
	case res.StatusCode != http.StatusOK:
		return fmt.Sprintf("%s: %.100s", res.Status, body), connected
	case !strings.Contains(string(body), `"throttle"`):
		return "200 without an action", connected
	}
	return "", connected
}

// stop ends the load and returns what it counted; a second call returns the same.
func (l *load) stop() result {
	l.cancel()
	l.done.Wait()
	return l.so()
}

// so returns what the load has counted until now.
func (l *load) so() result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.r
	r.latencies, r.slow = slices.Clone(r.latencies), slices.Clone(r.slow)
	r.reasons = maps.Clone(l.r.reasons)
	return r
}

// lossless stops a load and fails the test when one request was lost, or when
// fewer were sent than a tenth of what the rate promises, which a slow machine
// has time for too: less would show little.
func (l *load) lossless(t *testing.T) {
	t.Helper()
	least := int(time.Since(l.began).Seconds() * float64(l.rate) / 10)
	r := l.stop()
	t.Log(r)
	if r.failed > 0 {
		t.Errorf("%d of %d requests failed", r.failed, r.requests)
	}
	if r.requests < least {
		t.Errorf("%d requests were sent, want %d at least", r.requests, least)
	}
}
