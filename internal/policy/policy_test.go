package policy

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// network is a model file whose graph the test writes itself.
type network struct {
	description format.Description
	lower       func(o format.LowerOptions) (*graph.Graph, error)
}

func (n *network) Describe() format.Description { return n.description }

func (n *network) Lower(o format.LowerOptions) (*graph.Graph, error) { return n.lower(o) }

// built is a network of one input and one output that gives the first `out`
// values of its `in`, times scale.
func built(t *testing.T, in, out int, scale float32) *network {
	t.Helper()
	n := &network{description: format.Description{
		Inputs:  []format.InputDescription{{Name: "x", DType: graph.Float32}},
		Methods: []string{"forward"},
	}}
	n.lower = func(format.LowerOptions) (*graph.Graph, error) {
		g := graph.New("")
		x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, in})
		w := make([]float32, in*out)
		for i := range out {
			w[i*in+i] = scale
		}
		y, err := g.Add(graph.OpLinear, nil, x, g.Constant("w", graph.Float32s(w, out, in)))
		if err != nil {
			return nil, err
		}
		g.Output("out", y)
		return g, nil
	}
	return n
}

func number(f float64) *float64 { return &f }

func mustCompose(t *testing.T, src *sources) *Policy {
	t.Helper()
	p, err := compose(src, Options{})
	if err != nil {
		t.Fatalf("compose: %v", err)
	}
	p.Prepare(1)
	return p
}

// act packs, checks and runs one observation.
func act(p *Policy, obs any) ([]float32, error) {
	c, call := p.Contract(), p.newCall(1)
	if err := c.Pack(obs, 0, call.In); err != nil {
		return nil, err
	}
	if err := c.Check(1, call.In); err != nil {
		return nil, err
	}
	return call.Actions, p.Runner(0).Act(call)
}

