package repository_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// TestLoadingIsBoundedAndInOrder holds every load until it is let go.
func TestLoadingIsBoundedAndInOrder(t *testing.T) {
	var mu sync.Mutex
	var begun []string
	running, most := 0, 0
	gate := make(chan struct{})
	o := repository.Options{
		Root: "models", Loaders: 2, DefaultModel: "b",
		FS: files(map[string]string{"a/v1.0.0/": "x", "a/v2.0.0/": "x", "b/v1.0.0/": "x", "b/v2.0.0/": "x", "c/v1.0.0/": "x"}),
		Open: func(a *artifact.Artifact) (*policy.Policy, error) {
			mu.Lock()
			begun = append(begun, a.Dir)
			running++
			most = max(most, running)
			mu.Unlock()
			<-gate
			mu.Lock()
			running--
			mu.Unlock()
			return openFake(a)
		},
	}
	r, err := repository.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// While it loads, it says so.
	if r.Started() {
		t.Error("started before anything was loaded")
	}
	v, err := r.Lookup("b", "")
	var notReady *repository.NotReadyError
	if !errors.As(err, &notReady) || v.State != repository.StateLoading || r.Readiness() == nil {
		t.Errorf("got %+v, %v", v, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(gate)
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !r.Started() || most > 2 || len(begun) != 5 {
		t.Errorf("got %d at the same time of %v", most, begun)
	}
	// The default model's current version first, among as many as load at
	// the same time; then the other current ones; then the rest.
	if !slices.Contains(begun[:2], "b/v2.0.0") {
		t.Errorf("got %v", begun)
	}
	if rest := begun[3:]; slices.Contains(rest, "c/v1.0.0") && slices.Contains(rest, "a/v2.0.0") {
		t.Errorf("current versions came last: %v", begun)
	}
}

func TestLoadedIsToldOfEach(t *testing.T) {
	var mu sync.Mutex
	got := map[string]repository.State{}
	r := open(t, repository.Options{
		FS: files(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad", "v0.3.0/": "y", "v0.3.0+b/": "y"}),
		Loaded: func(v *repository.Version) {
			mu.Lock()
			defer mu.Unlock()
			if _, twice := got[v.Name]; twice {
				t.Errorf("%s was told of twice", v.Name)
			}
			got[v.Name] = v.State
		},
	})
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]repository.State{"v0.1.0": repository.StateReady, "v0.2.0": repository.StateFailed, "v0.3.0": repository.StateFailed, "v0.3.0+b": repository.StateFailed}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for name, state := range want {
		if got[name] != state {
			t.Errorf("%s: got %v, want %v", name, got[name], state)
		}
	}
}

// TestBytesAreReleased holds that the files of a version that was tried, well
// or badly, are not kept in memory.
func TestBytesAreReleased(t *testing.T) {
	var mu sync.Mutex
	var artifacts []*artifact.Artifact
	open(t, repository.Options{
		FS: files(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad", "v0.3.0/": "panic"}),
		Open: func(a *artifact.Artifact) (*policy.Policy, error) {
			mu.Lock()
			artifacts = append(artifacts, a)
			mu.Unlock()
			return openFake(a)
		},
	})
	if len(artifacts) != 3 {
		t.Errorf("%d were opened", len(artifacts))
	}
	for _, a := range artifacts {
		if data, err := a.Read(artifact.RoleModel); err == nil {
			t.Errorf("version %s still holds %d bytes", a.Card.Version, len(data))
		}
	}
}

func TestCloseStopsLoading(t *testing.T) {
	begun, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	loads := 0
	list := map[string]string{}
	for i := range 10 {
		list[fmt.Sprintf("v0.%d.0/", i)] = "x"
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := repository.Open(ctx, repository.Options{FS: files(list), Loaders: 1, Open: func(a *artifact.Artifact) (*policy.Policy, error) {
		mu.Lock()
		loads++
		mu.Unlock()
		once.Do(func() { close(begun) })
		<-gate
		return openFake(a)
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	cancel()
	close(gate)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if loads == 10 {
		t.Error("all versions were loaded after the context had ended")
	}
}

// TestLookupWhileLoading reads from many goroutines as snapshots change. The
// race detector is what looks on.
func TestLookupWhileLoading(t *testing.T) {
	list := map[string]string{}
	for i := range 12 {
		list[fmt.Sprintf("a/v0.%d.0/", i)] = "x"
		list[fmt.Sprintf("b/v0.%d.0/", i)] = "bad"
	}
	r, err := repository.Open(t.Context(), repository.Options{FS: files(list), Loaders: 4, Open: openFake})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for !r.Started() {
				for i := range 12 {
					v, err := r.Lookup("a", fmt.Sprintf("v0.%d.0", i))
					if (err == nil) != (v.State == repository.StateReady) || (v.State == repository.StateReady) != (v.Policy != nil) {
						t.Errorf("got %+v, %v", v, err)
					}
				}
				if n := len(r.Models()); n != 2 {
					t.Errorf("got %d models", n)
				}
				_ = r.Readiness()
			}
		})
	}
	readers.Wait()
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Models() {
		for _, v := range m.All {
			if (m.Name == "a") != (v.State == repository.StateReady) {
				t.Errorf("%s %s: %s", m.Name, v.Name, v.State)
			}
		}
	}
}
