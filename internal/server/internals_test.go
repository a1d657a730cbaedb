package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

func TestStrings(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		s := &scanner{}
		s.begin([]byte(text))
		if got, ok := s.text(); !ok || string(got) != want || s.pos != len(text) {
			t.Errorf("%s: %q %v to %d, want %q", text, got, ok, s.pos, want)
		}
	}
	f(`""`, "")
	f(`"a"`, "a")
	f(`"ü😀"`, "ü😀")
	f(`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t")
	f(`"a\u0041\u00fc\u20AC\ud83d\ude00z"`, "aAü€😀z")
	f(`"\u0000"`, "\x00")
	f(`"\\u0041"`, `\u0041`)
	for _, text := range []string{`"`, `"a`, `"\`, `"\"`, `"\u`, `"\u123`, `"\u123g"`, `"\ud83d"`, `"\ud83d\n"`, `"\ud83d\ud83d"`, `"\ude00"`, `"\x"`, "\"\xff\"", "\"\\n\xff\"", "\"\n\"", "\"\\n\n\"", `"\'"`} {
		s := &scanner{}
		s.begin([]byte(text))
		if got, ok := s.text(); ok || s.problem == "" {
			t.Errorf("%q is read as %q", text, got)
		}
	}
}

func TestRequestContext(t *testing.T) {
	type key struct{}
	end := time.Now().Add(time.Hour)
	ctx := &requestContext{parent: context.WithValue(t.Context(), key{}, "v"), end: end}
	if got, ok := ctx.Deadline(); !ok || !got.Equal(end) || ctx.Err() != nil || ctx.Done() != nil || ctx.Value(key{}) != "v" {
		t.Errorf("the deadline is %v; error %v, done %v, value %v", end, ctx.Err(), ctx.Done(), ctx.Value(key{}))
	}
	ctx = &requestContext{end: time.Now().Add(-time.Second)}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) || ctx.Value(key{}) != nil {
		t.Errorf("after the deadline: %v", ctx.Err())
	}
}

func TestTraceparent(t *testing.T) {
	const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	f := func(parent, state string, ok, sampled bool) {
		t.Helper()
		sc, got := parseTraceparent([]byte(parent), []byte(state))
		if got != ok {
			t.Errorf("%q: %v, want %v", parent, got, ok)
			return
		}
		if ok && (sc.TraceID().String() != traceID || sc.SpanID().String() != spanID || sc.IsSampled() != sampled || !sc.IsRemote() || sc.TraceState().String() != state) {
			t.Errorf("%q %q: %v", parent, state, sc)
		}
	}
	f("00-"+traceID+"-"+spanID+"-01", "", true, true)
	f("00-"+traceID+"-"+spanID+"-00", "a=1,b=2", true, false)
	f("00-"+traceID+"-"+spanID+"-03", "", true, true)
	f("cc-"+traceID+"-"+spanID+"-01-more", "", true, true)
	f("00-"+traceID+"-"+spanID+"-01-more", "", false, false)
	f("cc-"+traceID+"-"+spanID+"-01more", "", false, false)
	f("ff-"+traceID+"-"+spanID+"-01", "", false, false)
	f("00-"+traceID+"-0000000000000000-01", "", false, false)
	f("00-00000000000000000000000000000000-"+spanID+"-01", "", false, false)
	f("00-4BF92F3577B34DA6A3CE929D0E0E4736-"+spanID+"-01", "", false, false)
	f("00-"+traceID+"_"+spanID+"-01", "", false, false)
	f("", "", false, false)
	if sc, ok := parseTraceparent([]byte("00-"+traceID+"-"+spanID+"-01"), []byte("not a state")); !ok || sc.TraceState().Len() != 0 || sc.TraceFlags() != trace.FlagsSampled {
		t.Errorf("a bad tracestate: %v %v", sc, ok)
	}
}

// flakyListener fails a few times before it ends.
type flakyListener struct{ errs []error }

