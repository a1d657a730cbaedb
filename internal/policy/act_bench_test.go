package policy

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// BenchmarkAct runs one observation of an agent with two hidden layers of 64
// units, as a server does.
func BenchmarkAct(b *testing.B) {
	n, _, _ := agent(b, "ppo_box")
	p, err := compose(&sources{card: &artifact.Card{ModelName: "agent"}, network: n}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	p.Prepare(1)
	call := p.newCall(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Runner(0).Act(call); err != nil {
			b.Fatal(err)
		}
	}
}
