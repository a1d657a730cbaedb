package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// drawn is a network that adds noise to its two inputs, and gives what it drew.
// It takes batches, or one row at a time.
func drawn(batched bool) *network {
	n := &network{description: format.Description{Inputs: []format.InputDescription{{Name: "x", DType: graph.Float32}}, HasSampling: true}}
	n.lower = func(o format.LowerOptions) (*graph.Graph, error) {
		rows := graph.Batch
		if !batched {
			if o.Rows != 1 {
				return nil, fmt.Errorf("control flow: %w", graph.ErrMixesRows)
			}
			rows = 1
		}
		g := graph.New("drawn")
		x := g.Input("x", graph.Float32, graph.Shape{rows, 2})
		noise := g.Constant("none", graph.Float32s([]float32{0, 0}, 1, 2))
		if !o.Deterministic {
			noise = must(g.Add(graph.OpNormal, graph.Attrs{"stream": 3}, x))
		}
		g.Output("action", must(g.Add(graph.OpAdd, nil, x, noise)))
		g.Output("scale", g.Constant("scale", graph.Float32s([]float32{7, 8, 9}, 3)))
		back := must(g.Add(graph.OpMul, nil, x, g.Constant("two", graph.Float32s([]float32{2}, 1))))
		if batched {
			back = must(g.Add(graph.OpTranspose, graph.Attrs{"perm": []int{1, 0}}, back))
		}
		g.Output("twice", back)
		if o.Deterministic {
			g.Output("only_here", x)
		}
		return g, nil
	}
	return n
}

// TestDrawsOfRowsInTurn compares a policy that takes rows one by one with its
// twin that takes them together: each row has the same draws.
func TestDrawsOfRowsInTurn(t *testing.T) {
	t.Run("plan", func(t *testing.T) { compareDraws(t, Plan) })
	t.Run("reference", func(t *testing.T) { compareDraws(t, Reference) })
}

func compareDraws(t *testing.T, engine Engine) {
	t.Helper()
	open := func(batched bool) *Policy {
		p, err := compose(&sources{card: &artifact.Card{ModelName: "m"}, network: drawn(batched)}, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		p.Prepare(1)
		return p
	}
	together, inTurn := open(true), open(false)
	if !together.Batchable() || inTurn.Batchable() || !together.Contract().Stochastic || !inTurn.Contract().Stochastic {
		t.Fatal("the policies are not of the two kinds")
	}
	if notes := strings.Join(inTurn.Notes(), "\n"); !strings.Contains(notes, "one by one") {
		t.Errorf("the notes do not tell: %s", notes)
	}
	for _, deterministic := range []bool{true, false} {
		a, b := together.newCall(5), inTurn.newCall(5)
		for _, c := range []*Call{a, b} {
			c.Deterministic, c.Seed, c.Step = deterministic, 42, 6
		}
		for _, err := range []error{together.Runner(0).Act(a), inTurn.Runner(0).Act(b)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(a.Actions, b.Actions) {
			t.Errorf("deterministic %v: %v together, %v in turn", deterministic, a.Actions, b.Actions)
		}
		if zeros := slices.Equal(a.Actions, make([]float32, 10)); zeros != deterministic {
			t.Errorf("deterministic %v: actions %v", deterministic, a.Actions)
		}
	}
}

// withExtras gives the call room for all extras.
func (c *Call) withExtras(p *Policy) {
	c.Extras = nil
	for _, e := range p.contract.Extras {
		c.Extras = append(c.Extras, make([]float32, c.Rows*e.Width))
	}
}

func TestExtras(t *testing.T) {
	f := func(n *network, fixed bool) {
		t.Helper()
		for _, engine := range []Engine{Plan, Reference} {
			p, err := compose(&sources{card: &artifact.Card{ModelName: "m"}, network: n}, Options{Engine: engine})
			if err != nil {
				t.Fatal(err)
			}
			p.Prepare(1)
			specs := p.Contract().Extras // What only one form has is not among them.
			if len(specs) != 4 || specs[0].Name != "scale" || specs[0].Fixed != fixed || specs[0].Width != 3 || specs[1].Name != "twice" || specs[1].Width != 2 || specs[1].Fixed || specs[2].Name != "raw_action" || specs[3].Name != "normalized_observation" {
				t.Fatalf("outputs = %+v", specs)
			}
			call := p.newCall(2)
			call.withExtras(p)
			copy(call.In[0], []float32{1, 2, 3, 4})
			if err := p.Runner(0).Act(call); err != nil {
				t.Fatal(err)
			}
			if !call.First {
				t.Error("the first call with extras does not say that it compiled them")
			}
			if err := p.Runner(0).Act(call); err != nil || call.First {
				t.Errorf("the second: %v, first %v", err, call.First)
			}
			want := [][]float32{{7, 8, 9, 7, 8, 9}, {2, 4, 6, 8}, {1, 2, 3, 4}, {1, 2, 3, 4}}
			if !slices.EqualFunc(call.Extras, want, slices.Equal) {
				t.Errorf("%s: extras = %v, want %v", engine.Name(), call.Extras, want)
			}
		}
	}
	f(drawn(true), true)
	f(drawn(false), false)
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: drawn(true)})
	if len(p.Composed().Outputs) != 1 || len(p.Composed().Nodes) != 1 {
		t.Errorf("without extras the policy is\n%v", p.Composed())
	}
}

