package load

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// forEachRun runs a test with the event loop of this system, if it has one, and
// with its portable twin.
func forEachRun(t *testing.T, f func(t *testing.T, run func(o Options) *Result)) {
	t.Helper()
	for name, put := range map[string]func(*Options) (*Result, error){"system": run, "portable": runPortable} {
		t.Run(name, func(t *testing.T) {
			f(t, func(o Options) *Result {
				o.Grace = max(o.Grace, time.Second)
				if o.Progress == nil {
					o.Progress = func(float64, uint64) {}
				}
				r, err := put(&o)
				if err != nil {
					t.Fatal(err)
				}
				return r
			})
		})
	}
}

func serve(t *testing.T, h http.HandlerFunc) (address string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

var get = [][]byte{Request("GET", "server", "/", "", nil)}

func TestClosedLoop(t *testing.T) {
	var served atomic.Int64
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		_, _ = w.Write([]byte("hello"))
	})
	forEachRun(t, func(t *testing.T, run func(Options) *Result) {
		served.Store(0)
		r := run(Options{Network: "tcp", Address: address, Requests: get, Connections: 4, Duration: 50 * time.Millisecond, Want: []byte("hello")})
		if err := r.Err(); err != nil {
			t.Error(err)
		}
		if r.Good == 0 || r.Good != r.Sent || r.Planned != r.Sent || int64(r.Sent) != served.Load() || r.Latency.Count() != r.Good || r.Throughput() <= 0 {
			t.Errorf("%d good of %d sent, %d planned, %d served, %d timed", r.Good, r.Sent, r.Planned, served.Load(), r.Latency.Count())
		}
	})
}

// The schedule is kept whatever the server does: a server that stands still is
// charged with all that would have come.
func TestOpenLoopChargesWhatWaited(t *testing.T) {
	const pause, rate = 100 * time.Millisecond, 500
	forEachRun(t, func(t *testing.T, run func(Options) *Result) {
		var first atomic.Bool
		first.Store(true)
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if first.Swap(false) {
				time.Sleep(pause)
			}
			_, _ = w.Write([]byte("hello"))
		})
		r := run(Options{Network: "tcp", Address: address, Requests: get, Connections: 1, Duration: 2 * pause, Rate: rate, Wait: true})
		if err := r.Err(); err != nil {
			t.Error(err)
		}
		if want := uint64(2 * pause.Seconds() * rate); r.Planned != want {
			t.Errorf("%d requests were planned, want %d", r.Planned, want)
		}
		// About 50 requests were due in the pause, and waited for half of it
		// in the mean; by the sending alone only one was slow.
		if slow := r.Latency.Between(pause/5, time.Hour); slow < 30 {
			t.Errorf("%d requests waited for a fifth of the pause", slow)
		}
		if r.Latency.Max() < pause {
			t.Errorf("the longest wait was %v, the pause %v", r.Latency.Max(), pause)
		}
		if slow := r.Service.Between(pause*4/5, time.Hour); slow > 3 {
			t.Errorf("%d requests were slow once they were sent", slow)
		}
	})
}

// What a server never takes is in the latencies all the same.
func TestOpenLoopCountsWhatWasNotSent(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond)
		_, _ = w.Write([]byte("hello"))
	})
	forEachRun(t, func(t *testing.T, run func(Options) *Result) {
		r := run(Options{Network: "tcp", Address: address, Requests: get, Connections: 2, Duration: 200 * time.Millisecond, Rate: 1000, Wait: true})
		if r.Planned != 200 || r.Sent > 20 || r.Latency.Count() != r.Good+r.Planned-r.Sent {
			t.Errorf("%d planned, %d sent, %d good, %d timed", r.Planned, r.Sent, r.Good, r.Latency.Count())
		}
		if p := r.Latency.Percentile(50); p < 50*time.Millisecond {
			t.Errorf("half of them waited for %v at most", p)
		}
	})
}

func TestStatusAndBodies(t *testing.T) {
	var n atomic.Int64
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) % 3 {
		case 0:
			w.WriteHeader(http.StatusTooManyRequests)
		case 1:
			_, _ = w.Write([]byte("another"))
		default:
			_, _ = w.Write([]byte("hello"))
		}
	})
	forEachRun(t, func(t *testing.T, run func(Options) *Result) {
		r := run(Options{Network: "tcp", Address: address, Requests: get, Connections: 2, Duration: 50 * time.Millisecond, Want: []byte("hello")})
		if r.Err() == nil {
			t.Error("no error")
		}
		refused := r.Status[http.StatusTooManyRequests]
		if refused == nil || refused.Count == 0 || refused.Count != refused.Service.Count() || r.Good == 0 || r.Wrong == 0 || r.Good+r.Wrong+refused.Count != r.Answered {
			t.Errorf("%d good, %d wrong, %d answered, refused %+v", r.Good, r.Wrong, r.Answered, refused)
		}
	})
}

