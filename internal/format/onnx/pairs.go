package onnx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Pair is an input and an output that carry a state from run to run.
type Pair struct{ Input, Output string }

// statePair is a pair with what the file says of its beginning.
type statePair struct {
	stateEntry
	said bool // in the metadata, not found by name or use
}

// States are the pairs of inputs and outputs that carry the memory of the
// network: those that the metadata of the model names; those whose names, type
// and shape show it (h_in and h_out, state_in_0 and state_out_0, hidden and
// hidden_out, prev_x and new_x, h0 and hn ...); and those that are the first
// and the last state of a recurrent layer.
func (m *Model) States() []Pair {
	out := make([]Pair, len(m.states))
	for i, s := range m.states {
		out[i] = Pair{s.Input, s.Output}
	}
	return out
}

func (m *Model) isState(input string) bool {
	return slices.ContainsFunc(m.states, func(s statePair) bool { return s.Input == input })
}

func (m *Model) isStateOutput(output string) bool {
	return slices.ContainsFunc(m.states, func(s statePair) bool { return s.Output == output })
}

// findStates sorts out the states. What is left must be a policy: with nothing
// but states there are none.
func (m *Model) findStates() error {
	if text, ok := m.metadata[metaStates]; ok {
		return m.readStates(text)
	}
	traced := traceStates(m.body)
	for _, in := range m.body.inputs {
		best := -1
		for k, out := range m.body.outputs {
			if m.isStateOutput(out.Name) || !sameType(in, out) {
				continue
			}
			if traced[in.Name] == out.Name || best < 0 && pairedNames(in.Name, out.Name) {
				best = k
			}
		}
		if best >= 0 {
			m.states = append(m.states, statePair{stateEntry: stateEntry{Input: in.Name, Output: m.body.outputs[best].Name}})
		}
	}
	if len(m.states) == len(m.body.inputs) || len(m.states) == len(m.body.outputs) {
		m.states = nil
	}
	return nil
}

// readStates reads the metadata.
func (m *Model) readStates(text string) error {
	var entries []stateEntry
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return fmt.Errorf("metadata %s: %w", metaStates, err)
	}
	for _, e := range entries {
		in := slices.ContainsFunc(m.body.inputs, func(p Input) bool { return p.Name == e.Input })
		out := slices.ContainsFunc(m.body.outputs, func(p Input) bool { return p.Name == e.Output })
		if !in || !out || m.isState(e.Input) || m.isStateOutput(e.Output) {
			return fmt.Errorf("metadata %s: the state of %s and %s is there twice, or one of the two is not there", metaStates, quoted(e.Input), quoted(e.Output))
		}
		m.states = append(m.states, statePair{e, true})
	}
	return nil
}

// sameType reports whether an output can carry what an input takes. What the
// file leaves open may agree.
func sameType(in, out Input) bool {
	if out.DType != graph.Invalid && out.DType != in.DType {
		return false
	}
	if out.Shape == nil || in.Shape == nil {
		return true
	}
	return slices.EqualFunc(in.Shape, out.Shape, func(a, b int) bool { return a == b || a < 0 || b < 0 })
}

// addStates notes the states in the graph. Those that were found must have the
// same type and shape at both ends.
func (m *Model) addStates(g *graph.Graph, widened bool) error {
	for _, s := range m.states {
		in := slices.IndexFunc(g.Inputs, func(v *graph.Value) bool { return v.Name == s.Input })
		out := slices.IndexFunc(g.Outputs, func(o graph.Output) bool { return o.Name == s.Output })
		if in < 0 || out < 0 {
			return fmt.Errorf("onnx: the state of %s and %s is not in the graph", quoted(s.Input), quoted(s.Output))
		}
		from, to := g.Inputs[in], g.Outputs[out].Value
		if from.DType != to.DType || !from.Shape.Equal(to.Shape) {
			if s.said || widened {
				return fmt.Errorf("onnx: the state enters as %s %v%v and leaves as %s %v%v",
					quoted(s.Input), from.DType, from.Shape, quoted(s.Output), to.DType, to.Shape)
			}
			continue
		}
		initial, err := tensorOf(s.Initial, from.DType, from.Shape)
		if err != nil {
			return fmt.Errorf("onnx: metadata %s: %w", metaStates, err)
		}
		reset, err := tensorOf(s.Reset, from.DType, from.Shape)
		if err != nil {
			return fmt.Errorf("onnx: metadata %s: %w", metaStates, err)
		}
		g.States = append(g.States, graph.State{Input: in, Output: out, Initial: initial, Reset: reset})
	}
	if len(m.states) == 0 {
		return nil
	}
	return g.Verify()
}

// through are operators that only move the elements of their first operand.
var through = map[string]bool{
	"Identity": true, "Unsqueeze": true, "Squeeze": true, "Reshape": true, "Transpose": true, "Slice": true, "Split": true, "Gather": true, "Cast": true,
}

// maxTrace bounds the way from a recurrent layer to the edge of the model.
const maxTrace = 1024

// tracer follows values back to where they come from.
type tracer struct {
	made   map[string]*node
	inputs map[string]bool
	steps  int
}

// traceStates finds, for each input that recurrent layers begin with, the
// output that holds what they end with.
func traceStates(b *body) map[string]string {
	t := &tracer{made: map[string]*node{}, inputs: map[string]bool{}}
	recurrent := false
	for i := range b.nodes {
		n := &b.nodes[i]
		recurrent = recurrent || isRecurrent(n.op)
		for _, out := range n.out {
			t.made[out] = n
		}
	}
	if !recurrent {
		return nil
	}
	for _, in := range b.inputs {
		t.inputs[in.Name] = true
	}
	pairs := map[string]string{}
	for _, out := range b.outputs {
		t.steps = 0
		in, ok := t.end(out.Name)
		if _, twice := pairs[in]; ok && in != "" && !twice {
			pairs[in] = out.Name
		}
	}
	return pairs
}

func isRecurrent(op string) bool { return op == "LSTM" || op == "GRU" || op == "RNN" }

func (t *tracer) step() bool { t.steps++; return t.steps <= maxTrace }

// end finds the one input with which all recurrent layers begin whose last
// states make a value.
func (t *tracer) end(name string) (input string, ok bool) {
	for t.step() {
		n := t.made[name]
		switch {
		case n == nil:
			return "", false
		case n.op == "Concat":
			for _, part := range n.in {
				in, ok := t.end(part)
				if !ok || input != "" && in != input {
					return "", false
				}
				input = in
			}
			return input, input != ""
		case isRecurrent(n.op):
			k := slices.Index(n.out, name)
			if k < 1 || len(n.in) <= 4+k {
				return "", false
			}
			return t.begin(n.in[4+k])
		case !through[n.op] || len(n.in) == 0:
			return "", false
		}
		name = n.in[0]
	}
	return "", false
}

// begin finds the input that a value is made of.
func (t *tracer) begin(name string) (input string, ok bool) {
	for t.step() {
		if t.inputs[name] {
			return name, true
		}
		n := t.made[name]
		if n == nil || !through[n.op] || len(n.in) == 0 {
			return "", false
		}
		name = n.in[0]
	}
	return "", false
}

// timeNames are names of open dimensions that count steps.
var timeNames = []string{"seq", "time", "step", "length"}

func isTime(name string) bool {
	name = strings.ToLower(name)
	return name == "t" || name == "l" || name == "s" || slices.ContainsFunc(timeNames, func(w string) bool { return strings.Contains(name, w) })
}
