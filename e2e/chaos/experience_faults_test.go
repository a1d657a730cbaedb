//go:build e2e && linux

package chaos_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// mount gives a folder a volume in memory until the test ends.
func mount(t *testing.T, folder, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, options); err != nil {
		t.Skipf("a volume cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
}

func fill(t *testing.T, name string, n int) {
	t.Helper()
	if err := os.WriteFile(name, bytes.Repeat([]byte{1}, n), 0o644); err != nil {
		t.Fatal(err)
	}
}

// cannotStart returns the error with which a server ends that cannot start, ""
// where it has not ended after a while.
func cannotStart(t *testing.T, root string, env ...string) string {
	t.Helper()
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "serve", root, "--port", "0")
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(startMax, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() < 0 {
		return ""
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "experience log") {
			return strings.TrimSpace(line)
		}
	}
	t.Errorf("it did not start, and does not say why:\n%s", out.String())
	return out.String()
}

var (
	injectedLine = regexp.MustCompile(`(?:fsync|fdatasync)\((\d+)\)\s+= -1 EIO .*\(INJECTED\)`)
	syncLine     = regexp.MustCompile(`(?:fsync|fdatasync)\((\d+)`)
)

// TestExperienceFaults (D3): the nth fsync, or the nth write, of a server that
// records fails. A failed fsync, or a write that fails for another reason than
// that there is no room, is final: it is not tried again, the state says so,
// and requests are answered or refused as the policy has it. Where there was no
// room for a moment the log goes on. Whatever was answered in mode durable by
// on_failure stop is there afterwards.
func TestExperienceFaults(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	ledger.Begin(t)
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	root := linearRoot(t, 1)
	last := ledger.Size(2, 50)
	faults, answered, atStart := 0, 0, 0
	for _, fault := range []struct{ calls, err, state string }{
		{"fsync,fdatasync", "EIO", "failed"},
		{"pwrite64", "EIO", "failed"},
		{"pwrite64", "ENOSPC", "ok"},
	} {
		for i := range last {
			// Those of the start come first: the few of CI are among acts.
			n := i + 1
			if last <= 2 {
				n = 40 + 7*i
				if fault.calls != "pwrite64" {
					n = 9 + i
				}
			}
			on := []string{"stop", "serve"}[i%2]
			t.Run(fmt.Sprintf("%s=%s,n=%d,%s", strings.ReplaceAll(fault.calls, ",", "+"), fault.err, n, on), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "experience.db")
				trace := filepath.Join(t.TempDir(), "trace")
				// Only the calls for files of the log are counted.
				cmd := exec.Command(strace, "-f", "-qq", "-o", trace, "-P", path, "-P", path+"-wal", "-e", "trace="+fault.calls,
					"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", fault.calls, fault.err, n), name)
				p := start(t, cmd, root, "DATABASE_URL=sqlite://"+path, "CARLA_RL_EXPERIENCE_MODE=durable", "CARLA_RL_EXPERIENCE_ON_FAILURE="+on,
					"CARLA_RL_EXPERIENCE_COMMIT_TIMEOUT=10s", "CARLA_RL_REQUEST_TIMEOUT=20s")
				p.mortal = true
				ended := make(chan error, 1)
				go func() { ended <- p.wait() }()
				c := &caller{addr: p.addr}
				defer c.close()
				for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
					if status, _, _, err := c.ask("GET", "/readyz", "", nil); err == nil && (status == 200 || strings.Contains(p.everything(), "cannot be written")) {
						break
					}
					select {
					case <-ended: // It was the start that failed.
						if !strings.Contains(p.everything(), "experience log") || injected(t, trace) == 0 {
							t.Fatalf("it ended without a reason:\n%s", p.said())
						}
						faults++
						atStart++
						return
					default:
					}
					if time.Since(begun) > startMax {
						t.Fatalf("it is not ready:\n%s", p.said())
					}
				}
				var ids []string
				refused := 0
				for i := 0; i < 4*n+20 && refused < 5; i++ {
					id := fmt.Sprint("n-", i)
					c.headers = "X-Request-ID: " + id + "\r\n"
					status, _, _, err := c.ask("POST", "/predict", "application/json", []byte(linearBody(1.5)))
					switch {
					case err == nil && status == 200:
						ids = append(ids, id)
					case err == nil && status == 503 && on == "stop":
						refused++
					default:
						t.Fatalf("request %d: %d, %v\n%s", i, status, err, p.said())
					}
				}
				done := injected(t, trace)
				faults += done
				failed := p.metric("carla_rl_experience_state", `state="failed"`) == 1
				switch {
				case done == 0:
					t.Fatalf("no call failed; it was n=%d", n)
				case fault.state == "failed" && (!failed || p.metric("carla_rl_experience_failures_total") == 0 || !strings.Contains(p.everything(), "cannot be written")):
					t.Errorf("it failed without a word:\n%s", p.said())
				case fault.state == "ok" && failed:
					t.Errorf("no room for a moment is final:\n%s", p.said())
				}
				c.headers = ""
				status, _, _, err := c.ask("GET", "/readyz", "", nil)
				if want := on == "stop" && failed; err != nil || (status == 503) != want {
					t.Errorf("/readyz is %d, %v", status, err)
				}
				if failed && on == "stop" && refused == 0 {
					t.Error("no request was refused")
				}
				_ = syscall.Kill(childOf(p.cmd.Process.Pid), syscall.SIGTERM)
				select {
				case <-ended:
				case <-time.After(startMax):
					t.Fatalf("it does not stop:\n%s", p.said())
				}
				notAgain(t, trace)
				// Another process finds what is there.
				after := serveRoot(t, binary, root, "DATABASE_URL=sqlite://"+path)
				after.ready(linear, `{"observations":[{"x":1}]}`)
				s := openLog(t, path)
				run := newestRun(t, s, 1)
				found := runOf(t, s, run.Run)
				gone := missing(t, ids, found)
				if on == "stop" && gone > 0 {
					t.Errorf("%d answered steps of %d are not there", gone, len(ids))
				}
				if uint64(gone) > run.Lost {
					t.Errorf("%d answered steps are not there, and gaps say %d: %+v", gone, run.Lost, run)
				}
				answered += len(ids)
			})
		}
	}
	ledger.Add(t, ledger.Row{
		ID: "D3", Test: "the nth fsync or write of the experience log fails, by strace", Load: "1 client", Faults: ledger.N(faults, "calls that failed, %d of them at the start", atStart),
		Lost:    "nothing that was answered by on_failure stop; by serve what the gap records say",
		Figures: []string{ledger.Thousands(int64(answered)) + " answered steps looked up", "no fsync was tried again", "metric, log line and /readyz said so each time"},
	})
}

// childOf is the process that strace runs.
func childOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var child int
	if _, scanned := fmt.Sscan(string(text), &child); err != nil || scanned != nil {
		return pid
	}
	return child
}

func injected(t *testing.T, trace string) int {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "(INJECTED)")
}

// notAgain holds that no file is synced whose sync has failed.
func notAgain(t *testing.T, trace string) {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	failed := ""
	for line := range strings.Lines(string(text)) {
		if m := injectedLine.FindStringSubmatch(line); m != nil {
			failed = m[1]
		} else if m := syncLine.FindStringSubmatch(line); m != nil && m[1] == failed {
			t.Errorf("a sync that failed was tried again: %s", line)
		}
	}
}
