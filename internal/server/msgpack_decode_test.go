package server

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// packed is an act read from MessagePack.
type packed struct {
	Rows          int
	Inputs        [][]float32
	Deterministic bool
	Seed, Step    uint64
	Row           uint64
	Given         memberSet
	Starts        []bool
	StartList     bool
	Deadline      float64
	Observed      float64
	Seq           uint64
}

func newPackedAct(c *policy.Contract) *act {
	a := &act{s: &Server{limits: DefaultLimits()}, pack: &packDecoder{}}
	a.target.Contract = c
	a.arrive(time.Unix(1_800_000_000, 0))
	return a
}

func (a *act) packed() packed {
	p := packed{
		Rows: a.req.Rows, Deterministic: a.req.Deterministic, Seed: a.req.Seed, Step: a.req.Step, Row: a.req.Row,
		Given: a.options.Given, Starts: slices.Clone(a.options.Starts), StartList: a.options.startList, Deadline: a.options.DeadlineMS,
		Observed: a.options.ObservedAt, Seq: a.options.Seq,
	}
	for _, in := range a.req.Inputs {
		p.Inputs = append(p.Inputs, slices.Clone(in))
	}
	return p
}

// holdPackTwins reads a body on both ways. What the fast one takes, the slow
// one takes alike; the fast one may leave anything to the slow one.
func holdPackTwins(t *testing.T, c *policy.Contract, form *actForm, body []byte) (fast bool, err error) {
	t.Helper()
	quick, slow := newPackedAct(c), newPackedAct(c)
	fast = quick.fastPack(body, form)
	err = slow.slowPack(body, form)
	if f, _, _ := faultOf(err); err != nil && f != faultContract && f != faultMalformedPack {
		t.Fatalf("%x: %v", body, err)
	}
	if !fast {
		return false, err
	}
	if quick.judge() != nil {
		if err == nil {
			t.Fatalf("%x: its times are refused by one twin only", body)
		}
		return true, err
	}
	if err != nil {
		t.Fatalf("%x: the fast twin took what the slow one refuses: %v", body, err)
	}
	got, want := quick.packed(), slow.packed()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%x:\nfast %+v\nslow %+v", body, got, want)
	}
	return true, nil
}

func packContracts() []*policy.Contract {
	return []*policy.Contract{drivingContract(), unnamedContract(4), unnamedContract(2, 2), unnamedContract(), twoInputs(), cameraContract(), imageContract(), keepingContract()}
}

var packForms = []*actForm{formPredict, formSession, formStream}

// octetString is a value of bytes; a []byte stands for what it is in MessagePack.
type octetString []byte

func appendMap(pairs ...any) []byte {
	b := msgp.AppendMapHeader(nil, uint32(len(pairs)/2))
	for i, p := range pairs {
		if data, ok := p.(octetString); ok {
			b = msgp.AppendBytes(b, data)
			continue
		}
		if raw, ok := p.([]byte); ok && i%2 == 1 {
			b = append(b, raw...)
			continue
		}
		var err error
		if b, err = msgp.AppendIntf(b, p); err != nil {
			panic(err)
		}
	}
	return b
}

// floatsOf is the array of numpy of float32 values.
func floatsOf(shape []int, values ...float32) []byte { return appendArray(nil, values, shape...) }

func drivingPack(speed any, sensors any) []byte {
	return appendMap("speed", speed, "steering", 0.25, "sensors", sensors)
}

var fiveNumbers = []any{0.5, 0.25, 0.75, 0.125, 1.0}

