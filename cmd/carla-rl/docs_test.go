package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
)

const docs = "../../docs"

func readDoc(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(docs, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// configurationIntro stands above the tables of the configuration reference.
const configurationIntro = `# Configuration reference

<!-- The tables are written by: go test ./cmd/carla-rl -run TestConfigurationReference -update -->

A setting comes from, each stronger than the one before: its default, the configuration
file (` + "`--config`, `CONFIG_FILE`, or `/app/config/config.yaml`" + ` where it exists), the
environment, the command line. An unknown key in the file is an error that names the key
it may have been; an empty variable says nothing. ` + "`carla-rl check config FILE`" + ` lists
everything that is wrong with a file, with ` + "`--show`" + ` every setting in force and where it
comes from.

` + "```yaml" + `
server:
  host: "0.0.0.0"
  port: 8080
  workers: 2
model:
  artifact_dir: /app/artifacts
  version: "v0.1.0"
monitoring:
  metrics_port: 9090
` + "```" + `

Sizes are written as ` + "`10MB` or `512KiB`" + `, times as ` + "`100ms` or `5s`" + `, lists with commas or
as YAML lists. OpenTelemetry is set up by its own ` + "`OTEL_*`" + ` variables.

`

func TestConfigurationReference(t *testing.T) {
	want := configurationIntro + strings.TrimRight(config.Markdown(), "\n") + "\n"
	if *update {
		if err := os.WriteFile(filepath.Join(docs, "configuration-reference.md"), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := readDoc(t, "configuration-reference.md"); got != want {
		t.Error("docs/configuration-reference.md is not what the table of settings says: run this test with -update")
	}
}

// TestConfigurationReferenceExample holds the example of the reference to
// what the server takes.
func TestConfigurationReferenceExample(t *testing.T) {
	_, rest, _ := strings.Cut(configurationIntro, "```yaml\n")
	example, _, _ := strings.Cut(rest, "```")
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(example), 0o644); err != nil {
		t.Fatal(err)
	}
	if problems, _ := config.Check(file, config.Options{}); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestEveryKeyOfACardIsDocumented(t *testing.T) {
	text := readDoc(t, "model-card.md")
	for _, key := range artifact.CardKeys() {
		if !strings.Contains(text, "`"+key+"`") {
			t.Errorf("docs/model-card.md does not name %s", key)
		}
	}
}

// TestArchitecturesOfTheDocumentAreRead holds the examples and the operators of
// the model card to the parser.
func TestArchitecturesOfTheDocumentAreRead(t *testing.T) {
	_, text, _ := strings.Cut(readDoc(t, "model-card.md"), "\n## Architecture\n")
	examples := 0
	for _, block := range strings.Split(text, "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		_, value, found := strings.Cut(block, "architecture:")
		if !found {
			continue
		}
		examples++
		if _, err := architecture.ParseText(value); err != nil {
			t.Errorf("%s: %v", block, err)
		}
	}
	if examples < 3 {
		t.Errorf("%d examples", examples)
	}
	for line := range strings.Lines(text) {
		list, found := strings.CutPrefix(line, "<!-- operators: ")
		if !found {
			continue
		}
		list, _, _ = strings.Cut(list, " -->")
		for name := range strings.SplitSeq(list, " ") {
			if !slices.Contains(architecture.Operators(), name) {
				t.Errorf("docs/model-card.md names %s, which is no operator of an architecture", name)
			}
			if !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "{"+name+":") {
				t.Errorf("docs/model-card.md does not show %s", name)
			}
		}
		return
	}
	t.Error("docs/model-card.md does not list the operators that it shows")
}

func TestEveryExitCodeIsDocumented(t *testing.T) {
	text := readDoc(t, "exit-codes.md")
	for code := exitOK; code <= exitForced; code++ {
		if row := "\n| " + string(rune('0'+code)) + " |"; !strings.Contains(text, row) {
			t.Errorf("docs/exit-codes.md has no row for %d", code)
		}
	}
}

// TestEveryCommandAndFlagIsDocumented holds the page of the command line to the
// commands: those with a page of their own are only named.
func TestEveryCommandAndFlagIsDocumented(t *testing.T) {
	text := readDoc(t, "command-line.md")
	for _, c := range commandLine(nil, new(runner)).Commands() {
		if c.Name() == "serve" {
			continue
		}
		if !strings.Contains(text, "carla-rl "+c.Name()) {
			t.Errorf("docs/command-line.md does not show carla-rl %s", c.Name())
		}
		for _, n := range append(c.Commands(), c) {
			n.Flags().VisitAll(func(f *pflag.Flag) {
				if f.Name != "help" && !strings.Contains(text, "--"+f.Name) {
					t.Errorf("docs/command-line.md does not name --%s of %s", f.Name, c.Name())
				}
			})
		}
	}
}

// TestLinksOfDocuments looks for the files and the headings that documents point
// to, by a path or by the address of the file in the repository.
func TestLinksOfDocuments(t *testing.T) {
	const root, repository = "../..", "https://github.com/carla-rl/carla-rl-serving/blob/main/"
	files, err := filepath.Glob(root + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{docs, root + "/charts", root + "/deploy"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if filepath.Ext(path) == ".md" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	links := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(data), "](")[1:] {
			target, _, _ := strings.Cut(part, ")")
			path, heading, _ := strings.Cut(target, "#")
			switch inside, ours := strings.CutPrefix(path, repository); {
			case ours:
				path = filepath.Join(root, inside)
			case strings.Contains(target, "://"):
				continue
			case path == "":
				path = file
			default:
				path = filepath.Join(filepath.Dir(file), path)
			}
			links++
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s points to %s, which is not there", file, target)
				continue
			}
			if heading == "" {
				continue
			}
			page, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(headings(string(page)), heading) {
				t.Errorf("%s points to %s, and there is no such heading", file, target)
			}
		}
	}
	const filesMin, linksMin = 20, 80
	if len(files) < filesMin || links < linksMin {
		t.Errorf("%d links of %d documents were followed, there are at least %d of %d", links, len(files), linksMin, filesMin)
	}
}

// headings returns the names under which GitHub shows the headings of a document.
func headings(text string) []string {
	var all []string
	code := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		name := strings.TrimLeft(line, "#")
		if code || name == line || !strings.HasPrefix(name, " ") {
			continue
		}
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, name[1:]))
	}
	return all
}
