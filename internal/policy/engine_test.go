package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// failing is an engine that compiles nothing.
type failing struct{ err error }

func (failing) Name() string                            { return "failing" }
func (e failing) Compile(*graph.Graph) (Program, error) { return nil, e.err }

func TestAutoTakesTheSecondForWhatTheFirstLacks(t *testing.T) {
	lacks := fmt.Errorf("stft: %w: the operator has no step", plan.ErrUnsupported)
	f := func(first, second Engine, want string, refused error) {
		t.Helper()
		p, err := compose(&sources{card: &artifact.Card{ModelName: "m"}, network: built(t, 5, 3, 2)}, Options{Engine: Auto(first, second)})
		if refused != nil {
			if !errors.Is(err, refused) {
				t.Errorf("got %v, want %v", err, refused)
			}
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		p.Prepare(1)
		call := p.newCall(1)
		copy(call.In[0], []float32{1, 2, 3})
		if err := p.Runner(0).Act(call); err != nil || !slices.Equal(call.Actions, []float32{2, 4, 6}) {
			t.Errorf("actions %v, %v", call.Actions, err)
		}
		if notes := strings.Join(p.Notes(), "\n"); strings.Count(notes, "engine:") != min(1, len(want)) || !strings.Contains(notes, want) {
			t.Errorf("notes %q, want %q once", notes, want)
		}
	}
	f(Plan, failing{lacks}, "", nil)
	f(failing{lacks}, Reference, "engine: reference computes the policy, because failing does not: stft: unsupported", nil)
	broken := errors.New("broken")
	f(failing{broken}, Reference, "", broken)
	f(failing{lacks}, failing{broken}, "", broken)
}
