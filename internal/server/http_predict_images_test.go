package server_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// image has 24 values from 0, of rows, columns and channels.
func image() []byte {
	b := make([]byte, 24)
	for i := range b {
		b[i] = byte(10 * i)
	}
	return b
}

// channelsFirst brings it into the order of channels, rows, columns.
func channelsFirst(b []byte) []byte {
	var out []byte
	for c := range 2 {
		for i := range 12 {
			out = append(out, b[2*i+c])
		}
	}
	return out
}

// lists nests bytes to a shape.
func lists(b []byte, shape ...int) string {
	if len(shape) == 0 {
		return fmt.Sprint(b[0])
	}
	n := len(b) / shape[0]
	parts := make([]string, shape[0])
	for i := range parts {
		parts[i] = lists(b[i*n:][:n], shape[1:]...)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// send posts raw bytes with a query.
func send(s *site, query, body string) reply {
	return s.do("POST", "/predict?"+query, body, "Content-Type", "application/octet-stream")
}

// TestPredictCube takes an image that is the same both ways round as the
// contract has it.
func TestPredictCube(t *testing.T) {
	c := unnamed(2, 2, 2)
	c.Features[0].Image = true
	b := question(c, nil)
	s := serve(t, b, server.Options{Limits: fast()})
	cube := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	text := base64.StdEncoding.EncodeToString(cube)
	for _, form := range []string{lists(cube, 2, 2, 2), `"` + text + `"`, `{"base64":"` + text + `","shape":[2,2,2]}`} {
		posted(t, s, `{"observations":[`+form+`]}`)
		if got := b.last.Inputs[0]; !slices.Equal(got, []float32{1, 2, 3, 4, 5, 6, 7, 8}) {
			t.Errorf("%s: %v", form, got)
		}
	}
	if r := send(s, "shape=2,2,2", string(cube)); r.status != 200 || !slices.Equal(b.last.Inputs[0], []float32{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("%d %s: %v", r.status, r.body, b.last.Inputs)
	}
}

func TestPredictImages(t *testing.T) {
	b := question(camera(), nil)
	s := serve(t, b, server.Options{Limits: fast()})
	var want []float32
	for _, v := range image() {
		want = append(want, float32(v))
	}
	text := base64.StdEncoding.EncodeToString
	for _, form := range []string{
		lists(image(), 3, 4, 2), lists(channelsFirst(image()), 2, 3, 4), `"` + text(image()) + `"`, `"` + strings.ReplaceAll(text(image()), "A", `\u0041`) + `"`,
		`{"base64":"` + text(image()) + `"}`, `{"shape":[3,4,2],"dtype":"uint8","base64":"` + text(image()) + `"}`, `{"base64":"` + text(channelsFirst(image())) + `","shape":[2,3,4]}`,
	} {
		posted(t, s, `{"observations":[{"image":`+form+`,"speed":1},{"speed":2,"image":`+form+`}]}`)
		if got := b.last.Inputs[0]; !slices.Equal(got, slices.Concat(want, want)) || !slices.Equal(b.last.Inputs[1], []float32{1, 2}) {
			t.Errorf("%s: %v %v", form, got, b.last.Inputs[1])
		}
	}
	f := func(form, message string) {
		t.Helper()
		refusedPost(t, s, `{"observations":[{"image":`+form+`,"speed":1}]}`, 422, message)
	}
	f(`"AAAA"`, "observations.0.image: expected 24 bytes (uint8 of 3 x 4 x 2) in 32 characters of base64, got 4 characters")
	f(`"`+strings.Repeat("!", 32)+`"`, "observations.0.image: expected 24 bytes (uint8 of 3 x 4 x 2) in base64 with its padding, got what is none")
	f(`{"base64":"`+text(image())+`","shape":[4,3,2]}`, "observations.0.image.shape: expected [3,4,2] or [2,3,4], got [4,3,2]")
	f(`{"base64":"`+text(image())+`","dtype":"|u1"}`, `observations.0.image.dtype: expected one of uint8, float32, float64, float16, bool, int8, int16, int32, int64, uint16, uint32, uint64, got "|u1"`)
	f(`{"base64":"`+text(image())+`","dtyp":"uint8"}`, `observations.0.image.dtyp: expected one of base64, dtype, shape, got "dtyp"; did you mean "dtype"?`)
	f(`{"bytes":"`+text(image())+`"}`, `observations.0.image: expected an array of 3 x 4 x 2 numbers, got an object`)
	f(`{"base64":"`+text(append(make([]byte, 92), "\x00\x00\xc0\x7f"...))+`","dtype":"float32"}`, "observations.0.image.2.3.1: expected 0 to 255, got NaN")
	f(lists(make([]byte, 24), 4, 3, 2), "observations.0.image.0: expected 4 arrays, got 3 (and 3 more)")
	refusedPost(t, s, `{"observations":[{"image":`+lists(image(), 3, 4, 2)+`,"speed":{"base64":"AAAAAA=="}}]}`, 422, "observations.0.speed: expected a number, got an object")
}

func TestPredictOctets(t *testing.T) {
	b := question(driving(), nil)
	s := serve(t, b, server.Options{Limits: fast()})
	row := "\x00\x00\xcc\x41\xcd\xcc\xcc\x3d" + strings.Repeat("\x00\x00\x00\x3f", 5) // 25.5, 0.1 and five of 0.5
	if r := send(s, "deterministic=true&deadline_ms=50&seed=5&step=2&row=3&episode_start=true&state=null", row+row); r.status != 200 || b.last.Rows != 2 ||
		!slices.Equal(b.last.Inputs[0][7:], []float32{25.5, 0.1, 0.5, 0.5, 0.5, 0.5, 0.5}) || b.last.Seed != 5 || b.last.Step != 2 || b.last.Row != 3 || !b.last.Deterministic {
		t.Errorf("%d %s: %+v", r.status, r.body, b.last)
	}
	if r := send(s, "", row); r.status != 200 || b.last.Seed == 5 || b.last.Deterministic {
		t.Errorf("%d %s: %+v", r.status, r.body, b.last)
	}
	// A query is of raw bytes only.
	posted(t, s, guideRequest)
	f := func(s *site, query, body, message string) {
		t.Helper()
		r := send(s, query, body)
		var e struct {
			Message string `json:"message"`
		}
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != 422 || e.Message != message {
			t.Errorf("%s: %d %s\nwant %s", query, r.status, e.Message, message)
		}
	}
	f(s, "", row[1:], "body: expected 28 bytes for each observation (float32 of 7), got 27 in all")
	f(s, "", "", "body: expected 28 bytes for each observation (float32 of 7), got 0 in all")
	f(s, "", strings.Repeat(row, 1001), "body: expected 1 to 1000 observations, got 1001")
	f(s, "", "\x00\x00\xcc\xc1"+row[4:], "observations.0.speed: expected 0 to 200 km/h, got -25.5")
	f(s, "", row+row[:8]+"\x00\x00\xc0\x7f"+row[12:], "observations.1.sensors.0: expected 0 to 1 m, got NaN")
	f(s, "deterministic=yes", row, "query.deterministic: expected a JSON value, got 'y', at byte 0")
	f(s, "deterministic=true+false", row, "query.deterministic: expected the end of the value, got 'f', at byte 5")
	f(s, "seed=-1", row, "query.seed: expected a whole number from 0 to 9007199254740991, got -1")
	f(s, "seed=1&seed=1", row, "query.seed: expected one member of this name, got another")
	f(s, "dtype=float32&dtype=float32", row, "query.dtype: expected one parameter of this name, got another")
	f(s, "observations=1", row, `query.observations: expected one of deterministic, seed, step, row, action_masks, state, episode_start, return, deadline_ms, observed_at, priority, dtype, shape, got "observations"`)
	f(s, "sed=1", row, `query.sed: expected one of deterministic, seed, step, row, action_masks, state, episode_start, return, deadline_ms, observed_at, priority, dtype, shape, got "sed"; did you mean "seed"?`)
	f(s, "return=value", row, `query.return.0: expected nothing, as the policy has nothing beside its actions, got "value"`)
	f(s, "state=abc", row, "query.state: expected null or nothing, because the policy keeps no state, got a string")
	f(s, "dtype=uint9", row, `query.dtype: expected one of uint8, float32, float64, float16, bool, int8, int16, int32, int64, uint16, uint32, uint64, got "uint9"`)
	f(s, "shape=8", row, "query.shape: expected [7], got 8")
	f(serve(t, question(camera(), nil), server.Options{Limits: fast()}), "", row, "body: expected JSON, because the policy has 2 inputs, got raw bytes")

	one := unnamed(3, 4, 2)
	one.Features[0].Image = true
	b = question(one, nil)
	s = serve(t, b, server.Options{Limits: fast()})
	for query, body := range map[string][]byte{"": image(), "shape=3,4,2": image(), "shape=[2,3,4]&dtype=uint8": channelsFirst(image())} {
		if r := send(s, query, string(body)); r.status != 200 || b.last.Inputs[0][23] != 230 || b.last.Inputs[0][2] != 20 {
			t.Errorf("%s: %d %s %v", query, r.status, r.body, b.last.Inputs)
		}
	}
	b = question(keeping(), nil)
	s = serve(t, b, server.Options{Limits: fast()})
	var a map[string]any
	r := send(s, "state=null&return=value,distribution&action_masks=[[1,0,1,0]]", row[:12])
	if err := json.Unmarshal([]byte(r.body), &a); err != nil || r.status != 200 || a["value"] == nil || a["distribution"] == nil || !slices.Equal(b.last.Masks, []float32{1, 0, 1, 0}) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := send(s, "return=[%22value%22]&state="+url.QueryEscape(a["state"].(string)), row[:12]); r.status != 200 || !slices.Equal(b.last.State[0], []float32{1, 1}) {
		t.Errorf("%d %s: %v", r.status, r.body, b.last.State)
	}
	f(s, "state=", row[:12], "state: the state is no token of this server: send the state of the answer before as it is, or null to begin")
	f(s, "", row[:12], "query.state: this policy keeps state: send state (null to begin, then that of the answer before), or use a session")
}

// TestPredictPacked asks in MessagePack what is asked in JSON.
func TestPredictPacked(t *testing.T) {
	b := question(keeping(), nil)
	s := serve(t, b, server.Options{Limits: fast()})
	const body = `{"observations":[[1,2,3],[4,5,6]],"state":null,"deterministic":false,"seed":5,"action_masks":[[true,false,1,0],[0,0,0,1]],"return":["value"]}`
	want := posted(t, s, body)
	asked := b.last
	r := s.do("POST", "/predict", string(msgpack.AppendFromJSON(nil, []byte(body))), "Content-Type", "application/msgpack")
	var tree map[string]any
	var back msgpack.ToJSON
	text, ok := back.Append(nil, []byte(r.body))
	if !ok || r.status != 200 || r.header.Get("Content-Type") != "application/msgpack" {
		t.Fatalf("%d %v: %q", r.status, r.header, r.body)
	}
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	for _, answer := range []map[string]any{want, tree} {
		delete(answer, "timing")
		delete(answer, "state")
	}
	if diff := cmp.Diff(want, tree); diff != "" {
		t.Errorf("the answer differs (-JSON +MessagePack):\n%s", diff)
	}
	if !slices.Equal(b.last.Inputs[0], asked.Inputs[0]) || !slices.Equal(b.last.Masks, asked.Masks) || b.last.Seed != asked.Seed {
		t.Errorf("asked %+v in JSON, %+v in MessagePack", asked, b.last)
	}
	refusedPost(t, s, "\xc1", 400, "the body is not well-formed MessagePack: the byte 0xc1 begins no value that is taken here, at byte 0", "Content-Type", "application/msgpack")
	refusedPost(t, s, string(msgpack.AppendFromJSON(nil, []byte(`{"observations":[[1,2,3]],"state":null,"sead":5}`))), 422,
		`sead: expected one of observations, deterministic, seed, step, row, action_masks, state, episode_start, return, deadline_ms, observed_at, priority, got "sead"; did you mean "seed"?`, "Content-Type", "application/msgpack")
}
