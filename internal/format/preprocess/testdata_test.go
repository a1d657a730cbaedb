package preprocess_test

import (
	"path/filepath"
	"slices"
	"sort"
	"testing"
)

const testdata = "../../../testdata/preprocess"

// Every preprocessor of the small corpus, in each form it was saved in.
func TestTestdata(t *testing.T) {
	const cases = 80
	found, err := filepath.Glob(filepath.Join(testdata, "*", "cases.json"))
	if err != nil || len(found) < cases {
		t.Fatalf("%d cases, at least %d were wanted: %v", len(found), cases, err)
	}
	for _, path := range found {
		dir := filepath.Dir(path)
		var c struct {
			Files   map[string]string `json:"files"`
			Input   [][]float64       `json:"input"`
			Expect  [][]float64       `json:"expect"`
			Float32 [][]float64       `json:"expect_float32_input"`

			Keys        []string               `json:"keys"`
			InputByKey  map[string][][]float64 `json:"input_by_key"`
			ExpectByKey map[string][][]float64 `json:"expect_by_key"`
		}
		readCase(t, dir, &c)
		var files []string
		for _, file := range c.Files {
			files = append(files, file)
		}
		sort.Strings(files)
		for _, file := range files {
			t.Run(filepath.Base(dir)+"/"+file, func(t *testing.T) {
				p := decodeFile(t, filepath.Join(dir, file))
				if c.InputByKey != nil {
					if !slices.Equal(p.Keys(), c.Keys) {
						t.Errorf("keys %q, want %q", p.Keys(), c.Keys)
					}
					for key, rows := range c.InputByKey {
						checkNamed(t, p, key, rows, c.ExpectByKey[key])
					}
					return
				}
				if c.Float32 != nil {
					check(t, p, c.Input, c.Float32)
				}
				check(t, p, c.Input, c.Expect)
			})
		}
	}
}
