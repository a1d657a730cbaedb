package sb3_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// agentCase is the cases.json beside a zip.
type agentCase struct {
	dir   string
	Name  string  `json:"name"`
	Algo  string  `json:"algo"`
	Class string  `json:"policy_class"`
	Atol  float64 `json:"atol"`
	N     int     `json:"n"`
	Input struct {
		Obs any `json:"obs"`
	} `json:"input"`
	Normalized   any             `json:"normalized_obs"`
	Expect       map[string]any  `json:"expect"`
	Masks        any             `json:"action_masks"`
	ExpectMasked map[string]any  `json:"expect_masked"`
	UseSDE       bool            `json:"use_sde"`
	Squash       bool            `json:"squash_output"`
	Sequence     bool            `json:"sequence"`
	EpisodeStart []bool          `json:"episode_start"`
	Action       json.RawMessage `json:"action_space"`
}

func readCase(t *testing.T, dir string) *agentCase {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := &agentCase{dir: dir, Atol: 1e-5}
	if err := json.Unmarshal(b, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// decodeFile decodes one zip.
func decodeFile(path string) (*sb3.Policy, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decode(b)
}

func decode(b []byte) (*sb3.Policy, error) {
	z, err := torch.OpenZip(b, torch.Limits{})
	if err != nil {
		return nil, err
	}
	return sb3.Decode(z)
}

// refusals are the cases that are refused, with a part of the reason.
var refusals = map[string]string{
	"ppo_custom_extractor_byvalue": "__main__.CustomExt",
}

// TestCorpus holds every agent against the answers of its own library.
func TestCorpus(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/cases.json")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("testdata has no cases (%v)", err)
	}
	if root := os.Getenv("CARLA_RL_CORPUS"); root != "" {
		for _, set := range []string{"sb3_real", "sb3_gen"} {
			more, err := filepath.Glob(filepath.Join(root, set, "*", "cases.json"))
			if err != nil || len(more) == 0 {
				t.Fatalf("%s has no cases (%v)", set, err)
			}
			dirs = append(dirs, more...)
		}
	} else {
		t.Log("CARLA_RL_CORPUS is not set: 47 cases not run")
	}
	for _, path := range dirs {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c := readCase(t, dir)
			p, err := decodeFile(filepath.Join(dir, "model.zip"))
			var g *graph.Graph
			if err == nil {
				g, err = p.Lower(sb3.LowerOptions{Deterministic: true, InputShapes: c.channelsFirst(p)})
			}
			if part := refusals[filepath.Base(dir)]; part != "" {
				if !errors.Is(err, sb3.ErrUnsupported) || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), part) {
					t.Fatalf("got %v, a refusal that names %q was wanted", err, part)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.check(t, p, g, c.Expect)
			if c.ExpectMasked != nil {
				g, err = p.Lower(sb3.LowerOptions{Deterministic: true, ActionMasks: true, InputShapes: c.channelsFirst(p)})
				if err != nil {
					t.Fatal(err)
				}
				c.check(t, p, g, c.ExpectMasked)
			}
			c.checkSampling(t, p)
		})
	}
}

// channelsFirst gives the shape of images that were recorded as the policy
// stores them, which a file does not tell.
func (c *agentCase) channelsFirst(p *sb3.Policy) map[string][]int {
	m, ok := c.Input.Obs.(map[string]any)
	if !ok || m["npy"] == nil {
		return nil
	}
	shape := []int{graph.Batch}
	for _, d := range m["shape"].([]any)[1:] {
		shape = append(shape, int(d.(float64)))
	}
	if !slices.Equal(shape[1:], p.Observation.Shape) {
		return nil
	}
	return map[string][]int{"obs": shape}
}