func TestPackDecodes(t *testing.T) {
	f := func(name string, c *policy.Contract, form *actForm, body []byte, wantFast bool, want ...float32) {
		t.Helper()
		fast, err := holdPackTwins(t, c, form, body)
		if err != nil || fast != wantFast {
			t.Errorf("%s: fast %v, %v", name, fast, err)
			return
		}
		a := newPackedAct(c)
		if err := a.decodePack(body, form); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !slices.Equal(a.req.Inputs[0], want) {
			t.Errorf("%s: %v, want %v", name, a.req.Inputs[0], want)
		}
	}
	row := []float32{25.5, 0.25, 0.5, 0.25, 0.75, 0.125, 1}
	c := drivingContract()
	f("numbers", c, formStream, appendMap("observation", drivingPack(25.5, fiveNumbers), "seq", 7), true, row...)
	f("float32", c, formStream, appendMap("observation", drivingPack(float32(25.5), fiveNumbers)), true, row...)
	f("an integer", c, formStream, appendMap("observation", drivingPack(25, fiveNumbers)), true, append([]float32{25}, row[1:]...)...)
	f("another order", c, formStream, appendMap("deterministic", true, "observation", appendMap("sensors", fiveNumbers, "speed", 25.5, "steering", 0.25)), true, row...)
	f("numpy", c, formStream, appendMap("observation", drivingPack(25.5, floatsOf([]int{5}, row[2:]...))), true, row...)
	f("an array without dimensions", c, formStream, appendMap("observation", appendMap("speed", floatsOf(nil, 25.5), "steering", 0.25, "sensors", fiveNumbers)), true, row...)
	f("rows", c, formPredict, appendMap("observations", append([]byte{0x92}, append(drivingPack(25.5, fiveNumbers), drivingPack(1, fiveNumbers)...)...), "seed", 7, "row", 3), true,
		append(slices.Clone(row), append([]float32{1}, row[1:]...)...)...)
	f("deterministic of nil", c, formPredict, appendMap("observations", append([]byte{0x91}, drivingPack(25.5, fiveNumbers)...), "deterministic", nil), false, row...)
	f("a list of starts", c, formPredict, appendMap("observations", append([]byte{0x91}, drivingPack(25.5, fiveNumbers)...), "episode_start", []any{true}), false, row...)
	u := unnamedContract(2, 2)
	f("a square", u, formStream, appendMap("observation", []any{[]any{1, 2}, []any{3, 4}}), true, 1, 2, 3, 4)
	f("a square, flat", u, formStream, appendMap("observation", []any{1, 2, 3, 4}), true, 1, 2, 3, 4)
	f("a square of numpy", u, formStream, appendMap("observation", floatsOf([]int{2, 2}, 1, 2, 3, 4)), true, 1, 2, 3, 4)
	f("a single number", unnamedContract(), formStream, appendMap("observation", 3), true, 3)
}

// TestPackRefuses holds that what is wrong is told in the words of JSON.
func TestPackRefuses(t *testing.T) {
	f := func(body []byte, words string) {
		t.Helper()
		fast, err := holdPackTwins(t, drivingContract(), formStream, body)
		if fast || err == nil {
			t.Errorf("%x was taken", body)
			return
		}
		if _, message, _ := faultOf(err); !strings.Contains(message, words) {
			t.Errorf("%q does not say %q", message, words)
		}
	}
	obs := drivingPack(25.5, fiveNumbers)
	f(appendMap("observation", drivingPack(math.NaN(), fiveNumbers)), "got NaN")
	f(appendMap("observation", drivingPack(math.Inf(1), fiveNumbers)), "got +Inf")
	f(appendMap("observation", drivingPack(math.Inf(-1), fiveNumbers)), "got -Inf")
	f(appendMap("observation", drivingPack(1e9, fiveNumbers)), "0 to 200")
	f(appendMap("observation", drivingPack(25.5, fiveNumbers[:4])), "expected 5 numbers, got 4")
	f(appendMap("observation", drivingPack(25.5, floatsOf([]int{5}, 0, 0, 0, 0, float32(math.NaN())))), "NaN")
	f(appendMap("observation", drivingPack(25.5, floatsOf([]int{4}, 0, 0, 0, 0))), "[5]")
	f(appendMap("observation", obs, "observation", obs), "another")
	f(appendMap("observation", obs, "seq", -1), "seq")
	f(appendMap("observation", obs, "seq", 1.5), "seq")
	f(appendMap("observation", obs, "determinstic", true), "did you mean \"deterministic\"")
	f(appendMap("seq", 1), "observation")
	f(appendMap("observation", "x"), "object")
	f(appendMap("observation", appendMap("speed", 1, "speed", 1, "sensors", fiveNumbers)), "another")
	f(append(appendMap("observation", obs), 0xc0), "the end")
	f([]byte{0x93, 1, 2, 3}, "object")
	f(appendMap("observation", drivingPack(25.5, appendMap("__ndarray__", true, "data", make(octetString, 20), "dtype", "|O", "shape", []any{5}))), "|O")
	f(appendMap("observation", drivingPack(25.5, appendMap("__ndarray__", true, "data", octetString{1}, "dtype", "<f4"))), "data, dtype and shape")
}

