package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// must is for graphs that tests write.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// leaky is a network of six inputs whose state h becomes h/2 + x, which is its
// action too. In the network the state has a shape in which rows are anywhere;
// flattened row by row it is h.
func leaky(shape graph.Shape, initial, reset *graph.Tensor) *network {
	n := &network{description: format.Description{Inputs: []format.InputDescription{{Name: "x", DType: graph.Float32}}, Recurrent: true}}
	n.lower = func(o format.LowerOptions) (*graph.Graph, error) {
		rows := graph.Batch
		if shape.Fixed() {
			if o.Rows != 1 {
				return nil, fmt.Errorf("buffers: %w", graph.ErrMixesRows)
			}
			rows = 1
		}
		g := graph.New("leaky")
		x := g.Input("x", graph.Float32, graph.Shape{rows, 6})
		h := g.Input("h", graph.Float32, shape)
		first := must(batchFirst(g, h))
		row := must(g.Add(graph.OpReshape, graph.Attrs{"shape": []int{rows, 6}}, first))
		half := must(g.Add(graph.OpMul, nil, row, g.Constant("half", graph.Float32s([]float32{0.5}, 1))))
		next := must(g.Add(graph.OpAdd, nil, half, x))
		g.Output("action", next)
		back := must(g.Add(graph.OpReshape, graph.Attrs{"shape": []int(first.Shape)}, next))
		if axis := shape.BatchAxis(); axis > 0 {
			perm := make([]int, 0, len(shape))
			for i := 1; i < len(shape); i++ {
				perm = append(perm, i)
			}
			back = must(g.Add(graph.OpTranspose, graph.Attrs{"perm": slices.Insert(perm, axis, 0)}, back))
		}
		g.Output("h_out", back)
		g.States = []graph.State{{Input: 1, Output: 1, Initial: initial, Reset: reset}}
		return g, nil
	}
	return n
}

var layouts = map[string]graph.Shape{
	"rows first":   {graph.Batch, 6},
	"layers first": {2, graph.Batch, 3},
	"rows last":    {3, 2, graph.Batch},
	"one row":      {1, 1, 6},
}

// TestStateInEveryLayout runs an episode of three rows against the recurrence
// computed here.
func TestStateInEveryLayout(t *testing.T) {
	f := func(name string, engine Engine) {
		t.Helper()
		shape := layouts[name]
		p, err := compose(&sources{card: &artifact.Card{ModelName: "m"}, network: leaky(shape, nil, nil)}, Options{Engine: engine})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p.Prepare(1)
		if p.Batchable() == shape.Fixed() {
			t.Errorf("%s: batchable = %v", name, p.Batchable())
		}
		c := p.Contract()
		if len(c.State) != 1 || c.State[0].Width != 6 || c.State[0].Name != "h" || len(c.Inputs) != 1 {
			t.Fatalf("%s: state = %+v, inputs %+v", name, c.State, c.Inputs)
		}
		call := p.newCall(3)
		want := make([]float32, 18)
		for step := range 5 {
			for i := range call.In[0] {
				call.In[0][i] = float32(step*100 + i)
				want[i] = want[i]/2 + call.In[0][i]
			}
			if err := p.Runner(0).Act(call); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(call.Actions, want) || !slices.Equal(call.State[0], want) {
				t.Fatalf("%s, %s, step %d: action %v, state %v, want %v", name, p.Engine().Name(), step, call.Actions, call.State[0], want)
			}
		}
	}
	for name := range layouts {
		f(name, Plan)
		f(name, Reference)
	}
}

func TestStateBeginsAndResets(t *testing.T) {
	initial, reset := graph.Float32s([]float32{1, 2, 3, 4, 5, 6}, 2, 1, 3), graph.Float32s([]float32{0, 0, 0, 8, 8, 8}, 2, 1, 3)
	n := leaky(layouts["layers first"], initial, reset)
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
	state := p.Contract().NewState(2)
	if want := []float32{1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6}; !slices.Equal(state[0], want) {
		t.Errorf("a new state of two rows is %v, want %v", state[0], want)
	}
	p.Contract().ResetState(state, 1)
	if want := []float32{1, 2, 3, 4, 5, 6, 0, 0, 0, 8, 8, 8}; !slices.Equal(state[0], want) {
		t.Errorf("after a reset of row 1 it is %v, want %v", state[0], want)
	}
	p = mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: leaky(layouts["layers first"], initial, nil)})
	state = p.Contract().NewState(1)
	state[0][0] = 99
	p.Contract().ResetState(state, 0)
	if state[0][0] != 1 || p.Contract().NewState(1)[0][0] != 1 {
		t.Errorf("without a reset of its own the state is %v, want the first one", state[0])
	}
	if g := p.Composed(); len(g.States) != 1 || g.Inputs[g.States[0].Input].Name != "h" || g.States[0].Initial.F32[5] != 6 {
		t.Errorf("the composed graph has the states %+v", g.States)
	}
}

