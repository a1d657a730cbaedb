package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestExitCodes holds commands to docs/exit-codes.md: the code, and one line of
// reason with any code but 0.
func TestExitCodes(t *testing.T) {
	demo := filepath.FromSlash("../../internal/demo/artifact")
	agent := filepath.FromSlash("../../internal/format/sb3/testdata/td3/model.zip")
	garbage := filepath.Join(t.TempDir(), "garbage.pt")
	write(t, garbage, []byte("this is no model"))
	f := func(want int, args ...string) {
		t.Helper()
		r := execute(`{"transform": [[1]]}`, args...)
		if r.code != want {
			t.Errorf("%v: exit code %d, want %d: %s", args, r.code, want, r.stderr)
		}
		lines := strings.Count(r.stderr, "\n")
		if want == exitOK && r.stderr != "" || want != exitOK && (lines != 1 || !strings.HasPrefix(r.stderr, "carla-rl: ")) {
			t.Errorf("%v: standard error is %q", args, r.stderr)
		}
	}
	f(exitOK, "inspect", demo)
	f(exitRefused, "inspect", garbage)
	f(exitRefused, "inspect", garbage, "--stage", "plan")
	f(exitRefused, "inspect", garbage, "--json")
	f(exitUsage, "inspect", demo, "--stage", "nonsense")
	f(exitOK, "verify", demo)
	f(exitRefused, "verify", garbage)
	f(exitRefused, "verify", demo, "--atol", "1e-30", "--rtol", "1e-30")
	f(exitUsage, "verify", demo, "--rows", "0")
	f(exitOK, "diff", demo, demo)
	f(exitDiffers, "diff", demo, agent)
	f(exitTrouble, "diff", demo, garbage)
	f(exitTrouble, "diff", garbage, demo)
	f(exitRefused, "convert", garbage, filepath.Join(t.TempDir(), "out"))
	f(exitRefused, "convert", demo, t.TempDir())
	f(exitUsage, "convert", demo, filepath.Join(t.TempDir(), "out"), "--vectors", "-1")
	f(exitRefused, "predict", "--model", garbage, "--input", "-")
	f(exitRefused, "predict", "--model", demo, "--input", "nowhere.json")
	f(exitUsage, "predict", "--model", demo)
}
