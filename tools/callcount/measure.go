package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// hotPackage is what a package with hot paths has its tests import.
const hotPackage = "github.com/carla-rl/carla-rl-serving/tools/callcount/hot"

// tested is a package with hot paths.
type tested struct{ path, dir string }

// find returns the packages whose tests name hot paths.
func find(pkg string) ([]tested, error) {
	if pkg == "" {
		pkg = "./..."
	}
	out, err := command("", "go", "list", "-f", `{{.ImportPath}}	{{.Dir}}	{{join .TestImports " "}} {{join .XTestImports " "}}`, pkg)
	if err != nil {
		return nil, err
	}
	var list []tested
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) == 3 && slices.Contains(strings.Fields(f[2]), hotPackage) {
			list = append(list, tested{f[0], f[1]})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no test of %s imports %s", pkg, hotPackage)
	}
	return list, nil
}

// measure counts the paths of a package, or of all.
func measure(pkg string, which *regexp.Regexp) (*counts, error) {
	list, err := find(pkg)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "callcount")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	c := &counts{Go: runtime.Version(), Paths: map[string]*path{}}
	errs := make([]error, len(list))
	var (
		mu   sync.Mutex // guards c.Paths
		wg   sync.WaitGroup
		gate = make(chan struct{}, runtime.NumCPU())
	)
	for i, p := range list {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			profiles, err := p.count(filepath.Join(scratch, fmt.Sprint(i)), which)
			errs[i] = err
			mu.Lock()
			defer mu.Unlock()
			for _, f := range profiles {
				c.add(f)
			}
		})
	}
	wg.Wait()
	return c, errors.Join(errs...)
}

// add keeps the batch with the fewest instructions.
func (c *counts) add(f *profile) {
	if p := c.Paths[f.path]; p == nil || f.total < p.Instructions {
		c.Paths[f.path] = &path{Instructions: f.total, Limit: f.limit, Functions: f.functions}
	}
}

// count runs the hot paths of a package under callgrind.
func (p *tested) count(scratch string, which *regexp.Regexp) ([]*profile, error) {
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return nil, err
	}
	binary := filepath.Join(scratch, "test")
	// Without DWARF, which valgrind would read for seconds.
	if _, err := command("", "go", "test", "-c", "-vet=off", "-ldflags=-w", "-o", binary, p.path); err != nil {
		return nil, err
	}
	out, err := command(p.dir, "valgrind", "--tool=callgrind", "--combine-dumps=no", "--instr-atstart=no", "--compress-pos=no",
		"--callgrind-out-file="+filepath.Join(scratch, "out"), binary, "-test.run=^TestHot", "-test.timeout=5m", "-paths", which.String())
	if err != nil {
		return nil, err
	}
	if !strings.Contains(out, "PASS") {
		return nil, fmt.Errorf("%s: %s", p.path, out)
	}
	files, err := filepath.Glob(filepath.Join(scratch, "out.*"))
	if err != nil {
		return nil, err
	}
	var list []*profile
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		got, err := readProfile(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.path, err)
		}
		if got.path != "" {
			list = append(list, got)
		}
	}
	if len(list) == 0 && which.String() == "" {
		return nil, fmt.Errorf("%s: nothing was counted", p.path)
	}
	return list, nil
}

// command runs a program. What Go does at its own time is off: the collector,
// which the paths start where it cannot disturb, and the signals that preempt
// a goroutine, which valgrind does not live through.
func command(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1", "CGO_ENABLED=0")
	if name == "valgrind" {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1", "GOGC=off")
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}
