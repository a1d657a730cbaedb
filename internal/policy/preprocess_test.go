package policy

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// joined is a network that gives its inputs side by side. It takes batches, or
// one row at a time.
func joined(batched bool, names []string, widths ...int) *network {
	n := &network{}
	for _, name := range names {
		n.description.Inputs = append(n.description.Inputs, format.InputDescription{Name: name, DType: graph.Float32})
	}
	n.lower = func(o format.LowerOptions) (*graph.Graph, error) {
		rows := graph.Batch
		if !batched {
			if o.Rows != 1 {
				return nil, fmt.Errorf("control flow: %w", graph.ErrMixesRows)
			}
			rows = 1
		}
		g := graph.New("joined")
		var in []*graph.Value
		for i, name := range names {
			in = append(in, g.Input(name, graph.Float32, graph.Shape{rows, widths[i]}))
		}
		g.Output("out", must(g.Add(graph.OpConcat, graph.Attrs{"axis": 1}, in...)))
		return g, nil
	}
	return n
}

func preprocessor(t *testing.T, name string) *preprocess.Preprocessor {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../testdata/preprocess", name, "preprocessor_p4.pkl"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := preprocess.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPreprocessorOfRowsInTurn compares a policy that takes rows one by one
// with its twin that takes them together, for every preprocessor.
func TestPreprocessorOfRowsInTurn(t *testing.T) {
	dirs, err := filepath.Glob("../../testdata/preprocess/*/preprocessor_p4.pkl")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, path := range dirs {
		name := filepath.Base(filepath.Dir(path))
		pre := preprocessor(t, name)
		if pre.Width() == 0 {
			continue
		}
		var answers [2][]float32
		for i, batched := range []bool{true, false} {
			p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: joined(batched, []string{"x"}, pre.OutputWidth(pre.Width())), preprocessor: pre})
			if p.Batchable() != batched {
				t.Fatalf("%s: batchable = %v", name, p.Batchable())
			}
			call := p.newCall(4)
			for j := range call.In[0] {
				call.In[0][j] = float32(1.5 + math.Sin(float64(j)))
			}
			if err := p.Runner(0).Act(call); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			answers[i] = call.Actions
		}
		if !slices.Equal(answers[0], answers[1]) {
			t.Errorf("%s: %v together, %v in turn", name, answers[0], answers[1])
		}
		compared++
	}
	if compared < 20 {
		t.Errorf("only %d preprocessors were compared", compared)
	}
}

// TestStatisticsByKey applies statistics to the inputs that they are of; an
// input without any passes.
func TestStatisticsByKey(t *testing.T) {
	for _, name := range []string{"vecnormalize_dict", "vecnormalize_dict_some_keys"} {
		pre := preprocessor(t, name)
		names, widths := []string{"else"}, []int{2}
		for _, key := range pre.Keys() {
			names, widths = append(names, key), append(widths, pre.KeyWidth(key))
		}
		alone, err := pre.Graph(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, batched := range []bool{true, false} {
			p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: joined(batched, names, widths...), preprocessor: pre})
			if c := p.Contract(); !c.Named || len(c.Features) != len(names) {
				t.Fatalf("%s: features %+v", name, c.Features)
			}
			call := p.newCall(1)
			want := []float32{7, 8}
			copy(call.In[0], want)
			var in []*graph.Tensor
			for _, x := range call.In[1:] {
				for j := range x {
					x[j] = float32(j) - 1
				}
				in = append(in, graph.Float32s(x, 1, len(x)))
			}
			outs, err := graph.Evaluate(alone, 1, in, graph.Noise{})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range outs {
				want = append(want, o.F32...)
			}
			if err := p.Runner(0).Act(call); err != nil {
				t.Fatal(err)
			}
			for i, w := range want {
				if math.Abs(float64(call.Actions[i]-w)) > 1e-6*max(1, math.Abs(float64(w))) {
					t.Fatalf("%s: value %d is %v, want %v", name, i, call.Actions[i], w)
				}
			}
		}
	}
}

func TestStatisticsByKeyRefuse(t *testing.T) {
	pre := preprocessor(t, "vecnormalize_dict")
	key := pre.Keys()[0]
	f := func(n *network, want string) {
		t.Helper()
		_, err := compose(&sources{card: &artifact.Card{ModelName: "m"}, network: n, preprocessor: pre}, Options{})
		if !errors.Is(err, errDisagree) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want sources that disagree on %q", err, want)
		}
	}
	f(joined(true, []string{"x"}, 5), "normalises "+key+", which is no input of the network")
	f(joined(true, []string{key}, pre.KeyWidth(key)+1), fmt.Sprintf("takes %d values of %s", pre.KeyWidth(key), key))
}
