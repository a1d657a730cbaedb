package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// twin2 is the slow twin of inferDecoder, for bodies without binary data: the
// body as a tree, held to the contract.
type twin2 struct {
	c       *policy.Contract
	maxRows int
	size    int // of the body

	malformed, bad, unsure bool

	rows          int
	given         map[int]bool
	values        map[int][]float32 // by feature
	deterministic bool
	binary        bool
	id            any
	outputs       []requestedOutput

	sequence, bounds bool // there is one; it begins or ends
}

func (t *twin2) check(ok bool) bool {
	t.bad = t.bad || !ok
	return ok
}

// object calls read for each member of an object whose name is known.
func (t *twin2) object(v any, names []string, read func(name string, v any)) {
	members, ok := v.([]treeMember)
	t.check(ok)
	seen := map[string]bool{}
	for _, m := range members {
		if t.check(slices.Contains(names, m.name) && !seen[m.name]) {
			read(m.name, m.value)
		}
		seen[m.name] = true
	}
}

func (t *twin2) boolean(v any, dst *bool) {
	b, ok := v.(bool)
	t.check(ok)
	*dst = b
}

func inferTwin(data []byte, c *policy.Contract, model string, maxRows int) *twin2 {
	t := &twin2{c: c, maxRows: maxRows, size: len(data), given: map[int]bool{}, values: map[int][]float32{}, deterministic: c.DeterministicDefault}
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	root, err := tree(d, 0)
	if err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("trailing")
		}
	}
	if err != nil {
		t.malformed = true
		return t
	}
	t.object(root, []string{"inputs", "id", "parameters", "outputs", "model_name"}, func(name string, v any) {
		switch name {
		case "inputs":
			list, ok := v.([]any)
			t.check(ok)
			for _, e := range list {
				t.input(e)
			}
		case "id":
			t.id = v
			_, ok := v.(string)
			t.check(ok || v == nil)
		case "model_name":
			t.check(v == nil || v == model)
		case "parameters":
			if v != nil {
				t.parameters(v)
			}
		case "outputs":
			if v != nil {
				t.requested(v)
			}
		}
	})
	t.check(len(t.given) == len(c.Features))
	t.check(t.sequence && t.rows == 1 || !t.sequence && !t.bounds)
	return t
}

func (t *twin2) parameters(v any) {
	t.object(v, []string{"deterministic", "seed", "binary_data_output", "sequence_id", "sequence_start", "sequence_end", "priority"}, func(name string, v any) {
		_, number := v.(float64)
		var bounds bool
		switch name {
		case "deterministic":
			t.boolean(v, &t.deterministic)
		case "binary_data_output":
			t.boolean(v, &t.binary)
		case "seed":
			t.unsure = t.unsure || number // the tree has lost how it was written
			t.check(number)
		case "priority":
			t.unsure = t.unsure || number
			t.check(number)
		case "sequence_id":
			t.unsure = t.unsure || number
			text, ok := v.(string)
			t.check((ok || number) && len(text) <= maxSequenceID)
			t.sequence = text != ""
		default:
			t.boolean(v, &bounds)
			t.bounds = t.bounds || bounds
		}
	})
}

func (t *twin2) requested(v any) {
	list, ok := v.([]any)
	t.check(ok)
	for _, e := range list {
		o := requestedOutput{action: -1}
		t.object(e, []string{"name", "parameters"}, func(name string, v any) {
			if name == "name" {
				for i := range t.c.Actions {
					if v == actionName(t.c, i) {
						o.action = i
					}
				}
			} else if v != nil {
				t.object(v, []string{"binary_data"}, func(_ string, v any) {
					o.stated = true
					t.boolean(v, &o.binary)
				})
			}
		})
		t.check(o.action >= 0 && !slices.ContainsFunc(t.outputs, func(other requestedOutput) bool { return other.action == o.action }))
		t.outputs = append(t.outputs, o)
	}
}

func (t *twin2) input(v any) {
	members := map[string]any{}
	t.object(v, []string{"name", "shape", "datatype", "parameters", "data"}, func(name string, v any) { members[name] = v })
	if v := members["parameters"]; v != nil {
		t.object(v, []string{"binary_data_size", "content_type"}, func(name string, _ any) {
			t.check(name == "content_type") // there is no binary data
		})
	}
	at := -1
	for i := range t.c.Features {
		if members["name"] == inputName(t.c, i) {
			at = i
		}
	}
	if !t.check(at >= 0 && !t.given[at]) {
		return
	}
	t.given[at] = true
	list, ok := members["shape"].([]any)
	var dims []int
	for _, e := range list {
		n, isNumber := e.(float64)
		ok = ok && isNumber && n == math.Trunc(n) && n >= 0 && n <= math.MaxInt32
		dims = append(dims, int(n))
	}
	f := &t.c.Features[at]
	if !t.check(ok && len(dims) >= 1 && len(dims) <= maxDims) {
		return
	}
	total := 0
	for i := range t.c.Features {
		total += t.c.Features[i].Size
	}
	if !t.check(slices.Equal(dims[1:], f.Shape) || slices.Equal(dims[1:], []int{f.Size})) ||
		!t.check(dims[0] >= 1 && dims[0] <= t.maxRows && (t.rows == 0 || t.rows == dims[0]) && dims[0]*total <= t.size) {
		return
	}
	t.rows = dims[0]
	name, _ := members["datatype"].(string)
	kind := slices.IndexFunc(datatypes[:], func(d datatype) bool { return d.name == name })
	if !t.check(kind >= 0 && !datatypes[kind].noJSON) {
		return
	}
	data, ok := members["data"].([]any)
	if !t.check(ok) {
		return
	}
	if len(data) > 0 {
		if _, nested := data[0].([]any); !nested {
			dims = []int{t.rows * f.Size}
		}
	}
	t.values[at] = t.flatten(data, dims, &datatypes[kind], f, nil)
}

