package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// recordingRate is what is offered to the server, in requests a second, with
// its log of experience and without.
const recordingRate = 20_000

// recording is what it costs to record every step, in turn with a server that
// records none.
type recording struct {
	Setting string  `json:"setting"`
	Rate    float64 `json:"rate"` // of the open loop
	// P99 of the open loop in microseconds, and answers a second of the closed
	// loop of 16 connections; ratios are medians of those of neighbouring runs.
	P99Without  spread `json:"p99_without_us"`
	P99With     spread `json:"p99_with_us"`
	P99Ratio    spread `json:"p99_ratio"`
	Without     spread `json:"without"`
	With        spread `json:"with"`
	Ratio       spread `json:"ratio"`
	Recorded    uint64 `json:"recorded"` // of the open loop
	Lost        uint64 `json:"lost"`
	RecordedMax uint64 `json:"recorded_closed"` // of the closed loop
	LostMax     uint64 `json:"lost_closed"`
	// Stores are rows of bench/log.
	Stores []storeRow `json:"stores"`
	// NoPostgres says why there are none of PostgreSQL.
	NoPostgres string `json:"no_postgres,omitempty"`
}

// storeRow is how fast one store is written.
type storeRow struct {
	Store string `json:"store"`
	What  string `json:"what"`
	Steps int    `json:"steps"`
	// Rate is of steps a second, and Ratio that to the plain loop of the same
	// run, which is 1.
	Rate  spread `json:"steps_per_second"`
	Ratio spread `json:"ratio"`
}

// oursRecording is ours with a log in a file.
var oursRecording = &subject{
	key: "carla-rl-recording", name: "carla-rl, recording", path: "/predict", body: guideRequest,
	command: func(b *bench, port, _ int) (*exec.Cmd, error) {
		c := exec.Command(b.binary, "serve", "--port", strconv.Itoa(port))
		c.Dir = b.scratch
		c.Env = append(os.Environ(), "DATABASE_URL=sqlite://"+filepath.Join(b.scratch, "experience.db"))
		return c, nil
	},
}

func (b *bench) experienceCost() float64 {
	return float64(4*b.runs)*(b.seconds+0.3) + 4*warming + 30
}

// experience measures what it costs to record every step.
func (b *bench) experience() error {
	r := &recording{Setting: b.setting(false), Rate: recordingRate}
	if b.few {
		r.Rate = 500
	}
	var all []*process
	defer func() { stopAll(all) }()
	for _, s := range []*subject{ours, oursRecording} {
		p, err := b.launch(s, 1, nil)
		if err != nil {
			return err
		}
		all = append(all, p)
		if _, err := b.put(p, ask{16, 0, min(warming, b.seconds), false}); err != nil {
			return err
		}
	}
	type sides [2][]float64
	// measure runs both in turn and returns what a run is judged by.
	measure := func(what string, a ask, of func(*answered) float64) (got sides, ratio []float64, recorded, lost uint64, err error) {
		before, err := recordedBy(all[1])
		if err != nil {
			return got, nil, 0, 0, err
		}
		for run := range b.runs {
			b.progress.say("%s, run %d of %d", what, run+1, b.runs)
			for k := range all {
				i := (k + run) % len(all)
				x, err := b.put(all[i], a)
				if err != nil && !errors.Is(err, errAnswers) {
					return got, nil, 0, 0, err
				}
				got[i] = append(got[i], of(x))
			}
			ratio = append(ratio, got[1][run]/got[0][run])
		}
		after, err := recordedBy(all[1])
		return got, ratio, after[0] - before[0], after[1] - before[1], err
	}
	got, ratio, recorded, lost, err := measure(fmt.Sprintf("%.0f requests a second", r.Rate), ask{64, r.Rate, b.seconds, false}, func(a *answered) float64 { return a.Latency.P99 })
	if err != nil {
		return err
	}
	r.P99Without, r.P99With, r.P99Ratio, r.Recorded, r.Lost = spreadOf(got[0]), spreadOf(got[1]), spreadOf(ratio), recorded, lost
	b.progress.say("P99 %.0f us with recording, %.0f us without: %.2f times; %d recorded, %d lost", r.P99With.Median, r.P99Without.Median, r.P99Ratio.Median, recorded, lost)
	got, ratio, recorded, lost, err = measure("16 connections", ask{16, 0, b.seconds, false}, func(a *answered) float64 { return a.Throughput })
	if err != nil {
		return err
	}
	r.Without, r.With, r.Ratio, r.RecordedMax, r.LostMax = spreadOf(got[0]), spreadOf(got[1]), spreadOf(ratio), recorded, lost
	b.progress.say("%.0f answers/s with recording, %.0f without: %.2f; %d recorded, %d lost", r.With.Median, r.Without.Median, r.Ratio.Median, recorded, lost)
	stopAll(all)
	all = nil
	if err := b.stores(r); err != nil {
		return err
	}
	b.results.Experience = r
	return nil
}

