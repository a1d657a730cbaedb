package architecture_test

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
)

// TestRecognizeWrapped knows a layout below what DistributedDataParallel and
// torch.compile put before every name, and only where it is before every one.
func TestRecognizeWrapped(t *testing.T) {
	plain := zeros(
		"actor_logstd", []int{1, 2},
		"actor_mean.0.weight", []int{8, 3}, "actor_mean.0.bias", []int{8}, "actor_mean.2.weight", []int{8, 8}, "actor_mean.2.bias", []int{8},
		"actor_mean.4.weight", []int{2, 8}, "actor_mean.4.bias", []int{2},
		"critic.0.weight", []int{8, 3}, "critic.0.bias", []int{8}, "critic.2.weight", []int{8, 8}, "critic.2.bias", []int{8},
		"critic.4.weight", []int{1, 8}, "critic.4.bias", []int{1},
	)
	for _, prefix := range []string{"", "module.", "_orig_mod."} {
		var d torch.StateDict
		for _, n := range plain {
			d = append(d, torch.NamedTensor{Name: prefix + n.Name, Tensor: n.Tensor})
		}
		l := architecture.Recognize(d)
		if l == nil || l.Name != "CleanRL (PPO, continuous actions)" {
			t.Fatalf("%q: %v", prefix, l)
		}
		if unused := l.Spec.Unused(d); len(unused) > 0 {
			t.Errorf("%q: %v are unused", prefix, unused)
		}
		if _, err := l.Spec.Lower(d, architecture.Options{}); err != nil {
			t.Errorf("%q: %v", prefix, err)
		}
		if prefix != "" {
			d[0].Name = plain[0].Name
			if l := architecture.Recognize(d); l != nil {
				t.Errorf("%q before some names only: %s", prefix, l.Name)
			}
		}
	}
}