func TestInferAncestorContract(t *testing.T) {
	p := mustCompose(t, &sources{card: &artifact.Card{Present: true, ModelName: "carla-ppo"}, network: built(t, 5, 3, 1)})
	c := p.Contract()
	if !c.Named || len(c.Features) != 3 || c.Features[2].Name != "sensors" || c.Features[2].Size != 3 || c.Features[2].Offset != 2 {
		t.Fatalf("features = %+v, want speed, steering and three sensors", c.Features)
	}
	got, err := act(p, map[string]any{"speed": 25.5, "steering": -0.5, "sensors": []any{-3.0, 0.0, 0.0}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{1, 0, -1} { // clipped to throttle, brake and steer
		if got[i] != want {
			t.Errorf("action %s = %v, want %v", c.Actions[i].Name, got[i], want)
		}
	}
}

func TestInferUnnamedContract(t *testing.T) {
	f := func(name string, card *artifact.Card, n *network) {
		t.Helper()
		c := mustCompose(t, &sources{card: card, network: n}).Contract()
		if c.Named || len(c.Actions) != 1 || c.Actions[0].Name != "" || c.Actions[0].Size != c.ActionWidth() {
			t.Errorf("%s: contract = %+v, want one without names", name, c)
		}
	}
	f("a bare file", &artifact.Card{ModelName: "model"}, built(t, 5, 3, 1))
	f("four actions", &artifact.Card{Present: true, ModelName: "legs"}, built(t, 12, 4, 1))
}

// A preprocessor may give more values than it takes: the observation is what
// it takes.
func TestPreprocessorChangesWidth(t *testing.T) {
	data, err := os.ReadFile("../../testdata/preprocess/polynomial/preprocessor_p4.pkl")
	if err != nil {
		t.Fatal(err)
	}
	products, err := preprocess.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	n := built(t, 21, 3, 1)
	lower := n.lower
	n.lower = func(o format.LowerOptions) (*graph.Graph, error) {
		if got := o.InputShapes["x"]; len(got) != 2 || got[1] != 21 {
			t.Errorf("the network is lowered for rows %v, want 21 values", got)
		}
		return lower(o)
	}
	card := &artifact.Card{ModelName: "model", InputShape: []int{5}}
	p := mustCompose(t, &sources{card: card, network: n, preprocessor: products})
	if in := p.Contract().Inputs[0]; in.Width != 5 || len(in.Shape) != 1 || in.Shape[0] != 5 {
		t.Fatalf("the policy takes %+v, want 5 values", in)
	}
	got, err := act(p, []any{0.5, -0.25, 3.0, 4.0, 5.0})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{1, 0.5, -0.25} { // the bias, then the columns
		if got[i] != want {
			t.Errorf("action %d = %v, want %v", i, got[i], want)
		}
	}
	for _, bad := range []*sources{
		{card: card, network: built(t, 5, 3, 1), preprocessor: products},
		{card: &artifact.Card{ModelName: "model", InputShape: []int{21}}, network: built(t, 21, 3, 1), preprocessor: products},
	} {
		if _, err := compose(bad, Options{}); !errors.Is(err, errDisagree) {
			t.Errorf("got %v, want sources that disagree", err)
		}
	}
}

func TestPostprocess(t *testing.T) {
	f := func(postprocess string, low, high float64, raw, want float32) {
		t.Helper()
		card := &artifact.Card{
			Present: true, ModelName: "m", Postprocess: postprocess,
			Action: []artifact.ActionSpec{{Name: "a", Low: &low, High: &high}},
		}
		got, err := act(mustCompose(t, &sources{card: card, network: built(t, 1, 1, 1)}), []any{float64(raw)})
		if err != nil {
			t.Errorf("%q of %v: %v", postprocess, raw, err)
			return
		}
		if got[0] != want {
			t.Errorf("%q of %v in %v..%v = %v, want %v", postprocess, raw, low, high, got[0], want)
		}
	}
	f("clip", -2, 3, 7, 3)
	f("clip", -2, 3, -7, -2)
	f("clip", -2, 3, 0.5, 0.5)
	f("", 0, 1, 2, 1) // bounds without a choice are clipped to
	f("unscale", 0, 10, 0, 5)
	f("unscale", -3, 1, 1, 1)
	f("unscale", -3, 1, -1, -3)
	f("none", -2, 3, 2.5, 2.5)
}

func TestActRefusesWhatMayNotLeave(t *testing.T) {
	f := func(postprocess string, scale float32, obs float64, want string) {
		t.Helper()
		card := &artifact.Card{
			Present: true, ModelName: "m", Postprocess: postprocess,
			Action: []artifact.ActionSpec{{Name: "steer", Low: number(-1), High: number(1)}},
		}
		_, err := act(mustCompose(t, &sources{card: card, network: built(t, 1, 1, scale)}), []any{obs})
		var refused *ActionError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || refused.Action != "steer" {
			t.Errorf("%q: act = %v, want an ActionError on steer with %q", postprocess, err, want)
		}
	}
	f("none", 1, 1.5, "outside its contract of -1 to 1")
	f("unscale", 1, 1.5, "outside its contract of -1 to 1")
	f("none", math.MaxFloat32, 10, "+Inf")
}

func TestClipDoesNotHideNaN(t *testing.T) {
	n := squareRoot(t)
	card := &artifact.Card{Present: true, ModelName: "m", Action: []artifact.ActionSpec{{Name: "a", Low: number(-1), High: number(1)}}}
	_, err := act(mustCompose(t, &sources{card: card, network: n}), []any{-1.0})
	var refused *ActionError
	if !errors.As(err, &refused) || refused.Value == refused.Value {
		t.Fatalf("act = %v, want an ActionError for NaN", err)
	}
}

// squareRoot is a network that gives the square root of its input.
func squareRoot(t *testing.T) *network {
	t.Helper()
	n := built(t, 1, 1, 1)
	n.lower = func(format.LowerOptions) (*graph.Graph, error) {
		g := graph.New("")
		y, err := g.Add(graph.OpSqrt, nil, g.Input("x", graph.Float32, graph.Shape{graph.Batch, 1}))
		g.Output("out", y)
		return g, err
	}
	return n
}

func TestComposeRefusesContradictions(t *testing.T) {
	f := func(name string, card artifact.Card, n *network, want string) {
		t.Helper()
		card.Present, card.ModelName = true, "m"
		_, err := compose(&sources{card: &card, network: n}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: compose = %v, want an error with %q", name, err, want)
		}
	}
	f("input_shape", artifact.Card{InputShape: []int{7}}, built(t, 5, 3, 1), "input_shape [7], the network takes [5]")
	f("output_shape", artifact.Card{OutputShape: []int{4}}, built(t, 5, 3, 1), "output_shape [4], the network gives [3]")
	f("observation", artifact.Card{Observation: []artifact.FeatureSpec{{Name: "speed"}, {Name: "lidar", Shape: []int{3}}}}, built(t, 5, 3, 1), "observation of model_card.yaml has 4 values, the network takes [5]")
	f("action", artifact.Card{Action: []artifact.ActionSpec{{Name: "steer"}}}, built(t, 5, 3, 1), "action of model_card.yaml has 1 values, the network gives [3]")
	f("unscale", artifact.Card{Postprocess: "unscale", Action: []artifact.ActionSpec{{Name: "steer", Low: number(-1)}}}, built(t, 5, 1, 1), `action "steer" lacks one`)
	f("frame stack", artifact.Card{FrameStack: artifact.FrameStack{Frames: 4}}, built(t, 5, 3, 1), "no whole parts")
	f("NaN weights", artifact.Card{}, built(t, 5, 3, float32(math.NaN())), "parameter w holds NaN")
	f("infinite weights", artifact.Card{}, built(t, 5, 3, float32(math.Inf(1))), "parameter w holds +Inf")
}

func TestGolden(t *testing.T) {
	card := &artifact.Card{
		Present: true, ModelName: "carla-ppo",
		Golden: &artifact.Golden{Atol: 1e-5, Vectors: []artifact.GoldenVector{
			{Deterministic: true, Observation: map[string]any{"speed": 0.25, "steering": 0.5, "sensors": []any{-0.5, 0.0, 0.0}}, Action: map[string]any{"throttle": 0.25, "brake": 0.5, "steer": -0.5}},
			{Deterministic: true, Observation: []float64{1, 1, 1, 1, 1}, Action: []float64{1, 1, 0.75}},
		}},
	}
	p := mustCompose(t, &sources{card: card, network: built(t, 5, 3, 1)})
	err := p.replayGolden(card)
	var missed *GoldenError
	if !errors.As(err, &missed) || missed.Vector != 1 || missed.Action != "steer" || missed.Got != 1 {
		t.Fatalf("replay = %v, want vector 1 to miss on steer with 1", err)
	}
	card.Golden.Vectors[1].Action = []float64{1, 1, 1}
	if err := p.replayGolden(card); err != nil {
		t.Fatalf("replay of vectors that hold = %v", err)
	}
}

func TestPackRefuses(t *testing.T) {
	p := mustCompose(t, &sources{card: &artifact.Card{Present: true, ModelName: "m"}, network: built(t, 7, 3, 1)})
	f := func(obs any, want string) {
		t.Helper()
		_, err := act(p, obs)
		var refused *InputError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("act(%v) = %v, want an InputError with %q", obs, err, want)
		}
	}
	sensors := []any{0.0, 0.0, 0.0, 0.0, 0.0}
	f(map[string]any{"speed": 1.0, "sensors": sensors}, "steering: expected a number, got nothing")
	f(map[string]any{"speed": 1.0, "steering": 0.0, "sensors": sensors, "Speed": 1.0}, "Speed: expected one of speed, steering, sensors[5]")
	f(map[string]any{"speed": 1.0, "steering": 0.0, "sensors": sensors[:3]}, "sensors: expected 5 numbers, got 3 numbers")
	f(map[string]any{"speed": []any{1.0}, "steering": 0.0, "sensors": sensors}, "speed: expected a number, got one number")
	f(map[string]any{"speed": "1", "steering": 0.0, "sensors": sensors}, "speed: expected a number, got a string")
	f(map[string]any{"speed": 201.0, "steering": 0.0, "sensors": sensors}, "speed: expected 0 to 200 km/h, got 201")
	f(map[string]any{"speed": math.NaN(), "steering": 0.0, "sensors": sensors}, "speed: expected 0 to 200 km/h, got NaN")
	f(map[string]any{"speed": 1.0, "steering": 0.0, "sensors": []any{0.0, 0.0, math.Inf(1), 0.0, 0.0}}, "sensors[2]: expected -1000 to 1000, got +Inf")
	f([]any{1.0, 2.0}, "expected 7 numbers (speed, steering, sensors[5]), got 2 numbers")
	f([]any{[]any{1.0, 2.0}, []any{3.0}}, "ragged")
}

// TestRowsDoNotDependOnTheirBatch compares each row of a batch with the same
// row alone, bit for bit.
func TestRowsDoNotDependOnTheirBatch(t *testing.T) {
	const rows, width = 100, 7
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: built(t, width, 3, 0.37)})
	in := make([]float32, rows*width)
	for i := range in {
		in[i] = float32(math.Sin(float64(i)))
	}
	batch, single := make([]float32, rows*3), make([]float32, 3)
	if err := p.Runner(0).Act(&Call{Rows: rows, In: [][]float32{in}, Actions: batch, Deterministic: true}); err != nil {
		t.Fatal(err)
	}
	for row := range rows {
		if err := p.Runner(0).Act(&Call{Rows: 1, In: [][]float32{in[row*width:][:width]}, Actions: single, Deterministic: true}); err != nil {
			t.Fatal(err)
		}
		for i := range single {
			if single[i] != batch[row*3+i] {
				t.Fatalf("row %d, action %d: %v alone, %v in a batch of %d", row, i, single[i], batch[row*3+i], rows)
			}
		}
	}
}

