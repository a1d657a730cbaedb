// Package conformance reads the cases that every engine is held to: networks
// as their own frameworks wrote them, and small graphs of one operator each,
// with recorded inputs and the answers of those frameworks.
//
// What enters is a folder of test data; what leaves are cases of one form,
// whatever the file they come from. A case is written once, and the tests of
// this package run it on the reference evaluator, on the plan with assembly
// and without, and on ONNX Runtime in the build that has it. The package is
// for tests alone, of this package and of the documentation.
package conformance

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Case is one computation and its recorded answers.
type Case struct {
	Name   string
	Source Source

	// Graph reads the file and lowers it. The error wraps
	// errors.ErrUnsupported for a file that is refused.
	Graph func() (*graph.Graph, error)
	Runs  []Run
	// Sequence tells that the runs are the steps of episodes, in which what a
	// graph carries from run to run is kept.
	Sequence bool

	// Atol and Rtol are how far a number may be from the recorded one:
	// Atol + Rtol·|recorded|.
	Atol, Rtol float64
	// Without says, by engine, why the case is not run on it.
	Without map[string]string
}

// Source is what a case shows to load.
type Source struct {
	Format   string // "torchscript", "stable-baselines3", as a description has it
	Producer string // "PyTorch 2.8.0"; empty where the case does not tell
}

// Run is one run of the computation.
type Run struct {
	Rows  int
	Noise graph.Noise
	Reset bool // an episode begins, but for the first

	// Inputs and Outputs hold, by name, the elements in row-major order. A
	// graph's only input or output may have another name; so may all outputs,
	// which are then in the order of the names. Inputs that carry state may be
	// absent, and outputs that were not recorded.
	Inputs, Outputs map[string][]float64
}

// Load reads the cases of all folders below the roots that hold a cases.json,
// and the graphs of a folder named conformance. Cases come in the order of
// their names. A cases.json of a kind that this package does not read is left
// out, and named in the second result.
func Load(roots ...string) ([]Case, []string, error) {
	var all []Case
	var unread []string
	for _, root := range roots {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			dir := filepath.ToSlash(filepath.Dir(name))
			var cases []Case
			switch {
			case d.IsDir():
				return nil
			case path.Base(dir) == "conformance" && path.Ext(name) == ".json":
				cases, err = graphCases(name)
			case d.Name() == "answers.json":
				cases, err = answerCases(name)
			case d.Name() == "cases.json":
				if cases, err = folderCases(name); err == nil && cases == nil {
					unread = append(unread, name)
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, cases...)
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(all, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return all, unread, nil
}

// Sources returns what the cases show to load, each once, in order.
func Sources(cases []Case) []Source {
	var all []Source
	for _, c := range cases {
		if !slices.Contains(all, c.Source) {
			all = append(all, c.Source)
		}
	}
	slices.SortFunc(all, func(a, b Source) int {
		if n := strings.Compare(a.Format, b.Format); n != 0 {
			return n
		}
		return strings.Compare(a.Producer, b.Producer)
	})
	return all
}

// folderCases reads a cases.json by what it holds: the files of one network,
// a module with a method for each operation, an agent, or a preprocessor.
func folderCases(name string) ([]Case, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var kind struct {
		Algo    string         `json:"algo"`
		Methods map[string]any `json:"methods"`
		Batches []any          `json:"batches"`
		Steps   []any          `json:"steps"`
		Files   map[string]any `json:"files"`
		Expect  any            `json:"expect"`
		ByKey   any            `json:"expect_by_key"`
		Library string         `json:"library"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, err
	}
	dir := filepath.Dir(name)
	switch {
	case kind.Algo != "":
		return agentCases(dir, data)
	case kind.Methods != nil:
		return operationCases(dir, data)
	case (kind.Files != nil || kind.Library != "") && (kind.Batches != nil || kind.Steps != nil):
		return networkCases(dir, data)
	case kind.Files != nil && (kind.Expect != nil || kind.ByKey != nil):
		return preprocessorCases(dir, data)
	}
	return nil, nil
}

// label names a case by the last folders of its path.
func label(dir string, more ...string) string {
	parts := strings.Split(filepath.ToSlash(dir), "/")
	return strings.Join(append(slices.Clone(parts[max(0, len(parts)-3):]), more...), "/")
}
