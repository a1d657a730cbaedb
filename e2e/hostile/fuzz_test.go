//go:build e2e

package hostile_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// fuzzSeconds is the time of the processor that each format is fuzzed for; see
// ledger.Size.
const fuzzSeconds = 300

// fuzzed are the formats of files, and the fuzz targets that share the time of
// each.
var fuzzed = []struct {
	format  string
	targets []string // package, colon, target
}{
	{"onnx", []string{"format:FuzzONNX", "format/onnx:FuzzDecode"}},
	{"torchscript", []string{"format:FuzzTorchScript", "format/torchscript:FuzzDecode", "format/torchscript:FuzzArchive", "format/torchscript:FuzzParse"}},
	{"safetensors", []string{"format:FuzzSafetensors", "format/safetensors:FuzzDecode"}},
	{"torch.export", []string{"format:FuzzTorchExport", "format/torchexport:FuzzDecode"}},
	{"torch tensors", []string{"format:FuzzWeights", "format/torch:FuzzDecode"}},
	{"torch modules", []string{"format:FuzzModule", "format/torchmodule:FuzzDecode"}},
	{"stable-baselines3", []string{"format:FuzzAgent", "format/sb3:FuzzDecode", "format/sb3:FuzzSpaces"}},
	{"zip", []string{"format/torch:FuzzOpenZip"}},
	{"pickle", []string{"format/pickle:FuzzDecode"}},
	{"preprocessor", []string{"format/preprocess:FuzzDecode", "format/preprocess:FuzzArrays", "format/preprocess:FuzzJSON"}},
	{"model card", []string{"artifact:FuzzParseCard", "format/architecture:FuzzParse", "artifact:FuzzTraining", "artifact:FuzzParseLiteral"}},
}

// executions is how the fuzzer counts what it ran.
var executions = regexp.MustCompile(`execs: (\d+)`)

// TestFuzz fuzzes each format for a time of the processor, the coordinator and
// the workers of the fuzzer together. What it finds interesting is kept in the
// cache of the user, so that the next run goes on from there; what fails lies in
// testdata/fuzz of the package.
func TestFuzz(t *testing.T) {
	wanted := time.Duration(ledger.Size(0, fuzzSeconds)) * time.Second
	if wanted == 0 {
		t.Skip("not run: fuzzing for a time is what make hostile does; make fuzz runs each target for a count")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var build sync.Map // of each package, once
	binary := func(pkg string) (string, error) {
		once, _ := build.LoadOrStore(pkg, sync.OnceValues(func() (string, error) {
			name := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "-")+".test")
			out, err := exec.Command("go", "test", "-c", "-vet=off", "-fuzz=.", "-o", name, "../../internal/"+pkg).CombinedOutput()
			if err != nil {
				return "", fmt.Errorf("%w\n%s", err, out)
			}
			return name, nil
		}))
		return once.(func() (string, error))()
	}
	for _, f := range fuzzed {
		t.Run(f.format, func(t *testing.T) {
			t.Parallel()
			ledger.Begin(t)
			sum, count := time.Duration(0), 0
			for _, target := range f.targets {
				pkg, name, _ := strings.Cut(target, ":")
				bin, err := binary(pkg)
				if err != nil {
					t.Fatal(err)
				}
				took, n := fuzz(t, bin, pkg, name, filepath.Join(cache, "carla-rl", "fuzz", pkg), wanted/time.Duration(len(f.targets)))
				sum += took
				count += n
			}
			ledger.Add(t, ledger.Row{
				ID: "A7", Test: "fuzzing of " + f.format, Inputs: ledger.N(count, "inputs"), Lost: ledger.Nothing,
				Figures: []string{fmt.Sprintf("%v of processor", sum.Round(time.Second))},
			})
		})
	}
}

// fuzz runs one target until it has had its time of the processor, and returns
// that and how often it ran.
func fuzz(t *testing.T, bin, pkg, target, cache string, wanted time.Duration) (took time.Duration, count int) {
	t.Helper()
	for took < wanted && !t.Failed() {
		// The fuzzer counts time of the clock. On a busy machine it is run again.
		turn := max(time.Second, min(wanted-took, time.Minute))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		cmd := exec.CommandContext(ctx, bin, "-test.run=^$", "-test.fuzz=^"+target+"$", "-test.fuzzcachedir="+cache, "-test.fuzztime="+turn.String(), "-test.fuzzminimizetime=5x", "-test.parallel=1")
		cmd.Dir = "../../internal/" + pkg
		out, err := cmd.CombinedOutput()
		cancel()
		// A fuzzer whose time ends while a worker is being started says so as if
		// it had failed; what fails names its input.
		late := bytes.Contains(out, []byte("context deadline exceeded")) && !bytes.Contains(out, []byte("Failing input"))
		if err != nil && !late {
			t.Errorf("%s %s: %v\n%.8000s", pkg, target, err, out)
		}
		if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok { // that of the workers is in it
			took += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
		if all := executions.FindAllSubmatch(out, -1); len(all) > 0 {
			n, err := strconv.Atoi(string(all[len(all)-1][1]))
			if err != nil {
				t.Fatal(err)
			}
			count += n
		}
	}
	t.Logf("%s %s: %d executions in %v", pkg, target, count, took.Round(time.Second))
	return took, count
}
