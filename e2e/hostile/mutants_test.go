//go:build e2e

package hostile_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// mutants is how many changed files Python reads too; see ledger.Size.
const mutants = 1000

// TestSameAsPython: of files that were changed, the readers here see what the
// Python libraries of their formats see, or refuse.
func TestSameAsPython(t *testing.T) {
	n := ledger.Size(0, mutants)
	if n == 0 {
		t.Skip("not run: it needs torch, and make parity makes a few of the files")
	}
	ledger.Begin(t)
	report := filepath.Join(t.TempDir(), "report")
	cmd := exec.CommandContext(t.Context(), "parity/run.sh", "-k", "test_mutants")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), fmt.Sprintf("CARLA_RL_MUTANTS=%d", n), "CARLA_RL_MUTANTS_REPORT="+report)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	f, err := os.Open(report)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := map[string]int{}
	var kinds []string
	for s := bufio.NewScanner(f); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		for k, v := range line {
			if n, ok := v.(float64); ok {
				sum[k] += int(n)
			}
		}
		kinds = append(kinds, fmt.Sprint(line["kind"]))
	}
	if sum["files"] < n || sum["the same"] == 0 || sum["wrong"] > 0 {
		t.Errorf("of %d files: %v", n, sum)
	}
	ledger.Add(t, ledger.Row{
		ID: "A8", Test: "changed files of " + strings.Join(kinds, ", ") + ", held against the Python libraries", Inputs: ledger.N(sum["files"], "files"), Lost: ledger.Nothing,
		Figures: []string{
			fmt.Sprintf("%d refused, %d read with the same values as Python, %d with others", sum["refused"], sum["the same"], sum["wrong"]),
			fmt.Sprintf("%d that Python alone refuses, %d that took Python down, %d of which Python cannot tell", sum["refused by Python alone"], sum["Python crashed"], sum["not held against Python"]),
		},
	})
}
