//go:build e2e

package hostile_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// program is the program, built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "carla-rl-hostile-")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "carla-rl")
	cmd := exec.Command("go", "build", "-trimpath", "-o", name, "../../cmd/carla-rl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return name, nil
})

// run is what became of the program on one file.
type run struct {
	code      int
	said      string
	processor time.Duration
	memory    int64
}

// inspect has the program look at a file. With a name for it, what it asks of the
// system is written there.
func inspect(t *testing.T, path, trace string) run {
	t.Helper()
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := []string{name, "inspect", path}
	if path == "" {
		args = []string{name, "version"}
	}
	if trace != "" {
		args = append([]string{"strace", "-f", "-qq", "-s", "200", "-o", trace, "-e", "trace=%process,%network,%file,ftruncate,memfd_create,ptrace"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s: no end after two minutes", path)
	}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := run{code: cmd.ProcessState.ExitCode(), said: string(out), processor: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.memory = u.Maxrss << 10
	}
	return r
}

// TestConstructs has the program look at the attacks that are known by name.
func TestConstructs(t *testing.T) {
	ledger.Begin(t)
	idle := inspect(t, "", "").memory
	all := constructs()
	var slowest time.Duration
	var largest int64
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			r := inspect(t, c.write(t, t.TempDir()), "")
			beyond := r.memory - idle - int64(len(c.files[0].data)+c.spaces)
			slowest, largest = max(slowest, r.processor), max(largest, beyond)
			switch {
			case r.code == 1 && strings.Contains(r.said, c.says) && strings.HasPrefix(r.said, "carla-rl: ") && strings.Count(r.said, "\n") == 1:
			case r.code == 0 && c.inert:
			case r.code == 0 && strings.Contains(r.said, "unsupported") || r.code == 0 && strings.Contains(r.said, "limit"): // it is said what keeps it from being served
			default:
				t.Errorf("exit code %d, %q was wanted:\n%.600s", r.code, c.says, r.said)
			}
			if strings.Contains(r.said, "panic") || strings.Contains(r.said, "internal error") || strings.Contains(r.said, "root:") {
				t.Errorf("it said:\n%.600s", r.said)
			}
			if r.processor > 2*time.Second {
				t.Errorf("%v of processor", r.processor)
			}
			if beyond > pickleMemory {
				t.Errorf("%d MiB beyond the idle program and the file", beyond>>20)
			}
		})
	}
	ledger.Add(t, ledger.Row{
		ID: "A7", Test: "attacks on formats that are known by name, in the program", Inputs: ledger.N(len(all), "files"), Lost: ledger.Nothing,
		Figures: []string{fmt.Sprintf("at most %v of processor, %d MiB beyond the idle program and the file", slowest.Round(time.Millisecond), largest>>20)},
	})
}

// TestZipsInTheProgram has the program look at one archive of each attack: the
// memory is that of a process which does nothing else.
func TestZipsInTheProgram(t *testing.T) {
	ledger.Begin(t)
	idle := inspect(t, "", "").memory
	var most int64
	seen := map[string]bool{}
	for n := uint64(1); len(seen) < len(attacks); n++ {
		kind, file, _ := zipFile(n)
		if seen[kind] || kind == "sound" || kind == "changed bytes" {
			continue
		}
		seen[kind] = true
		path := filepath.Join(t.TempDir(), "model.zip")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		r := inspect(t, path, "")
		if r.code != 1 || !strings.HasPrefix(r.said, "carla-rl: ") {
			t.Errorf("%s: exit code %d\n%.400s", kind, r.code, r.said)
		}
		beyond := r.memory - idle - int64(len(file))
		if most = max(most, beyond); beyond > zipMemory {
			t.Errorf("%s: %d MiB beyond the idle program and the file", kind, beyond>>20)
		}
	}
	ledger.Add(t, ledger.Row{
		ID: "A6", Test: "a zip archive of each lie, in the program", Inputs: ledger.N(len(seen), "archives"), Lost: ledger.Nothing,
		Figures: []string{fmt.Sprintf("each refused, at most %.1f MiB beyond the idle program and the file", float64(most)/(1<<20))},
	})
}

// forbidden are the calls of the system that reading a file has no business with:
// another program, a socket, and a file that is made or changed.
var forbidden = []*regexp.Regexp{
	regexp.MustCompile(`\b(execve|execveat|fork|vfork|socket|connect|bind|listen|accept4?|sendto|sendmsg|socketpair|ptrace|memfd_create|ftruncate|truncate|unlink(at)?|rename(at2?)?|mkdir(at)?|rmdir|link(at)?|symlink(at)?|f?chmod(at)?|f?chown(at)?|lchown|mknod(at)?|mount|umount2|chroot|pivot_root|creat|utimensat|setxattr)\(`),
	regexp.MustCompile(`\bopen(at2?)?\(.*(O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE)`),
}