func (l *flakyListener) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}
func (l *flakyListener) Close() error   { return nil }
func (l *flakyListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestAcceptSurvives holds that a process without file descriptors serves on.
func TestAcceptSurvives(t *testing.T) {
	s, err := New(sameBackend{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tooMany := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	l := &flakyListener{errs: []error{tooMany, tooMany, net.ErrClosed}}
	if _, err := (&gatedListener{Listener: l, s: s}).Accept(); !errors.Is(err, net.ErrClosed) || len(l.errs) != 0 {
		t.Errorf("%v, %d errors left", err, len(l.errs))
	}
}

func TestDeadlinesMoveSeldom(t *testing.T) {
	const slack = time.Second
	now := time.Now()
	var d deadline
	f := func(want time.Time, moves bool) {
		t.Helper()
		d.want = want
		if got := d.move(slack); got != moves {
			t.Errorf("to %v after %v: moves %v", want.Sub(now), d.have.Sub(now), got)
		}
	}
	f(time.Time{}, false)
	f(now.Add(60*time.Second), true)
	f(now.Add(60*time.Second), false)
	f(now.Add(60*time.Second+900*time.Millisecond), false)
	f(now.Add(61*time.Second), true)
	f(now.Add(5*time.Second), true) // earlier: at once
	f(now.Add(60*time.Second), true)
	f(time.Time{}, true)
}

// TestFaults holds the table of errors to itself: every kind has a status, a
// stable code and a message, and those that may succeed later say when.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		if fasthttp.StatusMessage(f.status) == "Unknown Status Code" || f.code == "" || f.message == "" {
			t.Errorf("%+v", f)
		}
		if later := f.status == 429 || f.status == 503 || f.status == 504; later != (f.retryAfter > 0) {
			t.Errorf("%s: Retry-After %d with status %d", f.code, f.retryAfter, f.status)
		}
	}
	f := func(err error, want *fault) {
		t.Helper()
		if got, message, _ := faultOf(fmt.Errorf("wrapped: %w", err)); got != want || message == "" {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
	f(faultOrigin, faultOrigin)
	f(explain(faultHeaders, "more"), faultHeaders)
	f(ErrModelNotFound, faultModel)
	f(&UnknownError{ErrVersionNotFound, "there are: a, b"}, faultVersion)
	if _, message, _ := faultOf(fmt.Errorf("resolve: %w", &UnknownError{ErrModelNotFound, "there are: a, b"})); message != "there are: a, b" {
		t.Errorf("what there is instead is not told: %s", message)
	}
	f(ErrVersionNotFound, faultVersion)
	f(&NotReadyError{}, faultNotReady)
	f(serving.ErrQueueFull, faultOverloaded)
	f(serving.ErrDeadline, faultDeadline)
	f(context.Canceled, faultDraining)
	f(&policy.ActionError{Action: "steer", Value: 2}, faultInference)
	if got, message, _ := faultOf(&serving.DeadlineError{Reason: "slow", Left: 4e6, Expect: 5e6}); got != faultDeadline || message != "the policy takes about 5ms for such a request, and 4ms are left" {
		t.Errorf("a request that was not started is %v: %s", got, message)
	}
	if got, message, _ := faultOf(&policy.ActionError{Row: 1, Err: errors.New("step budget exceeded")}); got != faultInference || message != "the policy gave no action for row 1: step budget exceeded" {
		t.Errorf("a policy without an end is %v: %s", got, message)
	}
	f(&policy.InputError{Expected: "a", Got: "b"}, faultContract)
	f(os.ErrDeadlineExceeded, faultTimeout)
	f(&os.PathError{Op: "open", Path: "/secret", Err: os.ErrNotExist}, faultInternal)
	if _, message, _ := faultOf(&os.PathError{Op: "open", Path: "/secret", Err: os.ErrNotExist}); message != faultInternal.message {
		t.Errorf("an unknown error is told: %s", message)
	}
	for err, want := range map[*NotReadyError]string{
		{}: "the server is not ready", {Model: "m"}: "m is not ready", {Model: "m", Version: "v1", State: "failed", Reason: "why"}: "m v1 is not ready (failed): why",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err.Error(), want)
		}
	}
}

func TestInputShape(t *testing.T) {
	if s := inputShape(twoInputs()); fmt.Sprint(s) != "[8]" {
		t.Errorf("two inputs: %v", s)
	}
	if s := inputShape(unnamedContract(2, 3)); fmt.Sprint(s) != "[2 3]" {
		t.Errorf("one input: %v", s)
	}
	c := &policy.Contract{Actions: make([]policy.Action, 2)}
	if actionName(c, 1) != "action_1" || actionName(unnamedContract(1), 0) != "action" || actionName(drivingContract(), 2) != "steer" {
		t.Error("names of actions")
	}
	f := &policy.Feature{Low: math.Inf(-1), High: 3}
	if middle(f) != 3 || middle(&policy.Feature{Low: 2, High: math.Inf(1)}) != 2 || middle(&policy.Feature{Low: 2, High: 4}) != 3 {
		t.Error("examples of features")
	}
}

func TestObserverTable(t *testing.T) {
	var table observerTable
	calls := 0
	k := targetKey{"m", "v"}
	if _, ok := table.get(k); ok {
		t.Error("an empty table has an observer")
	}
	first := &versionObserver{actions: func([]float32) { calls++ }}
	table.put(k, first)
	table.put(k, &versionObserver{actions: func([]float32) { t.Error("a second observer replaced the first") }})
	table.put(targetKey{"m", "w"}, first)
	o, ok := table.get(k)
	if !ok {
		t.Fatal("no observer")
	}
	o.actions(nil)
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

// TestBodyMemory holds that one address, and one network of IPv6, has at most
// half of the memory for large bodies, and that a client without an address
// has all of it.
func TestBodyMemory(t *testing.T) {
	var m bodyMemory
	m.init(100, 30)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	f := func(addr netip.Addr, n int64, want bool) {
		t.Helper()
		if got := m.take(addr, n); got != want {
			t.Errorf("%v takes %d: %v, %d are taken", addr, n, got, m.total)
		}
	}
	f(a, 30, true)
	f(a, 30, false)
	f(a, 20, true)
	f(b, 50, true)
	f(netip.Addr{}, 1, false)
	m.give(a, 30)
	f(b, 1, false)
	f(netip.Addr{}, 30, true)
	m.give(netip.Addr{}, 30)
	m.give(a, 20)
	m.give(b, 50)
	f(netip.MustParseAddr("2001:db8::1"), 30, true)
	f(netip.MustParseAddr("2001:db8::ffff:2"), 30, false)
	f(netip.MustParseAddr("2001:db8:0:1::1"), 30, true)
	m.give(netip.MustParseAddr("2001:db8::3"), 30)
	m.give(netip.MustParseAddr("2001:db8:0:1::1"), 30)
	f(netip.Addr{}, 100, true)
	m.give(netip.Addr{}, 100)
	if m.total != 0 || len(m.perAddr) != 0 {
		t.Errorf("%d bytes and %d addresses are left", m.total, len(m.perAddr))
	}
	m.init(100, 80)
	f(a, 80, true) // one body of the largest size always fits
}

func TestNamesAreKept(t *testing.T) {
	var n nameText
	first, second := []byte("carla-ppo"), []byte("carla-sac")
	if n.of(first) != "carla-ppo" || n.of(second) != "carla-sac" || n.of(nil) != "" || n.of(first) != "carla-ppo" {
		t.Error("another name")
	}
	if allocs := testing.AllocsPerRun(100, func() { n.of(first) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
