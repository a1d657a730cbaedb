// Command testsum runs `go test -json` with the arguments it is given, prints
// one line a package, the whole output of what failed and what a test says that
// it did not run or has measured (a line with "figure: "), and counts tests.
// With -tally FILE it adds "passed failed" to that file, from which the last
// line of .ci/run is made.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// key names one test, or a package where Test is empty.
type key struct{ pkg, test string }

// summary is what was seen of one run.
type summary struct {
	passed, failed int
	output         map[key][]string
	build          map[string][]string // output of the compiler by import path
}

func main() {
	tally := flag.String("tally", os.Getenv("CARLA_RL_TALLY"), "file to which a line \"passed failed\" is added")
	goarch := flag.String("goarch", "", "GOARCH of the tests, where it is not that of this machine")
	flag.Parse()
	code, err := run(flag.Args(), *tally, *goarch)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(args []string, tally, goarch string) (int, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	if goarch != "" {
		cmd.Env = append(os.Environ(), "GOARCH="+goarch, "CGO_ENABLED=0")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	s := &summary{output: map[key][]string{}, build: map[string][]string{}}
	sc := bufio.NewScanner(out)
	sc.Buffer(make([]byte, 64<<10), 16<<20)
	for sc.Scan() {
		s.line(sc.Bytes())
	}
	if err := sc.Err(); err != nil {
		return 0, fmt.Errorf("read the output of go test: %w", err)
	}
	err = cmd.Wait()
	failed := err != nil
	if exit := (*exec.ExitError)(nil); failed && !errors.As(err, &exit) {
		return 0, err
	}
	if failed && s.failed == 0 {
		s.failed++ // A build or a package failed outside of any test.
	}
	fmt.Printf("tests: %d passed, %d failed\n", s.passed, s.failed)
	if tally != "" {
		if err := add(tally, s.passed, s.failed); err != nil {
			return 0, err
		}
	}
	code := 0
	if failed {
		code = 1
	}
	return code, nil
}

func (s *summary) line(b []byte) {
	var e event
	if err := json.Unmarshal(b, &e, json.MatchCaseInsensitiveNames(false)); err != nil {
		fmt.Println(string(b)) // Not an event: a message of the go command itself.
		return
	}
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.build[e.ImportPath] = append(s.build[e.ImportPath], e.Output)
	case "build-fail":
		fmt.Print(strings.Join(s.build[e.ImportPath], ""))
	case "output":
		s.output[k] = append(s.output[k], e.Output)
	case "pass", "skip", "fail":
		s.end(k, e)
	}
}

func (s *summary) end(k key, e event) {
	took := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
	if k.test == "" {
		if e.Action == "fail" {
			fmt.Print(strings.Join(s.output[k], ""))
		}
		if e.Action != "skip" { // A package without tests.
			fmt.Printf("%-5s %-60s %s\n", e.Action, k.pkg, took)
		}
		return
	}
	switch e.Action {
	case "pass":
		s.passed++
		for _, l := range s.output[k] {
			// What a test says that it did not run is told also when it passes, and
			// what it measured: figures are for readers, no test is of them.
			if strings.Contains(l, "not run") || strings.Contains(l, "figure: ") {
				fmt.Print(k.test, ": ", strings.TrimLeft(l, " "))
			}
		}
	case "fail":
		s.failed++
		fmt.Print(strings.Join(s.output[k], ""))
	}
	delete(s.output, k)
}

func add(file string, passed, failed int) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "%d %d\n", passed, failed); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
