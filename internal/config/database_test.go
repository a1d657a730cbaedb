package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

func TestDatabaseURL(t *testing.T) {
	f := func(url string) {
		t.Helper()
		c, _ := load(t, config.Options{Environ: []string{"DATABASE_URL=" + url}})
		if got, err := c.DatabaseURL(); err != nil || got != url {
			t.Errorf("%s: got %q, %v", url, got, err)
		}
	}
	f("sqlite:///app/logs/experience.db")
	f("sqlite:////app/logs/experience.db")
	f("logs/experience.db")
	f("/app/logs/experience.db")
	f("postgres://user:word@db/x?sslmode=require")
	f("postgresql+psycopg://user@db/x")

	bad := func(url, want string) {
		t.Helper()
		if got := failing(t, config.Options{Environ: []string{"DATABASE_URL=" + url}}); !strings.Contains(got, "DATABASE_URL: "+want) || strings.Contains(got, "word") {
			t.Errorf("%s: got %s", url, got)
		}
	}
	bad("mysql://user:word@db/x", "want sqlite:///path")
	bad("sqlite://", "want sqlite:///path")
	bad("sqlite:///", "want sqlite:///path")
	bad("sqlite://:memory:", "a database in memory keeps nothing")
	bad("postgres:word", "want sqlite:///path")
}

func TestDatabaseURLFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "url")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("postgres://user:word@db/x\n")
	c, _ := load(t, config.Options{Environ: []string{"DATABASE_URL_FILE=" + name}})
	if got, err := c.DatabaseURL(); err != nil || got != "postgres://user:word@db/x" {
		t.Errorf("got %q, %v", got, err)
	}
	bad := func(want string, environ ...string) {
		t.Helper()
		if got := failing(t, config.Options{Environ: environ}); !strings.Contains(got, want) || strings.Contains(got, "word") {
			t.Errorf("%v: got %s", environ, got)
		}
	}
	bad("DATABASE_URL_FILE: database.url is set too", "DATABASE_URL_FILE="+name, "DATABASE_URL=e.db")
	bad("no such file", "DATABASE_URL_FILE="+name+".none")
	write("\n")
	bad("holds no URL", "DATABASE_URL_FILE="+name)
	write("mysql://word@db/x")
	bad("want sqlite:///path", "DATABASE_URL_FILE="+name)
}

func TestExperienceSettings(t *testing.T) {
	for _, e := range []string{"MODE=fast", "ON_FAILURE=ignore", "SAMPLE=0", "SAMPLE=1.5", "BUFFER=1KiB", "FLUSH_INTERVAL=0s", "COMMIT_TIMEOUT=2h", "MAX_AGE=1ms", "MAX_BYTES=1PB1"} {
		failing(t, config.Options{Environ: []string{"CARLA_RL_EXPERIENCE_" + e}})
	}
	c, _ := load(t, config.Options{Environ: []string{"CARLA_RL_EXPERIENCE_MODE=Durable", "CARLA_RL_EXPERIENCE_MAX_AGE=720h", "CARLA_RL_EXPERIENCE_SAMPLE=0.25"}})
	if e := c.Experience; e.Mode != "durable" || e.MaxAge.Hours() != 720 || e.Sample != 0.25 || e.OnFailure != "serve" || e.Buffer != 16<<20 || e.MaxBytes != 1<<30 {
		t.Errorf("%+v", e)
	}
}
