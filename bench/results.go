package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// resultsFile has everything; the page and the plots are made of it.
const resultsFile = "results.json"

// results of all parts, each as it was when it last ran.
type results struct {
	Machine  machine             `json:"machine"`
	Versions map[string]string   `json:"versions,omitempty"` // of the peers
	Parts    map[string]partInfo `json:"parts"`
	LeftOut  []string            `json:"left_out,omitempty"`
	Checks   []check             `json:"checks"`

	Engine   *engineResult `json:"engine,omitempty"`
	Server   *closed       `json:"server,omitempty"`
	Open     *opened       `json:"open,omitempty"`
	Peers    *closed       `json:"peers,omitempty"`
	AllCores *closed       `json:"all_cores,omitempty"`
	Start    *started      `json:"start,omitempty"`
	Memory   []footRow     `json:"memory,omitempty"`

	Experience *recording `json:"experience,omitempty"`

	Models []footRow `json:"models,omitempty"`
}

// partInfo says when a part ran.
type partInfo struct {
	Commit  string  `json:"commit"`
	Date    string  `json:"date"`
	Took    float64 `json:"took_seconds"`
	Runs    int     `json:"runs"`
	Seconds float64 `json:"seconds"`
	Load    float64 `json:"load,omitempty"` // of the machine at the end
}

// readResults reads what is there; nothing is no error.
func readResults(path string) (*results, error) {
	r := &results{}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, r)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Parts == nil {
		r.Parts = map[string]partInfo{}
	}
	r.LeftOut = nil
	return r, nil
}

// servers are the packages whose versions are told.
var servers = []string{
	"fastapi", "uvicorn", "mlserver", "nvidia-pytriton", "litserve", "bentoml", "ray", "onnxruntime",
}

// versions reads those of a peer's environment.
func (r *results) versions(root, key string) error {
	data, err := os.ReadFile(filepath.Join(root, "bench/peers/requirements-"+key+".txt"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		name, version, ok := strings.Cut(strings.TrimSpace(line), "==")
		if name, _, _ = strings.Cut(name, "["); ok && slices.Contains(servers, name) {
			if r.Versions == nil {
				r.Versions = map[string]string{}
			}
			r.Versions[name] = version
		}
	}
	return nil
}

func (r *results) write(dir string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, resultsFile), append(data, '\n'))
}

// writeFile writes a file whole or not at all.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// check is a limit that the project holds itself to.
type check struct {
	Group    string  `json:"group"`
	What     string  `json:"what"`
	Measured float64 `json:"measured"` // 0 where it was not
	Bound    float64 `json:"bound"`
	AtMost   bool    `json:"at_most"`
	Unit     string  `json:"unit,omitempty"`
}

// state is pass, MISSED or not measured.
func (c check) state() string {
	switch {
	case c.Measured == 0:
		return "not measured"
	case c.AtMost && c.Measured <= c.Bound, !c.AtMost && c.Measured >= c.Bound:
		return "pass"
	}
	return "MISSED"
}

func (c check) String() string {
	sign := "at least"
	if c.AtMost {
		sign = "at most"
	}
	measured := "-"
	if c.Measured != 0 {
		measured = strings.TrimSpace(fmt.Sprintf("%.3g %s", c.Measured, c.Unit))
	}
	return fmt.Sprintf("%-78s %14s  %s %-12s %s", c.Group+": "+c.What, measured, sign, strings.TrimSpace(fmt.Sprintf("%g %s", c.Bound, c.Unit)), c.state())
}

