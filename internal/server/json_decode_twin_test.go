package server

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// compareTwin decodes with both and reports where they differ.
func compareTwin(data []byte, form *actForm, c *policy.Contract) error {
	maxRows := 5
	if form.single {
		maxRows = 1
	}
	d, req, o := &decoder{}, &serving.Request{}, &actOptions{}
	err := d.decode(data, form, c, maxRows, req, o)
	want := decodeTwin(data, form, c, maxRows)
	var det *detailed
	errors.As(err, &det)
	switch {
	case want.malformed:
		if det == nil || det.fault != faultMalformed {
			return fmt.Errorf("got %v, the twin says that it is no JSON", err)
		}
		return nil
	case len(want.fields) > 0:
		if det == nil || det.fault != faultContract {
			return fmt.Errorf("got %v, the twin found violations in %v", err, want.fields)
		}
		for _, v := range d.violations {
			if !want.fields[v.field] && !(v.kind == kindValue && rowField.MatchString(v.field)) {
				return fmt.Errorf("got a violation in %s (%s), the twin only in %v", v.field, v.message, want.fields)
			}
		}
		return nil
	case err != nil:
		return fmt.Errorf("got %w %v, the twin found nothing", err, d.violations)
	}
	return compareMembers(req, o, want)
}

// compareMembers compares what was read of a body without a fault.
func compareMembers(req *serving.Request, o *actOptions, want *twin) error {
	c := want.c
	if req.Rows != len(want.rows) || req.Deterministic != want.deterministic {
		return fmt.Errorf("got %d rows, deterministic %v; the twin %d, %v", req.Rows, req.Deterministic, len(want.rows), want.deterministic)
	}
	for i, row := range want.rows {
		for j := range c.Features {
			f := &c.Features[j]
			got := req.Inputs[f.Input][i*c.Inputs[f.Input].Width+f.Offset:][:f.Size]
			if !slices.EqualFunc(got, row[j], func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
				return fmt.Errorf("row %d %s: got %v, the twin %v", i, f.Name, got, row[j])
			}
		}
	}
	for m := range memberCount {
		if name := memberNames[m]; o.Given.has(m) != want.given[name] {
			return fmt.Errorf("%s: given %v, the twin %v", name, o.Given.has(m), want.given[name])
		}
	}
	state, _ := want.state.(string)
	var returns []string
	for i := range c.Extras {
		if o.Return&(1<<i) != 0 {
			name, _, _ := strings.Cut(c.Extras[i].Name, ".")
			returns = append(returns, name)
		}
	}
	slices.Sort(returns)
	slices.Sort(want.returns)
	switch {
	case req.Seed != want.numbers["seed"] || req.Step != want.numbers["step"] || req.Row != want.numbers["row"] || o.Seq != want.numbers["seq"]:
		return fmt.Errorf("got seed %d, step %d, row %d, seq %d; the twin %v", req.Seed, req.Step, req.Row, o.Seq, want.numbers)
	case o.DeadlineMS != want.times["deadline_ms"] || o.ObservedAt != want.times["observed_at"]:
		return fmt.Errorf("got deadline %v, observed %v; the twin %v", o.DeadlineMS, o.ObservedAt, want.times)
	case int(req.Priority) != want.priority:
		return fmt.Errorf("got priority %v, the twin %v", req.Priority, want.priority)
	case (req.Masks != nil) != (want.masks != nil) || !slices.Equal(req.Masks, want.masks):
		return fmt.Errorf("got masks %v, the twin %v", req.Masks, want.masks)
	case string(o.State) != state || (o.State != nil) != (want.state != nil):
		return fmt.Errorf("got state %q, the twin %v", o.State, want.state)
	case !slices.Equal(o.Starts, want.starts) || o.startList != want.startList:
		return fmt.Errorf("got episode_start %v, the twin %v", o.Starts, want.starts)
	case !slices.Equal(returns, want.returns):
		return fmt.Errorf("got return %v, the twin %v", returns, want.returns)
	}
	return nil
}

// cameraContract has an image with its channels last, and a plane.
func cameraContract() *policy.Contract {
	return &policy.Contract{
		Named:  true,
		Inputs: []policy.Input{{Name: "cam", Shape: []int{2, 3, 1}, Width: 6}, {Name: "plane", Shape: []int{2, 2}, Width: 4}},
		Features: []policy.Feature{
			{Name: "cam", Shape: []int{2, 3, 1}, Low: 0, High: 255, Size: 6, Image: true},
			{Name: "plane", Shape: []int{2, 2}, Low: -1000, High: 1000, Input: 1, Size: 4},
		},
	}
}

// imageContract is one image without a name.
func imageContract() *policy.Contract {
	c := unnamedContract(3, 4, 2)
	c.Features[0].Image = true
	return c
}

// keepingContract is a policy that keeps state, takes masks and has extras.
func keepingContract() *policy.Contract {
	c := unnamedContract(2)
	c.State = []policy.StateSpec{{Name: "h", Shape: []int{2}, Width: 2, Initial: []float32{0, 0}, Reset: []float32{0, 0}}}
	c.Masks, c.MaskParts, c.Stochastic = 3, []int{3}, true
	c.Distribution = "categorical"
	c.Extras = []policy.ExtraSpec{{Name: "value", Width: 1}, {Name: "distribution.logits", Shape: []int{3}, Width: 3}}
	return c
}

// fuzzCases are the contracts and forms of which every body is read.
var fuzzCases = []struct {
	form *actForm
	c    *policy.Contract
}{
	{formPredict, drivingContract()}, {formPredict, unnamedContract(3)}, {formPredict, cameraContract()}, {formPredict, imageContract()}, {formPredict, keepingContract()},
	{formSession, drivingContract()}, {formStream, keepingContract()}, {formStream, imageContract()}, {formPredict, unnamedContract()},
}

// bodies are seeds of the fuzz target and cases of the comparison.
func bodies() []string {
	list := []string{
		guide, `{"obs":[1,2,3]}`, `{"obs":[[1,2,3],[4,5,6]]}`, `{"observations":[[1,2,3]],"deterministic":null}`, `{"observations":[[1,2,3e400]]}`,
		`{"observations":[{"speed":1,"steering":0,"sensors":[0,0,0,0,0,0]}]}`, `{"observations":[{"speed":1,"speed":2}]}`, `{"observations":[{"Speed":1}]}`,
		`{"observations":[[1,2,3],[1,2,3],[1,2,3],[1,2,3],[1,2,3],[1,2,3]]}`, `{"\u006fbs":[1,2,3]}`, `{"observations":[1],"obs":2}`, `{"a":"\ud83d\ude00\n"}`,
	}
	for _, body := range malformedBodies {
		if len(body) < 1<<12 {
			list = append(list, body)
		}
	}
	list = append(list, memberBodies...)
	for _, n := range numbers {
		list = append(list, `{"obs":[`+n+`,0,1]}`)
	}
	return list
}

func TestDecodeTwin(t *testing.T) {
	for _, body := range bodies() {
		for i, k := range fuzzCases {
			if err := compareTwin([]byte(body), k.form, k.c); err != nil {
				t.Errorf("case %d: %.200q: %v", i, body, err)
			}
		}
	}
}

func FuzzDecodePredict(f *testing.F) {
	for _, body := range bodies() {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for i, k := range fuzzCases {
			if err := compareTwin(data, k.form, k.c); err != nil {
				t.Fatalf("case %d: %q: %v", i, data, err)
			}
		}
	})
}
