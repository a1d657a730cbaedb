package server

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

const guideTensors = `{"id":"7","parameters":{"deterministic":true},"inputs":[` +
	`{"name":"speed","shape":[1],"datatype":"FP32","data":[25.5]},` +
	`{"name":"steering","shape":[1,1],"datatype":"FP64","data":[[0.1]]},` +
	`{"name":"sensors","shape":[1,5],"datatype":"FP32","data":[0.8,0.2,0.5,0.9,0.1]}],"outputs":[{"name":"steer"},{"name":"brake"}]}`

// tensorBody is a request of one tensor.
func tensorBody(shape, datatype, data string) string {
	return `{"inputs":[{"name":"observation","shape":` + shape + `,"datatype":"` + datatype + `","data":` + data + `}]}`
}

// inferBodies are seeds of the fuzz target and cases of the comparison.
func inferBodies() []string {
	list := []string{
		guideTensors,
		`{"inputs":[{"data":[[7,8]],"name":"state","shape":[1,2],"datatype":"INT8"},{"data":[[[1,2,3],[4,5,6]]],"datatype":"UINT8","shape":[1,2,3],"name":"map"}],"outputs":[{"name":"action_1","parameters":{"binary_data":false}}]}`,
		`{"inputs":[{"name":"state","shape":[2,2],"datatype":"INT8","data":[1,2,3,4]},{"name":"map","shape":[2,6],"datatype":"FP32","data":[1,2,3,4,5,6,7,8,9,10,11,12]}],"parameters":{"binary_data_output":true,"sequence_id":""},"outputs":null}`,
		`{"inputs":[{"name":"state","shape":[1,2],"datatype":"INT8","data":[1,2]},{"name":"map","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6]}],"parameters":{"sequence_id":"robot","sequence_start":true,"sequence_end":false}}`,
		`{"inputs":[{"name":"state","shape":[1,2],"datatype":"INT8","data":[1,2]},{"name":"map","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6]}],"parameters":{"sequence_end":true}}`,
		`{"inputs":[{"name":"observation","shape":[2,4],"datatype":"FP32","data":[1,2,3,4,5,6,7,8]}],"parameters":{"sequence_id":"robot"}}`,
		`{"id":null,"parameters":null,"model_name":"m","inputs":[{"name":"observation","shape":[1,4],"datatype":"FP32","parameters":{"content_type":"np"},"data":[1,2,3,4]}]}`,
		tensorBody(`[1,2,2]`, "BOOL", `[true,false,false,true]`), tensorBody(`[1,2,2]`, "BOOL", `[1,0,0,1]`),
		tensorBody(`[2,2,2]`, "FP32", `[[[1,2],[3,4]],[[5,6],[7,8]]]`), tensorBody(`[2,2,2]`, "FP32", `[[1,2,3,4],[5,6,7,8]]`),
		tensorBody(`[2,4]`, "FP32", `[[1,2,3,4],[5,6,7,8]]`), tensorBody(`[1,2,2]`, "INT8", `[1,2,3,128]`), tensorBody(`[1,2,2]`, "INT8", `[1,2,3,1.5]`),
		tensorBody(`[1,2,2]`, "FP16", `[1,2,3,4]`), tensorBody(`[1,2,2]`, "FP32", `[1,2,3,4e38]`), tensorBody(`[1,2,2]`, "BF16", `[1,2,3,4]`),
		tensorBody(`[0,2,2]`, "FP32", `[]`), tensorBody(`[]`, "FP32", `[]`), tensorBody(`[6,2,2]`, "FP32", `[]`), tensorBody(`[1,2,2,1]`, "FP32", `[1,2,3,4]`),
		tensorBody(`[1,2,2]`, "FP32", `[1,2,3]`), tensorBody(`[1,2,2]`, "FP32", `[1,2,3,4,5]`), tensorBody(`[1,2,2]`, "FP32", `[[[1,2],[3]]]`), tensorBody(`[1,2,2]`, "FP32", `["1"]`),
		tensorBody(`[1,2,2]`, "FP32", `null`), tensorBody(`[1.5]`, "FP32", `[1]`), tensorBody(`[1e99]`, "FP32", `[1]`), tensorBody(`[-1,2,2]`, "FP32", `[1,2,3,4]`), tensorBody(`{}`, "FP32", `[1]`),
		`{}`, `[]`, `{"inputs":[]}`, `{"inputs":{}}`, `{"inputs":[7]}`, `{"inputs":[{}]}`, `{"inputs":[],"inputs":[]}`, `{"inputs":[],"extra":1}`, `{"inputs":[{"name":7}]}`,
		`{"inputs":[],"parameters":{"deterministic":null}}`, `{"inputs":[],"parameters":{"deterministic":true,"deterministic":true}}`, `{"inputs":[],"parameters":7}`,
		`{"inputs":[],"outputs":[{"name":"nobody"}]}`, `{"inputs":[],"outputs":[{}]}`, `{"inputs":[],"outputs":[7]}`, `{"id":7}`, `{"id":"\ud83d\ude00\u0000"}`,
		strings.Replace(guideTensors, `"brake"`, `"steer"`, 1), strings.Replace(guideTensors, `"steering"`, `"speed"`, 1), strings.Replace(guideTensors, `25.5`, `250`, 1),
		strings.Replace(guideTensors, `"shape":[1],`, `"shape":[2],`, 1), strings.Replace(guideTensors, `[25.5]`, `25.5`, 1), strings.Replace(guideTensors, `[25.5]`, `[25.5,]`, 1),
		strings.Replace(guideTensors, `"data":[25.5]`, `"parameters":{"binary_data_size":4}`, 1), strings.Replace(guideTensors, `"id"`, `"seed"`, 1),
		tensorBody(`[1]`, "FP32", strings.Repeat("[", 29)+strings.Repeat("]", 29)), tensorBody(`[1]`, "FP32", strings.Repeat("[", 30)+strings.Repeat("]", 30)),
		tensorBody(`[1,2,2]`, "FP32", strings.Repeat("[", 30)+strings.Repeat("]", 30)), `{"inputs":` + strings.Repeat("[", 1_000_000),
	}
	for _, n := range numbers {
		list = append(list, tensorBody(`[1,4]`, "FP32", `[0,1,2,`+n+`]`), tensorBody(`[1,4]`, "INT64", `[0,1,2,`+n+`]`))
	}
	for _, body := range malformedBodies {
		if len(body) < 1<<12 {
			list = append(list, body)
		}
	}
	return list
}

