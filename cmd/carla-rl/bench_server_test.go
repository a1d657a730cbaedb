package main

import (
	"slices"
	"testing"
)

// TestBenchKeepsNoKeys: the server that is measured asks for no key, whatever
// the shell has set for another one.
func TestBenchKeepsNoKeys(t *testing.T) {
	kept := []string{"PATH=/bin", "WORKERS=2", "CARLA_RL_BATCH_SIZE=8", "EMPTY", "API_KEYS=x"}
	gone := []string{
		"API_KEY=k", "API_KEY_FILE=/k", "CARLA_RL_KEYS_FILE=/k", "CARLA_RL_ADMIN_KEY=k", "ALLOWED_HOSTS=a", "CARLA_RL_RATE_LIMIT=1/min",
		"CARLA_RL_TLS_CERT_FILE=/c", "CARLA_RL_ADMIN_LISTEN=127.0.0.1:1", "METRICS_PORT=9090", "LOG_FILE=/l", "DATABASE_URL=postgres://a", "CONFIG_FILE=/c",
	}
	if got := benchEnvironment(slices.Concat(gone, kept)); !slices.Equal(got, kept) {
		t.Errorf("got %v, want %v", got, kept)
	}
}