// check evaluates a graph on the recorded observations.
func (c *agentCase) check(t *testing.T, p *sb3.Policy, g *graph.Graph, expect map[string]any) {
	t.Helper()
	outs := c.run(t, g, graph.Noise{})
	if g.Outputs[0].Name != "action" {
		t.Fatalf("the first output is %s", g.Outputs[0].Name)
	}
	for _, want := range []string{
		"action", "mean", "std", "log_std", "logits", "q_values", "value", "log_prob", "critic_q",
		"h_pi", "c_pi", "h_vf", "c_vf",
	} {
		v, ok := expect[want]
		name := want
		if kind, part, state := strings.Cut(want, "_"); state && (part == "pi" || part == "vf") {
			name = "lstm_" + part + "_" + kind + "_out"
		}
		i := slices.IndexFunc(g.Outputs, func(o graph.Output) bool { return o.Name == name })
		switch {
		case !ok:
			continue
		case i < 0:
			t.Errorf("the graph has no output %s", want)
			continue
		}
		data := numbers(t, v)
		if want == "critic_q" && !strings.HasPrefix(p.Algorithm, "TQC") { // recorded by critic
			data = transpose(data, c.N)
		}
		if want == "log_prob" && p.SquashOutput {
			c.checkSquashed(t, g, outs, data)
			continue
		}
		if err := compare(outs[i], data, c.Atol); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// checkSquashed compares the log_prob of a squashed Gaussian where a step of
// tanh by one ulp leaves it within the tolerance.
func (c *agentCase) checkSquashed(t *testing.T, g *graph.Graph, outs []*graph.Tensor, want []float64) {
	t.Helper()
	get := func(name string) *graph.Tensor {
		return outs[slices.IndexFunc(g.Outputs, func(o graph.Output) bool { return o.Name == name })]
	}
	mean, std, got := get("mean"), get("std"), get("log_prob")
	width := mean.Len() / c.N
	compared := 0
	for i := range c.N {
		at := func(step int) float64 {
			sum := 0.0
			for j := range width {
				m, s := mean.At(i*width+j), std.At(i*width+j)
				y := float32(math.Tanh(m))
				for range max(step, -step) {
					y = math.Nextafter32(y, float32(2*step))
				}
				const eps = 1.1920929e-07
				y64 := min(max(float64(y), -1+eps), 1-eps)
				d := (math.Atanh(y64) - m) / s
				sum += -d*d/2 - math.Log(s) - math.Log(2*math.Pi)/2 - math.Log(1-float64(y)*float64(y)+1e-6)
			}
			return sum
		}
		tol := c.Atol + 1e-5*math.Abs(want[i])
		if g := got.At(i); math.IsNaN(g) || math.IsInf(g, 0) {
			t.Errorf("log_prob of row %d is %v", i, g)
		}
		if math.Abs(at(1)-at(0)) > tol || math.Abs(at(-1)-at(0)) > tol {
			if math.Abs(want[i]) > 1 && got.At(i)*want[i] < 0 {
				t.Errorf("log_prob of row %d is %v, the library has %v", i, got.At(i), want[i])
			}
			continue
		}
		compared++
		if d := math.Abs(got.At(i) - want[i]); !(d <= tol) {
			t.Errorf("log_prob of row %d is %v, the library has %v", i, got.At(i), want[i])
		}
	}
	t.Logf("log_prob: %d of %d rows are well conditioned", compared, c.N)
}

// checkSampling holds that a stochastic graph verifies, gives finite actions
// and is repeatable.
func (c *agentCase) checkSampling(t *testing.T, p *sb3.Policy) {
	t.Helper()
	g, err := p.Lower(sb3.LowerOptions{InputShapes: c.channelsFirst(p)})
	if err != nil {
		t.Fatal(err)
	}
	draws := slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return n.Op == graph.OpNormal })
	if draws != p.HasSampling() {
		t.Fatalf("the graph draws: %v, the policy says %v", draws, p.HasSampling())
	}
	a, b := c.run(t, g, graph.Noise{Seed: 1}), c.run(t, g, graph.Noise{Seed: 1})
	for i := range a[0].Len() {
		if a[0].At(i) != b[0].At(i) {
			t.Fatalf("action %d is %v and %v with the same seed", i, a[0].At(i), b[0].At(i))
		}
	}
}

// inputs makes the tensors of the recorded observations.
func (c *agentCase) inputs(t *testing.T, g *graph.Graph) []*graph.Tensor {
	t.Helper()
	obs := c.Input.Obs
	if c.Normalized != nil {
		obs = c.Normalized
	}
	if row, ok := obs.([]any); ok && len(g.Inputs) == 3 && g.Inputs[1].Name == "desired_goal" {
		obs = c.split(row, g)
	}
	var out []*graph.Tensor
	for _, in := range g.Inputs[:len(g.Inputs)-len(g.States)] {
		v := obs
		if m, ok := obs.(map[string]any); ok && m["npy"] == nil {
			v = m[in.Name]
		}
		if in.Name == "action_masks" {
			v = c.Masks
		}
		var data []float64
		if m, ok := v.(map[string]any); ok {
			data = npyBytes(t, filepath.Join(c.dir, m["npy"].(string)))
		} else {
			data = numbers(t, v)
		}
		shape := in.Shape.For(c.N)
		tensor := &graph.Tensor{DType: in.DType, Shape: shape}
		for _, x := range data {
			if in.DType.IsFloat() {
				tensor.F32 = append(tensor.F32, float32(x))
			} else {
				tensor.I64 = append(tensor.I64, int64(x))
			}
		}
		out = append(out, tensor)
	}
	return out
}

// split makes of recorded rows of an observation and its goal the parts that
// the environment gave. The goal that was achieved is not in the rows.
func (c *agentCase) split(rows []any, g *graph.Graph) map[string]any {
	goal, n := g.Inputs[1].Shape[1], g.Inputs[2].Shape[1]
	var achieved, desired, observation []any
	for _, r := range rows {
		row := r.([]any)
		achieved = append(achieved, row[:goal])
		observation, desired = append(observation, row[:n]), append(desired, row[n:])
	}
	return map[string]any{"achieved_goal": achieved, "desired_goal": desired, "observation": observation}
}

// numbers flattens nested lists.
func numbers(t *testing.T, v any) []float64 {
	t.Helper()
	var out []float64
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case float64:
			out = append(out, v)
		case bool:
			out = append(out, map[bool]float64{true: 1}[v])
		case string:
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, f)
		default:
			t.Fatalf("a tensor with a %T in it", v)
		}
	}
	walk(v)
	return out
}

// npyBytes reads an array of bytes.
func npyBytes(t *testing.T, path string) []float64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body := b[10+int(b[8])+int(b[9])<<8:]
	out := make([]float64, len(body))
	for i, x := range body {
		out[i] = float64(x)
	}
	return out
}

// transpose makes of n values of each critic those of each observation.
func transpose(data []float64, n int) []float64 {
	out := make([]float64, 0, len(data))
	for i := range n {
		for j := i; j < len(data); j += n {
			out = append(out, data[j])
		}
	}
	return out
}

// compare holds |got-want| <= atol + 1e-5*|want|; integers must be equal.
func compare(got *graph.Tensor, want []float64, atol float64) error {
	if got.Len() != len(want) {
		return fmt.Errorf("%d values, %d were recorded", got.Len(), len(want))
	}
	for i, w := range want {
		g := got.At(i)
		if g == w || math.IsNaN(g) && math.IsNaN(w) {
			continue
		}
		if !got.DType.IsFloat() || !(math.Abs(g-w) <= atol+1e-5*math.Abs(w)) {
			return fmt.Errorf("value %d is %v, the library has %v", i, g, w)
		}
	}
	return nil
}
