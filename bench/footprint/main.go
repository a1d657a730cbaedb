// Command footprint measures what a server takes before and beside its
// requests: the time from its start to its first answer, the memory after a
// million requests, and what a thousand models cost.
//
//	footprint start   [-n 20] [-model PATH -request FILE]
//	footprint memory  [-n 1000000]
//	footprint models  [-n 1000]
//
// Each builds the program as a release is built, or takes -binary, and prints a
// table, or with -json one object a line. Memory is read from /proc, so that
// this is for Linux.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// options are what every measurement is given.
type options struct {
	binary  string
	scratch string // removed in the end
	n       int
	model   string
	request string
	json    bool
}

// row is one line of a result.
type row struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Least float64 `json:"min,omitempty"`
	Most  float64 `json:"max,omitempty"`
	Runs  int     `json:"runs,omitempty"`
}

var measurements = map[string]struct {
	n   int // by default
	run func(o options) ([]row, error)
}{
	"start":  {20, start},
	"memory": {1_000_000, memory},
	"models": {1000, models},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || measurements[args[0]].run == nil {
		return fmt.Errorf("name one of start, memory, models")
	}
	m := measurements[args[0]]
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&o.binary, "binary", "", "program to measure; built when it is not given")
	flags.IntVar(&o.n, "n", m.n, "starts, requests or models")
	flags.StringVar(&o.model, "model", "", "start: artifact to serve beside the demo, in place of a Nature CNN")
	flags.StringVar(&o.request, "request", "", "start: file with a body of POST /predict for -model")
	flags.BoolVar(&o.json, "json", false, "print an object a line")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	var err error
	if o.scratch, err = os.MkdirTemp("", "footprint-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.scratch)
	if o.binary == "" {
		if o.binary, err = build(o.scratch); err != nil {
			return err
		}
	}
	rows, err := m.run(o)
	if err != nil {
		return err
	}
	return show(rows, o.json)
}

// build makes the program as a release is made.
func build(dir string) (string, error) {
	name := filepath.Join(dir, "carla-rl")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", name, "github.com/carla-rl/carla-rl-serving/cmd/carla-rl")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return name, nil
}

func show(rows []row, asJSON bool) error {
	e := json.NewEncoder(os.Stdout)
	for _, r := range rows {
		if asJSON {
			if err := e.Encode(r); err != nil {
				return err
			}
			continue
		}
		spread := ""
		if r.Runs > 1 {
			spread = fmt.Sprintf("  (%.2f to %.2f in %d runs)", r.Least, r.Most, r.Runs)
		}
		fmt.Printf("%-58s %10.2f %s%s\n", r.What, r.Value, strings.TrimSpace(r.Unit), spread)
	}
	return nil
}

// spreadOf is the row of several runs: their median, least and most.
func spreadOf(what, unit string, values []float64) row {
	slices.Sort(values)
	return row{What: what, Unit: unit, Value: values[len(values)/2], Least: values[0], Most: values[len(values)-1], Runs: len(values)}
}
