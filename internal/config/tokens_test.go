package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

func TestTokenKeys(t *testing.T) {
	a, b, c := strings.Repeat("a", 32), strings.Repeat("b", 40), strings.Repeat("c", 32)
	f := func(environ []string, want ...string) {
		t.Helper()
		cfg, _ := load(t, config.Options{Environ: environ})
		keys, err := cfg.TokenKeys()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range keys {
			got = append(got, string(k))
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%v: got %v, want %v", environ, got, want)
		}
	}
	f(nil)
	f([]string{"CARLA_RL_SESSION_TOKEN_KEY=" + a}, a)
	f([]string{"CARLA_RL_SESSION_TOKEN_KEY=" + a + ", " + b}, a, b)
	file := write(t, b+"\n\n "+c+" \r\n")
	f([]string{"CARLA_RL_SESSION_TOKEN_KEY_FILE=" + file}, b, c)
	f([]string{"CARLA_RL_SESSION_TOKEN_KEY_FILE=" + file, "CARLA_RL_SESSION_TOKEN_KEY=" + a}, a, b, c)

	g := func(environ, want string) {
		t.Helper()
		if got := failing(t, config.Options{Environ: []string{environ}}); !strings.Contains(got, want) || strings.Contains(got, a[:31]) {
			t.Errorf("got %q, want %q in it and no key", got, want)
		}
	}
	g("CARLA_RL_SESSION_TOKEN_KEY="+a[:31], "environment: CARLA_RL_SESSION_TOKEN_KEY: want keys of 32 characters or more, got one of 31")
	g("CARLA_RL_SESSION_TOKEN_KEY=replace-this-key-with-one-of-your-own", "known to everyone")
	g("CARLA_RL_SESSION_TOKEN_KEY_FILE="+write(t, a[:31]), "want keys of 32 characters or more, got one of 31")
	g("CARLA_RL_SESSION_TOKEN_KEY_FILE="+write(t, "\n"), "holds no key")
	g("CARLA_RL_SESSION_TOKEN_KEY_FILE="+nowhere, nowhere+": no such file")
}

func TestSessionTimes(t *testing.T) {
	cfg, _ := load(t, config.Options{Environ: []string{"CARLA_RL_SESSION_TTL=48h", "CARLA_RL_SESSION_MAX_TTL=48h", "CARLA_RL_MAX_SESSIONS=5"}})
	if s := cfg.Sessions; s.TTL != 48*time.Hour || s.MaxTTL != 48*time.Hour || s.Max != 5 {
		t.Errorf("%+v", s)
	}
	f := func(environ, want string) {
		t.Helper()
		if got := failing(t, config.Options{Environ: []string{environ}}); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	f("CARLA_RL_SESSION_TTL=48h", "CARLA_RL_SESSION_TTL: want a sessions.ttl of at most sessions.max_ttl, got 48h0m0s and 24h0m0s")
	f("CARLA_RL_SESSION_MAX_TTL=1m", "CARLA_RL_SESSION_MAX_TTL: want a sessions.ttl of at most sessions.max_ttl, got 10m0s and 1m0s")
	f("CARLA_RL_SESSION_TTL=10ms", "want 1s to 720h0m0s, got 10ms")
	f("CARLA_RL_SESSION_TOKEN_TTL=1000h", "want 1s to 720h0m0s, got 1000h0m0s")
	f("CARLA_RL_SESSION_MAX_BYTES=1KiB", "want 64KiB to 1TiB")
}
