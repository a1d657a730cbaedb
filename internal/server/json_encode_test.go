package server

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

func TestAppendAnswer(t *testing.T) {
	f := func(actions []policy.Action, req serving.Request, want string) {
		t.Helper()
		req.Queue, req.Infer, req.Enveloping = 250*time.Nanosecond, 1500*time.Microsecond, 500*time.Microsecond
		begun := time.Now().Add(-time.Second)
		a := act{target: Target{Model: "m", Version: "v1", Contract: &policy.Contract{Actions: actions}}, req: req, arrived: begun.Add(-2 * time.Millisecond), begun: begun}
		b, err := a.appendAnswer(nil, nil)
		got, timing, _ := strings.Cut(string(b), `,"timing":`)
		want += `,"version":"v1","timingMs":1.5,"deterministic":` + strconv.FormatBool(req.Deterministic) + `,"model":"m"`
		post := string(appendMillis(nil, a.postprocess))
		if err != nil || got != want || timing != `{"queue_ms":0.00025,"preprocess_ms":2.0,"infer_ms":1.0,"postprocess_ms":`+post+`}}` || a.postprocess < time.Second-2*time.Millisecond {
			t.Errorf("\n got %s %s %v\nwant %s", got, timing, err, want)
		}
	}
	scalar := func(name string, offset int) policy.Action { return policy.Action{Name: name, Offset: offset, Size: 1} }
	f([]policy.Action{scalar("throttle", 0), scalar("brake", 1), scalar("steer", 2)},
		serving.Request{Rows: 2, Actions: []float32{0.7, 0, 0.1, 1, -1, float32(math.Copysign(0, -1))}, Deterministic: true},
		`{"actions":[{"throttle":0.7,"brake":0.0,"steer":0.1},{"throttle":1.0,"brake":-1.0,"steer":-0.0}]`)
	f([]policy.Action{{Name: "wheels", Shape: []int{2, 2}, Size: 4}, {Name: "gear", Discrete: true, Offset: 4, Size: 1}},
		serving.Request{Rows: 1, Actions: []float32{1.5, 2, 3e20, 4e-7, 3}}, `{"actions":[{"wheels":[[1.5,2.0],[3e+20,4e-07]],"gear":3}]`)
	f([]policy.Action{{Shape: []int{2}, Size: 2}}, serving.Request{Rows: 2, Actions: []float32{1, 2, 3, 4}}, `{"actions":[[1.0,2.0],[3.0,4.0]]`)
	f([]policy.Action{{Discrete: true, Size: 1}}, serving.Request{Rows: 2, Actions: []float32{1, 12}}, `{"actions":[1,12]`)
	f([]policy.Action{{Shape: []int{3}, Discrete: true, Size: 3}}, serving.Request{Rows: 1, Actions: []float32{1, 0, -2}}, `{"actions":[[1,0,-2]]`)
	f([]policy.Action{scalar("", 0), scalar("", 1)}, serving.Request{Rows: 1, Actions: []float32{1, 2.25}}, `{"actions":[[1.0,2.25]]`)
}

func TestAppendAnswerRefuses(t *testing.T) {
	target := Target{Contract: &policy.Contract{Actions: []policy.Action{{Shape: []int{2}, Size: 2}}}}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		a := act{target: target, req: serving.Request{Rows: 2, Actions: []float32{0, 0, 0, float32(v)}}}
		if _, err := a.appendAnswer(nil, nil); err == nil {
			t.Errorf("%v is answered", v)
		}
	}
}

// TestAppendFloat32 holds that every float32 reads back as itself, and as a
// JSON number that is no integer.
func TestAppendFloat32(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	check := func(v float32) {
		t.Helper()
		b := appendFloat32(nil, v)
		var back float64
		if err := json.Unmarshal(b, &back); err != nil || math.Float32bits(float32(back)) != math.Float32bits(v) {
			t.Fatalf("%v: %s reads back as %v (%v)", v, b, back, err)
		}
		if _, err := strconv.Atoi(string(b)); err == nil {
			t.Fatalf("%v: %s is an integer", v, b)
		}
	}
	for _, v := range []float32{0, 1, -1, 100, 1e16, 1e15, 16777216, 1e-5, 9e-6, math.MaxFloat32, math.SmallestNonzeroFloat32} {
		check(v)
		check(-v)
	}
	for range 100_000 {
		if v := math.Float32frombits(r.Uint32()); v-v == 0 {
			check(v)
		}
		check(r.Float32()*2 - 1)
	}
}

func TestAppendTimes(t *testing.T) {
	f := func(d time.Duration, millis, seconds string) {
		t.Helper()
		if got := string(appendMillis(nil, d)); got != millis {
			t.Errorf("%v: %s ms, want %s", d, got, millis)
		}
		if got := string(appendSeconds(nil, d)); got != seconds {
			t.Errorf("%v: %s s, want %s", d, got, seconds)
		}
	}
	f(0, "0.0", "0.000000000")
	f(1, "0.000001", "0.000000001")
	f(8500, "0.0085", "0.000008500")
	f(150200*time.Microsecond, "150.2", "0.150200000")
	f(90*time.Second, "90000.0", "90.000000000")
	f(-5, "0.0", "0.000000000")
	// The slow way.
	r := rand.New(rand.NewPCG(7, 8))
	for range 100_000 {
		d := time.Duration(r.Int64() >> r.IntN(63))
		millis := strings.TrimRight(fmt.Sprintf("%d.%06d", d/1e6, d%1e6), "0")
		if strings.HasSuffix(millis, ".") {
			millis += "0"
		}
		f(d, millis, fmt.Sprintf("%d.%09d", d/1e9, d%1e9))
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "plain", `quote " and \`, "line\nend\r\t\x00\x1f\x7f", "ünï\u2028😀", "bad \xff utf", "<script>&"} {
		b := appendString(nil, s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil {
			t.Errorf("%q: %s: %v", s, b, err)
			continue
		}
		want := []rune(s)
		if back != string(want) {
			t.Errorf("%q reads back as %q", s, back)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	a := act{
		target: Target{Model: "carla-ppo", Version: "v0.1.0", Contract: drivingContract()}, begun: time.Now(),
		req: serving.Request{Rows: 1, Actions: []float32{0.7312345, 0, -0.1098765}, Deterministic: true, Infer: 8500},
	}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _ = a.appendAnswer(out[:0], nil)
	}
}
