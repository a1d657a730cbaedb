package repository_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/demo"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBad = errors.New("golden vector 0: action throttle is 1, the trainer's framework gave 2")

// openFake stands for policy.Open: the text of the model says what becomes of
// it.
func openFake(a *artifact.Artifact) (*policy.Policy, error) {
	data, err := a.Read(artifact.RoleModel)
	if err != nil {
		return nil, err
	}
	switch string(data) {
	case "bad":
		return nil, errBad
	case "panic":
		panic("a decoder's own fault")
	}
	return &policy.Policy{}, nil
}

func card(name, version string) string {
	return fmt.Sprintf("model_name: %s\nversion: %s\nmodel_type: pytorch\n", name, version)
}

// files makes a file system of names and texts. A name that ends in a slash
// is an artifact with the card that is the text; a folder named by a version
// has that version.
func files(list map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range list {
		if dir, ok := strings.CutSuffix(name, "/"); ok {
			version := dir[strings.LastIndex(dir, "/")+1:]
			if _, err := artifact.ParseVersion(version); err != nil {
				version = "v1.0.0"
			}
			m[dir+"/model_card.yaml"] = &fstest.MapFile{Data: []byte(card("carla-ppo", version))}
			m[dir+"/model.pt"] = &fstest.MapFile{Data: []byte(text)}
			continue
		}
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

// open opens a repository, waits for it and has it closed at the end.
func open(t *testing.T, o repository.Options) *repository.Repository {
	t.Helper()
	if o.Open == nil {
		o.Open = openFake
	}
	if o.Root == "" {
		o.Root = "models"
	}
	r, err := repository.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// describe prints models and versions in one line.
func describe(r *repository.Repository) string {
	var parts []string
	for _, m := range r.Models() {
		text := m.Name
		if m.Default {
			text += "*"
		}
		for _, v := range m.All {
			text += " " + v.Name
			if v.Name == m.Current {
				text += "!"
			}
			if v.State != repository.StateReady {
				text += "(" + v.State.String() + ")"
			}
		}
		parts = append(parts, text)
	}
	return string(r.Layout()) + ": " + strings.Join(parts, "; ")
}

func TestLayouts(t *testing.T) {
	f := func(want string, list map[string]string) {
		t.Helper()
		if got := describe(open(t, repository.Options{FS: files(list)})); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	// The star marks the default model, the exclamation mark the version that
	// answers.
	f("flat: carla-ppo* v0.1.0!", map[string]string{"model_card.yaml": card("carla-ppo", "v0.1.0"), "model.pt": "x"})
	f("flat: models* unversioned!", map[string]string{"policy.zip": "x", "vec_normalize.pkl": "y"})
	f("versioned: carla-ppo* v0.2.0! v0.1.0", map[string]string{"v0.1.0/": "x", "v0.2.0/": "y"})
	f("versioned: carla-ppo* v0.10.0! v0.9.0", map[string]string{"v0.9.0/": "x", "v0.10.0/": "y"})
	f("versioned: carla-ppo* v0.3.0-rc.1 v0.2.0! v0.1.0", map[string]string{"v0.1.0/": "x", "v0.2.0/": "y", "v0.3.0-rc.1/": "z"})
	f("versioned: carla-ppo* v0.3.0-rc.2! v0.3.0-rc.1", map[string]string{"v0.3.0-rc.1/": "x", "v0.3.0-rc.2/": "y"})
	f("versioned: carla-ppo* 1.0.0!", map[string]string{"1.0.0/": "x"})
	f("models: a v1.0.0!; b v2.0.0! v1.0.0", map[string]string{"a/v1.0.0/": "x", "b/v1.0.0/": "y", "b/v2.0.0/": "z"})
	f("models: default* v1.0.0!; b v1.0.0!", map[string]string{"b/v1.0.0/": "x", "default/v1.0.0/": "y"})
	f("models: a* v1.0.0!", map[string]string{"a/v1.0.0/": "x"})
	f("models: a* 10! 9", map[string]string{"a/9/": "x", "a/10/": "y"})
	f("models: a* best!", map[string]string{"a/best/": "x"})
	f("models: a* v0.4.0!", map[string]string{"a/model_card.yaml": card("a", "v0.4.0"), "a/model.pt": "x"})
	// Beside versions, a card at the top is one more version.
	f("versioned: carla-ppo* v0.3.0! v0.1.0", map[string]string{"v0.1.0/": "x", "model_card.yaml": card("carla-ppo", "v0.3.0"), "model.pt": "y"})
	// What is not ours stays out of it.
	f("versioned: carla-ppo* v0.1.0!", map[string]string{"v0.1.0/": "x", ".git/x": "", "..data/x": "", "manifests/v0.1.0.json": "{}", "lost+found/x": "", "a b/x": ""})
}

func TestSingleFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "policy.zip")
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(open(t, repository.Options{Root: name})), "file: policy* unversioned!"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestNotes(t *testing.T) {
	r := open(t, repository.Options{FS: files(map[string]string{"v0.1.0/": "x", "old/x": "", "näme/x": ""})})
	text := strings.Join(r.Notes(), "\n")
	for _, want := range []string{"The folder old is not used", `The folder "näme" is not used`} {
		if !strings.Contains(text, want) {
			t.Errorf("the notes lack %q: %s", want, text)
		}
	}
}

func TestModelVersion(t *testing.T) {
	list := map[string]string{"v0.1.0/": "x", "v0.2.0/": "y", "v0.3.0-rc.1/": "z", "v1.0.0+b1/": "w"}
	f := func(version, want string) {
		t.Helper()
		r := open(t, repository.Options{FS: files(list), ModelVersion: version})
		if got := r.Models()[0].Current; got != want {
			t.Errorf("%q: got %s, want %s", version, got, want)
		}
		if r.Requested() != version {
			t.Errorf("got %q", r.Requested())
		}
	}
	f("", "v1.0.0+b1")
	f("v0.1.0", "v0.1.0")
	f("0.1.0", "v0.1.0")
	f(" v0.1.0 ", "v0.1.0")
	f("v1.0.0", "v1.0.0+b1") // build data does not count
	f("v0.3.0-rc.1", "v0.3.0-rc.1")
	f("latest", "v1.0.0+b1")
	f("stable", "v1.0.0+b1")
	f("^0.1.0", "v0.2.0")
	f("~0.1.0", "v0.1.0")
	f(">=0.2.1, <1.0.0", "v0.3.0-rc.1")
}

// TestModelVersionThatNothingCarries is the trap of the Python server, which
// serves another version in silence.
func TestModelVersionThatNothingCarries(t *testing.T) {
	f := func(version string, list map[string]string, want ...string) {
		t.Helper()
		r, err := repository.Open(t.Context(), repository.Options{Root: "models", FS: files(list), ModelVersion: version, Open: openFake})
		if err == nil {
			t.Errorf("%q: was opened: %s", version, describe(r))
			r.Close()
			return
		}
		if !errors.Is(err, artifact.ErrNoVersion) {
			t.Errorf("%q: got %v", version, err)
		}
		for _, w := range append(want, "artifact root models", version) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: got %q, want %q in it", version, err, w)
			}
		}
	}
	versioned := map[string]string{"v0.1.0/": "x", "v0.2.0/": "y"}
	f("v0.3.0", versioned, "there are: v0.2.0, v0.1.0")
	f("v0.1.0-rc.1", versioned)
	f("^1.0.0", versioned)
	f("stable", map[string]string{"v0.1.0-rc.1/": "x"}, "there are: v0.1.0-rc.1")
	f("v0.2.0", map[string]string{"model_card.yaml": card("a", "v0.1.0"), "model.pt": "x"}, "there are: v0.1.0")
	f("v0.1.0", map[string]string{"policy.zip": "x"})
	f("v3.0.0", map[string]string{"a/v1.0.0/": "x", "b/v2.0.0/": "y"})
}

func TestModelVersionOfSeveralModels(t *testing.T) {
	list := map[string]string{"a/v1.0.0/": "x", "a/v2.0.0/": "x", "b/v3.0.0/": "y", "b/v4.0.0-rc.1/": "y", "c/v1.0.0/": "z", "c/v2.0.0/": "z", "d/v0.9.0-rc.1/": "z"}
	f := func(version, def, want string, notes ...string) {
		t.Helper()
		r := open(t, repository.Options{FS: files(list), ModelVersion: version, DefaultModel: def})
		if got := describe(r); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := r.Notes(); !slices.Equal(got, notes) {
			t.Errorf("got notes %q, want %q", got, notes)
		}
	}
	// The default model carries it; another takes it too or says what it does.
	f("v1.0.0", "a", "models: a* v2.0.0 v1.0.0!; b v4.0.0-rc.1 v3.0.0!; c v2.0.0 v1.0.0!; d v0.9.0-rc.1!",
		"MODEL_VERSION v1.0.0 is for the default model a; the model b has no such version and serves v3.0.0, its newest stable one.",
		"MODEL_VERSION v1.0.0 is for the default model a; the model d has no such version and serves v0.9.0-rc.1, its newest.")
	// Without a default model each must carry it.
	f("latest", "", "models: a v2.0.0! v1.0.0; b v4.0.0-rc.1! v3.0.0; c v2.0.0! v1.0.0; d v0.9.0-rc.1!",
		"There are several models and no default one: requests must name a model, or model.default must.")

	refuses := func(version, def string, want ...string) {
		t.Helper()
		r, err := repository.Open(t.Context(), repository.Options{FS: files(list), ModelVersion: version, DefaultModel: def, Open: openFake})
		if err == nil {
			t.Errorf("%q of %q: was opened: %s", version, def, describe(r))
			r.Close()
			return
		}
		for _, w := range want {
			if !errors.Is(err, artifact.ErrNoVersion) || !strings.Contains(err.Error(), w) {
				t.Errorf("got %v, want %q in it", err, w)
			}
		}
	}
	refuses("v1.0.0", "b", "model b: MODEL_VERSION \"v1.0.0\"", "there are: v4.0.0-rc.1, v3.0.0")
	refuses("v1.0.0", "", "of b (there are: v4.0.0-rc.1, v3.0.0), d (there are: v0.9.0-rc.1)", "name the default model with model.default")
	refuses("stable", "", "of d (there are: v0.9.0-rc.1)")
}

func TestDefaultModel(t *testing.T) {
	list := map[string]string{"a/v1.0.0/": "x", "b/v1.0.0/": "y"}
	r := open(t, repository.Options{FS: files(list), DefaultModel: "b"})
	if v, err := r.Lookup("", ""); err != nil || v.Model != "b" {
		t.Errorf("got %+v, %v", v, err)
	}
	_, err := repository.Open(t.Context(), repository.Options{FS: files(list), DefaultModel: "c", Open: openFake})
	if !errors.Is(err, repository.ErrModelNotFound) || !strings.Contains(err.Error(), "there are: a, b") {
		t.Errorf("got %v", err)
	}
	r = open(t, repository.Options{FS: files(list)})
	if _, err := r.Lookup("", ""); !errors.Is(err, repository.ErrModelNotFound) || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("got %v", err)
	}
	if _, err := r.Lookup("c", ""); !errors.Is(err, repository.ErrModelNotFound) || !strings.Contains(err.Error(), `"c"; there are: a, b`) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Lookup("a", "v2.0.0"); !errors.Is(err, repository.ErrVersionNotFound) || !strings.Contains(err.Error(), `model a has no version "v2.0.0"; there are: v1.0.0`) {
		t.Errorf("got %v", err)
	}
	if r.Readiness() != nil {
		t.Error("both models are ready")
	}
}

