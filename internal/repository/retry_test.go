package repository_test

import (
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// slowLoad holds the load of models that say "slow" until it is let go.
func slowLoad(gate <-chan struct{}) func(*artifact.Artifact) (*policy.Policy, error) {
	return func(a *artifact.Artifact) (*policy.Policy, error) {
		if data, err := a.Read(artifact.RoleModel); err == nil && string(data) == "slow" {
			<-gate
		}
		return openFake(a)
	}
}

// TestPassingRefusalsAreTriedAgain: a version that is refused because another
// load holds the loader is ready once that has ended, although nobody looks at
// the root; what the files are refused for is not tried again.
func TestPassingRefusalsAreTriedAgain(t *testing.T) {
	gate := make(chan struct{})
	bad := 0
	r := open(t, repository.Options{
		FS:      files(map[string]string{"v0.3.0/": "slow", "v0.2.0/": "good", "v0.1.0/": "bad"}),
		Loaders: 1, LoadTimeout: 50 * time.Millisecond, Retry: time.Millisecond, Open: slowLoad(gate),
		Loaded: func(v *repository.Version) {
			if v.Name == "v0.1.0" && strings.Contains(v.Reason, "golden") {
				bad++ // by the one goroutine that loads
			}
		},
	})
	want(t, r, "carla-ppo v0.3.0=failed | v0.3.0 failed | v0.2.0 failed | v0.1.0 failed")
	if v, err := r.Lookup("", "v0.2.0"); err == nil || !strings.Contains(v.Reason, "go on still") {
		t.Errorf("got %+v, %v", v, err)
	}
	close(gate)
	eventually(t, r, "carla-ppo v0.2.0=ready | v0.3.0 failed | v0.2.0 ready | v0.1.0 failed")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if bad != 1 {
		t.Errorf("a version whose golden vector is missed was tried %d times", bad)
	}
}

// TestCloseGivesUpTheFirstLoad: whoever stops a server does not wait for a
// version that is still being loaded.
func TestCloseGivesUpTheFirstLoad(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{})
	load := slowLoad(gate)
	r, err := repository.Open(t.Context(), repository.Options{
		Root: "models", FS: files(map[string]string{"v0.1.0/": "slow"}),
		Open: func(a *artifact.Artifact) (*policy.Policy, error) { close(begun); return load(a) },
	})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := r.Close(); err != nil { // would wait for the gate
		t.Error(err)
	}
	if v, err := r.Lookup("", "v0.1.0"); err == nil || v.State != repository.StateFailed {
		t.Errorf("got %+v, %v", v, err)
	}
	close(gate)
}
