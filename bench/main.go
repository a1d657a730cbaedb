// Command bench measures the server and the engine on this machine, in one run
// and in turn, and writes what it found: docs/performance/results.json, the page
// results.md and its plots. `make bench` runs it.
//
//	go run ./bench                        # everything, see -h
//	go run ./bench -part open,start       # these parts; the others stay as they were
//	go run ./bench -peers none -runs 1 -seconds 1
//
// What is compared runs in turn, run by run, on the same cores: on a shared
// machine the ratio of neighbours says more than either number.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// part is a piece of the run that can be asked for alone.
type part struct {
	name string
	what string
	run  func(b *bench) error
	// cost is about how long it takes, in seconds.
	cost func(b *bench) float64
}

// parts are in the order in which they run.
var parts = []part{
	{"engine", "the engine against ONNX Runtime and torch", (*bench).engine, func(b *bench) float64 { return 22*b.rowBudget().Seconds() + 20 }},
	{"server", "closed loop against two no-ops", (*bench).server, func(b *bench) float64 { return b.closedCost(3, 4) }},
	{"open", "open loop against the no-op", (*bench).open, (*bench).openCost},
	{"peers", "closed loop against other servers", (*bench).peers, (*bench).peersCost},
	{"start", "start to first answer, sizes", (*bench).start, func(b *bench) float64 { return 15 + 25*float64(len(b.chosenPeers())) }},
	{"memory", "resident memory after many requests", (*bench).memory, func(b *bench) float64 { return 30 * min(1, b.seconds/5) }},
	{"experience", "what recording costs", (*bench).experience, (*bench).experienceCost},
	{"models", "a thousand models", (*bench).models, func(*bench) float64 { return 30 }},
}

// bench is one run of the command.
type bench struct {
	ctx     context.Context
	out     io.Writer
	root    string // of the repository
	dir     string // where results go
	scratch string
	runs    int
	seconds float64 // of a run
	few     bool    // a miniature, for the test: one connection count, small numbers

	peerNames []string
	binary    string // carla-rl
	tools     string // folder of the commands that were built
	model     string // the demo policy as ONNX
	cores     cores
	results   *results
	progress  progress
}

func run(ctx context.Context, args []string, w io.Writer) (err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := f.String("part", "", "parts to run, with commas between them: "+names()+"; empty is all")
	runs := f.Int("runs", 5, "runs of each")
	seconds := f.Float64("seconds", 5, "length of a run")
	peers := f.String("peers", "default", "default ("+strings.Join(defaultPeers, ", ")+"), all, none, or names with commas between them")
	dir := f.String("out", "docs/performance", "folder for the results; what is in its results.json of other parts stays")
	few := f.Bool("few", false, "in miniature: few connections and requests, for trying the command itself")
	if err := f.Parse(args); err != nil {
		return err
	}
	b := &bench{ctx: ctx, out: w, runs: *runs, seconds: *seconds, few: *few, cores: pickCores()}
	if b.runs < 1 || b.seconds <= 0 || f.NArg() > 0 {
		return fmt.Errorf("give runs and seconds above 0, and nothing else: %q", f.Args())
	}
	if b.peerNames, err = peersOf(*peers); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if b.root, err = repository(); err != nil {
		return err
	}
	if b.dir = *dir; !filepath.IsAbs(b.dir) {
		b.dir = filepath.Join(b.root, b.dir)
	}
	if b.results, err = readResults(filepath.Join(b.dir, resultsFile)); err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp("", "carla-rl-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.scratch)) }()
	return b.all(chosen)
}

func (b *bench) all(chosen []part) error {
	b.progress = progress{out: os.Stderr, start: time.Now()}
	for _, p := range chosen {
		b.progress.total += p.cost(b)
	}
	b.progress.say("building")
	if err := b.build(); err != nil {
		return err
	}
	here, err := b.machine()
	if err != nil {
		return err
	}
	b.results.Machine = here
	b.progress.start = time.Now()
	var failed []error
	for _, p := range chosen {
		b.progress.part(p.name, p.cost(b))
		began := time.Now()
		if err := p.run(b); err != nil {
			if b.ctx.Err() != nil {
				return b.ctx.Err()
			}
			// The other parts are worth having all the same.
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
			fmt.Fprintf(b.out, "%s: %v\n", p.name, err)
			continue
		}
		b.results.Parts[p.name] = partInfo{
			Commit: here.Commit, Date: began.UTC().Format("2006-01-02"), Took: time.Since(began).Seconds(), Runs: b.runs, Seconds: b.seconds, Load: load1(),
		}
		// After each part, so that a run that is cut short leaves a whole page.
		b.results.check()
		if err := errors.Join(b.results.write(b.dir), b.results.page(b.dir)); err != nil {
			return err
		}
	}
	fmt.Fprint(b.out, b.results.verdicts())
	fmt.Fprintf(b.out, "%s in %s\n", b.dir, time.Since(b.progress.start).Round(time.Second))
	return errors.Join(failed...)
}

func names() string {
	var all []string
	for _, p := range parts {
		all = append(all, p.name)
	}
	return strings.Join(all, ", ")
}

func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("part %q: one of %s", name, names())
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}

// repository returns the folder that has our go.mod: this one or one above.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "bench", "peers")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("run this inside the repository")
		}
		dir = up
	}
}
