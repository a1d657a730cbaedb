package server

import (
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

func drivingContract() *policy.Contract {
	return &policy.Contract{
		Named:  true,
		Inputs: []policy.Input{{Name: "obs", Shape: []int{7}, Width: 7}},
		Features: []policy.Feature{
			{Name: "speed", Unit: "km/h", Low: 0, High: 200, Size: 1},
			{Name: "steering", Low: -1, High: 1, Offset: 1, Size: 1},
			{Name: "sensors", Shape: []int{5}, Unit: "m", Low: 0, High: 1, Offset: 2, Size: 5},
		},
		Actions: []policy.Action{{Name: "throttle", High: 1, Size: 1}, {Name: "brake", High: 1, Offset: 1, Size: 1}, {Name: "steer", Low: -1, High: 1, Offset: 2, Size: 1}},
	}
}

func unnamedContract(shape ...int) *policy.Contract {
	size := 1
	for _, n := range shape {
		size *= n
	}
	return &policy.Contract{
		Inputs:   []policy.Input{{Name: "obs", Shape: shape, Width: size}},
		Features: []policy.Feature{{Name: "obs", Shape: shape, Low: math.Inf(-1), High: math.Inf(1), Size: size}},
		Actions:  []policy.Action{{Size: 1, Discrete: true}},
	}
}

// twoInputs is a policy of two inputs, one of them of two axes.
func twoInputs() *policy.Contract {
	inf := math.Inf(1)
	return &policy.Contract{
		Named:  true,
		Inputs: []policy.Input{{Name: "map", Shape: []int{2, 3}, Width: 6}, {Name: "state", Shape: []int{2}, Width: 2}},
		Features: []policy.Feature{
			{Name: "map", Shape: []int{2, 3}, Low: -inf, High: inf, Size: 6},
			{Name: "state", Shape: []int{2}, Low: -inf, High: inf, Input: 1, Size: 2},
		},
	}
}

const guide = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`

// result is what a decoder made of a body.
type result struct {
	inputs        [][]float32
	rows          int
	deterministic bool
	fault         *fault
	message       string
	fields        []string
	kinds         []string
	messages      []string
}

func decodeWith(d *decoder, req *serving.Request, body string, c *policy.Contract) result {
	err := d.decode([]byte(body), formPredict, c, 1000, req, &actOptions{})
	r := result{inputs: req.Inputs, rows: req.Rows, deterministic: req.Deterministic}
	if err == nil {
		return r
	}
	var det *detailed
	if !errors.As(err, &det) {
		panic(err)
	}
	r.fault, r.message = det.fault, det.message
	for _, v := range d.violations {
		r.fields = append(r.fields, v.field)
		r.kinds = append(r.kinds, v.kind)
		r.messages = append(r.messages, v.message)
	}
	return r
}

func decode(body string, c *policy.Contract) result {
	return decodeWith(&decoder{}, &serving.Request{}, body, c)
}

func TestDecode(t *testing.T) {
	f := func(c *policy.Contract, body string, rows int, want ...[]float32) {
		t.Helper()
		r := decode(body, c)
		if r.fault != nil || r.rows != rows || !slices.EqualFunc(r.inputs, want, slices.Equal[[]float32]) {
			t.Errorf("%s:\n got %d rows %v (%s %v)\nwant %d rows %v", body, r.rows, r.inputs, r.message, r.messages, rows, want)
		}
	}
	row := []float32{25.5, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1}
	c := drivingContract()
	f(c, guide, 1, row)
	f(c, ` { "deterministic" : null , "observations" : [ { "sensors" : [ 0.8 , 2e-1 , 5E-1 , 0.9 , 0.1 ] , "steering" : 0.1 , "speed" : 25.5 } ] } `, 1, row)
	f(c, `{"observ\u0061tions":[{"sp\u0065ed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}]}`, 1, row)
	f(c, `{"observations":[{"speed":200,"steering":-1,"sensors":[0,0,0,0,0]},{"speed":0,"steering":1.0,"sensors":[1,1,1,1,1]}]}`, 2,
		[]float32{200, -1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1})
	f(unnamedContract(3), `{"observations":[[1,2,3],[4,5,6]]}`, 2, []float32{1, 2, 3, 4, 5, 6})
	f(unnamedContract(3), `{"obs":[[1,2,3],[4,5,6]]}`, 2, []float32{1, 2, 3, 4, 5, 6})
	f(unnamedContract(3), `{"obs":[1,2,3]}`, 1, []float32{1, 2, 3})
	f(unnamedContract(2, 2), `{"observations":[[1,2,3,4]]}`, 1, []float32{1, 2, 3, 4})
	f(unnamedContract(2, 2), `{"obs":[[1,2],[3,4]]}`, 1, []float32{1, 2, 3, 4})
	f(unnamedContract(2, 2), `{"obs":[ [ [1,2],[3,4]],[[5,6],[7,8]]]}`, 2, []float32{1, 2, 3, 4, 5, 6, 7, 8})
	f(unnamedContract(), `{"observations":[3,4]}`, 2, []float32{3, 4})
	f(unnamedContract(), `{"observations":[[3],[4]]}`, 2, []float32{3, 4})
	f(unnamedContract(), `{"obs":3}`, 1, []float32{3})
	f(unnamedContract(1), `{"observations":[[1e-46]]}`, 1, []float32{0})
	f(unnamedContract(1), `{"observations":[[3.4028234663852886e38]]}`, 1, []float32{math.MaxFloat32})
	f(twoInputs(), `{"observations":[{"state":[7,8],"map":[[1,2,3],[4,5,6]]},{"map":[[0,0,0],[0,0,9]],"state":[1,2]}]}`, 2,
		[]float32{1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 9}, []float32{7, 8, 1, 2})
}

// malformedBodies are no JSON.
var malformedBodies = []string{
	"", " ", "{", "}", "nul", "tru", "\"", "\ufeff" + guide, guide + "x", guide + guide, guide + "\x00", "[" + guide, strings.TrimSuffix(guide, "}"),
	`{"observations":[{"speed":NaN}]}`, `{"observations":[{"speed":Infinity}]}`, `{"observations":[{"speed":-Infinity}]}`, `{"observations":[{"speed":01}]}`,
	`{"observations":[{"speed":+1}]}`, `{"observations":[{"speed":.5}]}`, `{"observations":[{"speed":1.}]}`, `{"observations":[{"speed":0x1}]}`, `{"observations":[{"speed":1e}]}`,
	`{"observations":[{"speed":1,}]}`, `{"observations":[{"speed":1},]}`, `{"observations":[,]}`, `{"observations":[],}`, `{,}`, `{"observations" []}`, `{"observations":}`,
	`{observations:[]}`, `{'observations':[]}`, `{"observations":[]} // no`, `{"observations":/**/[]}`, "{\"a\nb\":1}", "{\"a\tb\":1}", "{\"\xff\":1}", "{\"a\":\"\xc0\x80\"}",
	`{"a":"\x41"}`, `{"a":"\u12"}`, `{"a":"\ud800"}`, `{"a":"\ud800\u0041"}`, `{"a":"\udc00"}`, `{"\ud83d":1}`, `{"a":"unclosed}`, `{"a":True}`, `{"a":undefined}`,
	"{\"observations\":\v[]}", "{\"observations\":\u00a0[]}", `{"observations":[{"speed":1 2}]}`, `{"observations":[{"speed" 1}]}`, `{"observations":[{"sensors":[0.1 0.2]}]}`,
	strings.Repeat("[", 33), strings.Repeat("[", 33) + strings.Repeat("]", 33), strings.Repeat(`{"a":`, 1000), strings.Repeat("[", 1_000_000),
	`{"observations":` + strings.Repeat("[", 1_000_000), `{"x":` + strings.Repeat(`{"a":`, 100_000), `{"observations":[{"speed":` + strings.Repeat("[", 10_000_000),
}

// TestDecodeMalformed (H3) is the table of what is no JSON: depths up to 10^7,
// numbers that are none, bytes that are no UTF-8, what stands behind the end.
func TestDecodeMalformed(t *testing.T) {
	for _, c := range []*policy.Contract{drivingContract(), unnamedContract(3), twoInputs()} {
		for _, body := range malformedBodies {
			if r := decode(body, c); r.fault != faultMalformed {
				t.Errorf("%.80q: %v %v, want malformed", body, r.fault, r.fields)
			}
		}
	}
}

func TestDecodeSaysWhere(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		if r := decode(body, drivingContract()); r.message != "the body is not well-formed JSON: "+want {
			t.Errorf("%s: %s, want %s", body, r.message, want)
		}
	}
	f(``, "expected a JSON value, got the end of the body, at byte 0")
	f(`{"observations":[{"speed":NaN}]}`, "expected a JSON value, got 'N', at byte 26")
	f(`{"observations":[{"speed":01}]}`, "expected ',' or '}', got '1', at byte 27")
	f("{\"a\":\"\xff\"}", "a string is not UTF-8, at byte 6")
	f(`{} x`, "expected the end of the body, got 'x', at byte 3")
	f("\ufeff{}", "expected a JSON value, got the byte 0xef, at byte 0")
}

// TestDecodeViolations (H3) is the table of what is JSON and does not fit: each is
// told with its field, and no sensor is ever given a value that was not sent.
func TestDecodeViolations(t *testing.T) {
	// Each line of want is "field | type | message".
	f := func(c *policy.Contract, body string, want ...string) {
		t.Helper()
		r := decode(body, c)
		var got []string
		for i := range r.fields {
			got = append(got, r.fields[i]+" | "+r.kinds[i]+" | "+r.messages[i])
		}
		if r.fault != faultContract || !slices.Equal(got, want) {
			t.Errorf("%.200s:\n got %v %s\nwant %s", body, r.fault, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
	c := drivingContract()
	one := func(row string) string { return `{"observations":[` + row + `]}` }
	full := `"steering":0.1,"sensors":[0,0,0,0,0]`
	f(c, `[]`, `body | dict_type | expected an object with "observations", got an array`)
	f(c, `null`, `body | dict_type | expected an object with "observations", got null`)
	f(c, `{}`, `body.observations | missing | expected an array of objects with speed, steering, sensors, got nothing`)
	f(c, `{"observations":null}`, `body.observations | list_type | expected an array of observations, got null`)
	f(c, `{"observations":{"speed":1}}`, `body.observations | list_type | expected an array of observations, got an object`)
	f(c, `{"observations":[]}`, `body.observations | too_short | expected 1 to 1000 observations, got 0`)
	f(c, one(`{"speed":1,`+full+`}`+strings.Repeat(`,{"speed":1,`+full+`}`, 1000)), `body.observations | too_long | expected 1 to 1000 observations, got 1001`)
	f(c, one(`null`), `body.observations.0 | dict_type | expected an object with speed, steering, sensors, got null`)
	f(c, one(`[1,2,3,4,5,6,7]`), `body.observations.0 | dict_type | expected an object with speed, steering, sensors, got an array`)
	f(c, one(`{"speed":1,`+full+`},3`), `body.observations.1 | dict_type | expected an object with speed, steering, sensors, got a number`)
	f(c, one(`{`+full+`}`), `body.observations.0.speed | missing | expected a number, got nothing`)
	f(c, one(`{"speed":1,"steering":0}`), `body.observations.0.sensors | missing | expected an array of 5 numbers, got nothing`)
	f(c, one(`{"speed":null,`+full+`}`), `body.observations.0.speed | float_type | expected a number, got null`)
	f(c, one(`{"speed":"1",`+full+`}`), `body.observations.0.speed | float_type | expected a number, got a string`)
	f(c, one(`{"speed":true,`+full+`}`), `body.observations.0.speed | float_type | expected a number, got a boolean`)
	f(c, one(`{"speed":[1],`+full+`}`), `body.observations.0.speed | float_type | expected a number, got an array`)
	f(c, one(`{"speed":1,"speed":150,`+full+`}`), `body.observations.0.speed | duplicate_key | expected one member of this name, got another`)
	f(c, one(`{"Speed":1,"speed":150,`+full+`}`), `body.observations.0.Speed | extra_forbidden | expected one of speed, steering, sensors, got "Speed"; did you mean "speed"?`)
	f(c, one(`{"ſpeed":1,"speed":150,`+full+`}`), `body.observations.0.ſpeed | extra_forbidden | expected one of speed, steering, sensors, got "\u017fpeed"; did you mean "speed"?`)
	f(c, one(`{"sped":1,`+full+`}`), `body.observations.0.sped | extra_forbidden | expected one of speed, steering, sensors, got "sped"; did you mean "speed"?`,
		`body.observations.0.speed | missing | expected a number, got nothing`)
	f(c, one(`{"weather":{"a":[1]},"speed":1,`+full+`}`), `body.observations.0.weather | extra_forbidden | expected one of speed, steering, sensors, got "weather"`)
	f(c, one(`{"speed":200.01,`+full+`}`), `body.observations.0.speed | less_than_equal | expected 0 to 200 km/h, got 200.01`)
	f(c, one(`{"speed":-0.001,`+full+`}`), `body.observations.0.speed | greater_than_equal | expected 0 to 200 km/h, got -0.001`)
	f(c, one(`{"speed":1e999,`+full+`}`), `body.observations.0.speed | finite_number | expected a number that a float32 can hold, got 1e999`)
	f(unnamedContract(1), `{"obs":[3.402823466385289e+38]}`, `body.obs.0.0 | finite_number | expected a number that a float32 can hold, got 3.402823466385289e+38`)
	f(c, one(`{"speed":1e39,`+full+`}`), `body.observations.0.speed | finite_number | expected a number that a float32 can hold, got 1e39`)
	f(c, one(`{"speed":1`+strings.Repeat("0", 1_000_000)+`,`+full+`}`), `body.observations.0.speed | finite_number | expected a number that a float32 can hold, got 1`+strings.Repeat("0", 31)+`...`)
	f(c, one(`{"speed":1,"steering":0,"sensors":[0,0,0,0]}`),
		`body.observations.0.sensors | too_short | expected 5 numbers, got 4`, `body.observations.0 | value_error | expected 7 values in all, got 6`)
	f(c, one(`{"speed":1,"steering":0,"sensors":[0,0,0,0,0,0,0]}`),
		`body.observations.0.sensors | too_long | expected 5 numbers, got 7`, `body.observations.0 | value_error | expected 7 values in all, got 9`)
	f(c, one(`{"speed":1,"steering":0,"sensors":[0,0,7,null,"0"]}`),
		`body.observations.0.sensors.2 | less_than_equal | expected 0 to 1 m, got 7`,
		`body.observations.0.sensors.3 | float_type | expected a number, got null`,
		`body.observations.0.sensors.4 | float_type | expected a number, got a string`)
	f(c, one(`{"speed":1,"steering":0,"sensors":0.5}`), `body.observations.0.sensors | list_type | expected an array of 5 numbers, got a number`)
	f(c, one(`{"speed":1,"steering":0,"sensors":[[0,0,0,0,0]]}`),
		`body.observations.0.sensors.0 | float_type | expected a number, got an array`, `body.observations.0.sensors | too_short | expected 5 numbers, got 1`,
		`body.observations.0 | value_error | expected 7 values in all, got 3`)
	f(c, `{"observations":[{"speed":1,`+full+`}],"deterministic":1}`, `body.deterministic | bool_type | expected true, false or null, got a number`)
	f(c, `{"observations":[{"speed":1,`+full+`}],"deterministic":"true"}`, `body.deterministic | bool_type | expected true, false or null, got a string`)
	f(c, `{"observations":[{"speed":1,`+full+`}],"Deterministic":true}`, `body.Deterministic | extra_forbidden | expected one of observations, deterministic, seed, step, row, action_masks, state, episode_start, return, deadline_ms, observed_at, priority, got "Deterministic"; did you mean "deterministic"?`)
	f(c, `{"observations":[{"speed":1,`+full+`}],"obs":[]}`, `body.obs | extra_forbidden | expected one of observations, deterministic, seed, step, row, action_masks, state, episode_start, return, deadline_ms, observed_at, priority, got "obs"`)
	f(c, `{"observations":[{"speed":1,`+full+`}],"observations":[{"speed":1,`+full+`}]}`, `body.observations | duplicate_key | expected one member of this name, got another`)
	f(unnamedContract(3), `{"observations":[[1,2]]}`, `body.observations.0 | too_short | expected 3 numbers, got 2`)
	f(unnamedContract(3), `{"observations":[[1,2,3],{"a":1}]}`, `body.observations.1 | list_type | expected an array of 3 numbers, got an object`)
	f(unnamedContract(3), `{"observations":[[1,2,3]],"obs":[1,2,3]}`, `body.obs | duplicate_key | expected one member of this name, got another`)
	f(unnamedContract(3), `{"obs":[[1,2,"x"]]}`, `body.obs.0.2 | float_type | expected a number, got a string`)
	f(unnamedContract(2, 2), `{"obs":[[1,2],[3]]}`, `body.obs.0.1 | too_short | expected 2 numbers, got 1`)
	f(unnamedContract(2, 2), `{"obs":[[[1,2],[3,4],[5,6]]]}`, `body.obs.0 | too_long | expected 2 arrays, got 3`)
	f(unnamedContract(2, 2), `{"obs":7}`, `body.obs | list_type | expected an array of 2 x 2 numbers, or an array of such, got a number`)
	f(twoInputs(), one(`{"map":[[1,2,3],[4,5]],"state":[1,2]}`), `body.observations.0.map.1 | too_short | expected 3 numbers, got 2`)
	f(twoInputs(), one(`{"map":[1,2,3,4,5,6],"state":[1,2]}`),
		`body.observations.0.map.0 | list_type | expected an array of 3 numbers, got a number`, `body.observations.0.map.1 | list_type | expected an array of 3 numbers, got a number`,
		`body.observations.0.map | too_long | expected 2 arrays, got 6`)
}

func TestDecodeCountsViolations(t *testing.T) {
	body := `{"observations":[` + strings.TrimSuffix(strings.Repeat(`{},`, 100), ",") + `]}`
	d, req := &decoder{}, &serving.Request{}
	r := decodeWith(d, req, body, drivingContract())
	if len(r.fields) != maxViolations || !strings.HasSuffix(r.message, "(and at least 31 more)") {
		t.Errorf("%d kept: %s", len(r.fields), r.message)
	}
	if cap(req.Inputs[0]) > 7 {
		t.Errorf("a body without a single value took memory for %d", cap(req.Inputs[0]))
	}
}

// TestDecodeHostileIsCheap holds that a body in which everything is wrong costs
// no more than one in which nothing is: the work stops when enough is known.
func TestDecodeHostileIsCheap(t *testing.T) {
	const size = 1 << 20
	fill := func(head, part, tail string) string { return head + strings.Repeat(part, size/len(part)) + tail }
	for name, body := range map[string]string{
		"unknown members":      fill(`{`, `"abcde":1,`, `"x":1}`),
		"unknown features":     fill(`{"observations":[{`, `"abcde":1,`, `"x":1}]}`),
		"duplicate features":   fill(`{"observations":[{`, `"speed":1,`, `"speed":1}]}`),
		"empty rows":           fill(`{"observations":[`, `{},`, `{}]}`),
		"null rows":            fill(`{"observations":[`, `null,`, `null]}`),
		"strings for sensors":  fill(`{"observations":[{"sensors":[`, `"0",`, `"0"]}]}`),
		"sensors out of range": fill(`{"observations":[{"sensors":[`, `9,`, `9]}]}`),
		"starts":               fill(`{"episode_start":[`, `true,`, `true]}`),
		"starts of numbers":    fill(`{"episode_start":[`, `1,`, `1]}`),
		"names":                fill(`{"return":[`, `"value",`, `"value"]}`),
		"masks":                fill(`{"action_masks":[`, `[1],`, `[1]]}`),
		"empty bytes":          fill(`{"observations":[`, `{"sensors":{"base64":""}},`, `{}]}`),
		"objects for bytes":    fill(`{"observations":[{"sensors":{`, `"a":1,`, `"a":1}}]}`),
		"shapes":               fill(`{"observations":[{"sensors":{"base64":"","shape":[`, `1,`, `1]}}]}`),
	} {
		d, req, c := &decoder{}, &serving.Request{}, drivingContract()
		data := []byte(body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := d.decode(data, formPredict, c, 1000, req, &actOptions{})
		runtime.ReadMemStats(&after)
		var det *detailed
		if !errors.As(err, &det) || det.fault != faultContract {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.Mallocs - before.Mallocs; n > 2000 {
			t.Errorf("%s: %d allocations", name, n)
		}
	}
}

// TestDecodeReused holds that nothing of one body is seen in the next, and
// that a used decoder allocates nothing.
func TestDecodeReused(t *testing.T) {
	d, req, o, c := &decoder{}, &serving.Request{}, &actOptions{}, drivingContract()
	many := `{"observations":[` + strings.TrimSuffix(strings.Repeat(`{"speed":1,"steering":1,"sensors":[1,1,1,1,1]},`, 50), ",") + `]}`
	for _, before := range []string{guide, many, `{"observations":[{"speed":9,"steering":1}]}`, `{"observations":[{"speed":1,"sp`, `{"obs\u0065rvations":[]}`} {
		decodeWith(d, req, before, c)
		d.release()
		got, want := decodeWith(d, req, guide, c), decode(guide, c)
		if got.fault != nil || got.rows != 1 || !slices.Equal(got.inputs[0], want.inputs[0]) || !got.deterministic {
			t.Errorf("after %.60s: %+v", before, got)
		}
	}
	decodeWith(d, req, many, c)
	for _, body := range [][]byte{[]byte(guide), []byte(many), []byte(strings.ReplaceAll(guide, "speed", `sp\u0065ed`))} {
		if n := testing.AllocsPerRun(100, func() {
			if err := d.decode(body, formPredict, c, 1000, req, o); err != nil {
				t.Fatal(err)
			}
			d.release()
		}); n != 0 {
			t.Errorf("%.60s: %v allocations", body, n)
		}
	}
}

// TestDecodeMembersAllocateNothing holds that to every member but a state.
func TestDecodeMembersAllocateNothing(t *testing.T) {
	image := `"AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"`
	for _, k := range []struct {
		form *actForm
		c    *policy.Contract
		body string
	}{
		{formPredict, keepingContract(), `{"observations":[[1,2],[3,4]],"state":null,"seed":5,"step":1,"row":2,"action_masks":[[1,0,true],[false,1,1]],"episode_start":[true,false],"return":["value","distribution"],"deadline_ms":20,"observed_at":1795000000.5,"priority":"batch"}`},
		{formStream, keepingContract(), `{"observation":[1,2],"seq":5,"action_masks":[1,0,true],"episode_start":false}`},
		{formPredict, imageContract(), `{"observations":[` + image + `,{"base64":` + image + `,"shape":[2,3,4],"dtype":"uint8"}]}`},
		{formPredict, imageContract(), `{"obs":[[[1,2,3,4],[1,2,3,4],[1,2,3,4]],[[5,6,7,8],[5,6,7,8],[5,6,7,8]]]}`},
	} {
		d, req, o := &decoder{}, &serving.Request{}, &actOptions{}
		if n := testing.AllocsPerRun(100, func() {
			if err := d.decode([]byte(k.body), k.form, k.c, 1000, req, o); err != nil {
				t.Fatal(err)
			}
			d.release()
			o.release()
		}); n > 1 { // the body itself
			t.Errorf("%.60s: %v allocations", k.body, n-1)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	d, req, o, c := &decoder{}, &serving.Request{}, &actOptions{}, drivingContract()
	body := []byte(guide)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := d.decode(body, formPredict, c, 1000, req, o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeTwin is what the slow way costs.
func BenchmarkDecodeTwin(b *testing.B) {
	c := drivingContract()
	body := []byte(guide)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		decodeTwin(body, formPredict, c, 1000)
	}
}
