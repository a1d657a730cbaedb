package carlarl_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/carla-rl/carla-rl-serving"

// law is the import law of the module: what each package may import of ours.
// Arrows point one way, from the protocols to the kernels. A package without a
// row is a mistake: give it a row, and think before adding an arrow.
var law = map[string][]string{
	"internal/graph":  {},
	"internal/kernel": {},
	"internal/plan":   {"internal/graph", "internal/kernel"},

	"internal/format/pickle":       {},
	"internal/format/torch":        {"internal/format/pickle", "internal/graph"},
	"internal/format/torchscript":  {"internal/format/torch", "internal/format/pickle", "internal/graph"},
	"internal/format/preprocess":   {"internal/format/torch", "internal/format/pickle", "internal/graph"},
	"internal/format/safetensors":  {"internal/format/torch", "internal/format/pickle", "internal/graph"},
	"internal/format/architecture": {"internal/format/torchscript", "internal/format/torch", "internal/graph"},
	"internal/format/sb3":          {"internal/format/torch", "internal/format/pickle", "internal/graph"},
	"internal/format/torchexport":  {"internal/format/torchscript", "internal/format/torch", "internal/format/pickle", "internal/graph"},
	"internal/format/torchmodule":  {"internal/format/torchscript", "internal/format/torch", "internal/format/pickle", "internal/graph"},
	"internal/format/onnx":         {"internal/format/torchscript", "internal/format/torch", "internal/format/pickle", "internal/graph"},
	"internal/format":              {"internal/format/*", "internal/graph"},

	"internal/spelling":    {},
	"internal/envelope":    {},
	"internal/artifact":    {"internal/spelling"},
	"internal/policy":      {"internal/artifact", "internal/envelope", "internal/format", "internal/format/*", "internal/graph", "internal/plan"},
	"internal/ort":         {"internal/format/onnx", "internal/graph", "internal/kernel", "internal/policy"},
	"internal/conformance": {"internal/format", "internal/format/architecture", "internal/format/preprocess", "internal/graph"},
	"internal/repository":  {"internal/policy", "internal/artifact"},
	"internal/serving":     {"internal/repository", "internal/policy", "internal/envelope"},
	"internal/experience":  {"internal/machine", "internal/serving", "internal/policy", "internal/envelope", "internal/experience/spool"},

	"internal/experience/spool":   {},
	"internal/experience/pgtest":  {},
	"internal/experience/parquet": {},
	"internal/experience/export":  {"internal/experience", "internal/experience/parquet"},

	"internal/websocket": {},
	"internal/dtype":     {},
	"internal/msgpack":   {"internal/dtype"},
	"internal/server":    {"internal/dtype", "internal/websocket", "internal/msgpack", "internal/serving", "internal/repository", "internal/policy", "internal/envelope", "internal/spelling"},

	"internal/replay":    {"internal/experience", "internal/policy", "internal/envelope"},
	"internal/config":    {"internal/machine", "internal/spelling"},
	"internal/machine":   {},
	"internal/telemetry": {"internal/machine"},
	"internal/demo":      {},
	"internal/drift":     {},
	"internal/console":   {},
	"internal/doctor":    {"internal/artifact", "internal/spelling"},
	"internal/load":      {},

	// The root package is for Go programs that embed a policy; it knows no
	// protocol.
	"": {"internal/policy", "internal/artifact", "internal/envelope"},
	// The command wires everything.
	"cmd/carla-rl": {"", "internal/*", "internal/format/*", "internal/experience/*"},

	"bench/fleet":         {"internal/demo"},
	"bench/footprint":     {"bench/fleet"},
	"tools/bench-stream":  {"internal/msgpack", "internal/websocket"},
	"bench":               {"internal/load", "internal/experience/pgtest"},
	"bench/load":          {"internal/load"},
	"bench/log":           {"internal/experience"},
	"bench/noop":          {},
	"bench/onnxmodel":     {},
	"bench/ceiling":       {},
	"bench/engine":        {"bench/ceiling", "bench/onnxmodel", "internal/format", "internal/graph", "internal/ort", "internal/plan"},
	"parity/values":       {"internal/format", "internal/format/*", "internal/graph"},
	"tools/callcount":     {},
	"tools/callcount/hot": {},
	"tools/bench-ort":     {"bench/onnxmodel", "internal/format", "internal/graph", "internal/ort", "internal/plan"},
	"tools/chart-readme":  {},
	"tools/schemas":       {},
	"tools/size":          {},
	"tools/gen-deploy":    {},
	"tools/testsum":       {},
	"tools/image/rootfs":  {},
	"tools/licenses":      {},
	"tools/mutate":        {},
	"tools/reliability":   {"e2e/ledger"},
	"e2e/ledger":          {},
	"e2e/inputs":          {},
	"e2e/running":         {},
}