// breaks reports whether a line of a trace is such a call. Threads are made by
// clone, as processes are.
func breaks(line string) bool {
	if strings.Contains(line, " clone") && !strings.Contains(line, "CLONE_THREAD") && !strings.Contains(line, "resumed>") {
		return true
	}
	for _, call := range forbidden {
		if call.MatchString(line) {
			return true
		}
	}
	return false
}

// TestNothingIsRun traces what the program asks of the system while it looks at
// hostile files: it only reads.
func TestNothingIsRun(t *testing.T) {
	if out, err := exec.Command("../../tools/need", "strace").CombinedOutput(); err != nil {
		t.Skipf("not run: strace cannot be installed here: %v\n%s", err, out)
	}
	if out, err := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("not run: this machine lets no process be traced: %v\n%s", err, out)
	}
	ledger.Begin(t)
	dir := t.TempDir()
	var paths []string
	all := places()
	r := rand.New(rand.NewPCG(1, 1))
	g := grammar{r: r}
	for i := range ledger.Size(len(all), 20*len(all)) {
		p := all[i%len(all)]
		g.role = p.role
		if p.ignored {
			g.role = "weights"
		}
		pickled := g.pickle()
		for len(named(pickled)) == 0 {
			pickled = g.pickle()
		}
		path := filepath.Join(dir, fmt.Sprintf("%d.bin", i))
		if err := os.WriteFile(path, p.file(pickled), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	for i := range ledger.Size(10, 200) {
		_, file, _ := zipFile(uint64(i))
		path := filepath.Join(dir, fmt.Sprintf("%d.zip", i))
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	paths = append(paths, corpus(t)...)
	for _, path := range paths {
		trace := filepath.Join(dir, "trace")
		if r := inspect(t, path, trace); r.code != 0 && r.code != 1 {
			t.Errorf("%s: exit code %d\n%.400s", path, r.code, r.said)
		}
		held(t, path, trace)
	}
	ledger.Add(t, ledger.Row{
		ID: "A5", Test: "calls of the system while hostile files are read, traced", Inputs: ledger.N(len(paths), "files"), Lost: ledger.Nothing,
		Figures: []string{"no program started, no socket, no file made or changed"},
	})
}

// corpus are the hostile files of the large corpus, where it is.
func corpus(t *testing.T) (paths []string) {
	t.Helper()
	dir := os.Getenv("CARLA_RL_CORPUS")
	if dir == "" {
		t.Log("CARLA_RL_CORPUS is not set: its hostile files were not traced")
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "hostile", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Items []struct {
			Path string `json:"path"`
		} `json:"items"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	for _, it := range index.Items {
		paths = append(paths, filepath.Join(dir, "hostile", filepath.FromSlash(it.Path)))
	}
	return paths
}

// held looks through a trace. The first call is the one that starts the program.
func held(t *testing.T, path, trace string) {
	t.Helper()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, started := 0, false
	for s := bufio.NewScanner(f); s.Scan(); lines++ {
		line := s.Text()
		if !started && strings.Contains(line, "execve(") {
			started = true
			continue
		}
		if breaks(line) {
			t.Errorf("%s: %s", path, line)
		}
	}
	if !started || lines < 3 {
		t.Errorf("%s: a trace of %d lines", path, lines)
	}
}

// TestTraceSees holds the list of forbidden calls to what a process does that
// breaks it.
func TestTraceSees(t *testing.T) {
	f := func(line string, want bool) {
		t.Helper()
		if got := breaks(line); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
	f(`12 execve("/bin/sh", ["sh"], 0x7ffd) = 0`, true)
	f(`12 openat(AT_FDCWD, "/tmp/pwned-x", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 3`, true)
	f(`12 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3`, true)
	f(`12 clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD) = 13`, true)
	f(`12 mkdir("/tmp/pwned-x", 0777) = 0`, true)
	f(`12 openat(AT_FDCWD, "/models/model.pt", O_RDONLY|O_CLOEXEC) = 3`, false)
	f(`12 readlinkat(AT_FDCWD, "/proc/self/exe", "/x", 128) = 2`, false)
	f(`12 clone(child_stack=0xc00008e000, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM) = 13`, false)
	f(`12 newfstatat(3, "", {st_mode=S_IFREG|0600, st_size=51, ...}, AT_EMPTY_PATH) = 0`, false)
}
