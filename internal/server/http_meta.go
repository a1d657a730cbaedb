package server

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// answer answers 200 with a value as JSON.
func (x *exchange) answer(v any) error {
	body, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	x.json(200, body)
	return nil
}

// actionName is the name of an action, or one made from its place.
func actionName(c *policy.Contract, i int) string {
	switch {
	case c.Actions[i].Name != "":
		return c.Actions[i].Name
	case len(c.Actions) == 1:
		return "action"
	}
	return fmt.Sprintf("action_%d", i)
}

// inputShape is the shape of a policy's row: the input's where there is one,
// else the number of values.
func inputShape(c *policy.Contract) []int {
	if len(c.Inputs) == 1 {
		return shapeOf(c.Inputs[0].Shape)
	}
	n := 0
	for i := range c.Inputs {
		n += c.Inputs[i].Width
	}
	return []int{n}
}

func shapeOf(s []int) []int {
	if s == nil {
		return []int{}
	}
	return s
}

// warmup runs the versions that answer once more. They have been warm since they became
// ready; the route is there because the ancestor's clients call it.
func (x *exchange) warmup() error {
	if err := x.s.backend.Readiness(); err != nil {
		return err
	}
	const longest = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	start := time.Now()
	if err := x.s.backend.Warmup(ctx); err != nil {
		return err
	}
	b := append(x.out[:0], `{"status":"warmed","timingMs":`...)
	b = appendMillis(b, time.Since(start))
	b = append(b, `,"device":`...)
	b = appendString(b, x.s.o.Device)
	x.out = append(b, '}')
	x.json(200, x.out)
	return nil
}
