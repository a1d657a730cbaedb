package format_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

func describe(t *testing.T, path string) format.Description {
	t.Helper()
	data, err := os.ReadFile("../../testdata/torch/" + path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := format.Decode(path, data)
	if err != nil {
		t.Fatal(err)
	}
	return n.Describe()
}

func TestDescribeScript(t *testing.T) {
	d := describe(t, "2.8.0/mlp_relu/model_script.pt")
	if d.Format != "torchscript" || !strings.HasPrefix(d.Producer, "torch 2.1 or later") || d.WeightsOnly || d.HasSampling {
		t.Errorf("described as %+v", d)
	}
	if len(d.Inputs) != 1 || d.Inputs[0].Name != "x" || d.Inputs[0].DType != graph.Float32 || !slices.Equal(d.Inputs[0].Shape, []int{graph.Batch, 7}) {
		t.Errorf("inputs are %+v", d.Inputs)
	}
	var parameters int64
	for _, x := range d.Tensors {
		n := int64(1)
		for _, dim := range x.Shape {
			n *= int64(dim)
		}
		parameters += n
	}
	if d.Parameters != parameters || len(d.Layers) == 0 || !strings.Contains(strings.Join(d.Layers, "\n"), "Linear") {
		t.Errorf("%d parameters, tensors %+v, layers %q", d.Parameters, d.Tensors, d.Layers)
	}
}

func TestDescribeAct(t *testing.T) {
	d := describe(t, "1.13.1/act_method/model_script.pt")
	if !slices.Equal(d.Methods[:2], []string{"forward", "act"}) || !d.HasSampling || !strings.HasPrefix(d.Producer, "torch before 2.1") {
		t.Errorf("methods %v, sampling %v, producer %q", d.Methods, d.HasSampling, d.Producer)
	}
}

// Tied weights are listed under each name and counted once.
func TestDescribeTied(t *testing.T) {
	d := describe(t, "2.5.1/shared_weights/model_script.pt")
	var listed int64
	for _, x := range d.Tensors {
		n := int64(1)
		for _, dim := range x.Shape {
			n *= int64(dim)
		}
		listed += n
	}
	if d.Parameters >= listed {
		t.Errorf("%d parameters, tensors list %d values: none is tied", d.Parameters, listed)
	}
}

func TestDescribeWeights(t *testing.T) {
	for _, file := range []string{"state_dict.pth", "state_dict_legacy.pth"} {
		d := describe(t, "2.15.0/seq_tanh/"+file)
		if !d.WeightsOnly || d.Format != "torch weights" || d.Parameters == 0 {
			t.Errorf("%s: described as %+v", file, d)
		}
		want := "[{linear: 0}, relu, {linear: 2}"
		if !strings.HasPrefix(d.Architecture, want) || len(d.Notes) == 0 {
			t.Errorf("%s: architecture %q, want %q", file, d.Architecture, want)
		}
	}
}
