package server

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/e2e/inputs"
	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// TestExecutions (H2) gives the decoders of requests and the framing of HTTP
// many bad inputs, made of good ones: nothing panics or hangs, none takes more
// memory than a hundred times what it was sent, and the fast twins agree with the
// slow ones. `make fuzz` looks at the same with coverage.
func TestExecutions(t *testing.T) {
	n := ledger.Size(2000, 1_000_000)
	texts := func(list []string) (out [][]byte) {
		for _, s := range list {
			if len(s) < 2<<10 {
				out = append(out, []byte(s))
			}
		}
		return out
	}
	var packs [][]byte
	for i, c := range packContracts() {
		packs = append(packs, appendMap("observation", drivingPack(25.5, fiveNumbers), "seq", i, "deterministic", true),
			appendMap("observations", []any{[]any{1, 2}, []any{3, 4}}), appendMap("observation", floatsOf([]int{2, 2}, 1, 2, 3, 4)))
		if x := c.Features[0]; x.Size < 512 {
			packs = append(packs, appendMap("observation", floatsOf(x.Shape, make([]float32, x.Size)...)), appendMap("observation", make(octetString, x.Size)))
		}
	}
	binary := `{"inputs":[{"name":"observation","shape":[1,2,2],"datatype":"INT16","parameters":{"binary_data_size":8}}]}12345678`
	contracts2 := fuzzContracts2()
	web := newConnectionFuzz(t)
	var wire [][]byte
	for _, s := range connectionSeeds() {
		wire = append(wire, s.data)
	}
	for i, k := range []struct {
		name   string
		corpus [][]byte
		hold   func(t *testing.T, s *inputs.Source, b []byte)
	}{
		{"JSON", texts(bodies()), func(t *testing.T, s *inputs.Source, b []byte) {
			k := fuzzCases[s.IntN(len(fuzzCases))]
			if err := compareTwin(b, k.form, k.c); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			holdBounds(t, s.IntN(3), s.IntN(len(boundedContracts)), b, 0)
		}},
		{"MessagePack", packs, func(t *testing.T, s *inputs.Source, b []byte) {
			_, _ = holdPackTwins(t, boundedContracts[s.IntN(len(boundedContracts))], packForms[s.IntN(len(packForms))], b)
			holdBounds(t, 3+s.IntN(3), s.IntN(len(boundedContracts)), b, 0)
		}},
		{"Open Inference", texts(inferBodies()), func(t *testing.T, s *inputs.Source, b []byte) {
			if err := compareTwin2(b, contracts2[s.IntN(len(contracts2))]); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			holdBounds(t, 6, s.IntN(len(boundedContracts)), b, 0)
		}},
		{"Open Inference, binary", append(texts(inferBodies()), []byte(binary)), func(t *testing.T, s *inputs.Source, b []byte) {
			holdBinary(t, b, s.IntN(len(b)+1))
			holdBounds(t, 7, s.IntN(len(boundedContracts)), b, s.IntN(len(b)+1))
		}},
		{"framing of HTTP", wire, func(t *testing.T, s *inputs.Source, b []byte) { holdGate(t, string(b), 1+s.IntN(64)) }},
		{"connections", wire, func(t *testing.T, s *inputs.Source, b []byte) { web.hold(t, b, 1+s.IntN(256)) }},
	} {
		t.Run(k.name, func(t *testing.T) {
			ledger.Begin(t)
			s := inputs.New(uint64(i+1), k.corpus, 8<<10, "observations", "observation", "inputs", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Host: a\r\n", "__ndarray__")
			for range n {
				k.hold(t, s, s.Next())
			}
			ledger.Add(t, ledger.Row{
				ID: "H2", Test: "mutated inputs for the decoder: " + k.name, Inputs: ledger.N(n, "inputs"), Lost: ledger.Nothing,
				Figures: []string{"0 panics", "0 above 1 s", "0 above 100 times their length in memory"},
			})
		})
	}
}

// holdBinary holds that no split of a body into text and binary data breaks the
// decoder, and that what is taken is within the contract.
func holdBinary(t *testing.T, data []byte, split int) {
	t.Helper()
	d, req := &inferDecoder{}, &serving.Request{}
	if d.decodeInfer(data, min(len(data), split), &Target{Contract: binaryContract}, 5, req) != nil {
		return
	}
	if req.Rows < 1 || len(req.Inputs[0]) != 4*req.Rows {
		t.Fatalf("%d rows, %d values", req.Rows, len(req.Inputs[0]))
	}
	for _, v := range req.Inputs[0] {
		if v-v != 0 {
			t.Fatalf("%v was taken", v)
		}
	}
}

var binaryContract = unnamedContract(2, 2)
