package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// machine is where and of what the results are.
type machine struct {
	System    string `json:"system"`
	Processor string `json:"processor"`
	CPUs      int    `json:"cpus"`
	MemoryGiB int    `json:"memory_gib,omitempty"`
	Kernel    string `json:"kernel,omitempty"`
	Go        string `json:"go"`
	Commit    string `json:"commit"`
	Pinned    bool   `json:"pinned"`
}

func (b *bench) machine() (machine, error) {
	m := machine{System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Pinned: b.cores.pinned()}
	m.Processor = field("/proc/cpuinfo", "model name")
	if m.Processor == "" {
		m.Processor = "unknown processor"
	}
	if kb, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.MemoryGiB = (kb + 1<<19) >> 20
	}
	if v, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(v)), "-")
	}
	out, err := b.command("git", "rev-parse", "--short=8", "HEAD").Output()
	if err != nil {
		return m, fmt.Errorf("commit: %w", err)
	}
	m.Commit = strings.TrimSpace(string(out))
	// What the command itself writes makes no other program.
	out, err = b.command("git", "status", "--porcelain", "--", ".", ":!docs").Output()
	if err != nil {
		return m, fmt.Errorf("commit: %w", err)
	}
	if len(out) > 0 {
		m.Commit += "-dirty"
	}
	return m, nil
}

// field returns the value of a line "name: value" of a file; empty where there
// is none.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// load1 is what the system says was busy in the last minute; 0 where it does
// not say.
func load1() float64 {
	v, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(v), " ")
	x, _ := strconv.ParseFloat(first, 64)
	return x
}

// command is one that runs in the repository and ends with the run.
func (b *bench) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(b.ctx, name, args...)
	c.Dir = b.root
	c.Stderr = os.Stderr
	return c
}

// build makes the program as a release is made, and the commands of the
// benchmark.
func (b *bench) build() error {
	b.tools = filepath.Join(b.scratch, "bin")
	if err := os.MkdirAll(b.tools, 0o755); err != nil {
		return err
	}
	b.binary = filepath.Join(b.tools, "carla-rl")
	for _, args := range [][]string{
		{"-buildvcs=false", "-ldflags", "-s -w", "-o", b.binary, "./cmd/carla-rl"},
		{"-o", b.tools + "/", "./bench/noop", "./bench/load", "./bench/footprint", "./bench/log"},
	} {
		c := b.command("go", append([]string{"build", "-trimpath"}, args...)...)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := c.Run(); err != nil {
			return fmt.Errorf("go build %s: %w", strings.Join(args, " "), err)
		}
	}
	// The policy that all servers have: the demo's, with preprocessor and
	// postprocessing, as one ONNX file.
	b.model = filepath.Join(b.scratch, "driving.onnx")
	c := b.command(b.binary, "convert", filepath.Join(b.root, "internal/demo/artifact"), b.model)
	if out, err := c.Output(); err != nil {
		return fmt.Errorf("convert the demo policy: %w: %s", err, out)
	}
	return os.WriteFile(filepath.Join(b.scratch, "request.json"), []byte(guideRequest(0)), 0o600)
}