// TestVersionsThatAreThereButRefused start, stay not ready and say why.
func TestVersionsThatAreThereButRefused(t *testing.T) {
	f := func(list map[string]string, version, model, name, want string) {
		t.Helper()
		r := open(t, repository.Options{FS: files(list), ModelVersion: version})
		v, err := r.Lookup(model, name)
		var notReady *repository.NotReadyError
		if !errors.As(err, &notReady) || v == nil || v.State != repository.StateFailed || notReady.State != repository.StateFailed {
			t.Errorf("got %+v, %v", v, err)
			return
		}
		if !strings.Contains(v.Reason, want) || notReady.Reason != v.Reason {
			t.Errorf("got %q, want %q in it", v.Reason, want)
		}
		if name == "" {
			if err := r.Readiness(); !errors.As(err, &notReady) || !strings.Contains(err.Error(), want) {
				t.Errorf("readiness: got %v", err)
			}
		}
	}
	placeholders := card("carla-ppo", "v0.1.0") + "artifact_hashes: {model.pt: \"sha256:abc123...\", preprocessor.pkl: \"sha256:def456...\"}\n"
	// The guide's ConfigMap, with the guide's MODEL_VERSION.
	f(map[string]string{"model_card.yaml": placeholders}, "v0.1.0", "", "", "model.pt: missing")
	f(map[string]string{"model_card.yaml": placeholders, "model.pt": "x", "preprocessor.pkl": "y"}, "v0.1.0", "", "", "placeholder")
	f(map[string]string{"v0.1.0/": "bad"}, "v0.1.0", "", "", errBad.Error())
	f(map[string]string{"v0.1.0/": "panic"}, "", "", "", "internal error while loading: a decoder's own fault")
	f(map[string]string{"v0.1.0/model.pt": "x"}, "v0.1.0", "", "", "model_card.yaml: missing")
	f(map[string]string{"v0.1.0/model_card.yaml": card("a", "v0.1.0")}, "v0.1.0", "", "", "model.pt: missing")
	f(map[string]string{"v0.1.0/model_card.yaml": card("a", "v0.2.0"), "v0.1.0/model.pt": "x"}, "v0.1.0", "", "", "version: expected v0.1.0 as the folder is named, got v0.2.0")
	f(map[string]string{"v0.1.0/model_card.yaml": "a: [", "v0.1.0/model.pt": "x"}, "v0.1.0", "", "", "model_card.yaml: invalid card")
	// A flat card that cannot be read: nothing says that it is another
	// version, so that it is the one asked for, and refused.
	f(map[string]string{"model_card.yaml": "a: [", "model.pt": "x"}, "v0.1.0", "", "v0.1.0", "model_card.yaml: invalid card")
	f(map[string]string{"model_card.yaml": "a: [", "model.pt": "x"}, "", "", "unversioned", "model_card.yaml: invalid card")
	// Two folders that are one version.
	f(map[string]string{"v0.1.0+a/": "x", "v0.1.0+b/": "y"}, "", "", "", "hold the same version")
	f(map[string]string{"v0.1.0/": "x", "0.1.0/": "y"}, "", "", "v0.1.0", "hold the same version")
	f(map[string]string{"v0.1.0/": "x", "model_card.yaml": card("carla-ppo", "v0.1.0"), "model.pt": "y"}, "", "", "v0.1.0", "v0.1.0 and the root hold the same version")
	// The newest fails; an older one is not served in its place.
	f(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad"}, "", "", "", errBad.Error())
}

func TestRefusedVersionDoesNotHurtOthers(t *testing.T) {
	r := open(t, repository.Options{FS: files(map[string]string{"v0.1.0/": "x", "v0.2.0/": "panic", "v0.3.0/": "y"})})
	if got, want := describe(r), "versioned: carla-ppo* v0.3.0! v0.2.0(failed) v0.1.0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := r.Readiness(); err != nil {
		t.Error(err)
	}
	v, _ := r.Lookup("", "v0.2.0")
	if len(v.Stack) == 0 || strings.Contains(v.Reason, "goroutine") {
		t.Errorf("the stack belongs to the log only: %q", v.Reason)
	}
}