// TestEpisodesDoNotDependOnTheirBatch runs episodes of an agent with two LSTM
// layers that begin at different steps, in one batch and each alone, and
// compares them bit for bit.
func TestEpisodesDoNotDependOnTheirBatch(t *testing.T) {
	const rows, steps = 7, 9
	n, _, _ := agent(t, "rppo_two_layers")
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
	p.Prepare(2)
	width, out := p.Contract().Inputs[0].Width, p.Contract().ActionWidth()
	observe := func(row, step int, to []float32) {
		for i := range to {
			to[i] = float32(math.Sin(float64(row*31 + step*7 + i)))
		}
	}
	batch := p.newCall(rows)
	alone := make([]*Call, rows)
	for i := range alone {
		alone[i] = p.newCall(1)
	}
	for step := range steps {
		for row := range rows {
			observe(row, step, batch.In[0][row*width:][:width])
			observe(row, step, alone[row].In[0])
			if step%(row+2) == 0 { // Each row has episodes of its own length.
				p.Contract().ResetState(batch.State, row)
				p.Contract().ResetState(alone[row].State, 0)
			}
		}
		if err := p.Runner(0).Act(batch); err != nil {
			t.Fatal(err)
		}
		for row := range rows {
			if err := p.Runner(1).Act(alone[row]); err != nil {
				t.Fatal(err)
			}
			if got := batch.Actions[row*out:][:out]; !slices.Equal(got, alone[row].Actions) {
				t.Fatalf("step %d, row %d: %v in a batch, %v alone", step, row, got, alone[row].Actions)
			}
			for i, s := range p.Contract().State {
				if got := batch.State[i][row*s.Width:][:s.Width]; !slices.Equal(got, alone[row].State[i]) {
					t.Fatalf("step %d, row %d: state %s is %v in a batch, %v alone", step, row, s.Name, got, alone[row].State[i])
				}
			}
		}
	}
}

// TestFailedStepKeepsState holds that a step without an answer is no step.
func TestFailedStepKeepsState(t *testing.T) {
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: leaky(layouts["rows first"], nil, nil)})
	call := p.newCall(2)
	call.In[0][3] = 4
	if err := p.Runner(0).Act(call); err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(call.State[0])
	call.In[0][9] = float32(math.Inf(1))
	var unusable *ActionError
	if err := p.Runner(0).Act(call); !errors.As(err, &unusable) || unusable.Row != 1 {
		t.Fatalf("got %v, want row 1 without an action", err)
	}
	if !slices.Equal(call.State[0], before) {
		t.Errorf("the state is %v, before the step it was %v", call.State[0], before)
	}
}

func TestActWithStateDoesNotAllocate(t *testing.T) {
	for name, shape := range layouts {
		p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: leaky(shape, nil, nil)})
		call := p.newCall(3)
		if n := testing.AllocsPerRun(100, func() {
			if err := p.Runner(0).Act(call); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: Act allocates %v times", name, n)
		}
	}
}

func TestActRefusesAnotherCall(t *testing.T) {
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: leaky(layouts["rows first"], nil, nil)})
	f := func(name string, change func(c *Call), want string) {
		t.Helper()
		call := p.newCall(2)
		change(call)
		if err := p.Runner(0).Act(call); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, want)
		}
	}
	f("no state", func(c *Call) { c.State = nil }, "0 states")
	f("a state of one row", func(c *Call) { c.State[0] = c.State[0][:6] }, "h has 6 values, 2 rows need 12")
	f("an input of one row", func(c *Call) { c.In[0] = c.In[0][:6] }, "x has 6 values, 2 rows need 12")
	f("masks", func(c *Call) { c.Masks = make([]float32, 12) }, "takes no action masks")
}

func TestCardAndNetworkAgreeOnState(t *testing.T) {
	f := func(text string, n *network, want string) {
		t.Helper()
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(text), &node); err != nil {
			t.Fatal(err)
		}
		_, err := compose(&sources{card: &artifact.Card{Present: true, ModelName: "m", Recurrent: node.Content[0]}, network: n}, Options{})
		switch {
		case want == "" && err != nil:
			t.Errorf("recurrent: %s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("recurrent: %s: got %v, want an error with %q", text, err, want)
		}
	}
	state := leaky(layouts["rows first"], nil, nil)
	f("true", state, "")
	f("True", state, "")
	f("false", state, "the network keeps state between steps")
	f("{hidden: 64}", state, "want true or false")
	f("false", built(t, 5, 3, 1), "")
	f("true", built(t, 5, 3, 1), "the network keeps no state between steps")
}

// TestGoldenVectorsBeginEpisodes holds that no vector sees the state of the one
// before.
func TestGoldenVectorsBeginEpisodes(t *testing.T) {
	x := []float64{1, 2, 3, 4, 5, 6}
	card := &artifact.Card{Present: true, ModelName: "m", Golden: &artifact.Golden{Atol: 1e-6, Vectors: []artifact.GoldenVector{
		{Deterministic: true, Observation: x, Action: x}, {Deterministic: true, Observation: x, Action: x},
	}}}
	p := mustCompose(t, &sources{card: card, network: leaky(layouts["one row"], nil, nil)})
	if err := p.replayGolden(card); err != nil {
		t.Error(err)
	}
}
