package format_test

import (
	"os"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
)

// A decoded network is shared: lowering it does not change it.
func TestLowerConcurrently(t *testing.T) {
	data, err := os.ReadFile("../../testdata/torch_ops/2.8.0/ops_script.pt")
	if err != nil {
		t.Fatal(err)
	}
	n, err := format.Decode("ops", data)
	if err != nil {
		t.Fatal(err)
	}
	lower := func(method string) string {
		g, err := n.Lower(format.LowerOptions{Method: method, InputShapes: map[string][]int{"x": {-1, 6}, "y": {-1, 6}}})
		if err != nil {
			return err.Error()
		}
		return g.String()
	}
	methods := []string{"inplace_two_views", "linear", "list_of_tensors", "batch_norm", "condition_on_attribute", "string_choice"}
	want := map[string]string{}
	for _, m := range methods {
		want[m] = lower(m)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range methods {
				m := methods[(i+k)%len(methods)]
				if got := lower(m); got != want[m] {
					t.Errorf("%s is now\n%s\nand was\n%s", m, got, want[m])
				}
				if d := n.Describe(); d.Format != "torchscript" {
					t.Errorf("described as %q", d.Format)
				}
			}
		})
	}
	wg.Wait()
}
