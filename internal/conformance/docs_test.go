package conformance_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/conformance"
)

// rows returns the cells of the rows of docs/formats.md that begin with a name
// in bold, below a heading, by that name.
func rows(t *testing.T, heading string) map[string][]string {
	t.Helper()
	_, section, found := strings.Cut(readFile(t, "../../docs/formats.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/formats.md has no section %s", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	all := map[string][]string{}
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| **") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(cells[0], "**"), "**")
		all[name] = cells
	}
	return all
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// smallCorpus is what is in the tree: the document makes no claim on any other.
func smallCorpus(t *testing.T) []conformance.Case {
	t.Helper()
	cases, _, err := conformance.Load("../../testdata", "../format/onnx/testdata", "../format/sb3/testdata")
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// documented are the rows of the tables by the format of a case, or of a
// preprocessor by who made it.
var documented = map[string]string{
	"torchscript": "TorchScript", "torch.export": "torch.export", "torch module": "Whole modules", "torch weights": "Weights",
	"safetensors": "safetensors", "stable-baselines3": "Stable-Baselines3", "onnx": "ONNX", "CleanRL": "CleanRL", "rsl_rl": "rsl_rl",
	"scikit-learn": "scikit-learn", "Stable-Baselines3": "Stable-Baselines3", "dict": "Plain statistics", "classes": "The Python ancestor's",
}

var version = regexp.MustCompile(`\d+(?:\.\d+)+`)

// TestDocumentedFormatsHaveCases compares the tables of what loads with the
// cases: each row has cases, each case has a row, and the versions are the
// same.
func TestDocumentedFormatsHaveCases(t *testing.T) {
	models, preprocessors := rows(t, "Model files"), rows(t, "Preprocessors")
	tested := map[string]map[string]bool{}
	for _, c := range smallCorpus(t) {
		kind, section, table := c.Source.Format, "Model files", models
		switch {
		case kind == "graph": // the operators of our own, no file of a user
			continue
		case kind == "preprocessor":
			kind, section, table = c.Source.Producer, "Preprocessors", preprocessors
		}
		word, _, _ := strings.Cut(kind, " ")
		name, ok := documented[kind]
		if !ok {
			name = documented[word]
		}
		if table[name] == nil {
			t.Errorf("%s: docs/formats.md has no row for %q in %s", c.Name, kind, section)
			continue
		}
		key := section + ": " + name
		if tested[key] == nil {
			tested[key] = map[string]bool{}
		}
		for _, v := range version.FindAllString(c.Source.Producer, -1) {
			tested[key][v] = true
		}
	}
	for section, table := range map[string]map[string][]string{"Model files": models, "Preprocessors": preprocessors} {
		for name, cells := range table {
			have, ok := tested[section+": "+name]
			if !ok {
				t.Errorf("docs/formats.md says that %s loads, no case shows it", name)
				continue
			}
			said := version.FindAllString(cells[1], -1)
			for _, v := range said {
				// Versions of NumPy are not what a case is sorted by.
				if !have[v] && !strings.Contains(cells[1], "NumPy") {
					t.Errorf("docs/formats.md says %s %s, no case is of it", name, v)
				}
			}
			for v := range have {
				if !slices.Contains(said, v) {
					t.Errorf("there are cases of %s %s, docs/formats.md does not say so", name, v)
				}
			}
		}
	}
}

// TestDocumentedOperatorSetsHaveCases compares the operator sets of ONNX with
// those of the models of its test data.
func TestDocumentedOperatorSetsHaveCases(t *testing.T) {
	f, err := os.Open("../format/onnx/testdata/opsets.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(z).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	have := map[int]bool{}
	for _, c := range cases {
		if n, err := strconv.Atoi(c.Name[strings.LastIndexByte(c.Name, '_')+1:]); err == nil {
			have[n] = true
		}
	}
	cells := rows(t, "Model files")["ONNX"]
	if cells == nil {
		t.Fatal("docs/formats.md has no row for ONNX")
	}
	said := map[int]bool{}
	for _, m := range regexp.MustCompile(`(\d+)(?: to (\d+))?`).FindAllStringSubmatch(cells[1], -1) {
		from, _ := strconv.Atoi(m[1])
		to := from
		if m[2] != "" {
			to, _ = strconv.Atoi(m[2])
		}
		for n := from; n <= to; n++ {
			said[n] = true
			if !have[n] {
				t.Errorf("docs/formats.md says operator set %d, no case is of it", n)
			}
		}
	}
	for n := range have {
		if !said[n] {
			t.Errorf("there are cases of operator set %d, docs/formats.md does not say so", n)
		}
	}
}

// TestDocumentedAgentsHaveCases looks for an agent of each algorithm that the
// document names.
func TestDocumentedAgentsHaveCases(t *testing.T) {
	text := readFile(t, "../../docs/formats.md")
	_, list, _ := strings.Cut(text, "- **Stable-Baselines3.** ")
	list, _, found := strings.Cut(list, ", with `MlpPolicy`")
	if !found {
		t.Fatal("docs/formats.md has no list of algorithms")
	}
	said := regexp.MustCompile(`[A-Z]\w+`).FindAllString(list, -1)
	files, err := filepath.Glob("../format/sb3/testdata/*/cases.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no agents: %v", err)
	}
	have := map[string]bool{}
	for _, file := range files {
		var c struct {
			Algo string `json:"algo"`
		}
		if err := json.Unmarshal([]byte(readFile(t, file)), &c); err != nil {
			t.Fatal(err)
		}
		have[c.Algo] = true
		if !slices.Contains(said, c.Algo) {
			t.Errorf("docs/formats.md does not name %s", c.Algo)
		}
	}
	for _, algo := range said {
		if !have[algo] {
			t.Errorf("docs/formats.md says that %s loads, no agent of it is tested", algo)
		}
	}
}

// TestDocumentedPreprocessorsHaveCases looks for a pickle with each class of
// scikit-learn that the document names.
func TestDocumentedPreprocessorsHaveCases(t *testing.T) {
	_, list, _ := strings.Cut(readFile(t, "../../docs/formats.md"), "The classes of scikit-learn:\n")
	list, _, found := strings.Cut(list, "\nRefused by name")
	if !found {
		t.Fatal("docs/formats.md has no list of classes")
	}
	var all strings.Builder
	files, err := filepath.Glob("../../testdata/preprocess/*/*.pkl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		all.WriteString(readFile(t, file))
	}
	for _, m := range regexp.MustCompile("`([A-Z]\\w+)`").FindAllStringSubmatch(list, -1) {
		if !strings.Contains(all.String(), m[1]) {
			t.Errorf("docs/formats.md says that %s loads, no pickle of it is tested", m[1])
		}
	}
}
