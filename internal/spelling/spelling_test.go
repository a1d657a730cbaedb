package spelling_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/spelling"
)

func TestNearest(t *testing.T) {
	f := func(word, want string, known ...string) {
		t.Helper()
		if got := spelling.Nearest(word, known); got != want {
			t.Errorf("%q of %q: got %q, want %q", word, known, got, want)
		}
	}
	f("sped", "speed", "steering", "speed")
	f("speeds", "speed", "steering", "speed")
	f("prot", "port", "host", "port") // a swap is one edit
	f("Speed", "speed", "speed")
	f("ſpeed", "speed", "speed") // another letter of the same fold
	f("artifact_hash", "artifact_hashes", "artifact_hashes")
	f("inof", "info", "debug", "info", "warn")
	f("hosst", "host", "most", "host") // the nearer one
	f("ost", "host", "host", "most")   // the first of two that are as near
}

func TestNearestFindsNone(t *testing.T) {
	f := func(word string, known ...string) {
		t.Helper()
		if got := spelling.Nearest(word, known); got != "" {
			t.Errorf("%q of %q: got %q", word, known, got)
		}
	}
	f("brake", "speed", "steering")
	f("speed")
	f("", "a", "ab")
	f("x", "y")
	f("model_file", "model_type", "model_name")
	f("sd", "speed")
	f(strings.Repeat("a", 65), strings.Repeat("a", 66))
	f(strings.Repeat("a", 1<<20), "a")
}

func TestDistance(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if got := spelling.Distance(a, b); got != want {
			t.Errorf("%q, %q: got %d, want %d", a, b, got, want)
		}
		if got := spelling.Distance(b, a); got != want {
			t.Errorf("%q, %q: got %d, want %d", b, a, got, want)
		}
	}
	f("", "", 0)
	f("", "abc", 3)
	f("abc", "abc", 0)
	f("kitten", "sitting", 3)
	f("port", "prot", 1)
	f("ARTIFACT_DIR", "ARTIFACTS_DIR", 1)
	f(strings.Repeat("a", 65), "a", 65)
}
