package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The whole command in miniature, without the servers of others: it builds,
// measures, writes, and a second run keeps what the first wrote of other parts.
func TestMiniature(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("start, memory and models are measured on Linux alone")
	}
	dir := t.TempDir()
	args := []string{"-few", "-runs", "1", "-seconds", "0.02", "-peers", "none", "-out", dir}
	for _, only := range []string{"engine,server,open", "peers,start,memory,models,experience"} {
		if err := run(t.Context(), append(args, "-part", only), io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	r, err := readResults(filepath.Join(dir, resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if _, ok := r.Parts[p.name]; !ok {
			t.Errorf("part %s is not in the results", p.name)
		}
	}
	if r.Engine == nil || len(r.Engine.Rows) == 0 || r.Engine.Rows[0].Ours.Min <= 0 {
		t.Errorf("engine: %+v", r.Engine)
	}
	for _, key := range []string{"carla-rl", "fasthttp", "nethttp"} {
		if c := r.Server.find(key, 1); c.Throughput.Median <= 0 || c.P50.Median <= 0 {
			t.Errorf("server: %s: %+v", key, c)
		}
	}
	if c := r.Open.find("carla-rl", 0.5); c.Rate <= 0 || c.P99.Median <= 0 {
		t.Errorf("open: %+v", c)
	}
	if r.Start == nil || len(r.Start.Rows) != 3 || r.Start.Rows[0].Disk < 1 || r.Start.Rows[0].Idle < 1 {
		t.Errorf("start: %+v", r.Start)
	}
	if row(r.Memory, "resident after the requests").Value <= 0 || row(r.Models, "start until 3 models").Value <= 0 {
		t.Errorf("memory %+v, models %+v", r.Memory, r.Models)
	}
	if e := r.Experience; e == nil || e.With.Median <= 0 || e.P99With.Median <= 0 || e.Recorded == 0 || len(e.Stores) < 2 || e.Stores[0].Rate.Median <= 0 {
		t.Errorf("experience: %+v", e)
	} else if len(e.Stores) != 4 && (e.NoPostgres == "" || os.Getenv("CI") != "") {
		t.Errorf("PostgreSQL: %q, %+v", e.NoPostgres, e.Stores)
	}
	page, err := os.ReadFile(filepath.Join(dir, "results.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## The engine", "## The server", "## At a constant rate", "## Start, memory and size", "## Recording every step"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, name := range []string{"server.svg", "open.svg"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		isXML(t, name, string(data))
	}
}

func isXML(t *testing.T, name, s string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// What every limit says of results of all parts.
func TestChecks(t *testing.T) {
	runs := func(x ...float64) spread { return spreadOf(x) }
	r := &results{
		Engine: &engineResult{Rows: []engineRow{{Name: "MLP", Batch: 1, Limits: []engineLimit{{What: "ratio", Measured: 0.4, Bound: 0.5, AtMost: true}}}}},
		Server: &closed{Cells: []cell{
			{Subject: "carla-rl", Connections: 16, Throughput: runs(80, 90, 30)},
			{Subject: "fasthttp", Connections: 16, Throughput: runs(100, 100, 100)},
			{Subject: "carla-rl", Connections: 1, P50: runs(10, 13)},
			{Subject: "fasthttp", Connections: 1, P50: runs(10, 10)},
		}},
		Peers: &closed{Cells: []cell{
			{Subject: "carla-rl", Connections: 16, Throughput: runs(1300)},
			{Subject: "mlserver", Name: "MLServer", Connections: 16, Throughput: runs(50)},
			{Subject: "fastapi", Name: "FastAPI", Connections: 16, Throughput: runs(100)},
			{Subject: "pytriton", Name: "PyTriton", Connections: 16, Throughput: runs(60)},
		}},
		Memory: []footRow{{What: "requests sent", Value: 1e6}, {What: "resident after the requests", Value: 23}},
		Models: []footRow{{What: "P50 of one model loaded alone", Value: 20}, {What: "P50 of one model of 1000", Value: 30}},
	}
	r.check()
	want := map[string]string{
		"engine: MLP, batch 1: times ONNX Runtime's time":                          "0.4 pass",
		"server: times the fasthttp no-op's answers/s, 16 connections":             "0.8 MISSED",
		"server: times the fasthttp no-op's answers/s, 64 connections":             "0 not measured",
		"server: times the fasthttp no-op's P50, 1 connection":                     "1.15 pass",
		"peers: times the best of them (FastAPI), one worker each, 16 connections": "13 pass",
		"peers: times PyTriton, one worker each, 16 connections":                   "21.666666666666668 MISSED",
		"memory: resident after a million requests":                                "23 pass",
		"models: one's P50 among a thousand, times that of one alone":              "1.5 MISSED",
		"start: first answer of a Nature CNN":                                      "0 not measured",
		"open loop: times the fasthttp no-op's P99 at 50 % of capacity":            "0 not measured",
		"peers: times the best of them, best workers, all cores, 16 connections":   "0 not measured",
	}
	got := map[string]string{}
	for _, c := range r.Checks {
		got[c.Group+": "+c.What] = text(c.Measured) + " " + c.state()
	}
	for what, w := range want {
		if got[what] != w {
			t.Errorf("%s: %q, want %q", what, got[what], w)
		}
	}
	if s := r.verdicts(); !strings.Contains(s, "3 missed") {
		t.Error(s)
	}
}

func TestSameAction(t *testing.T) {
	want := [3]float64{0, 0.5, -1}
	for body, ok := range map[string]bool{
		`{"actions":[{"throttle":0.0,"brake":0.500001,"steer":-1}],"version":"v1"}`: true,
		`{"outputs":[{"name":"action","shape":[1,3],"data":[0,0.5,-1]}]}`:           true,
		`{"actions":[{"throttle":0.0,"brake":0.51,"steer":-1}]}`:                    false,
		`{"actions":[{"throttle":0.0,"steer":-1}]}`:                                 false,
		`{"actions":[]}`:                 false,
		`{"outputs":[{"data":[0,0.5]}]}`: false,
		`no`:                             false,
	} {
		if err := sameAction([]byte(body), want); (err == nil) != ok {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// The requests are the same numbers in both forms, and JSON.
func TestRequests(t *testing.T) {
	for i := range observations {
		for _, s := range []string{guideRequest(i), inferRequest(i)} {
			if !json.Valid([]byte(s)) {
				t.Error(s)
			}
		}
	}
	if got, want := guideRequest(0), `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-part", "nobody"}, {"-peers", "nobody"}, {"-runs", "0"}, {"-seconds", "0"}, {"more"}} {
		if err := run(t.Context(), append(args, "-out", t.TempDir()), io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestPaired(t *testing.T) {
	// Runs beside each other are compared, not the medians.
	if got := paired(spreadOf([]float64{10, 100, 30}), spreadOf([]float64{10, 50, 60})); got != 1 {
		t.Errorf("%v", got)
	}
	if got := paired(spreadOf([]float64{1}), spreadOf(nil)); got != 0 {
		t.Errorf("%v of nothing", got)
	}
}

func TestGroup(t *testing.T) {
	for x, want := range map[float64]string{0.5: "0.5", 9.99: "10", 12: "12", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := group(x); got != want {
			t.Errorf("%v: %s, want %s", x, got, want)
		}
	}
}

// A server that answered nothing has a bar all the same, of no length.
func TestBarOfNothing(t *testing.T) {
	s := barChart("answers", []bar{{name: "one", value: 1000}, {name: "none"}}, true, 0)
	isXML(t, "chart", s)
	if strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
		t.Error(s)
	}
}
