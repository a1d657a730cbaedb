package main

import (
	"log/slog"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// TestServerOptionsOfLoopback holds that only a server that nobody else
// reaches is told so, which decides about the hosts that it answers for.
func TestServerOptionsOfLoopback(t *testing.T) {
	metrics := telemetry.NewMetrics(telemetry.MetricsOptions{})
	for host, want := range map[string]bool{"127.0.0.1": true, "::1": true, "localhost": true, "0.0.0.0": false, "::": false, "10.0.0.7": false} {
		cfg := config.Default()
		cfg.Server.Host = host
		o, err := serverOptions(cfg, nil, buildInfo{}, metrics, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if o.LoopbackOnly != want {
			t.Errorf("%s: LoopbackOnly is %v, want %v", host, o.LoopbackOnly, want)
		}
		if o.Limits.MaxBufferBytes != 64<<20 || o.Limits.DrainAccept.Milliseconds() != 300 {
			t.Errorf("limits %+v", o.Limits)
		}
	}
}
