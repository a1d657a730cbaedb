package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	neturl "net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/demo"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/load"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// benchCmd measures a policy on this machine: alone, and behind the server.
type benchCmd struct {
	Model       string        `placeholder:"PATH" help:"Artifact folder or model file. Default: the demo policy."`
	URL         string        `name:"url" placeholder:"URL" help:"Put the load on this server (http://host:port, unix:///path), which has the policy, instead of on one that is started for it."`
	Input       string        `placeholder:"FILE" help:"Body of POST /predict to send; drawn from the policy's contract where it is not given."`
	Seconds     float64       `default:"3" help:"Length of each run."`
	Connections []int         `default:"1,16,64" placeholder:"N,..." help:"Open connections of the closed loops."`
	Share       float64       `default:"0.5" help:"Rate of the open loop, as a share of the most that was answered."`
	Timeout     time.Duration `default:"1m" help:"How long to wait for the server's first answer."`
	JSON        bool          `name:"json" help:"Print JSON."`
}

// Help tells what the numbers mean.
func (c *benchCmd) Help() string {
	return `Measures the policy alone, on one lane (time of a run at 1, 8, 32 and 128 rows), and
then a whole server over loopback, which is started for it with the settings of the
environment that make it faster or slower (WORKERS and the like), without keys:
closed loops, in which each connection sends its next request when it has its
answer, tell how much it answers; an open loop sends at a fixed rate whatever the
server does, and its times count from the planned sending, so that a pause is
charged with all requests that it kept waiting.

Client and server share this machine: another client on another machine finds
other numbers. With --url the policy is measured alone only where --model is given.

Examples:
  carla-rl bench
  carla-rl bench --model ./artifacts --seconds 10
  carla-rl bench --url http://127.0.0.1:8080 --input request.json --json`
}

// benchReport is what is printed.
type benchReport struct {
	Model   string         `json:"model"`
	Forward []benchForward `json:"forward,omitzero"`
	Closed  []benchLoop    `json:"closed"`
	Open    *benchLoop     `json:"open,omitzero"`
}

// benchForward is the policy alone.
type benchForward struct {
	Rows      int     `json:"rows"`
	RunNS     float64 `json:"run_ns"` // median
	LeastNS   float64 `json:"least_ns"`
	RowsASec  float64 `json:"rows_per_second"`
	SampleRun int     `json:"runs_a_sample"`
}

// benchLoop is one run of a load.
type benchLoop struct {
	Connections int                `json:"connections"`
	Rate        float64            `json:"rate,omitzero"` // of an open loop
	Answers     float64            `json:"good_answers_per_second"`
	Sent        uint64             `json:"sent"`
	Good        uint64             `json:"good"`
	Failed      uint64             `json:"failed"`
	Status      map[string]uint64  `json:"status"`
	Latency     map[string]float64 `json:"latency_us"`

	histogram *load.Histogram
}

// benchPercentiles are those that are told.
var benchPercentiles = []struct {
	name string
	at   float64
}{{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}}