func (t *twin2) flatten(v any, dims []int, kind *datatype, f *policy.Feature, out []float32) []float32 {
	list, ok := v.([]any)
	if !t.check(ok && len(list) == dims[0]) {
		return nil
	}
	for _, e := range list {
		if len(dims) > 1 {
			out = t.flatten(e, dims[1:], kind, f, out)
			continue
		}
		n, ok := e.(float64)
		if b, isBool := e.(bool); kind.name == "BOOL" {
			if ok = isBool; b {
				n = 1
			}
		}
		ok = ok && (!kind.Integer || n == math.Trunc(n) && n >= kind.Low && n <= kind.High)
		t.unsure = t.unsure || kind.Integer && kind.atEnd(n) // as above
		x := float32(n)
		t.check(ok && math.Abs(n) <= math.MaxFloat32 && x >= float32(f.Low) && x <= float32(f.High))
		out = append(out, x)
	}
	return out
}

// compareTwin2 decodes with both and reports where they differ.
func compareTwin2(data []byte, c *policy.Contract) error {
	const maxRows = 5
	d, req := &inferDecoder{}, &serving.Request{}
	err := d.decodeInfer(data, len(data), &Target{Model: "m", Contract: c}, maxRows, req)
	want := inferTwin(data, c, "m", maxRows)
	var det *detailed
	errors.As(err, &det)
	switch {
	case want.malformed:
		if det == nil || det.fault != faultMalformed {
			return fmt.Errorf("got %v, the twin says that it is no JSON", err)
		}
	case want.unsure:
	case want.bad:
		if det == nil || det.fault != faultContract {
			return fmt.Errorf("got %v, the twin found a violation", err)
		}
	case err != nil:
		return fmt.Errorf("got %w, the twin found nothing", err)
	case req.Rows != want.rows || req.Deterministic != want.deterministic || d.binary != want.binary || !slices.Equal(d.outputs, want.outputs) || d.hasID != (want.id != nil) || d.hasID && string(d.id) != want.id:
		return fmt.Errorf("got %d rows, deterministic %v, binary %v, outputs %v, id %q; the twin %+v", req.Rows, req.Deterministic, d.binary, d.outputs, d.id, want)
	default:
		for i := range c.Features {
			f := &c.Features[i]
			for k, v := range want.values[i] {
				got := req.Inputs[f.Input][k/f.Size*c.Inputs[f.Input].Width+f.Offset+k%f.Size]
				if math.Float32bits(got) != math.Float32bits(v) {
					return fmt.Errorf("%s value %d: got %v, the twin %v", f.Name, k, got, v)
				}
			}
		}
	}
	return nil
}

func fuzzContracts2() []*policy.Contract {
	two := twoInputs()
	two.Actions = []policy.Action{{Size: 1, Discrete: true}, {Offset: 1, Size: 2, Shape: []int{2}}}
	return []*policy.Contract{drivingContract(), unnamedContract(2, 2), two}
}

func TestInferTwin(t *testing.T) {
	for _, body := range inferBodies() {
		for i, c := range fuzzContracts2() {
			if err := compareTwin2([]byte(body), c); err != nil {
				t.Errorf("contract %d: %.200q: %v", i, body, err)
			}
		}
	}
}

func FuzzDecodeInfer(f *testing.F) {
	for _, body := range inferBodies() {
		if len(body) < 1<<12 {
			f.Add([]byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for i, c := range fuzzContracts2() {
			if err := compareTwin2(data, c); err != nil {
				t.Fatalf("contract %d: %q: %v", i, data, err)
			}
		}
	})
}

// FuzzDecodeInferBinary holds that no split of a body into text and binary data
// breaks the decoder, and that what is taken is within the contract.
func FuzzDecodeInferBinary(f *testing.F) {
	f.Add([]byte(`{"inputs":[{"name":"observation","shape":[1,2,2],"datatype":"INT16","parameters":{"binary_data_size":8}}]}12345678`), uint16(112))
	f.Add([]byte(`{"inputs":[{"name":"observation","shape":[1,4],"datatype":"FP16","parameters":{"binary_data_size":8}}]}12345678`), uint16(110))
	f.Fuzz(func(t *testing.T, data []byte, split uint16) { holdBinary(t, data, int(split)) })
}
