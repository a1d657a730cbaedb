package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/fleet"
)

// start measures the time from the start of the process to its first answer.
func start(o options) ([]row, error) {
	demo, err := firstAnswers(o, []byte(fleet.Request))
	if err != nil {
		return nil, err
	}
	name := o.model
	if name == "" {
		o.model = filepath.Join(o.scratch, "nature")
		if err := fleet.Nature(o.model); err != nil {
			return nil, err
		}
		o.request, name = filepath.Join(o.model, fleet.NatureRequestFile), "a Nature CNN (1.7 M parameters)"
	}
	body, err := os.ReadFile(o.request)
	if err != nil {
		return nil, err
	}
	own, err := firstAnswers(o, body, o.model)
	if err != nil {
		return nil, err
	}
	return []row{
		spreadOf("start to first answer, the demo policy", "ms", demo),
		spreadOf("start to first answer, "+name, "ms", own),
	}, nil
}

func firstAnswers(o options, body []byte, args ...string) ([]float64, error) {
	var took []float64
	for range o.n {
		p, err := launch(o.binary, args...)
		if err != nil {
			return nil, err
		}
		c, err := dial(p.addr)
		if err == nil {
			_, err = c.do(post(p.addr, "/predict", body))
			took = append(took, time.Since(p.begun).Seconds()*1e3)
		}
		if err != nil {
			return nil, fmt.Errorf("the first answer: %w", err)
		}
		if err := c.conn.Close(); err != nil {
			return nil, err
		}
		if err := p.stop(); err != nil {
			return nil, err
		}
	}
	return took, nil
}
