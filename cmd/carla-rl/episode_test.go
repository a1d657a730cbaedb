package main

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// counter is a graph that adds its input to a state with the batch in the
// middle: h' = h + x, y = h'.
func counter(t *testing.T, s graph.State) *graph.Graph {
	t.Helper()
	g := graph.New("counter")
	x := g.Input("x", graph.Float32, graph.Shape{2, graph.Batch, 3})
	h := g.Input("h", graph.Float32, graph.Shape{2, graph.Batch, 3})
	next, err := g.Add(graph.OpAdd, nil, h, x)
	if err != nil {
		t.Fatal(err)
	}
	g.Output("y", next)
	g.Output("h_out", next)
	s.Input, s.Output = 1, 1
	g.States = []graph.State{s}
	return g
}

func TestEpisodeCarriesStateFromItsBeginning(t *testing.T) {
	initial := graph.Float32s([]float32{1, 2, 3, 4, 5, 6}, 2, 1, 3)
	reset := graph.Float32s([]float32{10, 20, 30, 40, 50, 60}, 2, 1, 3)
	f := func(name string, s graph.State, want [3][]float64) {
		t.Helper()
		for _, engine := range []policy.Engine{policy.Plan, policy.Reference} {
			e, err := newEpisode(engine, counter(t, s), 0)
			if err != nil {
				t.Fatal(err)
			}
			zeros := &tensor{shape: []int{2, 2, 3}, data: make([]float64, 12)}
			ones := &tensor{shape: []int{2, 2, 3}, data: slices.Repeat([]float64{1}, 12)}
			for step, in := range []*tensor{zeros, ones, zeros} {
				if step == 2 {
					e.reset()
				}
				outs, err := e.run([]*tensor{in, nil})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(outs[0].data, want[step]) {
					t.Errorf("%s on %s: step %d gives %v, want %v", name, engine.Name(), step, outs[0].data, want[step])
				}
			}
		}
	}
	// Two rows, each with the same state: layer 0 of both, then layer 1.
	both := func(a, b []float64) []float64 { return slices.Concat(a, a, b, b) }
	f("zeros", graph.State{}, [3][]float64{make([]float64, 12), slices.Repeat([]float64{1}, 12), make([]float64, 12)})
	f("initial", graph.State{Initial: initial}, [3][]float64{
		both([]float64{1, 2, 3}, []float64{4, 5, 6}),
		both([]float64{2, 3, 4}, []float64{5, 6, 7}),
		both([]float64{1, 2, 3}, []float64{4, 5, 6}),
	})
	f("initial and reset", graph.State{Initial: initial, Reset: reset}, [3][]float64{
		both([]float64{1, 2, 3}, []float64{4, 5, 6}),
		both([]float64{2, 3, 4}, []float64{5, 6, 7}),
		both([]float64{10, 20, 30}, []float64{40, 50, 60}),
	})
}

// recurrentONNX converts a recurrent agent, whose state is then inputs and
// outputs of an ONNX model.
func recurrentONNX(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "agent.onnx")
	r := execute("", "convert", filepath.FromSlash("../../internal/format/sb3/testdata/rppo_two_layers/model.zip"), out)
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
	return out
}

// observationWidth is the number of values of an observation of the agent.
func observationWidth(t *testing.T, model string) int {
	t.Helper()
	r := execute("", "inspect", model, "--stage", "graph")
	_, rest, ok := strings.Cut(r.stdout, `input "obs" f32[B,`)
	if !ok {
		t.Fatalf("%s%s", r.stdout, r.stderr)
	}
	n := 0
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}

func rowsOfObservations(rows, width int, scale float64) [][]float64 {
	out := make([][]float64, rows)
	for i := range out {
		for j := range width {
			out[i] = append(out[i], scale*float64((i*7+j*3)%5-2))
		}
	}
	return out
}

// TestSequenceOfAModelWithItsStateInInputs holds that what is carried is what a
// caller would give.
func TestSequenceOfAModelWithItsStateInInputs(t *testing.T) {
	model := recurrentONNX(t)
	width := observationWidth(t, model)
	first, second := rowsOfObservations(3, width, 0.3), rowsOfObservations(3, width, -0.2)
	for _, engine := range testEngines() {
		ask := func(question map[string]any) map[string]any {
			t.Helper()
			p, err := predict(t, question, "--model", model, "--engine", engine)
			if err != nil {
				t.Fatal(err)
			}
			return p.outputs
		}
		step := func(outputs map[string]any, name string, i int) any { return outputs[name].([]any)[i] }
		inputs := func(rows any, given map[string]any) map[string]any {
			in := map[string]any{"obs": rows}
			maps.Copy(in, given)
			return in
		}

		carried := ask(map[string]any{"sequence": []any{inputs(first, nil), inputs(second, nil)}})
		alone := ask(map[string]any{"inputs": inputs(first, nil)})
		state := map[string]any{}
		for name, v := range alone {
			if in, ok := strings.CutSuffix(name, "_out"); ok {
				state[in] = v
			}
			if err := same(step(carried, name, 0), v, 0); err != nil {
				t.Errorf("%s: the first step of a sequence: %s: %v", engine, name, err)
			}
		}
		if len(state) == 0 {
			t.Fatalf("the model has no state: %v", alone)
		}
		given := ask(map[string]any{"inputs": inputs(second, state)})
		reset := ask(map[string]any{"sequence": []any{inputs(first, nil), inputs(second, nil)}, "reset_before": []int{1}})
		fresh := ask(map[string]any{"inputs": inputs(second, nil)})
		won := ask(map[string]any{"sequence": []any{inputs(second, nil), inputs(second, state)}})
		for name, v := range given {
			if err := same(step(carried, name, 1), v, 0); err != nil {
				t.Errorf("%s: the second step, carried and given: %s: %v", engine, name, err)
			}
			if err := same(step(won, name, 1), v, 0); err != nil {
				t.Errorf("%s: a state that is given against one that was carried: %s: %v", engine, name, err)
			}
			if err := same(step(reset, name, 1), fresh[name], 0); err != nil {
				t.Errorf("%s: the second step after a reset: %s: %v", engine, name, err)
			}
		}
		if same(given["action"], fresh["action"], 0) == nil {
			t.Errorf("%s: the state does not matter", engine)
		}
	}
}

// TestRowsWithoutEpisodeStartAreIndependent holds what the help says of them.
func TestRowsWithoutEpisodeStartAreIndependent(t *testing.T) {
	model := filepath.FromSlash("../../internal/format/sb3/testdata/rppo_two_layers/model.zip")
	rows := rowsOfObservations(4, observationWidth(t, recurrentONNX(t)), 0.3)
	ask := func(question map[string]any) *prediction {
		t.Helper()
		question["deterministic"] = true
		p, err := predict(t, question, "--model", model)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	independent := ask(map[string]any{"observations": rows})
	each := ask(map[string]any{"observations": rows, "episode_start": []bool{true, true, true, true}})
	one := ask(map[string]any{"observations": rows, "episode_start": []bool{true, false, false, false}})
	if err := same(independent.outputs["value"], each.outputs["value"], 0); err != nil {
		t.Errorf("rows that each begin an episode: %v", err)
	}
	if same(independent.outputs["value"], one.outputs["value"], 0) == nil {
		t.Error("a sequence gives what independent rows give")
	}
	if independent.outputs["lstm_pi_h"] != nil || one.outputs["lstm_pi_h"] == nil {
		t.Errorf("the state is an output of a sequence alone: %v, %v", independent.names, one.names)
	}
}