func inferWith(body string, jsonLen int, c *policy.Contract) (*inferDecoder, *serving.Request, error) {
	d, req := &inferDecoder{}, &serving.Request{}
	return d, req, d.decodeInfer([]byte(body), jsonLen, &Target{Model: "m", Contract: c}, 1000, req)
}

func TestDecodeInfer(t *testing.T) {
	d, req, err := inferWith(guideTensors, len(guideTensors), drivingContract())
	want := []float32{25.5, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1}
	if err != nil || req.Rows != 1 || !slices.Equal(req.Inputs[0], want) || !req.Deterministic || string(d.id) != "7" || len(d.outputs) != 2 || d.outputs[0].action != 2 {
		t.Errorf("%v: %d rows %v, outputs %v", err, req.Rows, req.Inputs, d.outputs)
	}
	f := func(c *policy.Contract, body string, want ...[]float32) {
		t.Helper()
		if _, req, err := inferWith(body, len(body), c); err != nil || !slices.EqualFunc(req.Inputs, want, slices.Equal[[]float32]) {
			t.Errorf("%s: %v\n got %v\nwant %v", body, err, req.Inputs, want)
		}
	}
	bodies := inferBodies()
	f(twoInputs(), bodies[1][:strings.Index(bodies[1], `,"outputs"`)]+"}", []float32{1, 2, 3, 4, 5, 6}, []float32{7, 8})
	f(unnamedContract(2, 2), tensorBody(`[1,2,2]`, "BOOL", `[true,false,false,true]`), []float32{1, 0, 0, 1})
	f(unnamedContract(2, 2), tensorBody(`[2,2,2]`, "INT32", `[[[1,2],[3,4]],[[5,6],[7,8]]]`), []float32{1, 2, 3, 4, 5, 6, 7, 8})
	f(unnamedContract(2, 2), tensorBody(`[1,4]`, "UINT64", `[1,2,3,18446744073709551615]`), []float32{1, 2, 3, 1 << 64})
	f(unnamedContract(), tensorBody(`[2]`, "FP32", `[3,4]`), []float32{3, 4})
}