func TestMasksOfAnAgent(t *testing.T) {
	n, rows, _ := agent(t, "maskable_multidiscrete")
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
	c := p.Contract()
	if sum := 0; c.Masks == 0 || len(c.MaskParts) != c.ActionWidth() {
		t.Fatalf("the policy takes %d masks in parts %v", c.Masks, c.MaskParts)
	} else {
		for _, n := range c.MaskParts {
			sum += n
		}
		if sum != c.Masks {
			t.Fatalf("parts %v are not %d masks", c.MaskParts, c.Masks)
		}
	}
	call := p.newCall(len(rows))
	for i, obs := range rows {
		if err := c.Pack(obs, i, call.In); err != nil {
			t.Fatal(err)
		}
	}
	act := func(masks []float32) []float32 {
		t.Helper()
		call.Masks = masks
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(call.Actions)
	}
	free := act(nil)
	all := make([]float32, len(rows)*c.Masks)
	for i := range all {
		all[i] = 1
	}
	if got := act(all); !slices.Equal(got, free) {
		t.Errorf("with everything allowed the actions are %v, without masks %v", got, free)
	}
	// The first category of the first part is the one that may not be taken.
	for row := range rows {
		all[row*c.Masks] = 0
	}
	for row, got := range slices.Collect(slices.Chunk(act(all), c.ActionWidth())) {
		if got[0] == 0 {
			t.Errorf("row %d takes the action that is not allowed", row)
		}
	}
}

func TestCheckMasks(t *testing.T) {
	f := func(c Contract, masks []float32, want string) {
		t.Helper()
		err := c.CheckMasks(2, masks)
		var refused *InputError
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (!errors.As(err, &refused) || !strings.Contains(err.Error(), want)):
			t.Errorf("got %v, want an InputError with %q", err, want)
		}
	}
	one, two := Contract{Masks: 3, MaskParts: []int{3}}, Contract{Masks: 3, MaskParts: []int{2, 1}}
	f(one, []float32{1, 0, 0, 0, 0, 1}, "")
	f(two, []float32{1, 0, 1, 0, 1, 1}, "")
	f(two, []float32{1, 0, 1, 0, 0, 0}, "")
	f(one, []float32{1, 0, 0}, "expected 3 for each of 2 rows, got 3 in all")
	f(one, []float32{1, 0, 0, 0, 0.5, 1}, "observation 1, action_masks[1]: expected 0 or 1, got 0.5")
	f(one, []float32{float32(math.NaN()), 0, 1, 0, 0, 1}, "expected 0 or 1, got NaN")
	f(Contract{}, []float32{1, 0}, "takes no masks")
}

// endless is a network whose loop has no end where its input is positive.
func endless() *network {
	n := &network{description: format.Description{Inputs: []format.InputDescription{{Name: "x", DType: graph.Float32}}}}
	n.lower = func(o format.LowerOptions) (*graph.Graph, error) {
		if o.Rows != 1 {
			return nil, fmt.Errorf("while: %w", graph.ErrMixesRows)
		}
		positive := func(g *graph.Graph, x *graph.Value) *graph.Value {
			first := must(g.Add(graph.OpSlice, graph.Attrs{"axis": 1, "end": 1}, x))
			return must(g.Add(graph.OpGt, nil, must(g.Add(graph.OpReshape, graph.Attrs{"shape": []int{1}}, first)), g.Constant("", graph.Float32s([]float32{0}, 1))))
		}
		body := graph.New("body")
		y := body.Input("y", graph.Float32, graph.Shape{1, 2})
		y = must(body.Add(graph.OpAbs, nil, y))
		body.Output("cond", positive(body, y))
		body.Output("y", y)
		g := graph.New("endless")
		x := g.Input("x", graph.Float32, graph.Shape{1, 2})
		loop := must(g.AddNode(graph.OpLoop, graph.Attrs{"body": body, "carried": 1}, positive(g, x), x))
		g.Output("out", loop.Out[0])
		return g, nil
	}
	return n
}

