// Command reliability writes docs/reliability.md from the rows that tests of
// reliability kept (e2e/ledger). Rows of an earlier run stay until a test that
// has their name is run again, so that a part can be repeated alone.
//
//	go run ./tools/reliability -ledger dist/ledger
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

func main() {
	folder := flag.String("ledger", "dist/ledger", "folder of the rows to add")
	docs := flag.String("docs", "docs", "folder of reliability.md and reliability.json")
	afresh := flag.Bool("afresh", false, "forget the rows of earlier runs")
	flag.Parse()
	if err := run(*folder, *docs, *afresh); err != nil {
		fmt.Fprintln(os.Stderr, "reliability:", err)
		os.Exit(1)
	}
}

// run adds the rows of a folder to those of earlier runs and writes the page.
func run(folder, docs string, afresh bool) error {
	kept := filepath.Join(docs, "reliability.json")
	var before []ledger.Row
	if !afresh {
		text, err := os.ReadFile(kept)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			if err := json.Unmarshal(text, &before, json.RejectUnknownMembers(true)); err != nil {
				return fmt.Errorf("%s: %w", kept, err)
			}
		}
	}
	later, err := ledger.Read(folder)
	if err != nil {
		return err
	}
	rows := ledger.Merge(before, later)
	if len(rows) == 0 {
		return fmt.Errorf("no rows in %s", folder)
	}
	slices.SortStableFunc(rows, func(a, b ledger.Row) int {
		return cmp.Or(compareID(a.ID, b.ID), cmp.Compare(a.Test, b.Test), cmp.Compare(a.Subject, b.Subject))
	})
	text, err := json.Marshal(rows, jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	if err := os.WriteFile(kept, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(docs, "reliability.md"), []byte(page(rows)), 0o644)
}

// compareID orders ids in the order of the page's parts, then by number.
func compareID(a, b string) int {
	return cmp.Or(cmp.Compare(partOf(a), partOf(b)), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
