package server_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/tinylib/msgp/msgp"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// choosing is the contract of a policy that sees choices: with names, or as the
// three values of one input.
func choosing(named bool) *policy.Contract {
	gears := &policy.Space{Kind: "MultiDiscrete", DType: "int64", Shape: []int{3}, N: []int{2, 3, 5}}
	c := &policy.Contract{
		Inputs:   []policy.Input{{Name: "gears", Shape: []int{3}, Width: 3}},
		Features: []policy.Feature{{Name: "gears", Shape: []int{3}, Low: 0, High: 4, Size: 3, Space: gears}},
		Actions:  []policy.Action{{Low: math.Inf(-1), High: math.Inf(1), Size: 1}},
	}
	if named {
		c.Named = true
		c.Inputs = append(c.Inputs, policy.Input{Name: "lane", Width: 1}, policy.Input{Name: "lamps", Shape: []int{2}, Width: 2})
		c.Features = append(c.Features,
			policy.Feature{Name: "lane", Low: 0, High: 8, Input: 1, Size: 1, Space: &policy.Space{Kind: "Discrete", DType: "int64", N: []int{9}}},
			policy.Feature{Name: "lamps", Shape: []int{2}, Low: 0, High: 1, Input: 2, Size: 2, Space: &policy.Space{Kind: "MultiBinary", DType: "int8", Shape: []int{2}}})
		c.Actions[0].Name = "steer"
	}
	return c
}

func TestChoicesAreRefused(t *testing.T) {
	named, plain := serve(t, &fakeBackend{contract: choosing(true)}, server.Options{}), serve(t, &fakeBackend{contract: choosing(false)}, server.Options{})
	for _, c := range []struct {
		on              *site
		body            string
		field, expected string
	}{
		{named, `{"gears":[1,2,4],"lane":8,"lamps":[0,1]}`, "", ""},
		{named, `{"gears":[2,0,0],"lane":0,"lamps":[0,1]}`, "body.observations.0.gears.0", "expected a whole number from 0 to 1, got 2"},
		{named, `{"gears":[0,0.5,0],"lane":0,"lamps":[0,1]}`, "body.observations.0.gears.1", "expected a whole number from 0 to 2, got 0.5"},
		{named, `{"gears":[0,0,0],"lane":1.5,"lamps":[0,1]}`, "body.observations.0.lane", "expected a whole number from 0 to 8, got 1.5"},
		{named, `{"gears":[0,0,0],"lane":1,"lamps":[0,0.25]}`, "body.observations.0.lamps.1", "expected a whole number from 0 to 1, got 0.25"},
		{plain, `[1,2,4]`, "", ""},
		{plain, `[0,3,4]`, "body.observations.0.1", "expected a whole number from 0 to 2, got 3"},
	} {
		r := c.on.do("POST", "/predict", `{"observations":[`+c.body+`]}`)
		if c.field == "" {
			if r.status != 200 {
				t.Errorf("%s: %d %s", c.body, r.status, r.body)
			}
			continue
		}
		if e := r.envelope(t).Details.ValidationErrors; r.status != 422 || len(e) != 1 || e[0].Field != c.field || e[0].Message != c.expected {
			t.Errorf("%s: got %d %s, want %s: %s", c.body, r.status, r.body, c.field, c.expected)
		}
	}
}

// TestChoicesInEveryForm sends the same rows in every form there is, and holds
// what is refused to the contract's own check.
func TestChoicesInEveryForm(t *testing.T) {
	c := choosing(false)
	s := serve(t, &fakeBackend{contract: c}, server.Options{})
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 200 {
		row := make([]float32, 3)
		for i := range row {
			row[i] = float32(random.IntN(5))
			if random.IntN(8) == 0 {
				row[i] += 0.5
			}
		}
		want := 200
		if c.Check(1, [][]float32{row}) != nil {
			want = 422
		} else {
			taken++
		}
		var raw []byte
		numbers, err := json.Marshal(row)
		pack := msgp.AppendArrayHeader(msgp.AppendArrayHeader(msgp.AppendString(msgp.AppendMapHeader(nil, 1), "observations"), 1), 3)
		for _, v := range row {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
			pack = msgp.AppendFloat32(pack, v)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := []int{
			s.do("POST", "/predict", fmt.Sprintf(`{"observations":[%s]}`, numbers)).status,
			s.do("POST", "/predict", string(raw), "Content-Type", "application/octet-stream").status,
			s.do("POST", "/predict", string(pack), "Content-Type", "application/msgpack").status,
		}
		v2 := s.do("POST", "/v2/models/carla-ppo/infer", fmt.Sprintf(`{"inputs":[{"name":"observation","shape":[1,3],"datatype":"FP32","data":%s}]}`, numbers))
		if v2.status == 400 && strings.Contains(v2.body, "expected") {
			v2.status = 422
		}
		for i, status := range append(got, v2.status) {
			if status != want {
				t.Fatalf("%v in form %d: %d, want %d", row, i, status, want)
			}
		}
	}
	if taken == 0 || taken == 200 {
		t.Errorf("%d of 200 rows were taken", taken)
	}
}
