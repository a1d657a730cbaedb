//go:build unix

package apptest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// fence is a block of code in a document.
type fence struct {
	lang, text string
	line       int
	exit       int // code that its commands end with
}

var exitComment = regexp.MustCompile(`^<!-- exit code (\d+) -->$`)

// fences returns the blocks of code of a document.
func fences(t *testing.T, text string) []fence {
	t.Helper()
	var all []fence
	var open *fence
	exit := 0
	for i, line := range strings.Split(text, "\n") {
		mark, fenced := strings.CutPrefix(line, "```")
		switch m := exitComment.FindStringSubmatch(line); {
		case m != nil:
			exit, _ = strconv.Atoi(m[1])
		case open == nil && fenced:
			open = &fence{lang: mark, line: i + 1, exit: exit}
			exit = 0
		case fenced:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		t.Fatalf("line %d: the block has no end", open.line)
	}
	return all
}

// page is a document whose commands are run.
type page struct {
	t      *testing.T
	dir    string
	env    []string
	server *process
	ran    int
}

// TestSB3Page runs every command of docs/sb3.md, in its order, and compares
// the answers that the page shows.
func TestSB3Page(t *testing.T) {
	text := readDoc(t, "docs/sb3.md")
	p := &page{t: t, dir: t.TempDir()}
	p.lay(text)
	bin := t.TempDir()
	program, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(bin, "carla-rl")); err != nil {
		t.Fatal(err)
	}
	p.env = environment("PATH=" + bin + string(filepath.ListSeparator) + os.Getenv("PATH"))
	blocks := fences(t, text)
	for i, b := range blocks {
		if b.lang != "sh" {
			continue
		}
		got := p.run(b)
		if i+1 < len(blocks) && (blocks[i+1].lang == "text" || blocks[i+1].lang == "json") {
			if err := shown(blocks[i+1].text, got); err != nil {
				t.Errorf("docs/sb3.md:%d: %v\ngot:\n%s", blocks[i+1].line, err, got)
			}
		}
	}
	const commandsMin = 16
	if p.ran < commandsMin {
		t.Errorf("%d commands were run, the page has at least %d", p.ran, commandsMin)
	}
}

// lay puts the files there that the comment of the page names.
func (p *page) lay(text string) {
	p.t.Helper()
	_, list, _ := strings.Cut(text, "with these files:\n")
	list, _, _ = strings.Cut(list, "\nA block")
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) != 2 {
			p.t.Fatalf("%q names no file and its origin", line)
		}
		data, err := os.ReadFile("../../../" + f[1])
		if err != nil {
			p.t.Fatal(err)
		}
		at := filepath.Join(p.dir, f[0])
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(at, data, 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

// run executes the commands of a block and returns what they print.
func (p *page) run(b fence) string {
	p.t.Helper()
	var out strings.Builder
	for command := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
		command = strings.TrimSpace(command)
		p.ran++
		path, serve := strings.CutPrefix(command, "carla-rl serve ")
		switch {
		case serve:
			if p.server != nil {
				p.server.stop()
			}
			p.server = start(p.t, nil, filepath.Join(p.dir, path))
			p.server.waitReady()
		case strings.HasPrefix(command, "curl "):
			out.WriteString(p.curl(command) + "\n")
		default:
			got, code := p.shell(command)
			if code != b.exit {
				p.t.Fatalf("docs/sb3.md:%d: %s: exit code %d, want %d\n%s", b.line, command, code, b.exit, got)
			}
			out.WriteString(got)
		}
	}
	return out.String()
}

func (p *page) shell(command string) (out string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), startMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env = p.dir, p.env
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	if cmd.ProcessState == nil {
		p.t.Fatalf("%s: %v", command, err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

var (
	curlURL  = regexp.MustCompile(`http://localhost:8080(\S*)`)
	curlBody = regexp.MustCompile(`-d '([^']*)'`)
)

// curl sends what a command with curl would, to the server that was started.
func (p *page) curl(command string) string {
	p.t.Helper()
	url := curlURL.FindStringSubmatch(command)
	if url == nil || p.server == nil {
		p.t.Fatalf("%s: no server to ask", command)
	}
	method, body := http.MethodGet, ""
	if m := curlBody.FindStringSubmatch(command); m != nil {
		method, body = http.MethodPost, m[1]
	}
	a := p.server.do(method, url[1], body, nil)
	if a.status != http.StatusOK {
		p.t.Errorf("%s: status %d: %s", command, a.status, a.body)
	}
	return a.body
}

var number = regexp.MustCompile(`-?\d+(?:\.\d+)?(?:e[-+]\d+)?`)

// shown compares what a document shows with what a command printed: its lines
// stand there in this order, a line "..." stands for any number of lines, "..."
// within a line for anything, and numbers with a fraction may differ in the
// last digits.
func shown(want, got string) error {
	lines := strings.Split(strings.TrimRight(got, "\n"), "\n")
	skip := false
	for w := range strings.Lines(want) {
		if w = strings.TrimRight(w, "\n"); w == "..." {
			skip = true
			continue
		}
		at := 0
		for ; at < len(lines) && !sameLine(w, lines[at]); at++ {
			if !skip {
				return fmt.Errorf("the page shows\n%s\nbut there is\n%s", w, lines[at])
			}
		}
		if at == len(lines) {
			return fmt.Errorf("the page shows\n%s\nwhich is not there", w)
		}
		lines, skip = lines[at+1:], false
	}
	if len(lines) > 0 && !skip {
		return fmt.Errorf("the page does not show\n%s", lines[0])
	}
	return nil
}

func sameLine(want, got string) bool {
	numbers := number.FindAllString(want, -1)
	pattern := number.ReplaceAllString(want, "\x00")
	pattern = regexp.QuoteMeta(pattern)
	pattern = strings.ReplaceAll(pattern, `\.\.\.`, `.*?`)
	pattern = strings.ReplaceAll(pattern, "\x00", `(-?\d+(?:\.\d+)?(?:e[-+]\d+)?)`)
	m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(got)
	if m == nil {
		return false
	}
	for i, n := range numbers {
		a, errA := strconv.ParseFloat(n, 64)
		b, errB := strconv.ParseFloat(m[i+1], 64)
		if errA != nil || errB != nil || math.Abs(a-b) > 1e-5+1e-5*math.Abs(a) {
			return false
		}
	}
	return true
}

// TestExportedActorActsAsItsAgent holds the way out for a features extractor
// of the user's own to what model.predict gives.
func TestExportedActorActsAsItsAgent(t *testing.T) {
	dir := filepath.FromSlash("../../../internal/format/sb3/testdata/ppo_custom_extractor")
	data, err := os.ReadFile(filepath.Join(dir, "exported.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Input struct {
			Obs []any `json:"obs"`
		} `json:"input"`
		Action any `json:"action"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	question, err := json.Marshal(map[string]any{"observations": c.Input.Obs})
	if err != nil {
		t.Fatal(err)
	}
	r := execute(t, string(question), "predict", "--model", filepath.Join(dir, "model.pt"), "--input", "-")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if near(t, "actions", got["actions"], c.Action, 1e-5, 1e-5) == 0 {
		t.Error("nothing was compared")
	}
}
