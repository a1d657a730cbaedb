package machine_test

import (
	"os"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

// fileBacked is the resident part of this process that files back, in KiB.
func fileBacked(t *testing.T) int {
	t.Helper()
	return statusKiB(t, "RssFile")
}

// The pages go, and what needs them again gets them: the test goes on.
func TestTrimProgram(t *testing.T) {
	before := fileBacked(t)
	if err := machine.TrimProgram(); err != nil {
		t.Fatal(err)
	}
	after := fileBacked(t)
	if after >= before {
		t.Errorf("%d KiB of files are resident, before it was %d", after, before)
	}
	if got := strings.ToUpper("runs on"); got != "RUNS ON" {
		t.Error(got)
	}
	if _, err := os.Stat("."); err != nil {
		t.Error(err)
	}
}
