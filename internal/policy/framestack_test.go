package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// stackedCase is what Stable-Baselines3 answered a policy on stacked frames: of
// each step the frames of all environments, which of them begin an episode, and
// the actions.
type stackedCase struct {
	Atol  float64
	Steps []struct {
		Frames  []any
		Begins  []bool
		Actions [][]float64
	}
}

// The frames that a policy keeps are those of VecFrameStack, before and behind
// VecNormalize, of vectors, images and dicts, over the ends of episodes.
func TestFrameStacks(t *testing.T) {
	paths, _ := filepath.Glob("../../testdata/frames/*/cases.json")
	if len(paths) == 0 {
		t.Fatal("no cases in testdata/frames")
	}
	for _, path := range paths {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var c stackedCase
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			a, err := artifact.OpenPath(dir, artifact.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Release()
			for _, engine := range []Engine{Plan, Reference} {
				p, err := Open(a, Options{Engine: engine})
				if err != nil {
					t.Fatal(err)
				}
				p.Prepare(1)
				c.replay(t, p)
			}
		})
	}
}

func (c *stackedCase) replay(t *testing.T, p *Policy) {
	t.Helper()
	contract := p.Contract()
	rows := len(c.Steps[0].Frames)
	call := p.newCall(rows)
	for i, step := range c.Steps {
		for row, frame := range step.Frames {
			if step.Begins[row] {
				contract.ResetState(call.State, row)
			}
			if err := contract.Pack(frame, row, call.In); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
		for row, want := range step.Actions {
			for j, w := range want {
				if got := float64(call.Actions[row*len(want)+j]); !(math.Abs(got-w) <= c.Atol+1e-5*math.Abs(w)) {
					t.Fatalf("%s: step %d, environment %d, action %d: got %v, the library gave %v", p.Engine().Name(), i, row, j, got, w)
				}
			}
		}
	}
}

// stackedNetwork is a network that gives back what it takes, in one row.
func stackedNetwork(t *testing.T, row ...int) *network {
	t.Helper()
	g := graph.New("stack")
	x := g.Input("x", graph.Float32, append(graph.Shape{graph.Batch}, row...))
	y, err := g.Add(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, product(row)}}, x)
	if err != nil {
		t.Fatal(err)
	}
	g.Output("y", y)
	return fixed(g)
}

// fixed is a network of one graph.
func fixed(g *graph.Graph) *network {
	d := format.Description{Methods: []string{"forward"}}
	for _, in := range g.Inputs {
		d.Inputs = append(d.Inputs, format.InputDescription{Name: in.Name, DType: in.DType, Shape: in.Shape})
	}
	return &network{d, func(format.LowerOptions) (*graph.Graph, error) { return g.Clone() }}
}

func stackOf(frames int, order, channels string) *artifact.Card {
	return &artifact.Card{Present: true, ModelName: "m", FrameStack: artifact.FrameStack{Frames: frames, Order: order, Channels: channels}}
}

// The contract takes one frame; what is kept has the shape of the others.
func TestFrameStackContract(t *testing.T) {
	f := func(card *artifact.Card, row, frame, past []int) {
		t.Helper()
		c := mustCompose(t, &sources{card: card, network: stackedNetwork(t, row...)}).Contract()
		if !slices.Equal(c.Inputs[0].Shape, frame) || len(c.State) != 1 || !slices.Equal(c.State[0].Shape, past) || c.State[0].Name != "frames" {
			t.Errorf("%v of %+v: input %v and state %+v, want %v and %v", row, card.FrameStack, c.Inputs[0].Shape, c.State, frame, past)
		}
	}
	f(stackOf(4, "", ""), []int{12}, []int{3}, []int{9})
	f(stackOf(4, "", "first"), []int{12}, []int{3}, []int{9})
	f(stackOf(4, "", ""), []int{4, 84, 84}, []int{1, 84, 84}, []int{3, 84, 84})
	f(stackOf(2, "", ""), []int{84, 84, 6}, []int{84, 84, 3}, []int{84, 84, 3})
	f(stackOf(2, "", "last"), []int{4, 6}, []int{4, 3}, []int{4, 3})
	f(stackOf(2, "", "first"), []int{4, 6}, []int{2, 6}, []int{2, 6})
	f(stackOf(2, "", ""), []int{4, 6}, []int{4, 3}, []int{4, 3})
	f(stackOf(2, "", "last"), []int{4, 8, 4}, []int{4, 8, 2}, []int{4, 8, 2})
	single := mustCompose(t, &sources{card: stackOf(1, "", ""), network: stackedNetwork(t, 12)}).Contract()
	if single.State != nil || single.Inputs[0].Width != 12 {
		t.Errorf("a stack of one frame: %+v", single)
	}
}

