package architecture

import (
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestRecognizeAtoms refuses tensors of atoms and heads of shapes that no
// distributional critic has, though all names are there.
func TestRecognizeAtoms(t *testing.T) {
	f := func(want bool, atoms, head graph.Shape) {
		t.Helper()
		for _, pixels := range []bool{false, true} {
			shapes := map[string]graph.Shape{"atoms": atoms, "network.0.weight": {9, 4}, "network.2.weight": {8, 9}, "network.4.weight": head}
			if pixels {
				shapes = map[string]graph.Shape{
					"atoms": atoms, "network.0.weight": {32, 4, 8, 8}, "network.2.weight": {64, 32, 4, 4}, "network.4.weight": {64, 64, 3, 3},
					"network.7.weight": {8, 3136}, "network.9.weight": head,
				}
			} else {
				for _, i := range []string{"0", "2", "4"} {
					shapes["network."+i+".bias"] = graph.Shape{1}
				}
			}
			var all torch.StateDict
			for name, s := range shapes {
				all = append(all, torch.NamedTensor{Name: "model_weights." + name, Tensor: &graph.Tensor{DType: graph.Float32, Shape: s}})
			}
			if got := Recognize(all) != nil; got != want {
				t.Errorf("atoms %v, head %v, pixels %v: recognized %v", atoms, head, pixels, got)
			}
		}
	}
	f(true, graph.Shape{5}, graph.Shape{10, 8})
	f(false, graph.Shape{0}, graph.Shape{10, 8})
	f(false, graph.Shape{}, graph.Shape{10, 8})
	f(false, graph.Shape{3}, graph.Shape{10, 8})
	f(false, graph.Shape{11}, graph.Shape{10, 8})
	f(false, graph.Shape{5}, graph.Shape{})
}

// tensorsOf makes tensors of zeros of shapes by name.
func tensorsOf(shapes map[string]graph.Shape) torch.StateDict {
	var all torch.StateDict
	for name, s := range shapes {
		all = append(all, torch.NamedTensor{Name: name, Tensor: &graph.Tensor{DType: graph.Float32, Shape: s, F32: make([]float32, s.RowElements())}})
	}
	return all
}

// mlpOf adds the dense layers prefix.0, prefix.2, ... of some sizes.
func mlpOf(shapes map[string]graph.Shape, prefix string, sizes ...int) {
	for i := 1; i < len(sizes); i++ {
		at := prefix + "." + string(rune('0'+2*(i-1)))
		shapes[at+".weight"], shapes[at+".bias"] = graph.Shape{sizes[i], sizes[i-1]}, graph.Shape{sizes[i]}
	}
}

// TestRecognizeWidths takes an actor and a critic of the same layers for
// CleanRL's whatever their widths, and notes what is not in the file.
func TestRecognizeWidths(t *testing.T) {
	f := func(actor, critic []int, known, noted bool) {
		t.Helper()
		shapes := map[string]graph.Shape{}
		mlpOf(shapes, "actor", actor...)
		mlpOf(shapes, "critic", critic...)
		l := Recognize(tensorsOf(shapes))
		if (l != nil) != known {
			t.Fatalf("%v and %v: recognized %v", actor, critic, l)
		}
		if l != nil && slices.ContainsFunc(l.Notes, func(n string) bool { return strings.Contains(n, "tanh") }) != noted {
			t.Errorf("%v: notes %q", actor, l.Notes)
		}
	}
	f([]int{4, 64, 64, 2}, []int{4, 64, 64, 1}, true, false)
	f([]int{4, 256, 128, 2}, []int{4, 256, 128, 1}, true, true)
	f([]int{4, 32, 32, 2}, []int{4, 64, 64, 1}, false, false) // not of one script
	f([]int{4, 32, 32, 2}, []int{4, 32, 32, 2}, false, false) // two values of a state
	f([]int{4, 32, 32, 32, 2}, []int{4, 32, 32, 32, 1}, false, false)
}

// TestHint says what a card needs for a checkpoint of rsl_rl whose distribution
// left nothing in the file, and nothing of other files.
func TestHint(t *testing.T) {
	shapes := map[string]graph.Shape{}
	mlpOf(shapes, "actor_state_dict.mlp", 5, 16, 6)
	all := tensorsOf(shapes)
	if l := Recognize(all); l != nil {
		t.Errorf("recognized as %s", l.Name)
	}
	hint := Hint(all)
	for _, want := range []string{"rsl_rl 5", "{linear: actor_state_dict.mlp.0}, elu, {linear: actor_state_dict.mlp.2}, {slice: {axis: -1, start: 0, end: 3}}", "Beta"} {
		if !strings.Contains(hint, want) {
			t.Errorf("%q, want %q", hint, want)
		}
	}
	_, text, _ := strings.Cut(hint, "architecture: ")
	text, _, _ = strings.Cut(text, ". Of")
	s, err := ParseText(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	g, err := s.Lower(all, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if out := g.Outputs[0].Value.Shape; !out.Equal(graph.Shape{graph.Batch, 3}) {
		t.Errorf("the mean is %v", out)
	}
	shapes["actor_state_dict.distribution.std_param"] = graph.Shape{6}
	if l := Recognize(tensorsOf(shapes)); l == nil || Hint(tensorsOf(shapes)) != "" {
		t.Errorf("a Gaussian is %v", l)
	}
	if h := Hint(tensorsOf(map[string]graph.Shape{"a.weight": {2, 2}})); h != "" {
		t.Errorf("a hint %q", h)
	}
}