// Run measures and prints.
func (c *benchCmd) Run(s stdio) (err error) {
	if err := c.check(); err != nil {
		return usage(err)
	}
	dir, err := os.MkdirTemp("", "carla-rl-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	report := &benchReport{Model: c.Model}
	bar := newBenchBar(s.err, c)
	var p *policy.Policy
	if c.URL == "" || c.Model != "" {
		path := c.Model
		if path == "" {
			report.Model = "the demo policy"
			if path, err = writeDemo(dir); err != nil {
				return err
			}
		}
		if p, err = openPolicy(path, "", "", nil, policy.Options{}); err != nil {
			return err
		}
		if report.Forward, err = benchAlone(p, bar); err != nil {
			return err
		}
		if c.Model == "" {
			c.Model = path
		}
	} else {
		report.Model = c.URL
	}
	body, err := c.body(p)
	if err != nil {
		return err
	}
	o := load.Options{Duration: time.Duration(c.Seconds * float64(time.Second)), Wait: true}
	host, refused := "carla-rl", func() error { return nil }
	if c.URL == "" {
		server, err := startServer(c.Model, filepath.Join(dir, "server.log"))
		if err != nil {
			return err
		}
		defer server.stop()
		o.Network, o.Address, host, refused = "tcp", server.address, server.address, server.refusal
	} else if o.Network, o.Address, err = addressOf(c.URL); err != nil {
		return usage(err)
	} else if o.Network == "tcp" {
		host = o.Address
	}
	o.Requests = [][]byte{load.Request("POST", host, "/predict", "application/json", body)}
	if err := c.await(&o, refused); err != nil {
		return err
	}
	if err := c.loops(report, o, bar); err != nil {
		return err
	}
	bar.clear()
	if c.JSON {
		return writeJSON(s.out, report)
	}
	_, err = io.WriteString(s.out, report.text())
	return err
}

func (c *benchCmd) check() error {
	if !(c.Seconds > 0 && c.Seconds <= 3600) {
		return fmt.Errorf("--seconds %v: more than 0, and an hour at most", c.Seconds)
	}
	if !(c.Share > 0 && c.Share <= 10) {
		return fmt.Errorf("--share %v: more than 0, and 10 at most", c.Share)
	}
	for _, n := range c.Connections {
		if n < 1 || n > 10_000 {
			return fmt.Errorf("--connections %d: from 1 to 10000", n)
		}
	}
	if c.URL != "" && c.Model == "" && c.Input == "" {
		return errors.New("--url needs --model or --input, to know what to ask")
	}
	return nil
}

// writeDemo puts the demo policy into a folder.
func writeDemo(dir string) (string, error) {
	sub, err := fs.Sub(demo.FS, demo.Dir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "demo")
	return path, os.CopyFS(path, sub)
}

// addressOf is the network and the address of a URL.
func addressOf(text string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(text, "unix://"); ok {
		return "unix", path, nil
	}
	u, err := neturl.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return "", "", fmt.Errorf("--url %s: http://host:port or unix:///path", text)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return "tcp", net.JoinHostPort(u.Hostname(), port), nil
}

// body is what is sent: of a file, or an observation drawn from the contract.
func (c *benchCmd) body(p *policy.Policy) ([]byte, error) {
	if c.Input != "" {
		return readLimited(c.Input)
	}
	contract := p.Contract()
	o := newSampler(p, 1).sample(1)
	b := []byte(`{"observations":[`)
	value := func(b []byte, shape []int, input int, data []float32) []byte {
		v := values{shape: shape, dtype: graph.Float32, data: float64s(data)}
		if in := &contract.Inputs[input]; in.DType != graph.Invalid {
			v.dtype = in.DType
		}
		return v.append(b)
	}
	if !contract.Named {
		b = value(b, contract.Inputs[0].Shape, 0, o.in[0])
	} else {
		for i := range contract.Features {
			f := &contract.Features[i]
			if i == 0 {
				b = append(b, '{')
			} else {
				b = append(b, ',')
			}
			b = strconv.AppendQuote(b, f.Name)
			b = value(append(b, ':'), f.Shape, f.Input, o.in[f.Input][f.Offset:][:f.Size])
		}
		b = append(b, '}')
	}
	b = append(b, `],"deterministic":true`...)
	if len(contract.State) > 0 {
		b = append(b, `,"state":null`...) // Each request begins an episode.
	}
	return append(b, '}'), nil
}

// await asks until the first answer, which has to be a good one, or until the
// server has ended.
func (c *benchCmd) await(o *load.Options, refused func() error) error {
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		status, _, body, err := load.Ask(o.Network, o.Address, o.Requests[0], c.Timeout)
		ended := refused()
		switch {
		case ended != nil:
			return ended
		case err == nil && status == 200:
			return nil
		case err == nil && status != 503:
			return fmt.Errorf("the server answers the request with %d: %s", status, strings.TrimSpace(string(body)))
		case time.Since(begin) > c.Timeout && err != nil:
			return fmt.Errorf("no answer from %s: %w", o.Address, err)
		case time.Since(begin) > c.Timeout:
			return fmt.Errorf("the server is not ready after %v: %s", c.Timeout, strings.TrimSpace(string(body)))
		}
	}
}

// loops puts the loads on.
func (c *benchCmd) loops(report *benchReport, o load.Options, bar *benchBar) error {
	best, connections := 0.0, 1
	for _, n := range c.Connections {
		o.Connections, o.Rate = n, 0
		l, err := benchRun(o, bar, fmt.Sprintf("closed loop, %d connections", n))
		if err != nil {
			return err
		}
		if report.Closed = append(report.Closed, *l); l.Answers > best {
			best, connections = l.Answers, n
		}
	}
	if best == 0 {
		return nil
	}
	o.Connections, o.Rate = max(connections, 16), c.Share*best
	l, err := benchRun(o, bar, fmt.Sprintf("open loop, %.0f a second", o.Rate))
	report.Open = l
	return err
}

func benchRun(o load.Options, bar *benchBar, what string) (*benchLoop, error) {
	o.Progress = func(part float64, _ uint64) { bar.show(part, what) }
	r, err := load.Run(o)
	if err != nil {
		return nil, err
	}
	bar.done++
	l := &benchLoop{Connections: o.Connections, Rate: o.Rate, Answers: r.Throughput(), Sent: r.Sent, Good: r.Good, Failed: r.Sent - r.Good,
		Status: map[string]uint64{}, Latency: map[string]float64{"mean": us(r.Latency.Mean())}, histogram: &r.Latency}
	for status, class := range r.Status {
		l.Status[strconv.Itoa(status)] = class.Count
	}
	for _, p := range benchPercentiles {
		l.Latency[p.name] = us(r.Latency.Percentile(p.at))
	}
	return l, nil
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }
