package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/carla-rl/carla-rl-serving/internal/ort"
)

var update = flag.Bool("update", false, "rewrite golden files and the generated parts of documents")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"carla-rl": main})
}

func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Condition: func(cond string) (bool, error) {
			if cond != "ort" { // the build with ONNX Runtime
				return false, fmt.Errorf("there is no condition %s", cond)
			}
			return ort.Built, nil
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROOT", root)
			e.Setenv("DEMO", filepath.Join(root, "internal", "demo", "artifact"))
			if ort.Built { // A script has a home of its own, without a cache.
				library, err := ort.FindLibrary(os.Getenv(ort.LibraryVariable), false)
				if err != nil {
					return err
				}
				e.Setenv(ort.LibraryVariable, library)
			}
			return os.MkdirAll(filepath.Join(e.WorkDir, "home"), 0o755)
		},
	})
}
