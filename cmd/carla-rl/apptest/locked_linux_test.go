package apptest

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// lockedKiB is what the system counts as locked by a process.
func lockedKiB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\nVmLck:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); !found || err != nil {
		t.Fatalf("no VmLck: %v", err)
	}
	return kib
}

var (
	lockedMetric  = regexp.MustCompile(`(?m)^carla_rl_memory_locked_bytes (\S+)$`)
	lockFailures  = regexp.MustCompile(`(?m)^carla_rl_memory_lock_failures_total (\S+)$`)
	weightsOfDemo = 4 * (7*64 + 64 + 64*64 + 64 + 64*3 + 3)
)

func metric(t *testing.T, p *process, r *regexp.Regexp) float64 {
	t.Helper()
	m := r.FindStringSubmatch(p.get("/metrics").body)
	if m == nil {
		t.Fatalf("/metrics has no %v", r)
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// With memory pinning the weights are locked as the system counts it, and the
// metric tells of the same.
func TestMemoryPinning(t *testing.T) {
	p := start(t, []string{"CARLA_RL_ENABLE_MEMORY_PINNING=true"})
	kib := lockedKiB(t, p.cmd.Process.Pid)
	if kib<<10 < weightsOfDemo {
		t.Errorf("%d KiB are locked, the weights alone have %d bytes", kib, weightsOfDemo)
	}
	if got := metric(t, p, lockedMetric); int(got) != kib<<10 {
		t.Errorf("carla_rl_memory_locked_bytes is %v, the system counts %d KiB", got, kib)
	}
	if got := metric(t, p, lockFailures); got != 0 {
		t.Errorf("%v failures", got)
	}
	if a := p.post("/predict", guideBody); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Where the limit forbids it the server says so, counts it, and serves.
func TestMemoryPinningBeyondTheLimit(t *testing.T) {
	args := []string{"bash", "-c", `ulimit -l 0 && exec "$0" serve --port 0`, binary}
	if os.Geteuid() == 0 { // who may lock beyond the limit
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Skip("root may lock beyond the limit, and there is no setpriv to take that right away")
		}
		args = append([]string{"setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"}, args...)
	}
	c := exec.Command(args[0], args[1:]...)
	p := launchCommand(t, c, []string{"CARLA_RL_ENABLE_MEMORY_PINNING=true"})
	p.listens()
	if got := lockedKiB(t, p.cmd.Process.Pid); got != 0 {
		t.Errorf("%d KiB are locked", got)
	}
	if got := metric(t, p, lockFailures); got == 0 {
		t.Error("no failure is counted")
	}
	if a := p.post("/predict", guideBody); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	for _, want := range []string{"memory of policies is not locked", `"limit_bytes":0`, "LimitMEMLOCK=infinity"} {
		if out := p.stdout(); strings.Count(out, want) != 1 {
			t.Errorf("the log says %q %d times: %s", want, strings.Count(out, want), out)
		}
	}
}
