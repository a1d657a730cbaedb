package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's clock of the Date header runs for the life of the process.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// The cleaner of a worker pool looks once in ten seconds whether it is to end.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// driving is the contract of the guide's policy.
func driving() *policy.Contract {
	return &policy.Contract{
		Named:  true,
		Inputs: []policy.Input{{Name: "obs", Shape: []int{7}, Width: 7}},
		Features: []policy.Feature{
			{Name: "speed", Unit: "km/h", Low: 0, High: 200, Offset: 0, Size: 1},
			{Name: "steering", Low: -1, High: 1, Offset: 1, Size: 1},
			{Name: "sensors", Shape: []int{5}, Unit: "m", Low: 0, High: 1, Offset: 2, Size: 5},
		},
		Actions: []policy.Action{
			{Name: "throttle", Low: 0, High: 1, Offset: 0, Size: 1},
			{Name: "brake", Low: 0, High: 1, Offset: 1, Size: 1},
			{Name: "steer", Low: -1, High: 1, Offset: 2, Size: 1},
		},
		Stochastic: true,
	}
}

// unnamed is a contract without names, of rows of the given shape.
func unnamed(shape ...int) *policy.Contract {
	size := 1
	for _, n := range shape {
		size *= n
	}
	return &policy.Contract{
		Inputs:   []policy.Input{{Name: "obs", Shape: shape, Width: size}},
		Features: []policy.Feature{{Name: "obs", Shape: shape, Low: math.Inf(-1), High: math.Inf(1), Size: size}},
		Actions:  []policy.Action{{Shape: []int{2}, Low: math.Inf(-1), High: math.Inf(1), Size: 2}},
	}
}

// keeping is the contract of a policy that keeps state, takes masks and has
// more to return than actions.
func keeping() *policy.Contract {
	c := unnamed(3)
	c.Actions = []policy.Action{{Low: 0, High: 3, Discrete: true, Size: 1}}
	c.State = []policy.StateSpec{{Name: "h", Shape: []int{2}, Width: 2, Initial: []float32{0, 0}, Reset: []float32{9, 9}}}
	c.Masks, c.MaskParts, c.Stochastic, c.Distribution = 4, []int{4}, true, "categorical"
	c.Extras = []policy.ExtraSpec{
		{Name: "value", Width: 1}, {Name: "log_prob", Width: 1}, {Name: "distribution.logits", Shape: []int{4}, Width: 4}, {Name: "distribution.probs", Shape: []int{4}, Width: 4},
	}
	return c
}

// camera is the contract of a policy that sees an image and a speed.
func camera() *policy.Contract {
	return &policy.Contract{
		Named:  true,
		Inputs: []policy.Input{{Name: "image", Shape: []int{3, 4, 2}, Width: 24}, {Name: "speed", Width: 1}},
		Features: []policy.Feature{
			{Name: "image", Shape: []int{3, 4, 2}, Low: 0, High: 255, Size: 24, Image: true},
			{Name: "speed", Low: 0, High: 50, Input: 1, Size: 1},
		},
		Actions: []policy.Action{{Name: "steer", Low: -3, High: 3, Size: 1}},
	}
}

