package preprocess_test

import (
	"path/filepath"
	"testing"
)

// The project's own corpus: every file of testdata/preprocess gives what its
// library gave, in every protocol.
func TestOwnCorpus(t *testing.T) {
	const cases = 20
	found, err := filepath.Glob("../../../testdata/preprocess/*/cases.json")
	if err != nil || len(found) < cases {
		t.Fatalf("%d cases, at least %d were wanted: %v", len(found), cases, err)
	}
	for _, path := range found {
		dir := filepath.Dir(path)
		var c struct {
			Files   map[string]string `json:"files"`
			Input   [][]float64       `json:"input"`
			Float32 [][]float64       `json:"expect_float32_input"`
		}
		readCase(t, dir, &c)
		if len(c.Files) == 0 || len(c.Input) == 0 || len(c.Float32) != len(c.Input) {
			t.Fatalf("%s: has no files or no rows", path)
		}
		for _, file := range c.Files {
			t.Run(filepath.Base(dir)+"/"+file, func(t *testing.T) {
				check(t, decodeFile(t, filepath.Join(dir, file)), c.Input, c.Float32)
			})
		}
	}
}
