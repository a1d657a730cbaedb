package format_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestScripts goes through two episodes of scripted modules that remember
// their steps or decide on data, for each version of PyTorch. For any number
// of rows they are refused, but for the one that does neither.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/scripts/*/*/cases.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus of scripts: %v", err)
	}
	for _, path := range paths {
		c := readCase(t, path)
		t.Run(filepath.Base(filepath.Dir(c.dir))+"/"+filepath.Base(c.dir), func(t *testing.T) {
			if err := c.checkRows(t, "script", ""); err != nil {
				t.Error(err)
			}
			n, err := c.decodeFile(t, "script")
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Base(c.dir) == "settings" {
				return
			}
			if _, err := n.Lower(format.LowerOptions{InputShapes: c.shapes(t)}); !errors.Is(err, graph.ErrMixesRows) {
				t.Errorf("for any number of rows: %v", err)
			}
		})
	}
}