// TestDecodeInferRefused (H8) holds that what is wrong is told with its place.
func TestDecodeInferRefused(t *testing.T) {
	f := func(c *policy.Contract, body, want string) {
		t.Helper()
		_, _, err := inferWith(body, len(body), c)
		var det *detailed
		if !errors.As(err, &det) || det.fault != faultContract || !strings.HasPrefix(det.message, want) {
			t.Errorf("%s:\n got %v\nwant %s", body, err, want)
		}
	}
	u := unnamedContract(2, 2)
	f(u, `{}`, "inputs: expected the tensors observation, got nothing")
	f(u, `{"inputs":[]}`, `inputs: expected a tensor "observation", got none`)
	f(u, tensorBody(`[3,4]`, "FP32", `[1]`), "inputs.0.data: expected 12 values, got 1")
	f(u, tensorBody(`[1,5]`, "FP32", `[1,2,3,4,5]`), "inputs.0.shape: expected [rows,2,2] or [rows,4], got [1,5]")
	f(u, tensorBody(`[1000,4]`, "FP32", `[1]`), "inputs.0.shape: expected 4000 values in all by these rows, got a body that is too short")
	f(u, tensorBody(`[1001,4]`, "FP32", `[1]`), "inputs.0.shape: expected 1 to 1000 rows, got 1001")
	f(u, tensorBody(`[1,4]`, "INT8", `[1,2,-129,4]`), "inputs.0.data.2: expected an integer that INT8 can hold, got -129")
	f(u, tensorBody(`[1,4]`, "FP16", `[1,2,3,4]`), "inputs.0.datatype: expected binary data")
	f(u, tensorBody(`[1,4]`, "BYTES", `["a"]`), "inputs.0.datatype: expected one of FP32, FP64")
	f(u, tensorBody(`[1,4]`, "FP32", `[1,2,3,1e39]`), "inputs.0.data.3: expected a number that a float32 can hold, got 1e39")
	f(drivingContract(), strings.Replace(guideTensors, "25.5", "250", 1), "inputs.0.data.0: expected 0 to 200 km/h, got 250")
	f(drivingContract(), strings.Replace(guideTensors, `"speed"`, `"speeed"`, 1), "inputs.0.name: expected one of speed, steering, sensors, got \"speeed\"")
	for parameters, want := range map[string]string{
		`"seed":-1`: "parameters.seed: expected a whole number", `"seed":1.5`: "parameters.seed: expected", `"seed":18446744073709551616`: "parameters.seed: expected",
		`"seed":"1"`: "parameters.seed: expected a whole number, got a string", `"sequence_id":-1`: "parameters.sequence_id: expected a whole number from 0 to 2^64-1 or a string, got -1",
		`"sequence_id":18446744073709551616`: "parameters.sequence_id: expected a whole number", `"sequence_id":1.5`: "parameters.sequence_id: expected a whole number",
		`"sequence_id":true`: "parameters.sequence_id: expected a whole number or a string, got a boolean", `"sequence_id":"` + strings.Repeat("a", 129) + `"`: "parameters.sequence_id: expected at most 128 bytes, got 129",
		`"sequence_start":true`: "parameters.sequence_id: expected the id of the sequence that sequence_start begins, got none", `"sequence_end":true,"sequence_id":0`: "parameters.sequence_id: expected the id of the sequence that sequence_end ends, got none",
		`"sequence_start":1`: "parameters.sequence_start: expected true or false, got a number", `"sequence_id":7,"seed":1`: "parameters.seed: expected a seed on the first request of a sequence only",
		`"timeout":1`:       "parameters.timeout: expected one of deterministic, seed, binary_data_output, sequence_id, sequence_start, sequence_end, priority, got \"timeout\"",
		`"priority":-1`:     "parameters.priority: expected a whole number: 0 for the default, 1 for control, 2 or more for batch, got -1",
		`"priority":"1"`:    "parameters.priority: expected a whole number, got a string",
		`"deterministic":1`: "parameters.deterministic: expected true or false, got a number",
	} {
		f(u, strings.Replace(tensorBody(`[1,4]`, "FP32", `[1,2,3,4]`), `{`, `{"parameters":{`+parameters+`},`, 1), want)
	}
	f(u, strings.Replace(tensorBody(`[2,4]`, "FP32", `[1,2,3,4,5,6,7,8]`), `{`, `{"parameters":{"sequence_id":7},`, 1), "inputs: expected one row in a sequence, got 2")
	recurrent := unnamedContract(4)
	recurrent.State = []policy.StateSpec{{Name: "h", Width: 1, Initial: []float32{0}, Reset: []float32{0}}}
	f(recurrent, tensorBody(`[1,4]`, "FP32", `[1,2,3,4]`), "parameters.sequence_id: this policy keeps state: send sequence_id, with sequence_start on the first request of an episode, got none")
	f(u, strings.Replace(tensorBody(`[1,4]`, "FP32", `[1,2,3,4]`), `{`, `{"model_name":"x",`, 1), "model_name: expected the model of the path, m, got \"x\"")
}

