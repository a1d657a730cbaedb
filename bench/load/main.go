// Command load puts a closed or an open loop of requests on a server and prints
// what came back: see package internal/load.
//
//	go run ./bench/load -body request.json -rate 20000 -connections 64 http://127.0.0.1:8080/predict
//
// Without -rate each of the connections sends its next request when it has its
// answer. The time of an open loop counts from the planned sending.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sort"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/load"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// Report is what -json prints. Latencies are microseconds.
type Report struct {
	Connections int     `json:"connections"`
	Rate        float64 `json:"rate,omitempty"`
	Seconds     float64 `json:"seconds"`
	Throughput  float64 `json:"good_per_second"`
	Planned     uint64  `json:"planned"`
	Sent        uint64  `json:"sent"`
	Good        uint64  `json:"good"`
	Wrong       uint64  `json:"wrong"`
	Broken      uint64  `json:"broken"`
	Reconnects  uint64  `json:"reconnects"`
	Latency     Summary `json:"latency_us"`
	// Status are the answers by status; their latency is from the sending.
	Status map[int]Status `json:"status"`
}

// Status are the answers of one status.
type Status struct {
	Count   uint64  `json:"count"`
	Service Summary `json:"service_us"`
}

// Summary of a histogram.
type Summary struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func summary(h *load.Histogram) Summary {
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	return Summary{us(h.Mean()), us(h.Percentile(50)), us(h.Percentile(90)), us(h.Percentile(99)), us(h.Percentile(99.9)), us(h.Max())}
}

func run(args []string, w io.Writer) error {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	body := f.String("body", "", "file with the body of a POST; without one it is a GET")
	contentType := f.String("type", "application/json", "type of the body")
	want := f.String("want", "", "what the body of an answer has to begin with")
	connections := f.Int("connections", 16, "open connections")
	rate := f.Float64("rate", 0, "requests a second of an open loop; 0 is a closed loop")
	duration := f.Duration("duration", 5*time.Second, "length of the run")
	socket := f.String("unix", "", "path of a Unix domain socket to connect to")
	wait := f.Bool("wait", false, "sleep between requests, to leave the core to the server")
	asJSON := f.Bool("json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("give one URL")
	}
	u, err := url.Parse(f.Arg(0))
	if err != nil {
		return err
	}
	if u.Scheme != "http" {
		return fmt.Errorf("%s: only http is spoken", f.Arg(0))
	}
	o := load.Options{Network: "tcp", Address: u.Host, Connections: *connections, Rate: *rate, Duration: *duration, Wait: *wait, Want: []byte(*want)}
	if u.Port() == "" {
		o.Address = net.JoinHostPort(u.Hostname(), "80")
	}
	if *socket != "" {
		o.Network, o.Address = "unix", *socket
	}
	request := load.Request("GET", u.Host, u.RequestURI(), "", nil)
	if *body != "" {
		data, err := os.ReadFile(*body)
		if err != nil {
			return err
		}
		request = load.Request("POST", u.Host, u.RequestURI(), *contentType, data)
	}
	o.Requests = [][]byte{request}
	r, err := load.Run(o)
	if err != nil {
		return err
	}
	rep := Report{*connections, *rate, r.Elapsed.Seconds(), r.Throughput(), r.Planned, r.Sent, r.Good, r.Wrong, r.Broken, r.Reconnects,
		summary(&r.Latency), map[int]Status{}}
	for status, c := range r.Status {
		rep.Status[status] = Status{c.Count, summary(&c.Service)}
	}
	if *asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(rep)
	}
	rep.print(w)
	return nil
}

func (r *Report) print(w io.Writer) {
	fmt.Fprintf(w, "%.0f good answers/s in %.1f s; %d planned, %d sent, %d good, %d of another body, %d broken, %d connections opened anew\n",
		r.Throughput, r.Seconds, r.Planned, r.Sent, r.Good, r.Wrong, r.Broken, r.Reconnects)
	fmt.Fprintf(w, "latency: %s\n", r.Latency)
	var all []int
	for status := range r.Status {
		all = append(all, status)
	}
	sort.Ints(all)
	for _, s := range all {
		fmt.Fprintf(w, "status %d: %d, from the sending %s\n", s, r.Status[s].Count, r.Status[s].Service)
	}
}

// String is the summary in microseconds.
func (s Summary) String() string {
	return fmt.Sprintf("mean %.0f us, P50 %.0f, P90 %.0f, P99 %.0f, P99.9 %.0f, max %.0f", s.Mean, s.P50, s.P90, s.P99, s.P999, s.Max)
}
