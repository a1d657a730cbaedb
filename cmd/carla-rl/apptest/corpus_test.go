//go:build unix

package apptest

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// corpus returns the folder of real artifacts with the answers of their own
// frameworks, or false after it said how many cases are not run.
func corpus(t *testing.T, cases int) (string, bool) {
	t.Helper()
	dir := os.Getenv("CARLA_RL_CORPUS")
	if dir == "" {
		t.Logf("%d cases not run: CARLA_RL_CORPUS is not set", cases)
	}
	return dir, dir != ""
}

// networkCase is cases.json of a bare network.
type networkCase struct {
	Files   map[string]string `json:"files"`
	Atol    float64           `json:"atol"`
	Batches []struct {
		Inputs  jsontext.Value `json:"inputs"`
		Outputs map[string]any `json:"outputs"`
	} `json:"batches"`
	Steps []struct {
		Inputs  jsontext.Value `json:"inputs"`
		Outputs map[string]any `json:"outputs"`
	} `json:"steps"`
}

func readCase(t *testing.T, dir string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// TestNetworksAnswerAsTorch runs `predict` on TorchScript and torch.export
// files in every form and compares with what torch answered.
func TestNetworksAnswerAsTorch(t *testing.T) {
	networks := []string{
		"torch/carla_mlp", "torch/seq_mlp_tanh", "torch/act_method", "torch/gaussian_head", "torch/shared_weights",
		"torch/mlp_float64", "torch/mlp_bf16", "torch/multi_input", "torch/rsl_rl_mlp_export", "torch/argmax_policy",
		"torch/dict_in", "torch/layers_loop", "torch/lstm_2layer", "torch/mha", "torch/old_weight_norm", "torch/one_hot",
		"torch/transformer", "torch/weight_spectral_norm",
		"rsl_rl/mlp_beta", "rsl_rl/mlp_hetero",
	}
	dir, ok := corpus(t, len(networks))
	if !ok {
		return
	}
	for _, network := range networks {
		var c networkCase
		readCase(t, filepath.Join(dir, network), &c)
		for _, form := range []string{"trace", "script", "frozen", "pt2"} {
			file, ok := c.Files[form]
			if !ok {
				continue
			}
			for _, engine := range []string{"plan", "reference"} {
				t.Run(network+"/"+form+"/"+engine, func(t *testing.T) {
					model := filepath.Join(dir, network, file)
					compared := 0
					for _, b := range append(c.Batches, c.Steps...) {
						compared += compareNetwork(t, model, engine, string(b.Inputs), b.Outputs, c.Atol)
					}
					if compared == 0 {
						t.Error("nothing was compared")
					}
				})
			}
		}
	}
}

func compareNetwork(t *testing.T, model, engine, inputs string, want map[string]any, atol float64) int {
	t.Helper()
	r := execute(t, `{"inputs":`+inputs+`}`, "predict", "--model", model, "--engine", engine, "--input", "-")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	var got struct {
		Outputs jsontext.Value `json:"outputs"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	var outputs map[string]any
	if err := json.Unmarshal(got.Outputs, &outputs); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	if len(outputs) != len(want) {
		t.Fatalf("%d outputs, want %d: %s", len(outputs), len(want), r.stdout)
	}
	n := 0
	for name, w := range want {
		g, ok := outputs[name]
		if !ok && len(want) == 1 {
			for _, g = range outputs {
				ok = true
			}
		}
		if !ok {
			t.Errorf("no output %s: %s", name, r.stdout)
			continue
		}
		n += near(t, name, g, w, atol, 1e-5)
	}
	return n
}

// near compares nested lists of numbers and returns how many it compared.
func near(t *testing.T, where string, got, want any, atol, rtol float64) int {
	t.Helper()
	switch w := want.(type) {
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			t.Errorf("%s is %v, want a list of %d", where, got, len(w))
			return 0
		}
		n := 0
		for i := range w {
			n += near(t, fmt.Sprintf("%s[%d]", where, i), g[i], w[i], atol, rtol)
		}
		return n
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			t.Errorf("%s is %v, want an object of %d", where, got, len(w))
			return 0
		}
		n := 0
		for k := range w {
			n += near(t, where+"."+k, g[k], w[k], atol, rtol)
		}
		return n
	case float64:
		g, ok := got.(float64)
		if !ok || !(math.Abs(g-w) <= atol+rtol*math.Abs(w)) {
			t.Errorf("%s is %v, want %v", where, got, w)
		}
		return 1
	}
	if got != want {
		t.Errorf("%s is %v, want %v", where, got, want)
	}
	return 1
}

// ancestors are the artifacts of the Python ancestor that TorchScript holds.
var ancestors = []string{
	"example", "minimal_pre", "no_preprocessor_12sensors", "scripted", "scripted_act_method", "std_clip_nosteer", "std_unfitted",
}

type ancestorCase struct {
	Dir          string         `json:"dir"`
	Observations jsontext.Value `json:"observations"`
	Actions      []any          `json:"actions"`
}

func TestAncestorsArtifactsThroughPredict(t *testing.T) {
	dir, ok := corpus(t, len(ancestors))
	if !ok {
		return
	}
	for _, name := range ancestors {
		for _, engine := range []string{"plan", "reference"} {
			t.Run(name+"/"+engine, func(t *testing.T) {
				var c ancestorCase
				readCase(t, filepath.Join(dir, "ancestor", name), &c)
				r := execute(t, `{"observations":`+string(c.Observations)+`,"deterministic":true}`,
					"predict", "--model", filepath.Join(dir, "ancestor", name, c.Dir), "--engine", engine, "--input", "-")
				if r.code != 0 {
					t.Fatalf("exit code %d: %s", r.code, r.stderr)
				}
				compareActions(t, r.stdout, c.Actions)
			})
		}
	}
}

func TestAncestorsArtifactsOverHTTP(t *testing.T) {
	dir, ok := corpus(t, len(ancestors))
	if !ok {
		return
	}
	for _, name := range ancestors {
		t.Run(name, func(t *testing.T) {
			var c ancestorCase
			readCase(t, filepath.Join(dir, "ancestor", name), &c)
			p := start(t, []string{"ARTIFACT_DIR=" + filepath.Join(dir, "ancestor", name)})
			a := p.post("/predict", `{"observations":`+string(c.Observations)+`,"deterministic":true}`)
			if a.status != http.StatusOK {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			compareActions(t, a.body, c.Actions)
			p.stop()
		})
	}
}

func compareActions(t *testing.T, answer string, want []any) {
	t.Helper()
	var got struct {
		Actions []any `json:"actions"`
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	if near(t, "actions", got.Actions, want, 1e-5, 1e-5) == 0 {
		t.Error("nothing was compared")
	}
}

// TestFiveInputsAndSevenFeatures is the guide's own contradiction: a card of
// five inputs, and a request of seven features.
func TestFiveInputsAndSevenFeatures(t *testing.T) {
	dir, ok := corpus(t, 1)
	if !ok {
		return
	}
	p := start(t, []string{"ARTIFACT_DIR=" + filepath.Join(dir, "ancestor", "example")})
	a := p.post("/predict", guideRequest)
	if a.status != http.StatusUnprocessableEntity {
		t.Fatalf("status %d, want 422: %s", a.status, a.body)
	}
	for _, word := range []string{"sensors", "3", "5", "expected", "got"} {
		if !strings.Contains(a.body, word) {
			t.Errorf("the answer does not say %q: %s", word, a.body)
		}
	}
}

// hostileItem is one file of the hostile set.
type hostileItem struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	Expect string `json:"expect"`
	Must   string `json:"must"`
}

// What inspecting a hostile file may take: time of the processor, and memory
// beyond that of the idle program.
const (
	hostileTimeMax   = time.Second
	hostileMemoryMax = 64 << 20
)

// TestHostileFiles inspects files that were made to run code, to exhaust
// memory or to be read past their end.
func TestHostileFiles(t *testing.T) {
	dir, ok := corpus(t, 66)
	if !ok {
		return
	}
	data, err := os.ReadFile(filepath.Join(dir, "hostile", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Items []hostileItem `json:"items"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	idle := execute(t, "", "version").rssMax
	for _, item := range index.Items {
		t.Run(item.Path, func(t *testing.T) {
			before := leavings(t)
			r := execute(t, "", "inspect", filepath.Join(dir, "hostile", item.Path))
			bounded(t, r, idle)
			switch {
			case item.Expect == "reject" && r.code != 1:
				t.Errorf("exit code %d, want 1: it must %s\n%s", r.code, item.Must, r.stdout)
			case item.Expect == "reject_or_warn" && r.code == 0 && !strings.Contains(r.stdout, "NaN"):
				t.Errorf("it loads without a warning of NaN: it must %s\n%s", item.Must, r.stdout)
			case r.code != 0 && r.code != 1:
				t.Errorf("exit code %d, want 0 or 1", r.code)
			}
			if r.code == 1 {
				oneLineWith(t, r.stderr, "carla-rl: ")
			}
			if after := leavings(t); !slices.Equal(before, after) {
				t.Errorf("something was executed: %v", after)
			}
		})
	}
}

func bounded(t *testing.T, r result, idle int64) {
	t.Helper()
	if r.took > hostileTimeMax {
		t.Errorf("it took %v of the processor, want at most %v", r.took, hostileTimeMax)
	}
	if r.rssMax > idle+hostileMemoryMax {
		t.Errorf("it took %d MiB beyond the idle program, want at most %d", (r.rssMax-idle)>>20, hostileMemoryMax>>20)
	}
}

// leavings are the files that a hostile pickle makes when it is executed.
func leavings(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/tmp/pwned-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestHostileTwins inspects the valid twin of each kind of hostile file: a
// reader that refuses everything would pass the test above.
func TestHostileTwins(t *testing.T) {
	twins := []string{
		"ancestor/example/v0.1.0", "ancestor/example/v0.1.0/preprocessor.pkl", "ancestor/example/v0.1.0/model_card.yaml",
		"torch/carla_mlp/model_script.pt", "torch/carla_mlp/model_trace.pt", "torch/carla_mlp/state_dict.pth",
		"torch/carla_mlp/state_dict_legacy.pth", "torch/carla_mlp/checkpoint.pth",
	}
	dir, ok := corpus(t, len(twins))
	if !ok {
		return
	}
	idle := execute(t, "", "version").rssMax
	for _, twin := range twins {
		t.Run(twin, func(t *testing.T) {
			r := execute(t, "", "inspect", filepath.Join(dir, filepath.FromSlash(twin)))
			if r.code != 0 {
				t.Errorf("exit code %d: %s", r.code, r.stderr)
			}
			bounded(t, r, idle)
			if strings.Contains(twin, "state_dict") && !strings.Contains(r.stdout, "network.0.weight") {
				t.Errorf("the tensors are not listed:\n%s", r.stdout)
			}
		})
	}
}

// TestFilesThatAreNoFiles makes what a folder may hold instead of a model.
func TestFilesThatAreNoFiles(t *testing.T) {
	idle := execute(t, "", "version").rssMax
	f := func(name string, create func(path string) error) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			card := "model_name: m\nversion: v0.1.0\nmodel_type: torchscript\n"
			if err := os.WriteFile(filepath.Join(dir, "model_card.yaml"), []byte(card), 0o644); err != nil {
				t.Fatal(err)
			}
			model := filepath.Join(dir, "model.pt")
			if err := create(model); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{dir, model} {
				if path == model && name == "a folder" {
					continue // A folder is a path to inspect as good as any, and this one is empty.
				}
				r := execute(t, "", "inspect", path)
				bounded(t, r, idle)
				if r.code != 1 {
					t.Errorf("inspect %s: exit code %d, want 1\n%s", filepath.Base(path), r.code, r.stdout)
				}
				oneLineWith(t, r.stderr, "carla-rl: ")
			}
		})
	}
	f("a link out of the folder", func(path string) error {
		outside := filepath.Join(t.TempDir(), "secret.pt")
		return errors.Join(os.WriteFile(outside, []byte("secret"), 0o644), os.Symlink(outside, path))
	})
	f("a FIFO", makeFIFO)
	f("a folder", func(path string) error { return os.Mkdir(path, fs.ModePerm) })
	f("zero bytes", func(path string) error { return os.WriteFile(path, nil, 0o644) })
	f("10 GB of nothing", func(path string) error {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		return errors.Join(file.Truncate(10_000_000_000), file.Close())
	})
}
