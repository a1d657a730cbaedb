package format_test

import (
	"archive/zip"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
)

// unzipped returns the contents of a zip by name.
func unzipped(t *testing.T, path string) map[string][]byte {
	t.Helper()
	r, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	out := map[string][]byte{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if out[f.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// reader gives the files of a map, as a folder does.
func reader(files map[string][]byte) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if b, ok := files[name]; ok {
			return b, nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
}

// TestDecodeMembers holds that an unzipped agent is the agent of its zip.
func TestDecodeMembers(t *testing.T) {
	files := unzipped(t, filepath.Join("sb3", "testdata", "ppo_box", "model.zip"))
	n, err := format.DecodeMembers("agent", reader(files))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := n.Describe(), agent(t, "ppo_box").Describe(); !reflect.DeepEqual(got, want) {
		t.Errorf("described as\n%+v\nits zip as\n%+v", got, want)
	}
	got, err := n.Lower(format.LowerOptions{Deterministic: true})
	if err != nil {
		t.Fatal(err)
	}
	want, err := agent(t, "ppo_box").Lower(format.LowerOptions{Deterministic: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("lowered to\n%s\nits zip to\n%s", got, want)
	}
}

func TestRefuseMembers(t *testing.T) {
	f := func(name string, files map[string][]byte, read func(string) ([]byte, error), want error) {
		t.Helper()
		if read == nil {
			read = reader(files)
		}
		if _, err := format.DecodeMembers(name, read); !errors.Is(err, want) {
			t.Errorf("%s: got %v, %v was wanted", name, err, want)
		}
	}
	f("nothing", nil, nil, format.ErrFormat)
	f("weights alone", map[string][]byte{"policy.pth": {}}, nil, format.ErrFormat)
	f("data alone", map[string][]byte{"data": {}}, nil, format.ErrFormat)
	closed := errors.New("closed")
	f("a file that cannot be read", nil, func(string) ([]byte, error) { return nil, closed }, closed)
}