// TestStepBudget holds that a loop without an end is an error of the row, and
// that a policy is refused only where no observation has an answer.
func TestStepBudget(t *testing.T) {
	for _, engine := range []Engine{Plan, Reference} {
		p, err := compose(&sources{card: &artifact.Card{ModelName: "m"}, network: endless()}, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		p.Prepare(1)
		call := p.newCall(2)
		copy(call.In[0], []float32{-1, -2, 1, 2})
		err = p.Runner(0).Act(call)
		var unusable *ActionError
		if !errors.As(err, &unusable) || !errors.Is(err, graph.ErrStepBudget) || unusable.Row != 1 || !strings.Contains(err.Error(), "no action for row 1: step budget exceeded") {
			t.Errorf("%s: got %v, want row 1 beyond its budget", engine.Name(), err)
		}
		call.In[0][2] = -1
		if err := p.Runner(0).Act(call); err != nil || call.Actions[3] != 2 {
			t.Errorf("%s: after that: %v, %v", engine.Name(), call.Actions, err)
		}
	}
}

// TestLanesSideBySide has every lane ask for every form at once; run it with
// the race detector.
func TestLanesSideBySide(t *testing.T) {
	const lanes = 8
	n, rows, _ := agent(t, "maskable_multidiscrete")
	p, err := compose(&sources{card: &artifact.Card{ModelName: "m"}, network: n}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Prepare(lanes)
	c := p.Contract()
	masks := make([]float32, c.Masks)
	for i := range masks {
		masks[i] = float32(1 - i%2)
	}
	answers := make([][]float32, lanes)
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			call := p.newCall(1)
			if err := c.Pack(rows[0], 0, call.In); err != nil {
				t.Error(err)
				return
			}
			for i := range 8 {
				call.Deterministic, call.Masks, call.Extras, call.Seed = i%2 == 0, nil, nil, 9
				if i%4 >= 2 {
					call.Masks = masks
				}
				if i >= 4 {
					call.withExtras(p)
				}
				if err := p.Runner(lane).Act(call); err != nil {
					t.Error(err)
				}
				answers[lane] = append(answers[lane], call.Actions...)
			}
		})
	}
	wg.Wait()
	for lane := range answers {
		if !slices.Equal(answers[lane], answers[0]) {
			t.Errorf("lane %d answers %v, lane 0 %v", lane, answers[lane], answers[0])
		}
	}
}

func TestChoices(t *testing.T) {
	f := func(space *Space, values []float32, want string) {
		t.Helper()
		c := Contract{Inputs: []Input{{Name: "x", Width: 2}}, Features: []Feature{{Name: "x", Shape: []int{2}, Low: math.Inf(-1), High: math.Inf(1), Size: 2, Space: space}}}
		switch err := c.Check(1, [][]float32{values}); {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("got %v, want %q", err, want)
		}
	}
	two := &Space{Kind: "MultiDiscrete", N: []int{2, 5}}
	f(two, []float32{1, 4}, "")
	f(two, []float32{2, 4}, "observation 0, x[0]: expected a whole number from 0 to 1, got 2")
	f(two, []float32{1, -1}, "x[1]: expected a whole number from 0 to 4, got -1")
	f(two, []float32{1, 0.5}, "from 0 to 4, got 0.5")
	f(&Space{Kind: "Discrete", N: []int{3}}, []float32{2, 3}, "x[1]: expected a whole number from 0 to 2, got 3")
	f(&Space{Kind: "MultiBinary"}, []float32{1, 2}, "x[1]: expected a whole number from 0 to 1, got 2")
	f(&Space{Kind: "MultiDiscrete", N: []int{2}}, []float32{1, 7.5}, "") // nobody says how many
	f(&Space{Kind: "Box"}, []float32{0.5, 7}, "")
	f(nil, []float32{0.5, 7}, "")
}

func TestBoundsOfObservations(t *testing.T) {
	f := func(d format.SpaceDescription, low, high float64) {
		t.Helper()
		s := &sources{spaces: &format.Spaces{Observation: []format.SpaceDescription{d}}}
		if l, h := s.observationBounds(0); l != low || h != high {
			t.Errorf("%+v: got %v to %v, want %v to %v", d, l, h, low, high)
		}
	}
	f(format.SpaceDescription{Categories: true, High: 4}, 0, 4)
	f(format.SpaceDescription{Low: 0, High: 255, Space: format.Space{Kind: "Box", DType: "uint8"}}, 0, 255)
	f(format.SpaceDescription{Low: -1, High: 1, Space: format.Space{Kind: "Box", DType: "float32"}}, math.Inf(-1), math.Inf(1))
}