// stores runs bench/log, with the empty database of PostgreSQL whose URL
// BENCH_POSTGRES has, or else with a server of its own.
func (b *bench) stores(r *recording) error {
	steps := 200_000
	if b.few {
		steps = 1000
	}
	args := []string{"-steps", strconv.Itoa(steps), "-runs", strconv.Itoa(b.runs), "-sqlite", filepath.Join(b.scratch, "log.db")}
	url := os.Getenv("BENCH_POSTGRES")
	if url == "" {
		own, stop, err := startPostgres()
		if err != nil {
			r.NoPostgres = "no server of it could be started" // why may have paths of this machine
			b.progress.say("PostgreSQL is not measured: %v", err)
		} else {
			defer stop()
			url = own
		}
	}
	if url != "" {
		args = append(args, "-postgres", url)
	}
	out, err := b.command(filepath.Join(b.tools, "log"), args...).Output()
	if err != nil {
		return fmt.Errorf("bench/log: %w", err)
	}
	var runs []struct {
		Store string    `json:"store"`
		What  string    `json:"what"`
		Steps int       `json:"steps"`
		Rates []float64 `json:"rates"`
		Ratio []float64 `json:"ratios"`
	}
	if err := json.Unmarshal(out, &runs); err != nil {
		return err
	}
	for _, x := range runs {
		row := storeRow{x.Store, x.What, x.Steps, spreadOf(x.Rates), spreadOf(x.Ratio)}
		r.Stores = append(r.Stores, row)
		b.progress.say("%s, %s: %.0f steps/s, %.2f times the plain loop", row.Store, row.What, row.Rate.Median, row.Ratio.Median)
	}
	return nil
}

var (
	recordedMetric = regexp.MustCompile(`(?m)^carla_rl_experience_recorded_steps_total (\S+)$`)
	lostMetric     = regexp.MustCompile(`(?m)^carla_rl_experience_lost_steps_total\{[^}]*\} (\S+)$`)
)

// recordedBy is how many steps a process has recorded, and lost.
func recordedBy(p *process) (n [2]uint64, err error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + p.address + "/metrics")
	if err != nil {
		return n, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return n, err
	}
	for i, re := range []*regexp.Regexp{recordedMetric, lostMetric} {
		for _, m := range re.FindAllSubmatch(text, -1) {
			v, err := strconv.ParseFloat(string(m[1]), 64)
			if err != nil {
				return n, err
			}
			n[i] += uint64(v)
		}
	}
	return n, nil
}

// experiencePage is the part of the page on recording.
func (r *results) experiencePage(p func(format string, args ...any)) {
	x := r.Experience
	if x == nil {
		return
	}
	p("")
	p("## Recording every step")
	p("")
	p("The [experience log](../experience.md) in a file, mode buffered; %s. Two servers in turn, one of which records.", x.Setting)
	p("")
	p("| | without | with | ratio | recorded | lost |")
	p("|---|---|---|---|---|---|")
	p("| P99 at %.0f requests/s, open loop, µs | %.0f / %.0f / %.0f | %.0f / %.0f / %.0f | %.2f | %d | %d |", x.Rate,
		x.P99Without.Min, x.P99Without.Median, x.P99Without.Max, x.P99With.Min, x.P99With.Median, x.P99With.Max, x.P99Ratio.Median, x.Recorded, x.Lost)
	p("| answers/s, closed loop of 16 connections | %.0f / %.0f / %.0f | %.0f / %.0f / %.0f | %.2f | %d | %d |",
		x.Without.Min, x.Without.Median, x.Without.Max, x.With.Min, x.With.Median, x.With.Max, x.Ratio.Median, x.RecordedMax, x.LostMax)
	p("")
	p("| store | written by | steps/s | to the plain loop |")
	p("|---|---|---|---|")
	for _, s := range x.Stores {
		p("| %s | %s | %.0f / %.0f / %.0f | %.2f |", s.Store, s.What, s.Rate.Min, s.Rate.Median, s.Rate.Max, s.Ratio.Median)
	}
	if x.NoPostgres != "" {
		p("")
		p("PostgreSQL was not measured: %s.", x.NoPostgres)
	}
}
