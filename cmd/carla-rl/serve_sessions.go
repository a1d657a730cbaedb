package main

import (
	"log/slog"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// openSessions makes the sessions of the configuration, whose Shutdown ends
// them.
func openSessions(cfg *config.Config, metrics *telemetry.Metrics, log *slog.Logger) (*serving.Sessions, error) {
	keys, err := cfg.TokenKeys()
	if err != nil {
		return nil, usage(err)
	}
	c := &cfg.Sessions
	o := serving.SessionOptions{
		Max: c.Max, TTL: c.TTL, MaxTTL: c.MaxTTL, MaxBytes: int64(c.MaxBytes),
		TokenTTL: c.TokenTTL, MaxTokenBytes: int(c.MaxTokenSize),
		Opened: metrics.SessionOpened, Ended: metrics.SessionEnded, TokenRefused: metrics.TokenRefused,
	}
	if len(keys) > 0 {
		o.Key, o.OldKeys = keys[0], keys[1:]
	} else {
		log.Info("the key of the state that clients carry was drawn: other replicas, and this one once it was restarted, will refuse it; sessions.token_key sets one", "event_type", "startup")
	}
	s := serving.NewSessions(o)
	metrics.Sessions(s.Len, s.Bytes, s.Draining)
	return s, nil
}
