package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/fleet"
)

const (
	rounds  = 5
	aRound  = 2000 // requests
	warming = 2000
)

// models measures what many models cost: the time to load them, their memory,
// and the latency of one of them beside that of a server with one alone.
func models(o options) ([]row, error) {
	alone, all := filepath.Join(o.scratch, "alone"), filepath.Join(o.scratch, "all")
	if err := fleet.Make(alone, 1); err != nil {
		return nil, err
	}
	if err := fleet.Make(all, o.n); err != nil {
		return nil, err
	}
	one, err := launch(o.binary, alone)
	if err != nil {
		return nil, err
	}
	many, err := launch(o.binary, all)
	if err != nil {
		return nil, err
	}
	loaded := time.Since(many.begun)
	if err := many.ready(&loaded); err != nil {
		return nil, err
	}
	resident, err := many.status("VmRSS")
	if err != nil {
		return nil, err
	}
	rows := []row{
		{What: fmt.Sprintf("start until %d models are ready", o.n), Value: loaded.Seconds(), Unit: "s"},
		{What: fmt.Sprintf("resident with %d models", o.n), Value: resident, Unit: "MiB"},
	}
	compared, err := compare(one, many, o.n)
	if err != nil {
		return nil, err
	}
	rows = append(rows, compared...)
	every, err := many.every(o.n)
	if err != nil {
		return nil, err
	}
	rows = append(rows, every...)
	if err := one.stop(); err != nil {
		return nil, err
	}
	return rows, many.stop()
}

// ready waits until every model is, and sets how long that took since the
// start.
func (p *process) ready(took *time.Duration) error {
	c, err := dial(p.addr)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for {
		_, err := c.do(get(p.addr, "/readyz"))
		if err == nil {
			*took = time.Since(p.begun)
			return nil
		}
		if time.Since(p.begun) > time.Minute {
			return fmt.Errorf("not ready after a minute: %w", err)
		}
		c.conn.Close()
		time.Sleep(time.Millisecond)
		if c, err = dial(p.addr); err != nil {
			return err
		}
	}
}

// compare holds the latency of one model among many to that of one alone, by
// runs in turn.
func compare(one, many *process, n int) ([]row, error) {
	type side struct {
		p        *process
		what     string
		p50, p99 []float64
		c        *client
		request  []byte
	}
	path := "/v1/models/" + fleet.Name(0) + "/predict"
	sides := []*side{{p: one, what: "loaded alone"}, {p: many, what: fmt.Sprintf("of %d", n)}}
	for _, s := range sides {
		var err error
		if s.c, err = dial(s.p.addr); err != nil {
			return nil, err
		}
		s.request = post(s.p.addr, path, []byte(fleet.Request))
		if _, err := timed(s.c, s.request, warming); err != nil {
			return nil, err
		}
	}
	for range rounds {
		for _, s := range sides {
			took, err := timed(s.c, s.request, aRound)
			if err != nil {
				return nil, err
			}
			s.p50 = append(s.p50, took[len(took)/2])
			s.p99 = append(s.p99, took[len(took)*99/100])
		}
	}
	var rows []row
	for _, s := range sides {
		rows = append(rows, spreadOf("P50 of one model "+s.what, "µs", s.p50), spreadOf("P99 of one model "+s.what, "µs", s.p99))
	}
	return rows, nil
}

// timed sends requests one after another and returns how long each took in
// microseconds, sorted.
func timed(c *client, request []byte, n int) ([]float64, error) {
	took := make([]float64, n)
	for i := range took {
		begun := time.Now()
		if _, err := c.do(request); err != nil {
			return nil, err
		}
		took[i] = float64(time.Since(begun).Nanoseconds()) / 1e3
	}
	slices.Sort(took)
	return took, nil
}

// every sends a request to each model, so that each has its series, and
// measures the scrape and the memory after it.
func (p *process) every(n int) ([]row, error) {
	c, err := dial(p.addr)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close()
	for i := range n {
		if _, err := c.do(post(p.addr, "/v1/models/"+fleet.Name(i)+"/predict", []byte(fleet.Request))); err != nil {
			return nil, fmt.Errorf("model %d: %w", i, err)
		}
	}
	var scrapes []float64
	bytes := 0
	for range rounds {
		begun := time.Now()
		if bytes, err = c.do(get(p.addr, "/metrics")); err != nil {
			return nil, err
		}
		scrapes = append(scrapes, time.Since(begun).Seconds()*1e3)
	}
	resident, err := p.status("VmRSS")
	if err != nil {
		return nil, err
	}
	return []row{
		spreadOf(fmt.Sprintf("a scrape of /metrics with the series of %d models", n), "ms", scrapes),
		{What: "  its size", Value: float64(bytes) / (1 << 20), Unit: "MiB"},
		{What: "resident after a request to each and the scrapes", Value: resident, Unit: "MiB"},
	}, nil
}