// TestPackImages stores images of bytes by either order of their channels.
func TestPackImages(t *testing.T) {
	c := imageContract()
	f := &c.Features[0]
	n := f.Size
	last, first := make([]byte, n), make([]byte, n)
	rows, columns, channels := f.Shape[0], f.Shape[1], f.Shape[2]
	for i := range n {
		last[i] = byte(i)
		first[i%channels*rows*columns+i/channels] = byte(i)
	}
	bytesOf := func(data []byte, shape ...any) []byte {
		return appendMap("__ndarray__", true, "data", octetString(data), "dtype", "|u1", "shape", shape)
	}
	for name, body := range map[string][]byte{
		"an array":                 appendMap("observation", bytesOf(last, rows, columns, channels)),
		"an array, channels first": appendMap("observation", bytesOf(first, channels, rows, columns)),
		"bytes":                    appendMap("observation", octetString(last)),
	} {
		fast, err := holdPackTwins(t, c, formStream, body)
		if !fast || err != nil {
			t.Errorf("%s: fast %v, %v", name, fast, err)
			continue
		}
		a := newPackedAct(c)
		if err := a.decodePack(body, formStream); err != nil {
			t.Fatal(err)
		}
		for i, v := range a.req.Inputs[0] {
			if v != float32(last[i]) {
				t.Fatalf("%s: value %d is %v, want %v", name, i, v, last[i])
			}
		}
	}
}

func TestPackAllocatesNothing(t *testing.T) {
	a := newPackedAct(drivingContract())
	body := appendMap("observation", drivingPack(25.5, floatsOf([]int{5}, 0.5, 0.25, 0.75, 0.125, 1)), "seq", 7, "deterministic", true)
	read := func() {
		if err := a.decodePack(body, formStream); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := testing.AllocsPerRun(100, read); n > 0 {
		t.Errorf("an observation allocates %v times", n)
	}
}

// FuzzPackTwins mixes bodies of every contract.
func FuzzPackTwins(f *testing.F) {
	obs := drivingPack(25.5, fiveNumbers)
	for _, body := range [][]byte{
		appendMap("observation", obs, "seq", 7, "deterministic", true, "step", 0, "deadline_ms", 5.5, "episode_start", true),
		appendMap("observations", append([]byte{0x91}, obs...), "seed", 7, "row", 1, "observed_at", 1.8e9),
		appendMap("observation", drivingPack(25.5, floatsOf([]int{5}, 1, 1, 1, 1, 1))),
		appendMap("observation", []any{[]any{1, 2}, []any{3, 4}}),
		appendMap("observation", []any{1, 2, 3, 4}),
		appendMap("observation", floatsOf([]int{2, 2}, 1, 2, 3, 4)),
		appendMap("observation", floatsOf(nil, 3)),
		appendMap("observations", []any{1.5, 2}),
		appendMap("observation", drivingPack(math.NaN(), fiveNumbers)),
		appendMap("observation", nil, "return", []any{"value"}, "state", nil, "action_masks", []any{1, 0}),
	} {
		for i := range packContracts() {
			f.Add(body, byte(i), byte(i))
		}
	}
	for i, c := range packContracts() {
		for _, x := range c.Features[:1] {
			values := make([]float32, x.Size)
			f.Add(appendMap("observation", floatsOf(x.Shape, values...)), byte(i), byte(2))
			f.Add(appendMap("observation", make(octetString, x.Size)), byte(i), byte(2))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, contract, form byte) {
		contracts := packContracts()
		_, _ = holdPackTwins(t, contracts[int(contract)%len(contracts)], packForms[int(form)%len(packForms)], body)
		_ = packStarts(body)
		a := newPackedAct(contracts[int(contract)%len(contracts)])
		_ = a.decodeOpenpi(webMessage(body))
	})
}

func TestGoldenArrayOfAnswers(t *testing.T) {
	// What Python's msgpack 1.2.4 writes by openpi's client for
	// np.array([1, 2], np.float32).
	const want = "\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x08\x00\x00\x80\x3f\x00\x00\x00\x40\xc4\x05dtype\xa3<f4\xc4\x05shape\x91\x02"
	if got := string(appendArray(nil, []float32{1, 2}, 2)); got != want {
		t.Errorf("%x, want %x", got, want)
	}
	var r msgpack.Reader
	var a msgpack.Array
	r.Begin([]byte(want))
	if !r.Array(&a, 0) || binary.LittleEndian.Uint32(a.Data) != math.Float32bits(1) {
		t.Error(r.Problem())
	}
}

func webMessage(body []byte) websocket.Message {
	return websocket.Message{Op: websocket.Binary, Payload: body}
}
