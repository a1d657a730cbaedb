//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// guidePage is the page whose commands are run.
const guidePage = "../docs/deployment-guides/kubernetes-deployment.md"

// block is a block of code of a document with what the comment before it says.
type block struct {
	lang, text string
	line       int
	exit       int    // code that its commands end with
	notRun     string // why it is not run
	elsewhere  string // the file of tests that runs it
}

var (
	exitComment      = regexp.MustCompile(`^<!-- exit code (\d+) -->$`)
	notRunComment    = regexp.MustCompile(`^<!-- not run: (.+) -->$`)
	elsewhereComment = regexp.MustCompile(`^<!-- run by (\S+) -->$`)
)

// blocks returns the blocks of code of a document.
func blocks(t *testing.T, text string) []block {
	t.Helper()
	var all []block
	var open *block
	var next block
	indent := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		lang, fence := strings.CutPrefix(trimmed, "```")
		switch {
		case open == nil && fence:
			indent = line[:len(line)-len(trimmed)]
			next.lang, next.line = lang, i+1
			open, next = new(next), block{}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		default:
			if m := exitComment.FindStringSubmatch(line); m != nil {
				next.exit, _ = strconv.Atoi(m[1])
			}
			if m := notRunComment.FindStringSubmatch(line); m != nil {
				next.notRun = m[1]
			}
			if m := elsewhereComment.FindStringSubmatch(line); m != nil {
				next.elsewhere = m[1]
			}
		}
	}
	if open != nil {
		t.Fatalf("line %d: the block has no end", open.line)
	}
	return all
}

// TestKubernetesPage runs the commands of the page on Kubernetes, in its order,
// and compares what they print with what it shows.
func TestKubernetesPage(t *testing.T) {
	b, err := os.ReadFile(guidePage)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	customResources(t)
	observed(t, "default")
	t.Cleanup(func() {
		if _, err := run("", "kubectl", "delete", "--ignore-not-found", "--grace-period=1", "-f", k8s+"/deployment.yaml"); err != nil {
			t.Log(err)
		}
	})
	removeProduction(t)
	dir := pageFolder(t, text)
	var forward *exec.Cmd
	stop := func() {
		if forward != nil {
			_ = forward.Process.Kill()
			_ = forward.Wait()
			forward = nil
		}
	}
	t.Cleanup(stop)

	commands, skipped := 0, 0
	all := blocks(t, text)
	for i, b := range all {
		at := fmt.Sprintf("%s:%d", filepath.Base(guidePage), b.line)
		switch {
		case b.lang != "bash":
			continue
		case b.notRun != "":
			t.Logf("%s is not run: %s", at, b.notRun)
			skipped++
			continue
		case b.elsewhere != "":
			runElsewhere(t, at, b)
			continue
		case strings.HasPrefix(b.text, "kubectl port-forward "):
			stop()
			forward = forwardOf(t, dir, b.text)
			commands++
			continue
		}
		commands++
		got, code := script(t, dir, b.text)
		if code != b.exit {
			t.Fatalf("%s: exit code %d, want %d\n%s\n%s", at, code, b.exit, b.text, got)
		}
		if i+1 < len(all) && (all[i+1].lang == "text" || all[i+1].lang == "json") {
			if err := printed(all[i+1].text, got); err != nil {
				t.Errorf("%s: %v\nit printed:\n%s", at, err, got)
			}
		}
	}
	const commandsMin, skippedMax = 27, 4
	if commands < commandsMin || skipped > skippedMax {
		t.Errorf("%d blocks were run and %d not; at least %d and at most %d", commands, skipped, commandsMin, skippedMax)
	}
	t.Logf("%d blocks were run", commands)
}

// pageFolder makes the folder in which a reader of the page works: a clone, as
// far as the page needs one, with the program and the files that it names.
func pageFolder(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deploy", "internal/demo"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(root, name))); err != nil {
			t.Fatal(err)
		}
	}
	_, list, _ := strings.Cut(text, "and these files:\n")
	list, _, _ = strings.Cut(list, "\nA block")
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) != 2 {
			t.Fatalf("%q names no file and its origin", line)
		}
		data, err := os.ReadFile(filepath.Join(root, f[1]))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f[0]), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "bin")
	if _, err := run("", "go", "build", "-o", filepath.Join(bin, "carla-rl"), "../cmd/carla-rl"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return dir
}

// script runs a block as a shell does that ends at the first failure.
func script(t *testing.T, dir, text string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	b, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v", text, err)
	}
	if code = cmd.ProcessState.ExitCode(); err != nil {
		t.Logf("%s: %v\n%s", text, err, errs.String())
	}
	return string(b), code
}

// forwardOf starts the port-forward of a block and waits until it listens.
func forwardOf(t *testing.T, dir, text string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("kubectl", strings.Fields(text)[1:]...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &lines{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, strings.TrimSpace(text), func() error {
		if !forwarding.MatchString(out.String()) {
			return fmt.Errorf("it printed %q", out.String())
		}
		return nil
	})
	return cmd
}

// runElsewhere holds the commands of a block to those that another test runs.
func runElsewhere(t *testing.T, at string, b block) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", b.elsewhere))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.text) {
		// What is in angle brackets the test puts in.
		for part := range strings.SplitSeq(placeholder.ReplaceAllString(strings.TrimSpace(line), "\x00"), "\x00") {
			if !strings.Contains(string(source), strings.TrimSpace(part)) {
				t.Errorf("%s: %s does not run %s", at, b.elsewhere, line)
			}
		}
	}
}

var placeholder = regexp.MustCompile(`<[a-z-]+>`)

// printed compares what a document shows with what was printed: its lines stand
// there in this order; a line "..." is any number of lines, "..." within a line
// anything.
func printed(want, got string) error {
	rest := strings.Split(strings.TrimRight(got, "\n"), "\n")
	skip := false
	for w := range strings.Lines(want) {
		if w = strings.TrimRight(w, "\n"); w == "..." {
			skip = true
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(w), `\.\.\.`, `.*?`) + "$")
		at := 0
		for ; at < len(rest) && !pattern.MatchString(rest[at]); at++ {
			if !skip {
				return fmt.Errorf("the page shows\n%s\nbut there is\n%s", w, rest[at])
			}
		}
		if at == len(rest) {
			return fmt.Errorf("the page shows\n%s\nwhich is not there", w)
		}
		rest, skip = rest[at+1:], false
	}
	if len(rest) > 0 && !skip {
		return fmt.Errorf("the page does not show\n%s", rest[0])
	}
	return nil
}