func TestActDoesNotAllocate(t *testing.T) {
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: built(t, 7, 3, 0.37)})
	call := p.newCall(1)
	if n := testing.AllocsPerRun(100, func() {
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Act allocates %v times", n)
	}
}

// TestUnscaleReachesItsBounds saturates actions between random bounds: what
// rounding carries past a bound is the bound, not an error.
func TestUnscaleReachesItsBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	snapped := 0
	for range 200 {
		low := float64(float32(random.Float64()*10 - 10))
		high := float64(float32(random.Float64() * 10))
		card := &artifact.Card{Present: true, ModelName: "m", Postprocess: "unscale", Action: []artifact.ActionSpec{{Name: "a", Low: &low, High: &high}}}
		p := mustCompose(t, &sources{card: card, network: built(t, 1, 1, 1)})
		for _, saturated := range []float64{-1, 1} {
			got, err := act(p, []any{saturated})
			if err != nil {
				t.Fatalf("%v between %v and %v: %v", saturated, low, high, err)
			}
			if want := map[float64]float64{-1: low, 1: high}[saturated]; math.Abs(float64(got[0])-want) > 1e-5 || float64(got[0]) < low || float64(got[0]) > high {
				t.Fatalf("%v between %v and %v = %v", saturated, low, high, got[0])
			}
			if float64(got[0]) == high {
				snapped++
			}
		}
	}
	if snapped == 0 {
		t.Error("no action reached its bound; the test shows nothing")
	}
}