// check computes every limit from what was measured.
func (r *results) check() {
	r.Checks = nil
	add := func(group, what string, measured, bound float64, atMost bool, unit string) {
		r.Checks = append(r.Checks, check{group, what, measured, bound, atMost, unit})
	}
	if r.Engine != nil {
		for _, row := range r.Engine.Rows {
			for _, l := range row.Limits {
				what := l.What
				if what == "ratio" {
					what = "times ONNX Runtime's time"
				}
				add("engine", fmt.Sprintf("%s, batch %d: %s", row.Name, row.Batch, what), l.Measured, l.Bound, l.AtMost, "")
			}
		}
	}
	for _, n := range []int{16, 64, 256} {
		mine := r.Server.find(ours.key, n)
		add("server", fmt.Sprintf("times the fasthttp no-op's answers/s, %d connections", n), paired(mine.Throughput, r.Server.find("fasthttp", n).Throughput), 0.85, false, "")
	}
	add("server", "times the fasthttp no-op's P50, 1 connection", paired(r.Server.find(ours.key, 1).P50, r.Server.find("fasthttp", 1).P50), 1.2, true, "")
	over := func(t *closed, n int, other cell) float64 {
		if other.Throughput.Median == 0 {
			return 0
		}
		return t.find(ours.key, n).Throughput.Median / other.Throughput.Median
	}
	for _, n := range []int{16, 64} {
		best := r.Peers.best(n)
		add("peers", fmt.Sprintf("times the best of them%s, one worker each, %d connections", which(best), n), over(r.Peers, n, best), 12, false, "")
		best = r.AllCores.best(n)
		add("peers", fmt.Sprintf("times the best of them%s, best workers, all cores, %d connections", which(best), n), over(r.AllCores, n, best), 8, false, "")
		add("peers", fmt.Sprintf("times PyTriton, one worker each, %d connections", n), over(r.Peers, n, r.Peers.find("pytriton", n)), 25, false, "")
	}
	add("open loop", "times the fasthttp no-op's P99 at 50 % of capacity", paired(r.Open.find(ours.key, 0.5).P99, r.Open.find("fasthttp", 0.5).P99), 3, true, "")
	var start []footRow
	if r.Start != nil {
		start = r.Start.Ours
		for _, s := range r.Start.Rows {
			if s.Subject == ours.key {
				add("size", "the program", s.Disk, 28, true, "MiB")
			}
		}
	}
	add("start", "first answer of the demo policy", row(start, "start to first answer, the demo").Value, 20, true, "ms")
	add("start", "first answer of a Nature CNN", row(start, "start to first answer, a Nature").Value, 50, true, "ms")
	add("memory", "resident after a million requests", million(r.Memory), 24, true, "MiB")
	if x := r.Experience; x != nil {
		add("recording", fmt.Sprintf("times the P99 without, %.0f requests/s", x.Rate), x.P99Ratio.Median, 1.2, true, "")
		add("recording", "times the answers/s without, 16 connections", x.Ratio.Median, 0.75, false, "")
		for _, s := range x.Stores {
			if bound := map[string]float64{"SQLite": 50_000, "PostgreSQL": 20_000}[s.Store]; s.What == "the log" {
				add("recording", "steps a second into "+s.Store, s.Rate.Median, bound, false, "")
			}
		}
	}
	add("models", "a thousand are ready after", row(r.Models, "start until 1000 models").Value, 10, true, "s")
	add("models", "resident with a thousand", row(r.Models, "resident with 1000 models").Value, 512, true, "MiB")
	alone, among := row(r.Models, "P50 of one model loaded alone"), row(r.Models, "P50 of one model of 1000")
	times := 0.0
	if alone.Value > 0 {
		times = among.Value / alone.Value
	}
	add("models", "one's P50 among a thousand, times that of one alone", times, 1.1, true, "")
}

// which names a server and its workers, where it was measured.
func which(c cell) string {
	switch {
	case c.Name == "":
		return ""
	case c.Workers > 1:
		return fmt.Sprintf(" (%s, %d workers)", c.Name, c.Workers)
	}
	return " (" + c.Name + ")"
}

// million is the resident memory after as many requests; 0 after fewer.
func million(rows []footRow) float64 {
	if row(rows, "requests sent").Value < 1e6 {
		return 0
	}
	return row(rows, "resident after the requests").Value
}

// row returns the first whose name begins so; an empty one where there is none.
func row(rows []footRow, begins string) footRow {
	for _, r := range rows {
		if strings.HasPrefix(r.What, begins) {
			return r
		}
	}
	return footRow{}
}

// verdicts are the limits, a line each.
func (r *results) verdicts() string {
	var s strings.Builder
	missed, unknown := 0, 0
	for _, c := range r.Checks {
		fmt.Fprintln(&s, c)
		switch c.state() {
		case "MISSED":
			missed++
		case "not measured":
			unknown++
		}
	}
	fmt.Fprintf(&s, "%d limits: %d missed, %d not measured\n", len(r.Checks), missed, unknown)
	return s.String()
}