const guideRequest = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`

// fakeBackend answers with the first values of each row.
type fakeBackend struct {
	contract  *policy.Contract
	act       func(ctx context.Context, req *serving.Request) error // instead of the default
	readiness atomic.Pointer[server.NotReadyError]
	loading   atomic.Bool
}

func (b *fakeBackend) Resolve(model, version string) (server.Target, error) {
	t := server.Target{Model: "carla-ppo", Version: "v0.1.0", Contract: b.contract}
	if e := b.readiness.Load(); e != nil {
		return t, e
	}
	if model != "" && model != t.Model {
		return t, server.ErrModelNotFound
	}
	if version != "" && version != t.Version {
		return t, server.ErrVersionNotFound
	}
	return t, nil
}

func (b *fakeBackend) Act(ctx context.Context, t *server.Target, req *serving.Request) error {
	width := t.Contract.ActionWidth()
	if n := req.Rows * width; cap(req.Actions) < n {
		req.Actions = make([]float32, n)
	} else {
		req.Actions = req.Actions[:n]
	}
	in := t.Contract.Inputs[0].Width
	for row := range req.Rows {
		for i := range width {
			req.Actions[row*width+i] = req.Inputs[0][row*in+i%in] / 100
		}
	}
	if req.WantExtras {
		req.Extras = nil
		for _, e := range t.Contract.Extras {
			req.Extras = append(req.Extras, slices.Repeat([]float32{0.5}, req.Rows*e.Width))
		}
	}
	req.Infer = 8500 * time.Nanosecond
	if b.act != nil {
		return b.act(ctx, req)
	}
	return nil
}

func (b *fakeBackend) Warmup(context.Context) error { return nil }
func (b *fakeBackend) Started() bool                { return !b.loading.Load() }

func (b *fakeBackend) Readiness() error {
	if e := b.readiness.Load(); e != nil {
		return e
	}
	return nil
}

func (b *fakeBackend) Current() string { return "v0.1.0" }

func (b *fakeBackend) Listing() server.Listing {
	return server.Listing{
		Model: "carla-ppo", Current: "v0.1.0", Strategy: "fallback", Root: "artifacts",
		Versions: []server.VersionStatus{{
			Model: "carla-ppo", Version: "v0.1.0", State: "ready", Digest: "sha256:abc", Stable: true, Ready: true, Answers: true,
			InputShape: []int{7}, Metrics: map[string]float64{"reward": 850.5}, Card: map[string]string{"model_name": "carla-ppo"}, Hashed: true,
		}},
	}
}

// site is a server that listens.
type site struct {
	*server.Server
	addr string
	t    testing.TB
	key  string // sent with every request where there is one
}

func serve(t testing.TB, b server.Backend, o server.Options) *site {
	t.Helper()
	s, err := server.New(b, o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return &site{Server: s, addr: ln.Addr().String(), t: t}
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

func itoa(n int) string { return strconv.Itoa(n) }

// fast are limits with which a test server stops quickly.
func fast() server.Limits { return server.Limits{DrainAccept: time.Millisecond} }

// reply is an answer as a test looks at it.
type reply struct {
	status int
	header http.Header
	close  bool // the answer says that the connection ends
	body   string
}

// code is the code of an error envelope.
func (r reply) code(t testing.TB) string {
	t.Helper()
	var e envelope
	if err := json.Unmarshal([]byte(r.body), &e, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("status %d, no error envelope: %v\n%s", r.status, err, r.body)
	}
	return e.Error
}

type envelope struct {
	Error   string `json:"error"`
	Message string `json:"message"`
	Details struct {
		RequestID        string `json:"request_id"`
		ValidationErrors []struct {
			Field   string `json:"field"`
			Message string `json:"message"`
			Type    string `json:"type"`
		} `json:"validation_errors"`
		Model   string `json:"model"`
		Version string `json:"version"`
		State   string `json:"state"`
		Reason  string `json:"reason"`

		Expected uint64 `json:"expected"` // of steps
		Got      uint64 `json:"got"`
	} `json:"details"`
	Timestamp float64 `json:"timestamp"`
}

func (r reply) envelope(t testing.TB) envelope {
	t.Helper()
	var e envelope
	if err := json.Unmarshal([]byte(r.body), &e, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("status %d, no error envelope: %v\n%s", r.status, err, r.body)
	}
	return e
}

// do sends one request of net/http's making. Headers are name, value pairs.
func (s *site) do(method, path, body string, headers ...string) reply {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.key != "" {
		req.Header.Set("X-API-Key", s.key)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, close: resp.Close, body: string(b)}
}

// raw sends bytes and returns the answers that come until the connection is
// closed. What is sent should make the server close it; closed is false where
// it has not done so in a minute.
func (s *site) raw(message string) (answers []reply, closed bool) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(message)); err != nil {
		s.t.Fatal(err)
	}
	return readAnswers(s.t, c, time.Minute)
}

func readAnswers(t testing.TB, c net.Conn, quiet time.Duration) (answers []reply, closed bool) {
	t.Helper()
	r := bufio.NewReader(c)
	for {
		if err := c.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			var timeout net.Error
			return answers, !errors.As(err, &timeout) || !timeout.Timeout()
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("body of an answer: %v", err)
		}
		answers = append(answers, reply{status: resp.StatusCode, header: resp.Header, close: resp.Close, body: string(bytes.TrimSpace(b))})
	}
}
