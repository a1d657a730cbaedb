package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

// resources tells, for the first log line, what the server takes of its machine
// and why.
func resources(cfg *config.Config, c *machine.Collector) []any {
	list := []any{"lanes", cfg.Server.Workers, "lanes_from", cfg.LanesFrom()}
	if c.Limit > 0 {
		list = append(list, "heap_limit", fmt.Sprintf("%d MiB", c.Limit>>20), "heap_limit_from", c.From)
	}
	return list
}

// settleAfter is how long after the first load what only the start needed is
// given back. The first requests come at once, and need much of the program.
const settleAfter = 2 * time.Second

func settle(ctx context.Context, c *machine.Collector, log *slog.Logger) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(settleAfter):
	}
	if err := c.Settle(); err != nil {
		log.Debug("memory of the start was not given back", "event_type", "startup", "error", err)
	}
}
