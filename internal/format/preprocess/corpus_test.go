package preprocess_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// corpus returns the folder of real artifacts, or false after saying what is
// not run without it.
func corpus(t *testing.T, cases int) (string, bool) {
	t.Helper()
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Logf("CARLA_RL_CORPUS is not set: %d cases not run", cases)
		return "", false
	}
	return root, true
}

// readCase decodes the cases.json of a folder.
func readCase(t *testing.T, dir string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
}

func decodeFile(t *testing.T, path string) *preprocess.Preprocessor {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := preprocess.Decode(b)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p
}

// apply runs rows through a preprocessor by the reference evaluator.
func apply(p *preprocess.Preprocessor, rows [][]float64) (*graph.Tensor, error) {
	g := graph.New("preprocess")
	x := g.Input("obs", graph.Float32, graph.Shape{graph.Batch, len(rows[0])})
	y, err := p.Lower(g, x)
	if err != nil {
		return nil, err
	}
	return run(g, y, rows)
}

// run evaluates a graph whose result is y.
func run(g *graph.Graph, y *graph.Value, rows [][]float64) (*graph.Tensor, error) {
	n := len(rows[0])
	g.Output("features", y)
	if err := g.Verify(); err != nil {
		return nil, err
	}
	in := graph.Float32s(make([]float32, 0, n*len(rows)), len(rows), n)
	for _, row := range rows {
		for _, v := range row {
			in.F32 = append(in.F32, float32(v))
		}
	}
	out, err := graph.Evaluate(g, len(rows), []*graph.Tensor{in}, graph.Noise{})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// applyNamed runs rows through what a preprocessor does to one part of an
// observation.
func applyNamed(p *preprocess.Preprocessor, key string, rows [][]float64) (*graph.Tensor, error) {
	g := graph.New("preprocess")
	x := g.Input("obs", graph.Float32, graph.Shape{graph.Batch, len(rows[0])})
	y, err := p.LowerNamed(g, key, x)
	if err != nil {
		return nil, err
	}
	return run(g, y, rows)
}

func checkNamed(t *testing.T, p *preprocess.Preprocessor, key string, rows, want [][]float64) {
	t.Helper()
	got, err := applyNamed(p, key, rows)
	if err == nil {
		err = near(got, want)
	}
	if err != nil {
		t.Errorf("%s: %v", key, err)
	}
}

// near compares with the tolerance of the corpus.
func near(got *graph.Tensor, want [][]float64) error {
	n := len(want[0])
	if len(got.Shape) != 2 || got.Shape[0] != len(want) || got.Shape[1] != n {
		return fmt.Errorf("got shape %v, want [%d,%d]", got.Shape, len(want), n)
	}
	for i, row := range want {
		for j, w := range row {
			if v := got.At(i*n + j); !(math.Abs(v-w) <= 1e-5+1e-5*math.Abs(w)) {
				return fmt.Errorf("row %d, column %d: got %v, want %v", i, j, v, w)
			}
		}
	}
	return nil
}

func check(t *testing.T, p *preprocess.Preprocessor, rows, want [][]float64) {
	t.Helper()
	got, err := apply(p, rows)
	if err == nil {
		err = near(got, want)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestCorpusAncestor(t *testing.T) {
	names := []string{"example", "minimal_pre", "module_class_pickle", "nn_sequential_pickle", "scripted", "scripted_act_method", "std_clip_nosteer", "std_unfitted"}
	root, ok := corpus(t, len(names))
	if !ok {
		return
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			var c struct {
				Observations []struct {
					Speed    float64   `json:"speed"`
					Steering float64   `json:"steering"`
					Sensors  []float64 `json:"sensors"`
				} `json:"observations"`
				Features [][]float64 `json:"features"`
			}
			dir := filepath.Join(root, "ancestor", name)
			readCase(t, dir, &c)
			var rows [][]float64
			for _, o := range c.Observations {
				rows = append(rows, append([]float64{o.Speed, o.Steering}, o.Sensors...))
			}
			p := decodeFile(t, filepath.Join(dir, "v0.1.0", "preprocessor.pkl"))
			if got := fmt.Sprint(p.Features()); got != "[speed steering sensors]" {
				t.Errorf("features %s", got)
			}
			check(t, p, rows, c.Features)
		})
	}
}

func TestCorpusScalers(t *testing.T) {
	files := []string{
		"plain_dict/preprocessor.pkl", "plain_dict/preprocessor_lists.pkl", "plain_dict/preprocessor_bigendian.pkl",
		"plain_dict/preprocessor.npz", "plain_dict/preprocessor.pt",
	}
	for _, name := range []string{
		"binarizer", "function_log1p", "kbins", "minmax_clip", "normalizer_max", "pca_whiten", "power_yeo", "robust", "standard_nomean", "union",
	} {
		for _, form := range []string{"_p2.pkl", "_p4.pkl", "_p5.pkl", ".joblib"} {
			files = append(files, name+"/preprocessor"+form)
		}
	}
	root, ok := corpus(t, len(files))
	if !ok {
		return
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			var c struct {
				Input   [][]float64 `json:"input"`
				Expect  [][]float64 `json:"expect"`
				Float32 [][]float64 `json:"expect_float32_input"`
			}
			path := filepath.Join(root, "sklearn", file)
			readCase(t, filepath.Dir(path), &c)
			p := decodeFile(t, path)
			if p.Width() != len(c.Input[0]) {
				t.Errorf("width %d, want %d", p.Width(), len(c.Input[0]))
			}
			check(t, p, c.Input, c.Expect)
			if c.Float32 != nil {
				check(t, p, c.Input, c.Float32)
			}
		})
	}
}

