package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The tests of this file run the smaller corpus, which is in the repository,
// through the same code as the large one.

func TestSmallCorpusAgents(t *testing.T) {
	files, err := filepath.Glob(filepath.FromSlash("../../internal/format/sb3/testdata/*/cases.json"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d agents, %v", len(files), err)
	}
	refused := map[string]string{"rppo_bidirectional": "bidirectional"}
	for _, file := range files {
		folder := filepath.Dir(file)
		name := filepath.Base(folder)
		var c agentCase
		readCases(t, folder, &c)
		if c.Atol == 0 {
			c.Atol = 1e-5
		}
		c.ExpectedInput.Obs = withArrays(t, folder, c.ExpectedInput.Obs)
		for _, engine := range []string{enginePlan, engineReference} {
			t.Run(name+"/"+engine, func(t *testing.T) {
				err := c.check(t, "--model", filepath.Join(folder, "model.zip"), "--engine", engine)
				expect(t, err, refused[name])
			})
		}
	}
}

// expect holds an error to the refusal that is wanted, or to none.
func expect(t *testing.T, err error, refusal string) {
	t.Helper()
	switch {
	case refusal == "" && err != nil:
		t.Error(err)
	case refusal != "" && (err == nil || !strings.Contains(err.Error(), "unsupported: ") || !strings.Contains(err.Error(), refusal)):
		t.Errorf("%v; want a refusal that says %q", err, refusal)
	}
}

func TestSmallCorpusNetworks(t *testing.T) {
	var files []string
	for pattern, least := range map[string]int{
		"../../testdata/torch/*/*/cases.json": 20, "../../testdata/modules/*/*/cases.json": 20, "../../testdata/programs/*/*/cases.json": 9,
	} {
		found, err := filepath.Glob(filepath.FromSlash(pattern))
		if err != nil || len(found) < least {
			t.Fatalf("%d networks of %s, %v", len(found), pattern, err)
		}
		files = append(files, found...)
	}
	answered, classes := 0, 0
	for _, file := range files {
		folder := filepath.Dir(file)
		var c networkCase
		readCases(t, folder, &c)
		if c.Atol == 0 {
			c.Atol = 1e-5
		}
		c.Steps = append(c.Steps, c.Batches...)
		version := filepath.Base(filepath.Dir(folder))
		for _, form := range slices.Sorted(maps.Keys(c.Files)) {
			for _, engine := range []string{enginePlan, engineReference} {
				t.Run(fmt.Sprintf("%s/%s/%s/%s", version, filepath.Base(folder), form, engine), func(t *testing.T) {
					err := c.check(t, "--model", filepath.Join(folder, c.Files[form]), "--engine", engine)
					switch {
					case form == "state" || form == "state_legacy" || form == "safetensors":
						expect(t, err, "weights only")
					case form == "pickle" && err != nil: // The class of a program, of which no file has the computation.
						classes++
						expect(t, err, "class")
					default:
						answered++
						expect(t, err, "")
					}
				})
			}
		}
	}
	t.Logf("%d files answered, %d are classes of a program", answered, classes)
	if answered < 200 {
		t.Errorf("%d files answered", answered)
	}
}

func TestSmallCorpusTransforms(t *testing.T) {
	files, err := filepath.Glob(filepath.FromSlash("../../testdata/preprocess/*/cases.json"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%d preprocessors, %v", len(files), err)
	}
	answered := 0
	for _, file := range files {
		folder := filepath.Dir(file)
		var c struct {
			Files       map[string]string `json:"files"`
			Keys        []string          `json:"keys"`
			Input       any               `json:"input"`
			Expect      any               `json:"expect"`
			InputByKey  map[string]any    `json:"input_by_key"`
			ExpectByKey map[string]any    `json:"expect_by_key"`
		}
		readCases(t, folder, &c)
		rows, want := c.Input, map[string]any{"out": c.Expect}
		if c.Keys != nil {
			given := map[string]any{}
			want = map[string]any{}
			for _, key := range c.Keys {
				given[key], want[key] = c.InputByKey[key], c.ExpectByKey[key]
			}
			rows = given
		}
		if rows == nil {
			continue // It is known for what it refuses.
		}
		for _, form := range slices.Sorted(maps.Keys(c.Files)) {
			t.Run(filepath.Base(folder)+"/"+form, func(t *testing.T) {
				p, err := predict(t, map[string]any{"transform": rows}, "--model", filepath.Join(folder, c.Files[form]))
				if err != nil {
					t.Fatal(err)
				}
				var failed error
				for name, w := range want {
					failed = errors.Join(failed, same(p.outputs[name], w, 1e-5))
				}
				if failed != nil || len(p.outputs) != len(want) {
					t.Errorf("%v, outputs %v", failed, p.names)
				}
				answered++
			})
		}
	}
	t.Logf("%d preprocessors answered", answered)
}
