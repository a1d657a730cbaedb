package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// TestPage: a run adds to what is there, rows stand in the order of their ids,
// and what failed says so.
func TestPage(t *testing.T) {
	docs, rows := t.TempDir(), t.TempDir()
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(rows, "x.jsonl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(rows, docs, false); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(docs, "reliability.md"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	put(`{"id":"H10","test":"late","lost":"nothing","time":"2026-01-02T03:04:05Z","machine":"m"}
{"id":"A2","test":"cut|off","faults":{"n":1200,"what":"cuts"},"lost":"one","failed":true,"time":"2026-01-02T03:04:05Z","machine":"m","commit":"c1"}
{"id":"H4","test":"slow","inputs":{"n":5,"what":"clients"},"lost":"nothing","time":"2026-01-02T03:04:05Z","machine":"m"}
{"id":"H4","test":"slow","subject":"Peer 1.0","lost":"all","figures":["1,500 held"],"time":"2026-01-02T03:04:05Z","machine":"m"}
`)
	page := read()
	for _, want := range []string{
		"3 rows, 1,200 faults, 5 bad inputs; **1 failed**",
		`| A2 | cut\|off | - | 1,200 cuts | - | **failed:** one | - |`,
		"| id | test | Peer 1.0 |", "| H4 | slow | 1,500 held |",
		"- L2, two, five", "| c1 | 2026-01-02 03:04 |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	if strings.Index(page, "| A2 |") > strings.Index(page, "| H4 |") || strings.Index(page, "| H4 |") > strings.Index(page, "| H10 |") {
		t.Errorf("rows out of order:\n%s", page)
	}
	put(`{"id":"A2","test":"cut|off","lost":"nothing","time":"2026-02-02T03:04:05Z","machine":"m","commit":"c2"}` + "\n")
	page = read()
	if strings.Contains(page, "**failed") || strings.Contains(page, "c1") || !strings.Contains(page, "nothing was lost") || !strings.Contains(page, "H10") {
		t.Errorf("after a better run:\n%s", page)
	}
}

func TestNoRowsIsAnError(t *testing.T) {
	if err := run(t.TempDir(), t.TempDir(), true); err == nil {
		t.Error("a page of nothing was written")
	}
}

// TestPromisesAreOnce: one that stands twice would be told twice, and one whose id
// others hold as well is kept by its own rows alone.
func TestPromisesAreOnce(t *testing.T) {
	seen := map[promise]bool{}
	for _, p := range promises {
		if seen[promise{p.id, "", p.words}] || p.words != "" && seen[promise{p.id, "", ""}] || partOf(p.id) == len(parts) {
			t.Errorf("%s stands twice or in no part", p.id)
		}
		seen[promise{p.id, "", p.words}] = true
	}
	if text := missing([]ledger.Row{{ID: "D1", Test: "kill -9, PostgreSQL"}}); strings.Contains(text, "in PostgreSQL") || !strings.Contains(text, "- D1, kill -9 while steps are recorded in SQLite") {
		t.Error(text)
	}
	if text := missing([]ledger.Row{{ID: "L1", Time: time.Now()}}); strings.Contains(text, "L1") || !strings.Contains(text, "L2") {
		t.Error(text)
	}
}
