package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/machine"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// resources tells, for the first log line, what the server takes of its machine
// and why.
func resources(cfg *config.Config, c *machine.Collector, p machine.Pinned) []any {
	list := []any{"lanes", cfg.Server.Workers, "lanes_from", cfg.LanesFrom()}
	if c.Limit > 0 {
		list = append(list, "heap_limit", fmt.Sprintf("%d MiB", c.Limit>>20), "heap_limit_from", c.From)
	}
	if p.Cores != nil {
		list = append(list, "cores", machine.Cores(p.Cores))
	}
	return list
}

// pinCores keeps the process to the cores that the settings name, and to no more
// lanes than cores where their number was left to the server.
func pinCores(cfg *config.Config) (machine.Pinned, error) {
	p, err := machine.Pin(cfg.Optimization.PinCores, cfg.Server.Workers)
	if err != nil {
		return p, fmt.Errorf("optimization.pin_cores: %w", err)
	}
	if p.Cores != nil {
		cfg.FitLanes(len(p.Cores))
	}
	return p, nil
}

// lockedMemory is memory for policies whose pages are locked. Where the system
// refuses, it says so once and policies lie in ordinary memory.
func lockedMemory(log *slog.Logger) *machine.Locked {
	return machine.NewLocked(func(e *machine.LockError) {
		log.Warn("memory of policies is not locked, and may be swapped", "event_type", "memory_lock", "error", e.Error(), "hint", e.Hint(),
			"needed_bytes", e.Need, "locked_bytes", e.Locked, "limit_bytes", e.Limit)
	})
}

// planEngine is the plan with the sums and in the memory that the settings
// want.
func planEngine(cfg *config.Config, locked *machine.Locked) policy.Engine {
	o := plan.Options{Fast: cfg.Optimization.Determinism == "fast"}
	if cfg.Optimization.EnableMemoryPinning {
		o.Memory = locked
	}
	return policy.PlanWith(o)
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
