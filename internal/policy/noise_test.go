package policy

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// unassembled is the plan on the Go twins of its kernels.
type unassembled struct{}

func (unassembled) Name() string { return "plan without assembly" }

func (unassembled) Compile(g *graph.Graph) (Program, error) {
	optimized, err := g.Clone()
	if err != nil {
		return nil, err
	}
	if err := graph.Optimize(optimized); err != nil {
		return nil, err
	}
	p, err := plan.Compile(optimized, plan.Options{Generic: true})
	if err != nil {
		return nil, err
	}
	return &planned{optimized, p}, nil
}

var everyEngine = []Engine{Plan, unassembled{}, Reference}

// everyAgent calls f with each agent of the corpus in package sb3 that is
// served.
func everyAgent(t *testing.T, f func(t *testing.T, name string, n format.Network)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "format", "sb3", "testdata", "*", "model.zip"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no agents: %v", err)
	}
	served := 0
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := format.Decode("model.zip", data)
		if err != nil {
			continue // Package sb3 has a test of what is refused.
		}
		if _, err := n.Lower(format.LowerOptions{}); errors.Is(err, format.ErrUnsupported) {
			continue
		}
		served++
		t.Run(name, func(t *testing.T) { f(t, name, n) })
	}
	if served < 30 {
		t.Errorf("%d agents are served", served)
	}
}

// TestAnswersDoNotDependOnTheirBatch holds, bit for bit, that row i of a batch
// drawn as row r is the answer of a single row drawn as row r+i: its action, its
// extras and its state, in parts of a batch of every size, on another lane, of a
// policy opened anew, and with extras as without.
func TestAnswersDoNotDependOnTheirBatch(t *testing.T) {
	everyAgent(t, func(t *testing.T, _ string, n format.Network) {
		for _, engine := range everyEngine {
			compareBatches(t, engine, composed(n, engine))
		}
	})
	low, high := 0.2, 3.0
	card := &artifact.Card{
		ModelName: "m", Postprocess: "none", Distribution: &artifact.Distribution{Kind: "beta", Low: []float64{-1}, High: []float64{2}},
		Observation: []artifact.FeatureSpec{{Name: "obs", Shape: []int{4}, Low: &low, High: &high}},
	}
	beta, err := withDistribution(splitter(t, "alpha", "beta")(2, 2), card)
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range everyEngine {
		compareBatches(t, engine, func() (*Policy, error) {
			return compose(&sources{card: card, network: beta}, Options{Engine: engine})
		})
	}
	for _, batched := range []bool{true, false} {
		for _, engine := range everyEngine {
			compareBatches(t, engine, composed(drawn(batched), engine))
		}
	}
}

// TestRecordedAgentsDoNotDependOnTheirBatch is the same for folders as they are,
// with their statistics.
func TestRecordedAgentsDoNotDependOnTheirBatch(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 46 cases not run")
		return
	}
	dirs, err := filepath.Glob(filepath.Join(root, "sb3_*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			for _, engine := range []Engine{Plan, unassembled{}} {
				compareBatches(t, engine, func() (*Policy, error) {
					a, err := artifact.OpenPath(dir, artifact.Limits{})
					if err != nil {
						return nil, err
					}
					defer a.Release()
					return Open(a, Options{Engine: engine})
				})
			}
		})
	}
}

// composed opens a network without a card.
func composed(n format.Network, engine Engine) func() (*Policy, error) {
	return func() (*Policy, error) {
		return compose(&sources{card: &artifact.Card{ModelName: "m"}, network: n}, Options{Engine: engine})
	}
}

func compareBatches(t *testing.T, engine Engine, open func() (*Policy, error)) {
	t.Helper()
	const rows = 13
	prepared := func() *Policy {
		p, err := open()
		if errors.Is(err, format.ErrUnsupported) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Prepare(2)
		return p
	}
	first, again := prepared(), prepared()
	if first == nil {
		return
	}
	c := first.Contract()
	call := func(from, rows int) *Call { return drawnCall(first, from, rows) }
	act := func(p *Policy, lane int, c *Call) *Call {
		t.Helper()
		if err := p.Runner(lane).Act(c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	whole := call(0, rows)
	whole.withExtras(first)
	act(first, 0, whole)
	for _, size := range []int{1, 2, 4, 5, 6, rows} {
		for from := 0; from+size <= rows; from += size {
			for _, extras := range []bool{true, false} {
				some := call(from, size)
				if extras {
					some.withExtras(first)
				}
				if from%2 == 0 {
					act(first, 1, some)
				} else {
					act(again, 0, some)
				}
				what := func(of string) string {
					return strings.Join([]string{engine.Name(), of}, ": ")
				}
				sameBits(t, what("action"), some.Actions, whole.Actions, from, size, rows)
				for i := range some.State {
					sameBits(t, what(c.State[i].Name), some.State[i], whole.State[i], from, size, rows)
				}
				for i := range some.Extras {
					sameBits(t, what(c.Extras[i].Name), some.Extras[i], whole.Extras[i], from, size, rows)
				}
				if t.Failed() {
					return
				}
			}
		}
	}
}

// drawnCall is a stochastic call of rows of an endless batch, whose observations
// and states depend on the row alone.
func drawnCall(p *Policy, from, rows int) *Call {
	c, call := p.Contract(), p.newCall(rows)
	call.Deterministic, call.Seed, call.Step, call.Row = false, 1<<52+9, 3, 1<<40+uint64(from)
	for i := range rows {
		random := rand.New(rand.NewPCG(uint64(from+i), 0))
		for j := range c.Features {
			f := &c.Features[j]
			to := part(call.In[f.Input], i, rows)[f.Offset:][:f.Size]
			for k := range to {
				to[k] = f.draw(c.Inputs[f.Input].DType, random)
			}
		}
		for j := range call.State { // a step in the middle of an episode
			to := part(call.State[j], i, rows)
			for k := range to {
				to[k] = float32(math.Sin(float64(from + i + j + k)))
			}
		}
	}
	return call
}

// sameBits compares some rows with those of all.
func sameBits(t *testing.T, what string, some, all []float32, from, size, rows int) {
	t.Helper()
	width := len(all) / rows
	want := all[from*width:][:size*width]
	if !slices.EqualFunc(some, want, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
		t.Errorf("%s of rows %d to %d alone is %v, in a batch of %d %v", what, from, from+size-1, some, rows, want)
	}
}
