package server_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestShapesThatLie (H8): shapes that are negative, overflow, or are not those of the data,
// types that are none, and outputs asked for twice are refused with the
// place, as text and behind it, and the next request is answered.
func TestShapesThatLie(t *testing.T) {
	s := serve(t, &fakeBackend{contract: unnamed(2)}, server.Options{Limits: fast()})
	const path = "/v2/models/carla-ppo/infer"
	tensor := func(shape, datatype, data string) string {
		return fmt.Sprintf(`{"inputs":[{"name":"observation","shape":%s,"datatype":%s,"data":%s}]}`, shape, datatype, data)
	}
	good := tensor("[1,2]", `"FP32"`, "[1,2]")
	refused := func(body, want string, header ...string) {
		t.Helper()
		r := s.do("POST", path, body, header...)
		var e struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != 400 || !strings.Contains(e.Error, want) {
			t.Errorf("%.200q: %d %s, want 400 with %q", body, r.status, r.body, want)
		}
		if r := s.do("POST", path, good); r.status != 200 {
			t.Errorf("after %.200q: %d %s", body, r.status, r.body)
		}
	}
	binary := func(shape, size, data string, want string) {
		t.Helper()
		text := fmt.Sprintf(`{"inputs":[{"name":"observation","shape":%s,"datatype":"FP32","parameters":{"binary_data_size":%s}}]}`, shape, size)
		refused(text+data, want, "Content-Type", "application/octet-stream", "Inference-Header-Content-Length", strconv.Itoa(len(text)))
	}
	for _, shape := range []string{
		"[-1,2]", "[1,-2]", "[-1,-2]", "[0,2]", "[0]", "[2]", "[1,3]", "[2,1]", "[1001,2]", "[1e9,2]", "[1.5,2]", `["1",2]`, "[null,2]", "[[1],2]", "[]", "{}", "null", "7",
		"[9223372036854775807,2]", "[9223372036854775808,2]", "[4611686018427387905,2]", "[18446744073709551615,2]", "[18446744073709551617,2]", "[4294967296,4294967296]", "[2,9223372036854775809]",
		"[-9223372036854775808,2]", "[" + strings.Repeat("65536,", 4) + "2]", "[" + strings.Repeat("1,", 1000) + "2]", "[1" + strings.Repeat("0", 1000) + ",2]",
	} {
		refused(tensor(shape, `"FP32"`, "[1,2]"), "inputs.0.shape")
		binary(shape, "8", "\x00\x00\x80\x3f\x00\x00\x80\x3f", "inputs.0.shape")
	}
	for _, datatype := range []string{`"FP8"`, `"fp32"`, `"BYTES"`, `"object"`, `""`, "7", "null", "[]"} {
		refused(tensor("[1,2]", datatype, "[1,2]"), "inputs.0.datatype")
	}
	for _, data := range []string{"[1]", "[1,2,3]", "[[1],[2]]", "[[[1,2]]]", "[[1,2],[3,4]]", `["1","2"]`, "{}", "null"} {
		refused(tensor("[1,2]", `"FP32"`, data), "inputs.0.data")
	}
	for _, size := range []string{"-8", "0", "7", "9", "16", "4294967304", "9223372036854775807", "18446744073709551624", "8.5", `"8"`, "null"} {
		binary("[1,2]", size, "\x00\x00\x80\x3f\x00\x00\x80\x3f", "binary_data_size")
	}
	binary("[1,2]", "8", "\x00\x00\x80\x3f", "")
	binary("[1,2]", "8", strings.Repeat("\x00", 12), "")
	refused(strings.TrimSuffix(good, "}")+`,"outputs":[{"name":"action"},{"name":"action"}]}`, "outputs.1.name")
	refused(strings.TrimSuffix(good, "]}")+","+strings.TrimPrefix(good, `{"inputs":[`), "inputs.1.name")
}
