package onnx

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// metaStates is the key of the states in the metadata of a model: a list of
// stateEntry as JSON.
const metaStates = "carla_rl.states"

// stateEntry is a state in the metadata of a model.
type stateEntry struct {
	Input   string   `json:"input"`
	Output  string   `json:"output"`
	Initial []string `json:"initial,omitempty"`
	Reset   []string `json:"reset,omitempty"`
}

// stateMetadata writes down the states of a graph, nothing where it has none.
// Numbers are text, so that NaN and infinities can be said.
func stateMetadata(g *graph.Graph, outputs []string) (map[string]string, error) {
	if len(g.States) == 0 {
		return nil, nil
	}
	entries := make([]stateEntry, len(g.States))
	for i, s := range g.States {
		entries[i] = stateEntry{g.Inputs[s.Input].Name, outputs[s.Output], numbersOf(s.Initial), numbersOf(s.Reset)}
	}
	text, err := json.Marshal(entries)
	return map[string]string{metaStates: string(text)}, err
}

func numbersOf(t *graph.Tensor) []string {
	if t == nil {
		return nil
	}
	out := make([]string, t.Len())
	for i := range out {
		if t.I64 != nil {
			out[i] = strconv.FormatInt(t.I64[i], 10)
		} else {
			out[i] = strconv.FormatFloat(t.At(i), 'g', -1, 64)
		}
	}
	return out
}

// tensorOf is the opposite of numbersOf, nil for nothing.
func tensorOf(numbers []string, dt graph.DType, shape graph.Shape) (*graph.Tensor, error) {
	if len(numbers) == 0 {
		return nil, nil
	}
	t := &graph.Tensor{DType: dt, Shape: shape.For(1)}
	for _, s := range numbers {
		if !dt.IsFloat() {
			x, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return nil, err
			}
			t.I64 = append(t.I64, x)
			continue
		}
		x, err := strconv.ParseFloat(s, 64)
		switch {
		case err != nil:
			return nil, err
		case dt == graph.Float64:
			t.F64 = append(t.F64, x)
		default:
			t.F32 = append(t.F32, float32(x))
		}
	}
	return t, t.Check()
}

// memory are words in the names of what a network carries from step to step.
var memory = []string{"hidden", "state", "cell", "memor", "recurrent", "lstm", "gru", "rnn", "carry", "past"}

// remembers reports whether a name without its direction is one of a memory.
func remembers(name string) bool {
	switch name = strings.ToLower(name); name {
	case "h", "c", "hx", "cx", "h_0", "c_0", "h0", "c0", "h_x", "c_x", "z", "mem":
		return true
	}
	return slices.ContainsFunc(memory, func(w string) bool { return strings.Contains(name, w) })
}

// pairedNames reports whether an input and an output have the names that
// exporters give to both ends of one state: h_in and h_out, state_in_0 and
// state_out_0, hidden and hidden_out, prev_hidden and new_hidden, h0 and hn.
func pairedNames(in, out string) bool {
	for _, p := range [][2]string{{"_in", "_out"}, {"in_", "out_"}, {"In", "Out"}, {"input", "output"}, {"prev_", "new_"}, {"prev_", "next_"},
		{"previous_", "next_"}, {"previous_", "new_"}, {"old_", "new_"}, {"past_", "present_"}, {"0", "n"}, {"0", "1"}, {"_in", "_new"}} {
		for at := 0; ; {
			k := strings.Index(in[at:], p[0])
			if k < 0 {
				break
			}
			at += k
			if in[:at]+p[1]+in[at+len(p[0]):] == out && (p[0] != "0" || remembers(in)) {
				return true
			}
			at += len(p[0])
		}
	}
	bare := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(in, "_in"), "prev_"), "previous_")
	if !remembers(bare) {
		return false
	}
	others := []string{bare + "_out", bare + "_new", "new_" + bare, "next_" + bare, bare + "_next", bare + "n", bare + "_n", "out_" + bare, bare + "Out"}
	return slices.Contains(others, out) || bare != in && bare == out
}
