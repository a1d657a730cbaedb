package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

// runKey runs the command line and returns its exit code and what it printed.
func runKey(args ...string) (int, string, string) {
	var out, errs bytes.Buffer
	code := run(append([]string{"key", "new"}, args...), stdio{strings.NewReader(""), &out, &errs})
	return code, out.String(), errs.String()
}

func TestKeyNew(t *testing.T) {
	code, out, errs := runKey("--name", "robot-7", "--scope", "infer,metrics", "--rate", "20/s", "--expires", "2130-01-31")
	key, line, ok := strings.Cut(strings.TrimPrefix(out, "key:  "), "\nline: ")
	if code != 0 || !ok {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	k, err := config.ParseKey(line)
	if err != nil || k.Name != "robot-7" || strings.Join(k.Scopes, ",") != "infer,metrics" || k.Rate.String() != "20/s" || k.Expires.Year() != 2130 {
		t.Errorf("line %q is %+v, %v", line, k, err)
	}
	if k.Hash != config.HashKey(key) || len(key) < 43 || strings.Contains(line, key) {
		t.Errorf("key %q with line %q", key, line)
	}
	if _, again, _ := runKey("--name", "robot-7"); strings.Contains(again, key) {
		t.Error("the same key is drawn twice")
	}
}

func TestKeyNewAppends(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys")
	var texts []string
	for _, who := range []string{"a", "b"} {
		code, out, errs := runKey("--name", who, "--append", name)
		if code != 0 {
			t.Fatal(errs)
		}
		texts = append(texts, strings.TrimSpace(out))
	}
	if code, _, errs := runKey("--name", "a", "--append", name); code != 1 || !strings.Contains(errs, "there is another key a") {
		t.Errorf("a name that is there: %d %s", code, errs)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := config.ParseKeys(string(data))
	if err != nil || len(keys) != 2 || keys[0].Hash != config.HashKey(texts[0]) || keys[1].Hash != config.HashKey(texts[1]) {
		t.Errorf("%s: %v", data, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	other := filepath.Join(t.TempDir(), "notes")
	if err := os.WriteFile(other, []byte("buy milk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := runKey("--name", "a", "--append", other); code != 1 {
		t.Errorf("a file of something else is appended to: %d", code)
	}
}

func TestKeyNewRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"--name: want a name": {"--name", "a b"}, "--scope: want scopes": {"--name", "a", "--scope", "root"}, "--rate: want a rate": {"--name", "a", "--rate", "5"},
		"--expires: want a date": {"--name", "a", "--expires", "soon"}, "a time to come": {"--name", "a", "--expires", "2001-01-01"},
	} {
		if code, out, errs := runKey(args...); code != 2 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: %d %s %s", args, code, out, errs)
		}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{"90d": now.AddDate(0, 0, 90), "12h": now.Add(12 * time.Hour), "2026-02-01": now.AddDate(0, 1, 0)} {
		if got, err := expiry(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
}