func TestCorpusVecNormalize(t *testing.T) {
	const cases = 18
	root, ok := corpus(t, cases)
	if !ok {
		return
	}
	found, err := filepath.Glob(filepath.Join(root, "sb3_*", "*", "vecnormalize.pkl"))
	if err != nil || len(found) < cases {
		t.Fatalf("%d files, at least %d were wanted: %v", len(found), cases, err)
	}
	named := 0
	for _, path := range found {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			var c struct {
				Input struct {
					Obs any `json:"obs"`
				} `json:"input"`
				Normalized any `json:"normalized_obs"`
				VecNorm    struct {
					Keys []string `json:"norm_obs_keys"`
				} `json:"vecnorm"`
			}
			readCase(t, filepath.Dir(path), &c)
			p := decodeFile(t, path)
			if c.VecNorm.Keys == nil {
				check(t, p, matrix(t, c.Input.Obs), matrix(t, c.Normalized))
				return
			}
			named++
			obs := c.Input.Obs.(map[string]any)
			want, ok := c.Normalized.(map[string]any)
			if !ok { // the goal follows the observation in one row
				want = make(map[string]any)
				for _, r := range c.Normalized.([]any) {
					row, at := r.([]any), 0
					for _, key := range []string{"observation", "desired_goal"} {
						n := p.KeyWidth(key)
						rows, _ := want[key].([]any)
						want[key] = append(rows, row[at:at+n])
						at += n
					}
				}
			}
			for key := range want {
				checkNamed(t, p, key, matrix(t, obs[key]), matrix(t, want[key]))
			}
		})
	}
	if named < 3 {
		t.Errorf("%d cases of dict observations, at least 3 were wanted", named)
	}
}

// matrix reads rows of numbers of a decoded JSON value.
func matrix(t *testing.T, v any) [][]float64 {
	t.Helper()
	var out [][]float64
	rows, ok := v.([]any)
	if !ok {
		t.Fatalf("%T instead of rows", v)
	}
	for _, r := range rows {
		var row []float64
		for _, n := range r.([]any) {
			row = append(row, n.(float64))
		}
		out = append(out, row)
	}
	return out
}
