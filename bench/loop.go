package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// answered is what the load generator prints that is used here.
type answered struct {
	Throughput float64 `json:"good_per_second"`
	Planned    uint64  `json:"planned"`
	Sent       uint64  `json:"sent"`
	Good       uint64  `json:"good"`
	Wrong      uint64  `json:"wrong"`
	Broken     uint64  `json:"broken"`
	Latency    latency `json:"latency_us"`
}

// latency in microseconds.
type latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// ask is one run of the load generator.
type ask struct {
	connections int
	rate        float64 // of an open loop, or 0
	seconds     float64
	pinned      bool // to the core of clients
}

var errAnswers = errors.New("not all answers were good")

// put puts a load on a process, by a process of its own.
func (b *bench) put(p *process, a ask) (*answered, error) {
	want, err := p.want()
	if err != nil {
		return nil, err
	}
	body := filepath.Join(b.scratch, "body-"+p.subject.key+".json")
	if err := os.WriteFile(body, []byte(p.subject.body(0)), 0o600); err != nil {
		return nil, err
	}
	c := b.command(filepath.Join(b.tools, "load"), "-json", "-body", body, "-want", string(want),
		"-connections", strconv.Itoa(a.connections), "-rate", strconv.FormatFloat(a.rate, 'f', 1, 64),
		"-duration", strconv.FormatFloat(a.seconds, 'f', 3, 64)+"s")
	if !a.pinned {
		// The server has a right to all cores.
		c.Args = append(c.Args, "-wait")
	}
	c.Args = append(c.Args, "http://"+p.address+p.subject.path)
	c.Env = append(os.Environ(), "GOMAXPROCS=1")
	var out strings.Builder
	c.Stdout = &out
	var on []int
	if a.pinned {
		on = b.cores.client
	}
	if err := startOn(c, on); err != nil {
		return nil, err
	}
	if err := c.Wait(); err != nil {
		return nil, fmt.Errorf("load on %s: %w", p.subject.name, err)
	}
	r := &answered{}
	if err := json.Unmarshal([]byte(out.String()), r); err != nil {
		return nil, err
	}
	if r.Broken > 0 || r.Wrong > 0 || r.Good < r.Sent {
		return r, fmt.Errorf("%s: %w: %d sent, %d good, %d of another body, %d without an answer", p.subject.name, errAnswers, r.Sent, r.Good, r.Wrong, r.Broken)
	}
	return r, nil
}

// closed is a table of closed loops.
type closed struct {
	// Setting says where server and client run.
	Setting string `json:"setting"`
	Cells   []cell `json:"cells"`
}

// cell is one server at one number of connections.
type cell struct {
	Subject     string `json:"subject"`
	Name        string `json:"name"`
	Workers     int    `json:"workers,omitempty"`
	Connections int    `json:"connections"`
	Throughput  spread `json:"throughput"` // answers a second
	P50         spread `json:"p50_us"`
	P99         spread `json:"p99_us"`
	// Failed requests of all runs; they are no answers.
	Failed uint64 `json:"failed,omitempty"`
}

// find returns the cell of a subject; an empty one where there is none.
func (c *closed) find(subject string, connections int) cell {
	if c != nil {
		for _, x := range c.Cells {
			if x.Subject == subject && x.Connections == connections {
				return x
			}
		}
	}
	return cell{}
}

// best returns the cell with the most answers a second of all but ours and the
// no-ops.
func (c *closed) best(connections int) cell {
	var best cell
	if c == nil {
		return best
	}
	for _, x := range c.Cells {
		switch x.Subject {
		case ours.key, "fasthttp", "nethttp":
			continue
		}
		if x.Connections == connections && x.Throughput.Median > best.Throughput.Median {
			best = x
		}
	}
	return best
}

// warming is the length of the run before the first, which does not count.
const warming = 0.5

// turns measures processes in turn, run by run, at each number of connections.
func (b *bench) turns(all []*process, workers map[string]int, connections []int, pinned bool) ([]cell, error) {
	var cells []cell
	for _, n := range connections {
		base := len(cells)
		for _, p := range all {
			cells = append(cells, cell{Subject: p.subject.key, Name: p.subject.name, Workers: workers[p.subject.key], Connections: n})
			if _, err := b.put(p, ask{n, 0, min(warming, b.seconds), pinned}); err != nil && !errors.Is(err, errAnswers) {
				return nil, err
			}
		}
		tps, p50, p99 := make([][]float64, len(all)), make([][]float64, len(all)), make([][]float64, len(all))
		for run := range b.runs {
			b.progress.say("%d connections, run %d of %d: %s", n, run+1, b.runs, processNames(all))
			for k := range all {
				// Whoever follows whom changes from run to run.
				i := (k + run) % len(all)
				r, err := b.put(all[i], ask{n, 0, b.seconds, pinned})
				if err != nil && !errors.Is(err, errAnswers) {
					return nil, err
				}
				if err != nil {
					fmt.Fprintln(b.out, err)
					cells[base+i].Failed += r.Sent - r.Good
				}
				tps[i], p50[i], p99[i] = append(tps[i], r.Throughput), append(p50[i], r.Latency.P50), append(p99[i], r.Latency.P99)
			}
		}
		for i := range all {
			c := &cells[base+i]
			// Runs are kept by their number, not by who was first.
			c.Throughput, c.P50, c.P99 = spreadOf(tps[i]), spreadOf(p50[i]), spreadOf(p99[i])
			b.progress.say("%-24s %3d connections %9.0f answers/s (%.0f to %.0f), P50 %.0f us", c.Name, n, c.Throughput.Median, c.Throughput.Min, c.Throughput.Max, c.P50.Median)
		}
	}
	return cells, nil
}

