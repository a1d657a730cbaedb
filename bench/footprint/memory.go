package main

import (
	"errors"
	"sync"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/fleet"
)

// connections is how many clients send at the same time.
const connections = 16

// atRest is the least time between the start and the memory that is told.
const atRest = 4 * time.Second

// memory measures the resident memory of the demo after many requests.
func memory(o options) ([]row, error) {
	p, err := launch(o.binary)
	if err != nil {
		return nil, err
	}
	before, err := p.resident("before a request")
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	var wait sync.WaitGroup
	failed := make([]error, connections)
	for i := range connections {
		wait.Go(func() { failed[i] = send(p.addr, o.n/connections) })
	}
	wait.Wait()
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	sent := o.n / connections * connections
	rate := float64(sent) / time.Since(begun).Seconds()
	// Two seconds after its load the server gives back what its start needed.
	time.Sleep(time.Until(p.begun.Add(atRest)))
	after, err := p.resident("after the requests")
	if err != nil {
		return nil, err
	}
	peak, err := p.status("VmHWM")
	if err != nil {
		return nil, err
	}
	rows := append(before, row{What: "requests sent", Value: float64(sent)}, row{What: "a second, the client on the same cores", Value: rate})
	rows = append(append(rows, after...), row{What: "the most that was resident at any time", Value: peak, Unit: "MiB"})
	return rows, p.stop()
}

// resident are the resident memory and its parts.
func (p *process) resident(when string) ([]row, error) {
	var rows []row
	for _, part := range []struct{ name, what string }{{"VmRSS", "resident "}, {"RssAnon", "  of it heap, stacks and the runtime's, "}, {"RssFile", "  of it pages of the program, "}} {
		v, err := p.status(part.name)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{What: part.what + when, Value: v, Unit: "MiB"})
	}
	return rows, nil
}

func send(addr string, n int) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	request := post(addr, "/predict", []byte(fleet.Request))
	for range n {
		if _, err := c.do(request); err != nil {
			return err
		}
	}
	return nil
}
