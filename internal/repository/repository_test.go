package repository_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

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
	// What was asked for by its name fails; no other is served in its place.
	f(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad"}, "v0.2.0", "", "", errBad.Error())
	f(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad"}, "", "", "v0.2.0", errBad.Error())
	f(map[string]string{"v0.1.0/": "bad", "v0.2.0/": "bad"}, "", "", "", errBad.Error())
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

// TestPolicyWithStateIsReady opens a recurrent agent, whose contract says what
// it keeps from one step to the next.
func TestPolicyWithStateIsReady(t *testing.T) {
	model, err := os.ReadFile("../format/sb3/testdata/rppo_two_layers/model.zip")
	if err != nil {
		t.Fatal(err)
	}
	root := fstest.MapFS{"rppo/v1.0.0/model.zip": {Data: model}, "rppo/v1.0.0/model_card.yaml": {Data: []byte(card("rppo", "v1.0.0") + "model_filename: model.zip\n")}}
	r, err := repository.Open(t.Context(), repository.Options{Root: "models", FS: root})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := r.Lookup("rppo", "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Policy.Contract().State) == 0 || v.Digest == "" {
		t.Errorf("state %v and digest %q, want both", v.Policy.Contract().State, v.Digest)
	}
}
