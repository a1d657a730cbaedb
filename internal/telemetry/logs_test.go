package telemetry_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

func TestParseLevel(t *testing.T) {
	f := func(name string, want slog.Level) {
		t.Helper()
		if got, err := telemetry.ParseLevel(name); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", name, got, err, want)
		}
	}
	f("", slog.LevelInfo)
	f("info", slog.LevelInfo)
	f("INFO", slog.LevelInfo)
	f(" Debug ", slog.LevelDebug)
	f("WARNING", slog.LevelWarn)
	f("warn", slog.LevelWarn)
	f("Error", slog.LevelError)
	f("CRITICAL", slog.LevelError)
	for _, name := range []string{"verbose", "1", "info,debug"} {
		if _, err := telemetry.ParseLevel(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestLoggerJSON(t *testing.T) {
	var out bytes.Buffer
	log, closer, err := telemetry.NewLogger(telemetry.LogOptions{Level: "warning", Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	log.Info("not this")
	log.Warn("this", "event_type", "startup", "took", 1500*time.Microsecond, slog.Group("g", "msg", "kept"))
	var line struct {
		Timestamp string            `json:"timestamp"`
		Level     string            `json:"level"`
		Message   string            `json:"message"`
		EventType string            `json:"event_type"`
		Took      string            `json:"took"`
		Group     map[string]string `json:"g"`
	}
	if err := json.Unmarshal(out.Bytes(), &line, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if line.Level != "WARN" || line.Message != "this" || line.EventType != "startup" || line.Took != "1.5ms" || line.Group["msg"] != "kept" {
		t.Errorf("%+v", line)
	}
	if at, err := time.Parse(time.RFC3339Nano, line.Timestamp); err != nil || time.Since(at) > time.Minute || !strings.HasSuffix(line.Timestamp, "Z") {
		t.Errorf("timestamp %q: %v", line.Timestamp, err)
	}
}

func TestLoggerText(t *testing.T) {
	var out bytes.Buffer
	log, _, err := telemetry.NewLogger(telemetry.LogOptions{Format: "TEXT", Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello", "a", 1)
	if ok, _ := regexp.MatchString(`^timestamp=\S+Z level=INFO message=hello a=1\n$`, out.String()); !ok {
		t.Errorf("%q", out.String())
	}
}

func TestLoggerFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "carla.log")
	if err := os.WriteFile(name, []byte("{\"message\":\"before\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, closer, err := telemetry.NewLogger(telemetry.LogOptions{File: name, Format: "text", MaxSizeMB: 1})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("after")
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "before") || !strings.Contains(lines[1], `"message":"after"`) {
		t.Errorf("%q", lines)
	}
}

func TestLoggerFileRotates(t *testing.T) {
	dir := t.TempDir()
	log, closer, err := telemetry.NewLogger(telemetry.LogOptions{File: filepath.Join(dir, "carla.log"), MaxSizeMB: 1, MaxBackups: 2})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1000)
	for range 2500 {
		log.Info("long", "text", long)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "carla*.log"))
	if err != nil || len(files) < 3 {
		t.Errorf("%v, %v: want the file and two that were rotated", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: %v, %v", filepath.Base(f), info.Size(), err)
		}
	}
}

func TestLoggerRefuses(t *testing.T) {
	dir := t.TempDir()
	f := func(o telemetry.LogOptions, want string) {
		t.Helper()
		if _, _, err := telemetry.NewLogger(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	f(telemetry.LogOptions{Level: "loud"}, `log level "loud"`)
	f(telemetry.LogOptions{Format: "xml"}, `log format "xml"`)
	f(telemetry.LogOptions{File: filepath.Join(dir, "none", "a.log")}, "open the log file")
	f(telemetry.LogOptions{File: dir}, "open the log file")
}

// TestRecordsSurviveTheLevel: what is above all levels is written at each.
func TestRecordsSurviveTheLevel(t *testing.T) {
	var b bytes.Buffer
	log, closer, err := telemetry.NewLogger(telemetry.LogOptions{Level: "error", Output: &b})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	log.Warn("left out")
	log.Log(t.Context(), slog.LevelError+8, "a record")
	if got := b.String(); strings.Contains(got, "left out") || !strings.Contains(got, `"level":"WARN","message":"a record"`) {
		t.Error(got)
	}
}
