//go:build e2e

package chaos_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/load"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

const (
	controlStreams = 100
	controlPeriod  = 20 * time.Millisecond // 50 Hz
	controlMax     = 20 * time.Millisecond // P99.9, from the planned sending
)

// TestControlBesideBatch (L4): 100 streams of 50 Hz are answered in time while
// clients of batch ask for as much as they get.
func TestControlBesideBatch(t *testing.T) {
	ledger.Begin(t)
	p := serve(t)
	many := p.request(quick, `{"observations":`+observations(500)+`,"deterministic":true}`)
	p.load(many, 1, 0, time.Second)
	var figures []string
	var rows float64
	p.steady(t, func() (broken []string) {
		alone := p.streams(*duration)
		t.Logf("figure: %d streams of 50 Hz alone: %s", controlStreams, told(alone))
		var wg sync.WaitGroup
		var batch *load.Result
		wg.Go(func() { batch = p.load(many, 8, 0, *duration+2*time.Second) })
		time.Sleep(time.Second)
		beside := p.streams(*duration)
		wg.Wait()
		full, _ := count(batch, 429)
		late, _ := count(batch, 504)
		rows = 500 * batch.Throughput()
		t.Logf("figure: beside batch: %s", told(beside))
		t.Logf("figure: of batch %.0f rows/s; %d good, %d of 429, %d of 504; lanes given to control between slices: %.0f",
			rows, batch.Good, full, late, p.metric("carla_rl_slice_yields_total"))
		waits := p.metric("carla_rl_queue_wait_seconds_count", `priority="control"`)
		t.Logf("figure: %.0f of control waited for a lane, %.0f of them longer than 2 ms and %.0f longer than 5 ms", waits,
			waits-p.metric("carla_rl_queue_wait_seconds_bucket", `priority="control"`, `le="0.002"`), waits-p.metric("carla_rl_queue_wait_seconds_bucket", `priority="control"`, `le="0.005"`))
		figures = []string{fmt.Sprintf("beside batch %s", told(beside)), fmt.Sprintf("alone %s", told(alone))}
		if at := beside[int(0.999*float64(len(beside)-1))]; at > controlMax {
			broken = append(broken, fmt.Sprintf("P99.9 of control beside batch is %v, want at most %v", at, controlMax))
		}
		if batch.Broken > 0 || batch.Wrong > 0 || batch.Good+full+late != batch.Answered {
			t.Errorf("batch: %v", batch.Err())
		}
		if batch.Good == 0 {
			broken = append(broken, "nothing of batch was answered")
		}
		return broken
	})
	ledger.Add(t, ledger.Row{
		ID: "L4", Test: fmt.Sprintf("%d control streams of 50 Hz beside as much batch as can be had", controlStreams),
		Load: fmt.Sprintf("%d messages/s, and %.0f rows/s of batch, for %v", controlStreams*int(time.Second/controlPeriod), rows, *duration), Lost: ledger.Nothing, Figures: figures,
	})
}

func told(sorted []time.Duration) string {
	at := func(q float64) time.Duration {
		return sorted[int(q*float64(len(sorted)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%d answers, P50 %v, P99 %v, P99.9 %v, max %v", len(sorted), at(0.5), at(0.99), at(0.999), at(1))
}

// streams holds the streams for a time and returns how long each answer took
// from the planned sending of its observation, the shortest first. The streams
// begin one after another, as robots do.
func (p *process) streams(d time.Duration) []time.Duration {
	p.t.Helper()
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	begun := time.Now().Add(100 * time.Millisecond)
	for i := range controlStreams {
		wg.Go(func() {
			took, err := p.stream(begun.Add(time.Duration(i)*controlPeriod/controlStreams), d)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				p.t.Errorf("stream %d: %v", i, err)
			}
			all = append(all, took...)
		})
	}
	wg.Wait()
	slices.Sort(all)
	if want := int(float64(controlStreams) * float64(d/controlPeriod) * 0.99); len(all) < want {
		p.t.Fatalf("%d answers, want %d", len(all), want)
	}
	return all
}

// stream is one robot: an observation every period, whatever became of the one
// before.
func (p *process) stream(begin time.Time, d time.Duration) (took []time.Duration, err error) {
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(c, "GET /v1/stream?model=%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", small, p.addr); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 4096), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the upgrade was answered %s", resp.Status)
	}
	w := websocket.New(c, websocket.Options{Client: true})
	defer w.Close(websocket.CloseNormal, "")
	observation := []byte(`{"observation":{"obs":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]},"deterministic":true}`)
	for next := begin; next.Before(begin.Add(d)); next = next.Add(controlPeriod) {
		time.Sleep(time.Until(next))
		if err := w.Write(websocket.Text, append(w.Frame(), observation...)); err != nil {
			return took, err
		}
		m, err := w.Read()
		if err != nil {
			return took, err
		}
		switch {
		case bytes.HasPrefix(m.Payload, []byte(`{"actions":`)):
			took = append(took, time.Since(next))
		case bytes.Contains(m.Payload, []byte(`"error":"DEADLINE_EXCEEDED"`)), bytes.Contains(m.Payload, []byte(`"error":"TOO_MANY_REQUESTS"`)):
			took = append(took, time.Second) // no answer in time, as late as can be
		default:
			return took, fmt.Errorf("answered %s", m.Payload)
		}
	}
	return took, nil
}
