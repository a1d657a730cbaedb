package server

import (
	"runtime/metrics"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// What one body may cost the decoder that reads it (H2): a time, and memory for
// each of its bytes beyond what any body costs.
const (
	decodeTimeMax  = time.Second
	decodeBytesMax = 100 // of memory for a byte of the body
	decodeBytesAny = 96 << 10
)

// boundedDecoders are those of everything that a request may carry. Each reads a
// body as if it were the first one of its connection.
var boundedDecoders = []struct {
	name string
	read func(c *policy.Contract, body []byte, split int)
}{
	{"JSON of /predict", func(c *policy.Contract, body []byte, _ int) { _ = newPackedAct(c).decodeJSON(body, formPredict) }},
	{"JSON of a session", func(c *policy.Contract, body []byte, _ int) { _ = newPackedAct(c).decodeJSON(body, formSession) }},
	{"JSON of a stream", func(c *policy.Contract, body []byte, _ int) { _ = newPackedAct(c).decodeJSON(body, formStream) }},
	{"MessagePack of /predict", func(c *policy.Contract, body []byte, _ int) { _ = newPackedAct(c).decodePack(body, formPredict) }},
	{"MessagePack of a stream", func(c *policy.Contract, body []byte, _ int) { _ = newPackedAct(c).decodePack(body, formStream) }},
	{"openpi", func(c *policy.Contract, body []byte, _ int) { _ = newPackedAct(c).decodeOpenpi(webMessage(body)) }},
	{"Open Inference", func(c *policy.Contract, body []byte, _ int) {
		_ = (&inferDecoder{}).decodeInfer(body, len(body), &Target{Contract: c}, DefaultLimits().MaxRows, &serving.Request{})
	}},
	{"Open Inference, binary", func(c *policy.Contract, body []byte, split int) {
		_ = (&inferDecoder{}).decodeInfer(body, min(len(body), split), &Target{Contract: c}, DefaultLimits().MaxRows, &serving.Request{})
	}},
}

// rowBytes is the memory of one observation of a contract.
func rowBytes(c *policy.Contract) (n int) {
	for _, in := range c.Inputs {
		n += 4 * in.Width
	}
	return n
}

// allocated is how many bytes this process has ever taken for objects.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// cost is what a function costs at its best: a machine that stands still
// between two of its lines is not its fault.
func cost(f func(), enough func(bytes uint64, took time.Duration) bool) (bytes uint64, took time.Duration) {
	for try := range 3 {
		before, begun := allocated(), time.Now()
		f()
		d, b := time.Since(begun), allocated()-before
		if try == 0 || b < bytes {
			bytes = b
		}
		if try == 0 || d < took {
			took = d
		}
		if enough(bytes, took) {
			break
		}
	}
	return bytes, took
}

func holdBounds(t *testing.T, kind, contract int, body []byte, split int) {
	t.Helper()
	d := boundedDecoders[kind%len(boundedDecoders)]
	c := boundedContracts[contract%len(boundedContracts)]
	// A row or two are taken before it is known whether it comes.
	limit := uint64(decodeBytesAny + decodeBytesMax*len(body) + 3*rowBytes(c))
	bytes, took := cost(func() { d.read(c, body, split) }, func(b uint64, d time.Duration) bool { return b <= limit && d <= decodeTimeMax })
	if bytes > limit || took > decodeTimeMax {
		t.Fatalf("%s, contract %d: %d bytes of a body took %v and %d bytes of memory, want %v and %d: %.200q",
			d.name, contract, len(body), took, bytes, decodeTimeMax, limit, body)
	}
}

var boundedContracts = packContracts()

// FuzzDecodersAreBounded gives any bytes to every decoder of a request: none
// panics, none takes long, and none takes much more memory than it was sent.
func FuzzDecodersAreBounded(f *testing.F) {
	for i, body := range append(bodies(), inferBodies()...) {
		if len(body) < 1<<12 {
			f.Add(byte(i), byte(i), []byte(body), uint16(len(body)))
		}
	}
	for i := range boundedContracts {
		f.Add(byte(3), byte(i), appendMap("observation", drivingPack(25.5, fiveNumbers), "seq", 7), uint16(0))
		f.Add(byte(5), byte(i), appendMap("observation", floatsOf([]int{2, 2}, 1, 2, 3, 4)), uint16(0))
		f.Add(byte(7), byte(i), []byte(`{"inputs":[{"name":"observation","shape":[1,2,2],"datatype":"INT16","parameters":{"binary_data_size":8}}]}12345678`), uint16(112))
	}
	f.Fuzz(func(t *testing.T, kind, contract byte, body []byte, split uint16) {
		holdBounds(t, int(kind), int(contract), body, int(split))
	})
}

// TestDecodersAreBounded (H2, H3, H8) reads what is made to cost more than it is
// long: rows of nothing for wide policies, shapes that promise much, members and
// lists without an end.
func TestDecodersAreBounded(t *testing.T) {
	for _, name := range sortedNames(hostileBodies()) {
		body := hostileBodies()[name]
		for kind := range boundedDecoders {
			for contract := range boundedContracts {
				holdBounds(t, kind, contract, []byte(body), len(body)*2/3)
			}
		}
	}
}