func processNames(all []*process) string {
	var names []string
	for _, p := range all {
		names = append(names, p.subject.name)
	}
	return strings.Join(names, ", ")
}

// closedCost of some subjects at some numbers of connections.
func (b *bench) closedCost(subjects, connections int) float64 {
	each := (b.seconds+0.15)*float64(b.runs) + warming + 0.15
	return float64(subjects*connections)*each + 1
}

func (b *bench) connections(all ...int) []int {
	if b.few {
		return all[:1]
	}
	return all
}

func (b *bench) setting(pinned bool) string {
	if pinned && b.cores.pinned() {
		return "the server on one core, the client on another, one worker each"
	}
	return "server and client share all cores"
}

// server measures ours against the no-ops.
func (b *bench) server() error {
	all, err := b.withNoops()
	defer stopAll(all)
	if err != nil {
		return err
	}
	cells, err := b.turns(all, nil, b.connections(1, 16, 64, 256), true)
	if err != nil {
		return err
	}
	b.results.Server = &closed{b.setting(true), cells}
	return nil
}

// withNoops starts ours and, on the same core, the no-ops that answer as it
// does.
func (b *bench) withNoops() ([]*process, error) {
	p, err := b.launch(ours, 1, b.cores.server)
	if err != nil {
		return nil, err
	}
	all := []*process{p}
	for _, s := range []*subject{noop("fasthttp", "no-op, fasthttp", p.address), noop("nethttp", "no-op, net/http", p.address)} {
		q, err := b.launch(s, 1, b.cores.server)
		if err != nil {
			return all, err
		}
		all = append(all, q)
	}
	return all, nil
}

func stopAll(all []*process) {
	for _, p := range all {
		p.stop()
	}
}

// openRates are shares of the capacity that ours has.
var openRates = []float64{0.25, 0.5, 0.75, 0.9}

// opened is the table of open loops.
type opened struct {
	Setting string `json:"setting"`
	// Capacity is what ours answers in a closed loop of Connections, a second,
	// measured just before; rates are shares of it for both.
	Capacity    float64    `json:"capacity"`
	Connections int        `json:"connections"`
	Cells       []openCell `json:"cells"`
}

type openCell struct {
	Subject string  `json:"subject"`
	Name    string  `json:"name"`
	Share   float64 `json:"share"`
	Rate    float64 `json:"rate"`
	Got     spread  `json:"throughput"`
	P50     spread  `json:"p50_us"`
	P90     spread  `json:"p90_us"`
	P99     spread  `json:"p99_us"`
	P999    spread  `json:"p999_us"`
	Max     spread  `json:"max_us"`
}

func (o *opened) find(subject string, share float64) openCell {
	if o != nil {
		for _, c := range o.Cells {
			if c.Subject == subject && c.Share == share {
				return c
			}
		}
	}
	return openCell{}
}

func (b *bench) openCost() float64 {
	return float64(2*len(openRates)*b.runs)*(b.seconds+0.15) + 3*b.seconds + 2
}

// open sends requests at constant rates. A run in which not every request came
// back is one all the same: what waited is in its latencies.
func (b *bench) open() error {
	const connections = 64
	all, err := b.withNoops()
	defer stopAll(all)
	if err != nil {
		return err
	}
	all = all[:2]
	var capacity []float64
	for range 3 {
		r, err := b.put(all[0], ask{connections, 0, b.seconds, true})
		if err != nil {
			return err
		}
		capacity = append(capacity, r.Throughput)
	}
	o := &opened{Setting: b.setting(true), Capacity: spreadOf(capacity).Median, Connections: connections}
	shares := openRates
	if b.few {
		shares = shares[1:2]
	}
	for _, share := range shares {
		rate := share * o.Capacity
		var got, p50, p90, p99, p999, most [2][]float64
		b.progress.say("%.0f %% of %.0f a second, %d runs of each", 100*share, o.Capacity, b.runs)
		for run := range b.runs {
			for k := range all {
				i := (k + run) % len(all)
				r, err := b.put(all[i], ask{connections, rate, b.seconds, true})
				if err != nil && !errors.Is(err, errAnswers) {
					return err
				}
				l := r.Latency
				got[i], p50[i], p90[i] = append(got[i], r.Throughput), append(p50[i], l.P50), append(p90[i], l.P90)
				p99[i], p999[i], most[i] = append(p99[i], l.P99), append(p999[i], l.P999), append(most[i], l.Max)
			}
		}
		for i, p := range all {
			c := openCell{p.subject.key, p.subject.name, share, rate, spreadOf(got[i]), spreadOf(p50[i]), spreadOf(p90[i]), spreadOf(p99[i]), spreadOf(p999[i]), spreadOf(most[i])}
			o.Cells = append(o.Cells, c)
			b.progress.say("%-18s %.0f a second: P50 %.0f us, P99 %.0f us, P99.9 %.0f us", c.Name, rate, c.P50.Median, c.P99.Median, c.P999.Median)
		}
	}
	b.results.Open = o
	return nil
}

