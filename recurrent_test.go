package carlarl_test

import (
	"slices"
	"testing"

	carlarl "github.com/carla-rl/carla-rl-serving"
)

// TestRecurrentPolicyKeepsItsEpisode holds that each call is the next step, and
// that Reset begins another episode.
func TestRecurrentPolicyKeepsItsEpisode(t *testing.T) {
	p, err := carlarl.Open("internal/format/sb3/testdata/rppo_two_layers/model.zip")
	if err != nil {
		t.Fatal(err)
	}
	if !p.Recurrent() {
		t.Fatal("the policy keeps no state")
	}
	f := p.Features()[0]
	obs := make([]float32, f.Shape[0])
	for i := range obs {
		obs[i] = 0.5
	}
	first, second, again := make([]float32, 3), make([]float32, 3), make([]float32, 3)
	for _, to := range [][]float32{first, second} {
		if err := p.ActRow(obs, to); err != nil {
			t.Fatal(err)
		}
	}
	p.Reset()
	if err := p.ActRow(obs, again); err != nil {
		t.Fatal(err)
	}
	if slices.Equal(first, second) || !slices.Equal(first, again) {
		t.Errorf("steps %v and %v, after Reset %v", first, second, again)
	}
}
