// Package load puts a load of HTTP/1.1 requests on a server and counts how long
// the answers take. What enters are the bytes of whole requests and an address;
// what leaves are histograms.
//
// In a closed loop each connection sends its next request when it has its
// answer: that measures how much a server can do. In an open loop requests are
// sent by a fixed schedule, whatever the server does, and a latency counts from
// the time at which its request was planned: a server that stands still for a
// second is charged with all the requests that would have come in that second.
//
// It speaks over loopback or a LAN, without TLS, to servers that say the length
// of their answers. It must not import what it measures.
package load

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Options of a run.
type Options struct {
	// Network is tcp or unix, and Address what package net takes for it.
	Network, Address string
	// Requests are sent in turn, as they are: see Request.
	Requests [][]byte
	// Connections that are kept open.
	Connections int
	// Duration of the run; what was sent before its end is waited for, for
	// Grace at most (0: a second).
	Duration, Grace time.Duration
	// Rate is that of the open loop, in requests a second; 0 is a closed loop.
	Rate float64
	// Want is what the body of an answer of status 200 has to begin with: what
	// is behind it may be times of that one request. Nil takes all.
	Want []byte
	// Wait makes the loop sleep until its next request or answer, to leave the
	// core to others. Otherwise it looks for both without pause, which a
	// measurement wants where it has a core for itself.
	Wait bool
	// Progress is called a few times a second with the part of Duration that
	// is over and the answers so far. It must not take long.
	Progress func(part float64, answered uint64)
}

// Result of a run. Latencies are of what came back, whatever its status; in an
// open loop they are counted from the planned time.
type Result struct {
	Elapsed time.Duration
	// Planned requests, of which Sent went out and Answered came back. What an
	// open loop planned and could not send before its end is in the latencies
	// with the time that it had waited.
	Planned, Sent, Answered uint64
	// Good answers have the status 200, and a body as it was wanted.
	Good uint64
	// Wrong answers have the status 200 and another body.
	Wrong uint64
	// Broken requests got no whole answer: the connection ended, or the answer
	// was no HTTP/1.1 with a length. Reconnects count what was opened anew.
	Broken, Reconnects uint64
	// Status is the number and the latency of the answers by status.
	Status map[int]*Class
	// Latency is of the good answers and of what was not sent.
	Latency Histogram
	// Service is the time from the sending of a request to its answer, of good
	// ones.
	Service Histogram
}

// Class are the answers of one status.
type Class struct {
	Count uint64
	// Latency as that of Result; Service from the sending.
	Latency, Service Histogram
}

// Throughput is the number of good answers a second.
func (r *Result) Throughput() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Good) / r.Elapsed.Seconds()
}

// Err is nil where all that was sent came back good.
func (r *Result) Err() error {
	if r.Broken == 0 && r.Wrong == 0 && r.Good == r.Answered {
		return nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "of %d answers %d were good, %d had another body; %d requests got none", r.Answered, r.Good, r.Wrong, r.Broken)
	for status, c := range r.Status {
		if status != 200 {
			fmt.Fprintf(&text, "; %d of status %d", c.Count, status)
		}
	}
	return errors.New(text.String())
}

func (r *Result) count(status int, latency, service time.Duration, right bool) {
	r.Answered++
	c := r.Status[status]
	if c == nil {
		c = &Class{}
		r.Status[status] = c
	}
	c.Count++
	c.Latency.Record(latency)
	c.Service.Record(service)
	switch {
	case status != 200:
	case !right:
		r.Wrong++
	default:
		r.Good++
		r.Latency.Record(latency)
		r.Service.Record(service)
	}
}

// defaultGrace is how long the last answers are waited for.
const defaultGrace = time.Second

// Run puts the load on. The error is of options or of an address that nobody
// listens at; what goes wrong later is in the result.
func Run(o Options) (*Result, error) {
	switch {
	case len(o.Requests) == 0:
		return nil, errors.New("load: no request to send")
	case o.Connections < 1:
		return nil, fmt.Errorf("load: %d connections", o.Connections)
	case o.Duration <= 0:
		return nil, fmt.Errorf("load: a run of %v", o.Duration)
	case o.Rate < 0:
		return nil, fmt.Errorf("load: a rate of %v", o.Rate)
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if o.Progress == nil {
		o.Progress = func(float64, uint64) {}
	}
	// With one core the server needs it.
	o.Wait = o.Wait || runtime.NumCPU() == 1
	return run(&o)
}

// Request returns the bytes of a request with the body.
func Request(method, host, path, contentType string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	if contentType != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", contentType)
	}
	if len(body) > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// Ask sends one request on a connection of its own and returns the head of the
// answer (status line and headers) and its body.
func Ask(network, address string, request []byte, timeout time.Duration) (status int, head, body []byte, err error) {
	c, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, nil, nil, err
	}
	if _, err := c.Write(request); err != nil {
		return 0, nil, nil, err
	}
	var b []byte
	chunk := make([]byte, 32<<10)
	for {
		a, err := parse(b)
		if err != nil {
			return 0, nil, nil, err
		}
		if a.whole {
			return a.status, b[:a.head], b[a.head:a.end], nil
		}
		n, err := c.Read(chunk)
		if err != nil {
			return 0, nil, nil, err
		}
		b = append(b, chunk[:n]...)
	}
}

// answer is what the parser found at the start of some bytes.
type answer struct {
	whole     bool // and the others mean something
	status    int
	head, end int  // where the body begins and ends
	closes    bool // the server will close the connection
}

// maxHeadBytes ends an answer whose headers have no end.
const maxHeadBytes = 64 << 10

var (
	errNotHTTP  = errors.New("load: the answer is no HTTP/1.1")
	errNoLength = errors.New("load: the answer does not say its length")
)

// parse looks for a whole answer at the start of b.
func parse(b []byte) (answer, error) {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		if len(b) > maxHeadBytes || len(b) >= 5 && string(b[:5]) != "HTTP/" {
			return answer{}, errNotHTTP
		}
		return answer{}, nil
	}
	if head < 12 || string(b[:7]) != "HTTP/1." || b[8] != ' ' {
		return answer{}, errNotHTTP
	}
	status := 0
	for _, c := range b[9:12] {
		if c < '0' || c > '9' {
			return answer{}, errNotHTTP
		}
		status = 10*status + int(c-'0')
	}
	a := answer{status: status, head: head + 4, closes: b[7] == '0'}
	length := -1
	for rest := b[:head+2]; ; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 || i+1 == len(rest) {
			break
		}
		rest = rest[i+1:]
		if v, ok := value(rest, "content-length:"); ok {
			n, err := strconv.Atoi(string(v))
			if err != nil || n < 0 {
				return answer{}, errNoLength
			}
			length = n
		} else if v, ok := value(rest, "connection:"); ok {
			a.closes = bytes.EqualFold(v, []byte("close")) || a.closes && !bytes.EqualFold(v, []byte("keep-alive"))
		}
	}
	if length < 0 {
		if status != 204 && status != 304 {
			return answer{}, errNoLength
		}
		length = 0
	}
	a.end = a.head + length
	a.whole = len(b) >= a.end
	return a, nil
}

// value returns that of a header whose line b begins with, if its name is the
// given one, in lower case and with its colon.
func value(b []byte, name string) ([]byte, bool) {
	if len(b) < len(name) {
		return nil, false
	}
	for i := range len(name) {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return nil, false
		}
	}
	v := b[len(name):]
	if i := bytes.IndexByte(v, '\r'); i >= 0 {
		v = v[:i]
	}
	return bytes.TrimSpace(v), true
}