// peersCost of the two tables and of the search for the best workers.
func (b *bench) peersCost() float64 {
	n := len(b.chosenPeers())
	if n == 0 {
		return 0
	}
	start := 12 * float64(n*(2+len(b.workerCounts())))
	return b.closedCost(n+1, 3) + b.closedCost(n+1, 2) + start + float64(n*len(b.workerCounts()))*min(2, b.seconds)
}

func (b *bench) workerCounts() []int {
	counts := []int{1, 2}
	if n := len(b.cores.all); n > 2 {
		counts = append(counts, n)
	}
	counts = append(counts, 2*max(2, len(b.cores.all)))
	if b.few {
		return counts[:1]
	}
	return counts
}

// peers measures ours against other servers, with one worker on one core each,
// and then on all cores with the workers that are best for each.
func (b *bench) peers() error {
	chosen := b.chosenPeers()
	if len(chosen) == 0 {
		return nil
	}
	for _, s := range chosen {
		b.progress.say("environment of %s", s.name)
		if _, err := b.venv(s.key); err != nil {
			return err
		}
		if err := b.results.versions(b.root, s.key); err != nil {
			return err
		}
	}
	one, cells := map[string]int{}, []cell(nil)
	all, err := b.startPeers(chosen, func(string) int { return 1 }, b.cores.server)
	if err == nil {
		for _, p := range all[1:] {
			one[p.subject.key] = 1
		}
		cells, err = b.turns(all, one, b.connections(1, 16, 64), true)
	}
	stopAll(all)
	if err != nil {
		return err
	}
	b.results.Peers = &closed{b.setting(true), cells}

	best := map[string]int{}
	for _, p := range all[1:] {
		if best[p.subject.key], err = b.bestWorkers(p.subject); err != nil {
			return err
		}
	}
	var subjects []*subject
	for _, p := range all[1:] {
		subjects = append(subjects, p.subject)
	}
	all, err = b.startPeers(subjects, func(key string) int { return best[key] }, nil)
	if err == nil {
		cells, err = b.turns(all, best, b.connections(16, 64), false)
	}
	stopAll(all)
	if err != nil {
		return err
	}
	b.results.AllCores = &closed{b.setting(false), cells}
	return nil
}

// startPeers starts ours and the peers. One that does not come up, or answers
// something else, is told and left out.
func (b *bench) startPeers(chosen []*subject, workers func(key string) int, on []int) ([]*process, error) {
	p, err := b.launch(ours, 1, on)
	if err != nil {
		return nil, err
	}
	all := []*process{p}
	for _, s := range chosen {
		b.progress.say("starting %s", s.name)
		q, err := b.launch(s, workers(s.key), on)
		if b.ctx.Err() != nil {
			return all, b.ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(b.out, "left out: %v\n", err)
			b.results.LeftOut = append(b.results.LeftOut, s.name)
			continue
		}
		all = append(all, q)
	}
	return all, nil
}

// bestWorkers returns the number of workers with which a server answers most on
// all cores, at 16 connections.
func (b *bench) bestWorkers(s *subject) (int, error) {
	best, most := 1, 0.0
	for _, n := range b.workerCounts() {
		p, err := b.launch(s, n, nil)
		if err != nil {
			if b.ctx.Err() != nil {
				return 0, err
			}
			fmt.Fprintf(b.out, "%s with %d workers: %v\n", s.name, n, err)
			continue
		}
		// All workers have to be there before it counts; one that is not may
		// fail a request.
		_, err = b.put(p, ask{16, 0, min(1, b.seconds), false})
		var r *answered
		if err == nil || errors.Is(err, errAnswers) {
			r, err = b.put(p, ask{16, 0, min(2, b.seconds), false})
		}
		p.stop()
		switch {
		case errors.Is(err, errAnswers):
			fmt.Fprintf(b.out, "with %d workers: %v\n", n, err)
		case err != nil:
			return 0, err
		}
		b.progress.say("%s with %d workers: %.0f answers/s", s.name, n, r.Throughput)
		if r.Throughput > most {
			best, most = n, r.Throughput
		}
		time.Sleep(100 * time.Millisecond)
	}
	return best, nil
}