func TestDecodeInferSeed(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "42": 42, "18446744073709551615": math.MaxUint64} {
		body := strings.Replace(guideTensors, `"deterministic":true`, `"seed":`+text, 1)
		if d, req, err := inferWith(body, len(body), drivingContract()); err != nil || !d.seeded || req.Seed != want {
			t.Errorf("%s: %v, %d", text, err, req.Seed)
		}
	}
}

// TestDecodeInferBinary reads every datatype behind the JSON text.
func TestDecodeInferBinary(t *testing.T) {
	values := []float64{0, 1, 2, 100}
	encode := func(kind string) (b []byte) {
		for _, v := range values {
			switch kind {
			case "FP32":
				b = le.AppendUint32(b, math.Float32bits(float32(v)))
			case "FP64":
				b = le.AppendUint64(b, math.Float64bits(v))
			case "FP16":
				b = le.AppendUint16(b, map[float64]uint16{0: 0x8000, 1: 0x3c00, 2: 0x4000, 100: 0x5640}[v])
			default:
				var err error
				n := map[string]any{"8": int8(v), "6": int16(v), "2": int32(v), "4": int64(v)}[kind[len(kind)-1:]]
				if b, err = binary.Append(b, le, n); err != nil {
					t.Fatal(err)
				}
			}
		}
		return b
	}
	text := func(kind, size string) string {
		return `{"inputs":[{"name":"observation","shape":[1,2,2],"parameters":{"binary_data_size":` + size + `},"datatype":"` + kind + `"}]}`
	}
	for i := range datatypes {
		kind := &datatypes[i]
		if kind.name == "BOOL" {
			continue
		}
		head := text(kind.name, strconv.Itoa(4*kind.Bytes))
		blob := encode(kind.name)
		body := head + string(blob)
		if _, req, err := inferWith(body, len(head), unnamedContract(2, 2)); err != nil || !slices.Equal(req.Inputs[0], []float32{0, 1, 2, 100}) {
			t.Errorf("%s: %v %v", kind.name, err, req.Inputs)
		}
		for _, wrong := range []string{body[:len(body)-1], body + "x"} {
			if _, _, err := inferWith(wrong, len(head), unnamedContract(2, 2)); err == nil {
				t.Errorf("%s: %d bytes for %d were taken", kind.name, len(wrong), len(body))
			}
		}
	}
	refused := map[string]string{
		text("BOOL", "4") + "\x00\x01\x00\x02":                                     "data.3",
		text("BOOL", "5") + "\x00\x01\x00\x01\x01":                                 "binary_data_size: expected 4, got 5",
		text("FP32", "16") + strings.Repeat("\x00\x00\x80\x7f", 4):                 "data.0: expected a number that a float32 can hold, got +Inf",
		text("FP32", "16") + strings.Repeat("\x00\x00\xc0\x7f", 4):                 "data.0: expected a number that a float32 can hold, got NaN",
		text("FP16", "8") + strings.Repeat("\x00\x7c", 4):                          "got +Inf",
		text("FP64", "32") + strings.Repeat("\xff\xff\xff\xff\xff\xff\xef\x7f", 4): "expected a number that a float32 can hold",
	}
	for body, want := range refused {
		head := strings.LastIndex(body, "}]}") + 3
		if _, _, err := inferWith(body, head, unnamedContract(2, 2)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", body[head:], err, want)
		}
	}
}