func TestRequireHashes(t *testing.T) {
	r := open(t, repository.Options{FS: files(map[string]string{"v0.1.0/": "x"}), Limits: artifact.Limits{RequireHashes: true}})
	if err := r.Readiness(); err == nil || !strings.Contains(err.Error(), "require_hashes is set") {
		t.Errorf("got %v", err)
	}
	r = open(t, repository.Options{FS: files(map[string]string{"v0.1.0/": "x"})})
	v, err := r.Lookup("", "")
	if err != nil || v.Hashed || !strings.Contains(strings.Join(v.Notes, "\n"), "No digest is given for model.pt") {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	f := func(o repository.Options, is error, want string) {
		t.Helper()
		o.Open = openFake
		r, err := repository.Open(t.Context(), o)
		if err == nil {
			t.Errorf("was opened: %s", describe(r))
			r.Close()
			return
		}
		if !errors.Is(err, is) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	f(repository.Options{Root: "/nonexistent/models"}, fs.ErrNotExist, "artifact root /nonexistent/models: no such file or directory")
	f(repository.Options{Root: t.TempDir()}, repository.ErrEmpty, "want model_card.yaml with a model file")
	f(repository.Options{Root: "models", FS: files(map[string]string{"README.md": "x", "src/main.go": "y"})}, repository.ErrEmpty, "artifact root models")
	text := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(text, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	f(repository.Options{Root: text}, repository.ErrEmpty, "want a folder or a model file")
	many := map[string]string{}
	for i := range 5 {
		many[fmt.Sprintf("m%d/v1.0.0/", i)] = "x"
	}
	f(repository.Options{FS: files(many), MaxModels: 4}, repository.ErrTooMany, "more than 4 models")
	f(repository.Options{FS: files(map[string]string{"v0.1.0/": "x"}), ModelVersion: ">=x"}, artifact.ErrVersion, "constraint")
}

func TestLookup(t *testing.T) {
	r := open(t, repository.Options{FS: files(map[string]string{"a/v0.1.0/": "x", "a/v0.2.0/": "y", "a/3/": "z", "b/v0.1.0+b1/": "w"}), DefaultModel: "a"})
	f := func(model, version, wantModel, wantVersion string) {
		t.Helper()
		v, err := r.Lookup(model, version)
		if err != nil || v.Model != wantModel || v.Name != wantVersion || v.Policy == nil || v.Digest == "" || v.Card == nil {
			t.Errorf("%s/%s: got %+v, %v", model, version, v, err)
		}
	}
	f("", "", "a", "v0.2.0")
	f("a", "", "a", "v0.2.0")
	f("a", "v0.1.0", "a", "v0.1.0")
	f("a", "0.1.0", "a", "v0.1.0")
	f("a", "3", "a", "3")
	f("b", "", "b", "v0.1.0+b1")
	f("b", "v0.1.0+b1", "b", "v0.1.0+b1")

	fails := func(model, version string, want error) {
		t.Helper()
		if v, err := r.Lookup(model, version); !errors.Is(err, want) || v != nil {
			t.Errorf("%s/%s: got %+v, %v", model, version, v, err)
		}
	}
	fails("c", "", repository.ErrModelNotFound)
	fails("../a", "", repository.ErrModelNotFound)
	fails("a", "v9.9.9", repository.ErrVersionNotFound)
	fails("a", "latest", repository.ErrVersionNotFound)
	fails("a", "../v0.1.0", repository.ErrVersionNotFound)
	fails("a", strings.Repeat("x", 10_000), repository.ErrVersionNotFound)
	if _, err := r.Lookup("a", strings.Repeat("x", 10_000)); len(err.Error()) > 300 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	r := open(t, repository.Options{FS: files(map[string]string{"v0.1.0/": "x", "v0.2.0/": "y"})})
	if n := testing.AllocsPerRun(100, func() {
		for _, version := range []string{"", "v0.1.0", "0.2.0"} {
			if _, err := r.Lookup("", version); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func TestMaxVersions(t *testing.T) {
	list := map[string]string{}
	for i := range 6 {
		list[fmt.Sprintf("v0.%d.0/", i)] = "x"
	}
	r := open(t, repository.Options{FS: files(list), MaxVersions: 3, ModelVersion: "v0.1.0"})
	if got, want := describe(r), "versioned: carla-ppo* v0.5.0 v0.4.0 v0.3.0(unloaded) v0.2.0(unloaded) v0.1.0! v0.0.0(unloaded)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if v, err := r.Lookup("", "v0.0.0"); err == nil || !strings.Contains(v.Reason, "only 3 versions") {
		t.Errorf("got %+v, %v", v, err)
	}
}

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

// TestRootIsNeverWrittenTo takes every right to write away, as the guide's
// read-only mount does, and looks at what is there afterwards.
func TestRootIsNeverWrittenTo(t *testing.T) {
	dir := t.TempDir()
	for name, file := range files(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad"}) {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, file.Data, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	list := func() string {
		var b strings.Builder
		if err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			fmt.Fprintln(&b, name, info.Mode(), info.ModTime().UnixNano())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := list()
	if got, want := describe(open(t, repository.Options{Root: dir})), "versioned: carla-ppo* v0.2.0!(failed) v0.1.0"; got != want {
		t.Errorf("got %s", got)
	}
	if after := list(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestLinksBetweenVersions may lead through the root, but not out of it.
func TestLinksBetweenVersions(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(at, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "shared", "model.pt"), "x")
	write(filepath.Join(outside, "model.pt"), "x")
	write(filepath.Join(dir, "v0.1.0", "model_card.yaml"), card("carla-ppo", "v0.1.0"))
	write(filepath.Join(dir, "v0.2.0", "model_card.yaml"), card("carla-ppo", "v0.2.0"))
	if err := os.Symlink("../shared/model.pt", filepath.Join(dir, "v0.1.0", "model.pt")); err != nil {
		t.Logf("links cannot be made here, 2 cases are not run: %v", err)
		return
	}
	if err := os.Symlink(filepath.Join(outside, "model.pt"), filepath.Join(dir, "v0.2.0", "model.pt")); err != nil {
		t.Fatal(err)
	}
	r := open(t, repository.Options{Root: dir})
	if got, want := describe(r), "versioned: carla-ppo* v0.2.0!(failed) v0.1.0"; got != want {
		t.Errorf("got %s", got)
	}
	if err := r.Readiness(); err == nil || !strings.Contains(err.Error(), "leaves the artifact folder") || strings.Contains(err.Error(), outside) {
		t.Errorf("got %v", err)
	}
}

// TestLinksOutOfTheRoot are not followed, and are called what they are: a
// version is there and refused, a model is not there.
func TestLinksOutOfTheRoot(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "model_card.yaml"), []byte(card("carla-ppo", "v0.1.0")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "v0.1.0")); err != nil {
		t.Logf("links cannot be made here, 2 cases are not run: %v", err)
		return
	}
	r := open(t, repository.Options{Root: dir, ModelVersion: "v0.1.0"})
	err := r.Readiness()
	if err == nil || !strings.Contains(err.Error(), "v0.1.0") || !strings.Contains(err.Error(), "it is a link that leads out of the artifact root") || strings.Contains(err.Error(), outside) {
		t.Errorf("got %v", err)
	}

	if err := os.Rename(filepath.Join(dir, "v0.1.0"), filepath.Join(dir, "highway")); err != nil {
		t.Fatal(err)
	}
	r, err = repository.Open(t.Context(), repository.Options{Root: dir, Open: openFake})
	if err == nil {
		r.Close()
	}
	if !errors.Is(err, repository.ErrEmpty) || !errors.Is(err, artifact.ErrEscape) || !strings.Contains(err.Error(), "highway: leaves the artifact folder: a link out of the root is not followed") || strings.Contains(err.Error(), outside) {
		t.Errorf("got %v", err)
	}
}

// TestLocate finds what Open answers with, without opening it.
func TestLocate(t *testing.T) {
	f := func(list map[string]string, o repository.Options, want repository.Location) {
		t.Helper()
		o.Root, o.FS = "models", files(list)
		got, err := repository.Locate(o)
		want.Path = filepath.FromSlash(want.Path)
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	flat := map[string]string{"model_card.yaml": card("a", "v0.3.0"), "model.pt": "x"}
	f(flat, repository.Options{}, repository.Location{Path: "models", Model: "a", Version: "v0.3.0", Versions: 1})
	f(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad", "v0.3.0-rc.1/": "z"}, repository.Options{}, repository.Location{Path: "models/v0.2.0", Model: "carla-ppo", Version: "v0.2.0", Versions: 3})
	f(map[string]string{"v0.1.0/": "x", "v0.2.0/": "y"}, repository.Options{ModelVersion: "v0.1.0"}, repository.Location{Path: "models/v0.1.0", Model: "carla-ppo", Version: "v0.1.0", Versions: 2})
	f(map[string]string{"v0.1.0/": "x", "model_card.yaml": card("carla-ppo", "v0.3.0"), "model.pt": "y"}, repository.Options{}, repository.Location{Path: "models", Model: "carla-ppo", Version: "v0.3.0", Versions: 2})
	f(map[string]string{"a/v0.1.0/": "x"}, repository.Options{}, repository.Location{Path: "models/a/v0.1.0", Model: "a", Version: "v0.1.0", Versions: 1})
	f(map[string]string{"a/v0.1.0/": "x", "b/": "y"}, repository.Options{DefaultModel: "b"}, repository.Location{Path: "models/b", Model: "b", Version: "v1.0.0", Versions: 1})
}

func TestLocateRefuses(t *testing.T) {
	f := func(list map[string]string, is error, want string) {
		t.Helper()
		at, err := repository.Locate(repository.Options{Root: "models", FS: files(list)})
		if !errors.Is(err, is) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %+v, %v, want %q in it", at, err, want)
		}
	}
	f(map[string]string{"a/v0.1.0/": "x", "b/": "y"}, repository.ErrSeveral, "models is a folder of several models (a, b): name one of them")
	f(map[string]string{"old/x": ""}, repository.ErrEmpty, "artifact root models: no artifact")
}

// TestRealPolicy opens the demo policy by policy.Open in two layouts.
func TestRealPolicy(t *testing.T) {
	sub, err := fs.Sub(demo.FS, demo.Dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repository.Open(t.Context(), repository.Options{Root: "the demo policy", FS: sub, Lanes: 3, ModelVersion: "v0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := r.Lookup("carla-ppo", "v0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	if !v.Hashed || v.Policy.Runner(2) == nil || v.Policy.Contract().ActionWidth() != 3 || v.Took <= 0 {
		t.Errorf("got %+v", v)
	}
	for _, note := range v.Policy.Notes() {
		if n := strings.Count(strings.Join(v.Notes, "\n"), note); n != 1 {
			t.Errorf("the note %q is there %d times", note, n)
		}
	}
}