// engine are the packages that stand between a stranger's bytes and an action.
// They import the standard library and what stands here, nothing else: what is
// linked there can be read in a day. A strict JSON reader is the one of json/v2.
var engine = map[string][]string{
	"internal/graph":               {},
	"internal/kernel":              {"golang.org/x/sys/cpu"},
	"internal/plan":                {},
	"internal/format":              {},
	"internal/format/pickle":       {},
	"internal/format/torch":        {},
	"internal/format/torchscript":  {},
	"internal/format/preprocess":   {"github.com/go-json-experiment/json/jsontext"},
	"internal/format/safetensors":  {"github.com/go-json-experiment/json/jsontext"},
	"internal/format/architecture": {"go.yaml.in/yaml/v3"},
	"internal/format/torchexport":  {"github.com/go-json-experiment/json", "github.com/go-json-experiment/json/jsontext"},
	"internal/format/torchmodule":  {},
	"internal/format/onnx":         {"github.com/go-json-experiment/json"},
	"internal/format/sb3":          {"github.com/go-json-experiment/json", "github.com/go-json-experiment/json/jsontext"},
	"internal/envelope":            {},
	"internal/artifact":            {"go.yaml.in/yaml/v3"},
	"internal/policy":              {},
	"internal/ort":                 {"github.com/yalue/onnxruntime_go"},
	"internal/spelling":            {},
	"internal/dtype":               {},
}

// protocols are packages of the standard library that the engine and what
// stands on it have no business with.
var protocols = []string{"net", "net/http", "os/exec", "plugin", "net/rpc", "encoding/gob"}

// imports returns the imports of the module's Go files by folder, test files
// and what has a go.mod of its own left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := d.Name()
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if dir == "." {
			dir = ""
		}
		for _, s := range f.Imports {
			p, err := strconv.Unquote(s.Path.Value)
			if err != nil {
				return err
			}
			got[dir] = append(got[dir], p)
		}
		if got[dir] == nil {
			got[dir] = []string{}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// ours returns the folder of a package of this module.
func ours(p string) (string, bool) {
	if p == module {
		return "", true
	}
	return strings.CutPrefix(p, module+"/")
}

func allowed(list []string, p string) bool {
	return slices.ContainsFunc(list, func(a string) bool {
		ok, _ := path.Match(a, p)
		return ok
	})
}

func TestImportLaw(t *testing.T) {
	for dir, list := range imports(t) {
		may, ok := law[dir]
		if !ok {
			t.Errorf("package %q has no row in the import law", dir)
			continue
		}
		for _, p := range list {
			if o, ok := ours(p); ok && !allowed(may, o) {
				t.Errorf("%s imports %s, which the import law does not allow", dir, o)
			}
		}
	}
}

func TestEngineImportsLittle(t *testing.T) {
	got := imports(t)
	for dir, may := range engine {
		for _, p := range got[dir] {
			_, mine := ours(p)
			outside := !mine && strings.Contains(strings.SplitN(p, "/", 2)[0], ".")
			if outside && !slices.Contains(may, p) {
				t.Errorf("%s imports %s: the engine is the standard library and our own code", dir, p)
			}
			if slices.Contains(protocols, p) {
				t.Errorf("%s imports %s: the engine speaks to nobody and starts nothing", dir, p)
			}
		}
	}
}

func TestPackageNamesSayWhatTheyHold(t *testing.T) {
	for dir := range imports(t) {
		if slices.Contains([]string{"util", "utils", "common", "types", "pkg", "helpers", "misc"}, path.Base(dir)) {
			t.Errorf("%s: name a package after what it holds", dir)
		}
	}
}