// A server may close: behind an answer, before it, or while nothing is asked.
func TestConnectionsAreOpenedAnew(t *testing.T) {
	for name, answer := range map[string]string{
		"close":   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
		"silence": "",
		"no HTTP": "SSH-2.0-OpenSSH\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
							_, _ = c.Write([]byte(answer))
						}
						_ = c.Close()
					}()
				}
			}()
			forEachRun(t, func(t *testing.T, run func(Options) *Result) {
				r := run(Options{Network: "tcp", Address: l.Addr().String(), Requests: get, Connections: 1, Duration: 50 * time.Millisecond})
				if r.Reconnects == 0 || (r.Broken == 0) != (name == "close") || (r.Good > 0) != (name == "close") {
					t.Errorf("%d opened anew, %d broken, %d good", r.Reconnects, r.Broken, r.Good)
				}
			})
		})
	}
}

// Bodies that no socket takes at once, and answers that come in parts, over a
// Unix domain socket.
func TestLargeBodies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, r.ContentLength)
		_, err := r.Body.Read(b[:1])
		for n := 1; err == nil && n < len(b); {
			var k int
			k, err = r.Body.Read(b[n:])
			n += k
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b)
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(i * 7)
	}
	forEachRun(t, func(t *testing.T, run func(Options) *Result) {
		r := run(Options{Network: "unix", Address: path, Connections: 3, Duration: 50 * time.Millisecond, Want: body, Grace: 5 * time.Second,
			Requests: [][]byte{Request("POST", "server", "/", "application/octet-stream", body)}})
		if err := r.Err(); err != nil || r.Good == 0 {
			t.Errorf("%d good: %v", r.Good, err)
		}
	})
	status, _, got, err := Ask("unix", path, Request("POST", "server", "/", "", body), 5*time.Second)
	if err != nil || status != 200 || !slices.Equal(got, body) {
		t.Errorf("status %d, %d bytes: %v", status, len(got), err)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Network: "tcp", Address: "127.0.0.1:1", Requests: get, Connections: 1, Duration: time.Millisecond}
	for name, change := range map[string]func(*Options){
		"no request":  func(o *Options) { o.Requests = nil },
		"connections": func(o *Options) { o.Connections = 0 },
		"duration":    func(o *Options) { o.Duration = 0 },
		"rate":        func(o *Options) { o.Rate = -1 },
		"nobody":      func(*Options) {},
	} {
		o := good
		change(&o)
		if _, err := Run(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want answer
		err  bool
	}{
		{in: ""},
		{in: "HTTP/1.1 200 OK\r\nContent-Le"},
		{in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", want: answer{status: 200, head: 38, end: 40}},
		{in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxy", want: answer{whole: true, status: 200, head: 38, end: 40}},
		{in: "HTTP/1.1 503 No\r\ncontent-length:0\r\nConnection: Close\r\n\r\n", want: answer{whole: true, status: 503, head: 56, end: 56, closes: true}},
		{in: "HTTP/1.0 200 OK\r\ncontent-length:0\r\n\r\n", want: answer{whole: true, status: 200, head: 37, end: 37, closes: true}},
		{in: "HTTP/1.1 204 No Content\r\n\r\n", want: answer{whole: true, status: 204, head: 27, end: 27}},
		{in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", err: true},
		{in: "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n", err: true},
		{in: "HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\n", err: true},
		{in: "SMTP ready", err: true},
	} {
		got, err := parse([]byte(c.in))
		if (err != nil) != c.err || got != c.want {
			t.Errorf("%q: %+v, %v", c.in, got, err)
		}
	}
}

// Percentiles are those of the sorted values, to within a bucket's width.
func TestHistogramAgainstSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var h, other Histogram
		var all []time.Duration
		for i := range 1 + r.IntN(5000) {
			d := time.Duration(r.ExpFloat64() * float64(uint64(1)<<r.IntN(36)))
			all = append(all, d)
			if i%2 == 0 {
				h.Record(d)
			} else {
				other.Record(d)
			}
		}
		h.Add(&other)
		slices.Sort(all)
		if h.Count() != uint64(len(all)) || h.Min() != all[0] || h.Max() != all[len(all)-1] {
			t.Fatalf("%d from %v to %v, want %d from %v to %v", h.Count(), h.Min(), h.Max(), len(all), all[0], all[len(all)-1])
		}
		for _, p := range []float64{0, 1, 50, 90, 99, 99.9, 100} {
			i := max(0, min(len(all)-1, int((p/100)*float64(len(all))+0.9999999)-1))
			got, want := h.Percentile(p), all[i]
			if got < want || float64(got) > float64(want)*(1+1./half)+1 {
				t.Fatalf("P%v is %v, sorted %v", p, got, want)
			}
		}
	}
}

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, v := range []uint64{0, 1, 127, 128, 255, 256, 257, 258, 511, 512, 1 << 20, 1<<20 + 1<<14, 1<<maxBits - 1} {
		i := bucket(v)
		if i < last || upper(i) < v || i > 0 && upper(i-1) >= v {
			t.Errorf("%d is in bucket %d, which ends at %d", v, i, upper(i))
		}
		last = i
	}
	if i := bucket(1 << 60); i != bucket(1<<maxBits-1) {
		t.Errorf("a value beyond all is in bucket %d", i)
	}
	var h Histogram
	if h.Percentile(50) != 0 || h.Mean() != 0 {
		t.Error("an empty histogram has values")
	}
	h.Record(-1)
	if h.Between(-1, 0) != 1 || h.Between(0, time.Hour) != 0 {
		t.Error("a duration of 0 is not between -1 and 0")
	}
	if h.Count() != 1 || h.Max() != 0 {
		t.Error("a negative duration is not 0")
	}
}
