package artifact_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

func TestValidName(t *testing.T) {
	for _, s := range []string{"a", "carla-ppo", "model.pt", "A_1.b-c", "0", strings.Repeat("a", 64)} {
		if !artifact.ValidName(s) {
			t.Errorf("%q was refused", s)
		}
	}
}

func TestValidNameRefuses(t *testing.T) {
	for _, s := range []string{
		"", ".", "..", "a..b", "../x", "a/b", `a\b`, "/etc", "%2e%2e%2f", "..%5c", "a\x00b", "a b", ".hidden", "-a", "_a",
		"pаypal", "ａ", "a\n", strings.Repeat("a", 65), strings.Repeat("a", 300), "C:", "a:b", "~", "$HOME", "v1+b",
	} {
		if artifact.ValidName(s) {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestValidVersion(t *testing.T) {
	for s, want := range map[string]bool{
		"v1.2.3": true, "1": true, "2024-01-01": true, "v1.2.3+b": true, "v1.2.3-rc.1+b": true, "1+1": false, "a+b": false, "../x": false, "": false,
	} {
		if got := artifact.ValidVersion(s); got != want {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

func TestNameFromPath(t *testing.T) {
	for in, want := range map[string]string{
		"/srv/models/carla ppo": "carla-ppo", "policy.zip": "policy", "/x/ppo-Car.v1": "ppo-Car.v1", "/": "policy", ".": "policy",
		"/a/..hidden": "hidden", "/a/b...c": "b.c", "модель": "policy", strings.Repeat("a", 100): strings.Repeat("a", 64),
	} {
		got := artifact.NameFromPath(in)
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if !artifact.ValidName(got) {
			t.Errorf("%q: %q is no valid name", in, got)
		}
	}
}
