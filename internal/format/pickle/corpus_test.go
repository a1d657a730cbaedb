package pickle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// TestCorpusHostile refuses the hostile pickles of the corpus with an
// allow-list that is as wide as any: nothing of them is a known class.
func TestCorpusHostile(t *testing.T) {
	wants := map[string]string{
		"os_system_p0.pkl":           "posix.system",
		"os_system_p4.pkl":           "posix.system",
		"nested_pickle_loads.pkl":    "_pickle.loads",
		"getattr_chain.pkl":          "getattr",
		"build_setstate_attr.pkl":    "", // may load as inert data
		"ext_opcode.pkl":             "EXT1",
		"persid_text.pkl":            "persistent id",
		"deep_tuples.pkl":            "nested deeper",
		"self_reference.pkl":         "contains itself",
		"huge_binbytes_len.pkl":      "bytes wanted",
		"negative_long4.pkl":         "negative length",
		"stack_underflow.pkl":        "stack underflow",
		"no_stop.pkl":                "without STOP",
		"frame_overrun.pkl":          "FRAME",
		"trailing_second_pickle.pkl": "after the end of the pickle",
	}
	root, ok := corpus(t, len(wants))
	if !ok {
		return
	}
	for name, want := range wants {
		t.Run(name, func(t *testing.T) {
			in, err := os.ReadFile(filepath.Join(root, "hostile", "pickle", name))
			if err != nil {
				t.Fatal(err)
			}
			guarded(t, func() error {
				o := options
				o.Persistent = nil
				_, err := pickle.Decode(in, o)
				if want == "" {
					return nil
				}
				return refused(err, want, nil)
			})
		})
	}
}

// TestCorpusReal reads every pickle of the corpus that is no hostile one. All
// globals are taken here: what a role may name is tested where the role is.
func TestCorpusReal(t *testing.T) {
	const cases = 60
	root, ok := corpus(t, cases)
	if !ok {
		return
	}
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pkl") || strings.Contains(path, "hostile") {
			return err
		}
		in, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		if _, err := pickle.Decode(in, pickle.Options{Allow: func(pickle.Global) bool { return true }}); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := pickle.Decode(in, pickle.Options{}); err != nil && !errors.Is(err, pickle.ErrForbiddenGlobal) {
			t.Errorf("%s without an allow-list: %v", path, err)
		}
		return nil
	})
	if err != nil || n < cases {
		t.Errorf("%d files, at least %d were wanted: %v", n, cases, err)
	}
}

// corpus returns the folder of real artifacts, or false after saying what is
// not run without it.
func corpus(t *testing.T, cases int) (string, bool) {
	t.Helper()
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Logf("CARLA_RL_CORPUS is not set: %d cases not run", cases)
		return "", false
	}
	return root, true
}
