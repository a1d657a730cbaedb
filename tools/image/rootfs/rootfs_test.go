package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// root is the folder of the module.
const root = "../../.."

// What the program is built from must be let through by .dockerignore, or the
// image cannot be built from a clone.
func TestContextHoldsWhatIsBuilt(t *testing.T) {
	ignore, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(ignore), "\n")
	if !slices.Contains(lines, "*") {
		t.Fatal(".dockerignore does not leave out all that it does not name")
	}
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Standard,Module,GoFiles,EmbedFiles", "./cmd/carla-rl", "./tools/image/rootfs")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			Dir                 string
			Module              *struct{ Main bool }
			GoFiles, EmbedFiles []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if p.Module == nil || !p.Module.Main {
			continue
		}
		for _, f := range slices.Concat(p.GoFiles, p.EmbedFiles) {
			name, err := filepath.Rel(top, filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			files++
			name = filepath.ToSlash(name)
			first, _, below := strings.Cut(name, "/")
			if pattern := "!" + first; !slices.Contains(lines, pattern) && (below || !slices.Contains(lines, "!*.go")) {
				t.Errorf("%s is not in the context: .dockerignore has no line %s", name, pattern)
			}
			if strings.Contains(name, "/testdata/") || strings.HasSuffix(name, "_test.go") {
				t.Errorf("%s is not in the context", name)
			}
		}
	}
	if files < 100 {
		t.Errorf("only %d files are looked at", files)
	}
}

func TestFactsOfAClone(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-01-02T03:04:05+02:00", "GIT_AUTHOR_DATE=2026-01-02T03:04:05+02:00")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	f := func(want facts) {
		t.Helper()
		got, err := facts{}.complete(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	f(facts{"v0.0.0-unknown", unknown, unknown})

	git("init", "-q", "-b", "main")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "1")
	write("left-out", "1")
	git("add", "a", "left-out")
	git("commit", "-q", "-m", "first")
	hash := git("rev-parse", "HEAD")[:8]
	f(facts{"v0.0.0-" + hash, hash, "2026-01-02T01:04:05Z"})

	git("tag", "v1.2.3")
	f(facts{"v1.2.3", hash, "2026-01-02T01:04:05Z"})
	// A context leaves files out.
	if err := os.Remove(filepath.Join(dir, "left-out")); err != nil {
		t.Fatal(err)
	}
	f(facts{"v1.2.3", hash, "2026-01-02T01:04:05Z"})
	write("a", "2")
	f(facts{"v1.2.3-dirty", hash, "2026-01-02T01:04:05Z"})

	// Without git in the image, the commit is read from its files.
	git("pack-refs", "--all")
	t.Setenv("PATH", t.TempDir())
	f(facts{"v0.0.0-" + hash, hash, unknown})
}

func TestFactsAreRefused(t *testing.T) {
	for _, given := range []facts{
		{version: "v1 -X main.x=y", commit: "12345678", date: "2026-01-02T01:04:05Z"},
		{version: "v1", commit: "1234\"", date: "2026-01-02T01:04:05Z"},
		{version: "v1", commit: "12345678", date: "yesterday"},
	} {
		if got, err := given.complete(t.TempDir()); err == nil {
			t.Errorf("%+v gives %+v", given, got)
		}
	}
}

func TestFreeze(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"usr/local/bin", "app/logs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{programPath, "app/file"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := freeze(dir, at); err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.ModTime().Equal(at) {
			t.Errorf("%s is of %v", path, info.ModTime())
		}
		name, err := filepath.Rel(dir, path)
		got[filepath.ToSlash(name)] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	folder := fs.ModeDir | 0o755
	want := map[string]fs.FileMode{
		".": folder, "usr": folder, "usr/local": folder, "usr/local/bin": folder, "app": folder,
		"tmp": fs.ModeDir | modeShared, "app/logs": fs.ModeDir | modeShared, programPath: 0o755, "app/file": 0o644,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want - got +\n%s", diff)
	}
}

func TestBillOfMaterials(t *testing.T) {
	info := &debug.BuildInfo{
		GoVersion: "go1.26.8",
		Main:      debug.Module{Path: "example.com/main"},
		Deps: []*debug.Module{
			{Path: "example.com/a", Version: "v1.0.0+incompatible", Sum: "h1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
			{Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/c", Version: "v2.0.0"}},
		},
	}
	got := billOf(info, facts{"v1.2.3", "12345678", "2026-01-02T01:04:05Z"}, []component{{Ref: "x", Name: "extra"}})
	var urls []string
	for _, c := range got.Components {
		urls = append(urls, c.PackageURL)
	}
	want := []string{"pkg:golang/std@go1.26.8", "pkg:golang/example.com/a@v1.0.0%2Bincompatible", "pkg:golang/example.com/c@v2.0.0", ""}
	if diff := cmp.Diff(want, urls); diff != "" {
		t.Errorf("want - got +\n%s", diff)
	}
	if h := got.Components[1].Hashes; len(h) != 1 || h[0].Content != "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" {
		t.Errorf("the hash is %+v", h)
	}
	if main := got.Metadata.Component; main.Version != "v1.2.3" || got.Metadata.Timestamp != "2026-01-02T01:04:05Z" {
		t.Errorf("it is about %+v of %s", main, got.Metadata.Timestamp)
	}
	if n := len(got.Dependencies[0].DependsOn); n != len(got.Components) || got.Dependencies[0].DependsOn[3] != "x" {
		t.Errorf("the program depends on %q", got.Dependencies[0].DependsOn)
	}
}

// The wheels are of the release that the tests and docs/gpu.md speak of.
func TestWheelsAreOfThePinnedRelease(t *testing.T) {
	pinned, err := os.ReadFile(filepath.Join(root, "tools/requirements-onnxruntime.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(pinned), "onnxruntime=="+onnxRuntimeVersion+"\n") {
		t.Errorf("tools/requirements-onnxruntime.txt has another release than %s", onnxRuntimeVersion)
	}
	for arch, w := range wheels {
		if !strings.Contains(w.url, "/onnxruntime-"+onnxRuntimeVersion+"-") || len(w.sha256) != 64 {
			t.Errorf("%s: %+v", arch, w)
		}
	}
}

func TestCopyOnnxRuntime(t *testing.T) {
	from := t.TempDir()
	for _, name := range []string{"libonnxruntime.so.1.2.3", "libonnxruntime_providers_shared.so", "onnxruntime_pybind11_state.so", "__init__.py"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	to := t.TempDir()
	version, err := copyOnnxRuntime(from, "amd64", to)
	if err != nil || version != "1.2.3" {
		t.Fatalf("version %q, %v", version, err)
	}
	members, err := os.ReadDir(to)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range members {
		names = append(names, m.Name())
	}
	if want := []string{"libonnxruntime.so.1.2.3", "libonnxruntime_providers_shared.so"}; !slices.Equal(names, want) {
		t.Errorf("copied %q, want %q", names, want)
	}
	for _, wrong := range []string{t.TempDir(), filepath.Join(from, "nowhere"), filepath.Join(from, "none.whl")} {
		if v, err := copyOnnxRuntime(wrong, "amd64", t.TempDir()); err == nil {
			t.Errorf("%s gives version %q", wrong, v)
		}
	}
	if _, err := copyOnnxRuntime("pypi", "s390x", t.TempDir()); err == nil {
		t.Error("there is a wheel for s390x")
	}
}