// Frames are kept in their order, the newest last, and zeros are before the first.
func TestFrameStackOrder(t *testing.T) {
	p := mustCompose(t, &sources{card: stackOf(3, "", ""), network: stackedNetwork(t, 6)})
	call := p.newCall(1)
	for i, want := range [][]float32{{0, 0, 0, 0, 1, 10}, {0, 0, 1, 10, 2, 20}, {1, 10, 2, 20, 3, 30}, {2, 20, 3, 30, 4, 40}} {
		call.In[0][0], call.In[0][1] = float32(i+1), float32(10*(i+1))
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(call.Actions, want) {
			t.Errorf("step %d: %v, want %v", i, call.Actions, want)
		}
	}
}

func TestFrameStackRefuses(t *testing.T) {
	f := func(card *artifact.Card, row []int, words string) {
		t.Helper()
		_, err := compose(&sources{card: card, network: stackedNetwork(t, row...)}, Options{})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v of %+v: %v, want an error with %q", row, card.FrameStack, err, words)
		}
	}
	f(stackOf(4, "", ""), []int{6}, "no whole parts")
	f(stackOf(4, "", ""), []int{3, 8, 9}, "no stack of 4 images")
	f(stackOf(2, "", ""), []int{4, 8, 4}, "channels_order: first")
	wide := stackOf(4, "", "")
	wide.InputShape = []int{12}
	f(wide, []int{12}, "one frame is sent")
	of := stackOf(4, "", "")
	of.FrameStack.ChannelsOf = map[string]string{"camera": "first"}
	f(of, []int{12}, `"camera"`)
}

// What the training wrote down and the card must be one.
func TestFrameStackAgainstTheTraining(t *testing.T) {
	training := &artifact.Training{Files: []string{"config.yml"}, FrameStack: 4}
	src := &sources{card: stackOf(3, "", ""), network: stackedNetwork(t, 12)}
	var notes []string
	if err := checkTraining(src, training, &notes); err == nil || !strings.Contains(err.Error(), "config.yml says 4") {
		t.Errorf("a card of 3 frames, a training of 4: %v", err)
	}
	src.card = stackOf(4, "", "")
	if err := checkTraining(src, training, &notes); err != nil || len(notes) > 0 {
		t.Errorf("a card of 4 frames, a training of 4: %v, %v", err, notes)
	}
	src.card = &artifact.Card{}
	if err := checkTraining(src, training, &notes); err != nil || !strings.Contains(fmt.Sprint(notes), "frame_stack: 4") {
		t.Errorf("no word in the card: %v, %v", err, notes)
	}
}

// The order of statistics and stack follows from the width of the statistics,
// and is refused where it does not.
func TestFrameStackOrderOfStatistics(t *testing.T) {
	f := func(dir, order, words string) {
		t.Helper()
		a, err := artifact.OpenPath("../../testdata/frames/"+dir, artifact.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Release()
		src, err := readSources(a)
		if err != nil {
			t.Fatal(err)
		}
		src.card.FrameStack.Order = order
		switch p, err := compose(src, Options{}); {
		case words == "" && err != nil, words != "" && (err == nil || !strings.Contains(err.Error(), words)):
			t.Errorf("%s with order %q: %v, want %q", dir, order, err, words)
		case err == nil && p.Contract().Inputs[0].Width != 3:
			t.Errorf("%s with order %q takes %v", dir, order, p.Contract().Inputs[0].Shape)
		}
	}
	f("normalize_then_stack", "", "")
	f("stack_then_normalize", "", "")
	f("stack_then_normalize", normalizeThenStack, "the statistics are of the whole stack")
	f("normalize_then_stack", stackThenNormalize, "the statistics are of one frame")
}

// A network that keeps state of its own, and one that takes its rows in turn,
// stack as any other.
func TestFrameStackOfOtherNetworks(t *testing.T) {
	for _, rows := range []int{graph.Batch, 1} {
		g := graph.New("summed")
		x := g.Input("x", graph.Float32, graph.Shape{rows, 4})
		h := g.Input("h", graph.Float32, graph.Shape{rows, 4})
		y, err := g.Add(graph.OpAdd, nil, x, h)
		if err != nil {
			t.Fatal(err)
		}
		g.Output("y", y)
		g.Output("h_out", y)
		g.States = []graph.State{{Input: 1, Output: 1}}
		p := mustCompose(t, &sources{card: stackOf(2, "", ""), network: fixed(g)})
		if c := p.Contract(); len(c.State) != 2 || c.State[0].Name != "h" || c.State[1].Name != "frames" || p.Batchable() != (rows == graph.Batch) {
			t.Fatalf("state %+v, batchable %v", c.State, p.Batchable())
		}
		call := p.newCall(2)
		for i, want := range [][]float32{{0, 0, 1, 2, 0, 0, 10, 20}, {1, 2, 4, 6, 10, 20, 40, 60}} { // sums of stacks
			copy(call.In[0], []float32{float32(2*i + 1), float32(2*i + 2), float32(20*i + 10), float32(20*i + 20)})
			if err := p.Runner(0).Act(call); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(call.Actions, want) {
				t.Errorf("rows %d, step %d: %v, want %v", rows, i, call.Actions, want)
			}
		}
	}
}
