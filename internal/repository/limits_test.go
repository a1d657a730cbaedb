//go:build unix

package repository_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// TestRefusalsNameTheLimit: a version that goes beyond a bound of a load says
// which, and one that is refused for something else says none.
func TestRefusalsNameTheLimit(t *testing.T) {
	let := make(chan struct{})
	defer close(let)
	f := func(model []byte, o repository.Options, want repository.Limit) {
		t.Helper()
		var got atomic.Value
		dir := t.TempDir()
		putFiles(t, dir, "v0.1.0", model, "")
		o.Root = dir
		o.Loaded = func(v *repository.Version) { got.Store(v.Limit) }
		open(t, o)
		if got.Load() != want {
			t.Errorf("the limit is %v, want %q", got.Load(), want)
		}
	}
	most := func(nodes int) func(*artifact.Artifact) (*policy.Policy, error) {
		return func(a *artifact.Artifact) (*policy.Policy, error) {
			return policy.Open(a, policy.Options{MaxNodes: nodes})
		}
	}
	endless := func(*artifact.Artifact) (*policy.Policy, error) { <-let; return nil, artifact.ErrMissing }
	good := weights(0, 2)
	f(good, repository.Options{Open: most(100)}, "")
	f([]byte("no tensors"), repository.Options{Open: real}, "")
	f(good, repository.Options{Open: most(1)}, repository.LimitGraph)
	f(good, repository.Options{Open: real, MaxLoadMemory: 100}, repository.LimitMemory)
	f(good, repository.Options{Open: real, Limits: artifact.Limits{MaxModelBytes: 50}}, repository.LimitFile)
	f(good, repository.Options{Open: endless, LoadTimeout: time.Millisecond}, repository.LimitTime)
	f([]byte("\xff\xff\xff\x02\x00\x00\x00\x00{ "), repository.Options{Open: real}, repository.LimitReader)
}