// TestDecodeInferBinaryAfterARefusedTensor: the next tensor is read where it
// begins.
func TestDecodeInferBinaryAfterARefusedTensor(t *testing.T) {
	f := func(first string) {
		t.Helper()
		head := `{"inputs":[` + first + `,{"name":"steering","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}`
		d, _, err := inferWith(head+"\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", len(head), drivingContract())
		if err == nil || d.count != 1 || strings.Contains(err.Error(), "inputs.1") {
			t.Errorf("%s: %d faults: %v", first, d.count, err)
		}
	}
	f(`{"name":"speed","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":8}}`)
	f(`{"name":"speed","shape":[1],"datatype":"FP99","parameters":{"binary_data_size":8}}`)
	f(`{"name":"speed","shape":[1,3],"datatype":"FP64","parameters":{"binary_data_size":8}}`)
}

// TestDecodeInferEndsOfIntegers: of 64 bits too, which a float64 rounds.
func TestDecodeInferEndsOfIntegers(t *testing.T) {
	for text, want := range map[string][2]bool{
		"9223372036854775807": {true, true}, "9223372036854775808": {false, true}, "-9223372036854775808": {true, false}, "-9223372036854775809": {false, false},
		"18446744073709551615": {false, true}, "18446744073709551616": {false, false}, "0": {true, true}, "0.0": {true, true}, "-1": {true, false}, "1.5": {false, false},
	} {
		for i, kind := range []string{"INT64", "UINT64"} {
			body := tensorBody("[1,1]", kind, "["+text+"]")
			if _, _, err := inferWith(body, len(body), unnamedContract(1)); (err == nil) != want[i] {
				t.Errorf("%s of %s: %v", kind, text, err)
			}
		}
	}
}

// TestDecodeInferHostileIsCheap holds that a wrong body stops the work.
func TestDecodeInferHostileIsCheap(t *testing.T) {
	const size = 1 << 20
	fill := func(head, part, tail string) string { return head + strings.Repeat(part, size/len(part)) + tail }
	for name, body := range map[string]string{
		"unknown members": fill(`{`, `"abcde":1,`, `"x":1}`),
		"empty tensors":   fill(`{"inputs":[`, `{},`, `{}]}`),
		"null tensors":    fill(`{"inputs":[`, `null,`, `null]}`),
		"same tensor":     fill(`{"inputs":[`, `{"name":"speed"},`, `{}]}`),
		"outputs":         fill(`{"outputs":[`, `{"name":"steer"},`, `{}]}`),
		"strings":         fill(`{"inputs":[{"name":"speed","shape":[1],"datatype":"FP32","data":[`, `"0",`, `"0"]}]}`),
		"sizes":           fill(`{"inputs":[{"name":"speed","shape":[`, `1,`, `1]}]}`),
		"wrong sizes":     fill(`{"inputs":[{"name":"speed","shape":[`, `null,`, `1]}]}`),
	} {
		d, req, target := &inferDecoder{}, &serving.Request{}, &Target{Contract: drivingContract()}
		data := []byte(body)
		n := testing.AllocsPerRun(1, func() {
			var det *detailed
			if err := d.decodeInfer(data, len(data), target, 1000, req); !errors.As(err, &det) || det.fault != faultContract {
				t.Errorf("%s: %v", name, err)
			}
		})
		if n > 2000 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestDecodeInferReused holds that nothing of one body is seen in the next.
func TestDecodeInferReused(t *testing.T) {
	d, req, target := &inferDecoder{}, &serving.Request{}, &Target{Model: "m", Contract: drivingContract()}
	for _, before := range inferBodies() {
		_ = d.decodeInfer([]byte(before), len(before), target, 1000, req)
		d.release()
		plain := strings.Replace(strings.Replace(guideTensors, `"id":"7",`, "", 1), `,"outputs":[{"name":"steer"},{"name":"brake"}]`, "", 1)
		err := d.decodeInfer([]byte(plain), len(plain), target, 1000, req)
		if err != nil || req.Rows != 1 || d.hasID || d.binary || d.seeded || len(d.outputs) != 0 || !slices.Equal(req.Inputs[0], []float32{25.5, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1}) {
			t.Fatalf("after %.100s: %v %+v", before, err, req)
		}
	}
}
