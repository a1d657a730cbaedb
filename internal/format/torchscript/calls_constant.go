package torchscript

import "github.com/carla-rl/carla-rl-serving/internal/graph"

// Known returns what a tensor is where it does not depend on the inputs, nil
// where it does or is large. The computation depends on it from then on.
func (c *Calls) Known(v Value) *graph.Tensor {
	t, ok := v.(*tensor)
	if !ok || t.pending {
		return nil
	}
	return c.in.folded(c.in.read(t))
}
