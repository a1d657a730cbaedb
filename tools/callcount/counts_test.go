package main

import (
	"path/filepath"
	"strings"
	"testing"
)

const dump = `# callgrind format
version: 1
desc: Trigger: Client Request: server decode	10	2

positions: line
events: Ir
summary: 700

fn=(1) a.outer
0 100
cfn=(2) a.inner'2
calls=10 0
0 400
fn=(2)
0 400
fn=(3) a.(*T).third
12 150
+3 50
`

func TestReadProfile(t *testing.T) {
	p, err := readProfile(strings.NewReader(dump))
	if err != nil {
		t.Fatal(err)
	}
	if p.path != "server decode" || p.limit != 2 || p.total != 70 || p.functions["a.outer"] != 10 || p.functions["a.inner"] != 40 || p.functions["a.(*T).third"] != 20 {
		t.Errorf("%+v", p)
	}
	if p, err := readProfile(strings.NewReader(strings.Replace(dump, "desc: Trigger: Client Request: server decode	10	2", "desc: Trigger: Program termination", 1))); err != nil || p.path != "" {
		t.Errorf("%+v %v", p, err)
	}
	for _, bad := range []string{"server decode", "server decode	0	2", "server decode	x	2", "server decode	1	x"} {
		if _, err := readProfile(strings.NewReader(strings.Replace(dump, "server decode	10	2", bad, 1))); err == nil {
			t.Errorf("%q is taken for a name", bad)
		}
	}
	if _, err := readProfile(strings.NewReader(dump + "12 x\n")); err == nil {
		t.Error("a cost that is no number is taken")
	}
}

func TestCompare(t *testing.T) {
	of := func(n float64) *counts {
		return &counts{Go: "go1", Paths: map[string]*path{"server decode": {Instructions: n, Limit: 2, Functions: map[string]float64{"a.inner": n - 10, "a.outer": 10}}}}
	}
	f := func(was, now *counts, changelog string, record bool, want int, says string) {
		t.Helper()
		var b strings.Builder
		if got := compare(&b, was, now, false, changelog, record); got != want || !strings.Contains(b.String(), says) {
			t.Errorf("%d, want %d and %q:\n%s", got, want, says, b.String())
		}
	}
	none := &counts{Paths: map[string]*path{}}
	f(of(100), of(101.9), "", false, 0, "+1.90%")
	f(of(100), of(103), "", false, 1, "+3.0  a.inner")
	f(of(100), of(103), "", true, 1, "FAIL")
	f(of(100), of(103), "- `server decode` reads more forms", false, 1, "FAIL")
	f(of(100), of(103), "- `server decode` reads more forms", true, 0, "the changelog says why")
	f(of(100), of(103), "- server decode", true, 1, "FAIL")
	f(of(100), of(90), "", false, 0, "1 paths fell")
	f(none, of(100), "", false, 1, "not recorded")
	f(none, of(100), "", true, 0, "")
	f(of(100), none, "", false, 1, "gone")
	f(of(100), none, "", true, 0, "gone")
}

func TestUnreleased(t *testing.T) {
	for text, want := range map[string]string{
		"# Changelog\n\n## Unreleased\n\n- a\n\n## v1.0.0\n\n- b\n": " Unreleased\n\n- a\n",
		"# Changelog\n\n## [Unreleased]\n- a\n":                     "[Unreleased]\n- a\n",
		"# Changelog\n\n## v1.0.0\n\n- b\n\n## Unreleased\n\n- a\n": "",
		"nothing": "",
	} {
		if got := unreleased(text); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWrittenIsRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "counts.json")
	c := &counts{Go: "go1", Paths: map[string]*path{"a": {Instructions: 123456.78, Limit: 2, Functions: map[string]float64{"f": 123000, "small": 9}}}}
	if err := c.write(name); err != nil {
		t.Fatal(err)
	}
	got, err := readCounts(name)
	if err != nil || got.Paths["a"].Instructions != 123460 || got.Paths["a"].Limit != 2 || len(got.Paths["a"].Functions) != 1 {
		t.Errorf("%+v %v", got.Paths["a"], err)
	}
}

// TestRisesAreCountedAgain keeps the lesser of two counts of what rose.
func TestRisesAreCountedAgain(t *testing.T) {
	at := func(n float64) *path { return &path{Instructions: n, Limit: 2} }
	was := &counts{Paths: map[string]*path{"a (1)": at(100), "b": at(100), "c": at(100)}}
	now := &counts{Paths: map[string]*path{"a (1)": at(104), "b": at(101), "c": at(90), "new": at(5)}}
	again := now.rose(was)
	if len(again) != 1 || again[0] != `a \(1\)` {
		t.Fatalf("got %q", again)
	}
	now.lower(&counts{Paths: map[string]*path{"a (1)": at(100.5)}})
	if len(now.rose(was)) != 0 || now.Paths["b"].Instructions != 101 {
		t.Errorf("%+v", now.Paths)
	}
	now.lower(&counts{Paths: map[string]*path{"b": at(110)}})
	if now.Paths["b"].Instructions != 101 {
		t.Errorf("%+v", now.Paths["b"])
	}
}