func TestProbeRefusesWhatNeverAnswers(t *testing.T) {
	negativeOnly := &artifact.Card{
		Present: true, ModelName: "m",
		Observation: []artifact.FeatureSpec{{Name: "x", Low: number(-4), High: number(-1)}},
	}
	err := mustCompose(t, &sources{card: negativeOnly, network: squareRoot(t)}).probe()
	if err == nil || !strings.Contains(err.Error(), "no usable action for any of 64") {
		t.Errorf("probe of a root of negative numbers = %v, want a refusal", err)
	}
}

func TestProbeNotesWhatSometimesAnswers(t *testing.T) {
	p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: squareRoot(t)})
	if err := p.probe(); err != nil {
		t.Fatalf("probe of a root of -1 to 1 = %v", err)
	}
	if notes := strings.Join(p.Notes(), "\n"); !strings.Contains(notes, "probe: no usable action for") {
		t.Errorf("notes = %q, want one of the probe", notes)
	}
}

func TestDrawStaysInRange(t *testing.T) {
	f := func(low, high float64) {
		t.Helper()
		random := rand.New(rand.NewPCG(3, 4))
		feature := Feature{Low: low, High: high}
		for range 1000 {
			if v := float64(feature.draw(graph.Float32, random)); v < low || v > high || v-v != 0 {
				t.Fatalf("draw from %v to %v = %v", low, high, v)
			}
		}
	}
	f(0, 200)
	f(-1, 1)
	f(math.Inf(-1), math.Inf(1))
	f(5, math.Inf(1))
	f(math.Inf(-1), -5)
	f(0.25, 0.25)
	f(-math.MaxFloat32, math.MaxFloat32)
}

// TestOpenNamesTheFileOnce holds that the message of a file that is refused
// begins with its name, and has it once.
func TestOpenNamesTheFileOnce(t *testing.T) {
	f := func(files fstest.MapFS, want string) {
		t.Helper()
		a, err := artifact.Open(files, ".", artifact.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(a, Options{})
		if err == nil || !strings.HasPrefix(err.Error(), want+": ") || strings.Count(err.Error(), want) != 1 {
			t.Errorf("got %v, want %s once, in front", err, want)
		}
	}
	f(fstest.MapFS{"model.pt": {Data: []byte("PK\x03\x04 and no more")}}, "model.pt")
	f(fstest.MapFS{"model.pt": {Data: []byte("neither this nor that")}}, "model.pt")
}
