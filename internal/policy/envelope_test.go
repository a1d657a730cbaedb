package policy

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// pedals is a card whose three actions are the first three values of the
// observation, and no more is done to them.
func pedals(t *testing.T, e *artifact.Envelope, f *artifact.Fallback) *sources {
	t.Helper()
	return &sources{network: built(t, 3, 3, 1), card: &artifact.Card{
		ModelName: "pedals", Present: true, Postprocess: "none", Envelope: e, Fallback: f,
		Observation: []artifact.FeatureSpec{{Name: "speed"}, {Name: "pose", Shape: []int{2}}},
		Action: []artifact.ActionSpec{
			{Name: "throttle", Low: number(0), High: number(1)}, {Name: "brake", Low: number(0), High: number(1)}, {Name: "steer", Low: number(-1), High: number(1)},
		},
	}}
}

// row runs rows of three values.
func rows(t *testing.T, p *Policy, values ...float32) (*Call, error) {
	t.Helper()
	c := p.newCall(len(values) / 3)
	c.Raw = false
	copy(c.In[0], values)
	return c, p.runners[0].Act(c)
}

func TestEnvelopeBounds(t *testing.T) {
	p := mustCompose(t, pedals(t, &artifact.Envelope{Limits: []artifact.EnvelopeLimit{{Action: "steer", Low: number(-5), High: number(0.5)}}}, nil))
	c, err := rows(t, p, 0.5, 0.5, 0.5, 2, 0, 0.75, 0, 0, -3)
	if err != nil || !slices.Equal(c.Actions, []float32{0.5, 0.5, 0.5, 1, 0, 0.5, 0, 0, -1}) {
		t.Fatalf("%v, %v", c.Actions, err)
	}
	want := []struct {
		row, value int
		from, to   float32
	}{{1, 0, 2, 1}, {1, 2, 0.75, 0.5}, {2, 2, -3, -1}}
	if len(c.Interventions) != len(want) {
		t.Fatalf("%+v", c.Interventions)
	}
	for i, v := range c.Interventions {
		if w := want[i]; v.Row != w.row || v.Value != w.value || v.From != w.from || v.To != w.to || v.Kind != envelope.Bound {
			t.Errorf("%+v, want %+v", v, w)
		}
	}
	if !p.Enveloped() || p.contract.ActionName(2) != "steer" || p.contract.FeatureName(2) != "pose[1]" {
		t.Errorf("%v %s %s", p.Enveloped(), p.contract.ActionName(2), p.contract.FeatureName(2))
	}
	// The next call begins with none, and rounding is none.
	copy(c.In[0], []float32{math.Nextafter32(1, 2), 0, 0, 0, 0, 0, 0, 0, 0})
	if err := p.runners[0].Act(c); err != nil || len(c.Interventions) > 0 || c.Actions[0] != 1 {
		t.Errorf("%v, %+v, %v", c.Actions, c.Interventions, err)
	}
	// Without an envelope it is an error, as ever.
	if _, err := rows(t, mustCompose(t, pedals(t, nil, nil)), 2, 0, 0); err == nil {
		t.Error("an action out of the contract left")
	}
}

func TestEnvelopeFallbacks(t *testing.T) {
	nan := float32(math.NaN())
	f := func(fallback *artifact.Fallback, want ...float32) {
		t.Helper()
		p := mustCompose(t, pedals(t, &artifact.Envelope{}, fallback))
		c, err := rows(t, p, 0.5, 0, 0, 0.5, 0, nan)
		if want == nil {
			var unusable *ActionError
			if !errors.As(err, &unusable) || unusable.Row != 1 || len(c.Interventions) > 0 {
				t.Errorf("%v, %+v", err, c.Interventions)
			}
			return
		}
		if err != nil || !slices.Equal(c.Actions[3:], want) || c.Actions[0] != 0.5 || len(c.Interventions) != 3 || c.Interventions[0].Row != 1 {
			t.Errorf("%v, %v, %+v", c.Actions, err, c.Interventions)
		}
	}
	f(nil)
	f(&artifact.Fallback{Word: "error"})
	f(&artifact.Fallback{Word: "brake"}, 0, 1, 0)
	f(&artifact.Fallback{Values: map[string]any{"throttle": 0.0, "brake": 0.5, "steer": []float64{-1}}}, 0, 0.5, -1)
	f(&artifact.Fallback{Values: []float64{0.25, 0, 0}}, 0.25, 0, 0)
}

// TestEnvelopeOfStrangeObservations: statistics of the card, one or several
// values of a feature.
func TestEnvelopeOfStrangeObservations(t *testing.T) {
	e := &artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{{Feature: "pose", Mean: []float64{0, 1}, Std: []float64{0.5}}}}
	p := mustCompose(t, pedals(t, e, &artifact.Fallback{Word: "brake"}))
	c, err := rows(t, p, 0.5, 0, 1, 0.5, 0, -1)
	if err != nil || !slices.Equal(c.Actions, []float32{0.5, 0, 1, 0, 1, 0}) || len(c.Interventions) != 3 {
		t.Fatalf("%v, %v, %+v", c.Actions, err, c.Interventions)
	}
	if v := c.Interventions[0]; v.Kind != envelope.Unlike || v.Feature != 2 || v.Score != 4 || v.Row != 1 || v.Fallback != envelope.FallbackBrake {
		t.Errorf("%+v", v)
	}
	var strange *InputError
	_, err = rows(t, mustCompose(t, pedals(t, e, nil)), 0.5, 0, -1)
	if !errors.As(err, &strange) || strange.Field != "pose[1]" || !strings.Contains(strange.Got, "4 standard deviations") {
		t.Errorf("%v", err)
	}
	e = &artifact.Envelope{MaxDistance: 1, Covariance: []float64{1, 0, 0, 0, 1, 0, 0, 0, 1}, Statistics: []artifact.FeatureStatistics{
		{Feature: "speed", Mean: []float64{0}, Std: []float64{1}}, {Feature: "pose", Mean: []float64{0}, Std: []float64{1}},
	}}
	_, err = rows(t, mustCompose(t, pedals(t, e, nil)), 1, 0, 1)
	if !errors.As(err, &strange) || strange.Field != "" || !strings.Contains(strange.Got, "1.414") {
		t.Errorf("%v", err)
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	f := func(e *artifact.Envelope, fallback *artifact.Fallback, want string) {
		t.Helper()
		_, err := compose(pedals(t, e, fallback), Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "model_card.yaml: envelope: ") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	limit := func(l artifact.EnvelopeLimit) *artifact.Envelope {
		return &artifact.Envelope{Limits: []artifact.EnvelopeLimit{l}}
	}
	none := &artifact.Envelope{}
	f(limit(artifact.EnvelopeLimit{Action: "stear"}), nil, `no action "stear"; there are: throttle, brake, steer`)
	f(limit(artifact.EnvelopeLimit{Action: "steer", Low: number(2)}), nil, "no value is from 2 to 1")
	f(limit(artifact.EnvelopeLimit{Action: "steer", Rate: 1}), nil, "need control_hz")
	f(none, &artifact.Fallback{Word: "decay"}, "fallback decay needs control_hz")
	f(none, &artifact.Fallback{Word: "coast"}, "no fallback")
	f(none, &artifact.Fallback{Values: 1.0}, "expected 3 numbers, got one number")
	f(none, &artifact.Fallback{Values: []float64{0, 0, 2}}, "is not from -1 to 1")
	f(none, &artifact.Fallback{Values: map[string]any{"throttle": 0.0, "brake": 1.0}}, "action steer: expected 1 numbers, got null")
	f(none, &artifact.Fallback{Values: map[string]any{"throttle": 0.0, "brake": 1.0, "steer": 0.0, "gear": 1.0}}, "expected 3 names, got 4")
	statistics := artifact.FeatureStatistics{Feature: "pose", Mean: []float64{0}, Std: []float64{1}}
	f(&artifact.Envelope{MaxZScore: 3}, nil, "need the statistics of the training")
	f(&artifact.Envelope{Statistics: []artifact.FeatureStatistics{statistics}}, nil, "no effect without")
	f(&artifact.Envelope{MaxZScore: 3, Covariance: []float64{1}, Statistics: []artifact.FeatureStatistics{statistics}}, nil, "no effect without max_distance")
	f(&artifact.Envelope{MaxDistance: 3, Statistics: []artifact.FeatureStatistics{statistics}}, nil, "mean of every feature")
	statistics.Std = []float64{1, 2, 3}
	f(&artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{statistics}}, nil, "expected one number or 2, got 3")
	statistics.Std = []float64{0}
	f(&artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{statistics}}, nil, "deviation 0")
	statistics.Feature = "position"
	f(&artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{statistics}}, nil, `no feature "position"`)

	two := &sources{card: &artifact.Card{Envelope: &artifact.Envelope{MaxZScore: 1}}, network: joined(true, []string{"a", "b"}, 1, 1)}
	if _, err := compose(two, Options{}); err == nil || !strings.Contains(err.Error(), "one input") {
		t.Errorf("%v", err)
	}
	unnamed := &sources{card: &artifact.Card{Envelope: limit(artifact.EnvelopeLimit{Action: "steer"})}, network: built(t, 2, 2, 1)}
	if _, err := compose(unnamed, Options{}); err == nil || !strings.Contains(err.Error(), "name them under action") {
		t.Errorf("%v", err)
	}
}

// TestEnvelopeNeedsHistoryForRates: it says so, and holds to bounds.
func TestEnvelopeNeedsHistoryForRates(t *testing.T) {
	src := pedals(t, &artifact.Envelope{Limits: []artifact.EnvelopeLimit{{Action: "steer", Rate: 0.1}}}, nil)
	src.card.ControlHz = 20
	p := mustCompose(t, src)
	if notes := strings.Join(p.Notes(), "\n"); !strings.Contains(notes, "limits of rate are counted from the action before") {
		t.Errorf("notes: %s", notes)
	}
	c, err := rows(t, p, 0, 0, 1, 0, 0, -1)
	if err != nil || len(c.Interventions) > 0 {
		t.Errorf("%+v, %v", c.Interventions, err)
	}
	// The second row is of a stream: 0.1 a second at 20 Hz is 0.005 a step.
	c.Histories = []*envelope.History{nil, envelope.NewHistory(3)}
	for _, steer := range []float32{0, 1} {
		c.In[0][2], c.In[0][5] = -steer, steer
		if err := p.runners[0].Act(c); err != nil {
			t.Fatal(err)
		}
	}
	if c.Actions[2] != -1 || c.Actions[5] != 0.005 || len(c.Interventions) != 1 || c.Interventions[0].Row != 1 || c.Interventions[0].Kind != envelope.Rate {
		t.Errorf("%v, %+v", c.Actions, c.Interventions)
	}
}

// TestEnvelopeFallbacksOfTheActionBefore: where there is none, it is an error
// that says why.
func TestEnvelopeFallbacksOfTheActionBefore(t *testing.T) {
	strange := &artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{{Feature: "speed", Mean: []float64{0}, Std: []float64{1}}}}
	for word, want := range map[string]float32{"hold": 0.5, "decay": 0.25} {
		of := func(e *artifact.Envelope) *Policy {
			src := pedals(t, e, &artifact.Fallback{Word: word})
			src.card.ControlHz = 4 // in a quarter of a second an action decays to its half
			return mustCompose(t, src)
		}
		p, likes := of(&artifact.Envelope{}), of(strange)
		if !p.contract.NeedsHistory() || !p.contract.Carries() || p.contract.Moving() != nil || !strings.Contains(strings.Join(p.Notes(), "\n"), "the fallback "+word+" is made of the action before") {
			t.Errorf("%v, notes %q", p.contract.Moving(), p.Notes())
		}
		c := p.newCall(1)
		c.Raw = false
		h := envelope.NewHistory(3)
		first := func(p *Policy, speed, steer float32, histories ...*envelope.History) error {
			c.Histories = histories
			copy(c.In[0], []float32{speed, 0, steer})
			return p.runners[0].Act(c)
		}
		without := "; the fallback " + word + " has no action before this one"
		for _, histories := range [][]*envelope.History{nil, {nil}, {h}} {
			var unlike *InputError
			if err := first(likes, 9, 0, histories...); !errors.As(err, &unlike) || !strings.HasSuffix(unlike.Got, without) {
				t.Errorf("%s of %v: %v", word, histories, err)
			}
			var unusable *ActionError
			if err := first(p, 0, float32(math.NaN()), histories...); !errors.As(err, &unusable) || unusable.Fallback != word || !strings.HasSuffix(err.Error(), without) {
				t.Errorf("%s of %v: %v", word, histories, err)
			}
			c.Raw = true // golden vectors and trials fall back to nothing
			if err := first(p, 0, float32(math.NaN()), histories...); !errors.As(err, &unusable) || unusable.Fallback != "" {
				t.Errorf("%s of %v: %v", word, histories, err)
			}
			c.Raw = false
		}
		if err := errors.Join(first(p, 0, 0.5, h), first(p, 0, float32(math.NaN()), h)); err != nil || c.Actions[2] != want || len(c.Interventions) != 3 || c.Interventions[2].Fallback.String() != word {
			t.Errorf("%s: %v, %v, %+v", word, c.Actions, err, c.Interventions)
		}
	}
	src := pedals(t, &artifact.Envelope{}, &artifact.Fallback{Word: "brake"})
	if c := &mustCompose(t, src).contract; c.NeedsHistory() || c.Carries() {
		t.Error("a brake needs no history")
	}
}

// TestEnvelopeRefusesBeforeHistoriesAdvance: a row without an action leaves the
// streams of all as they were.
func TestEnvelopeRefusesBeforeHistoriesAdvance(t *testing.T) {
	p := mustCompose(t, pedals(t, &artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{{Feature: "speed", Mean: []float64{0}, Std: []float64{1}}}}, nil))
	for _, bad := range []float32{9, float32(math.NaN())} {
		c := p.newCall(2)
		c.Raw = false
		c.Histories = []*envelope.History{envelope.NewHistory(3), envelope.NewHistory(3)}
		c.In[0][3] = bad
		if err := p.runners[0].Act(c); err == nil || c.Histories[0].Begun() || c.Histories[1].Begun() || len(c.Interventions) > 0 {
			t.Errorf("%v: %v, the first stream has begun: %v", bad, err, c.Histories[0].Begun())
		}
		c.In[0][3] = 1
		if err := p.runners[0].Act(c); err != nil || !c.Histories[0].Begun() || !c.Histories[1].Begun() {
			t.Errorf("%v", err)
		}
	}
	for _, wrong := range [][]*envelope.History{{}, {nil}, {nil, nil, nil}, {nil, envelope.NewHistory(2)}} {
		c := p.newCall(2)
		c.Raw, c.Histories = false, wrong
		if err := p.runners[0].Act(c); err == nil || !strings.Contains(err.Error(), "histor") {
			t.Errorf("%d histories: %v", len(wrong), err)
		}
	}
}

// TestEnvelopeTakesTheStatisticsOfThePreprocessor: those that it normalises by.
func TestEnvelopeTakesTheStatisticsOfThePreprocessor(t *testing.T) {
	p := preprocessor(t, "standard")
	mean, deviation := p.Statistics(p.Width())
	if len(mean) == 0 || len(mean) != p.Width() || len(deviation) != p.Width() {
		t.Fatalf("%v, %v of %d", mean, deviation, p.Width())
	}
	src := &sources{card: &artifact.Card{Envelope: &artifact.Envelope{MaxZScore: 5}}, preprocessor: p, network: built(t, p.Width(), 1, 1)}
	opened := mustCompose(t, src)
	c := opened.newCall(1)
	c.Raw = false
	for i := range mean {
		c.In[0][i] = float32(mean[i])
	}
	if err := opened.runners[0].Act(c); err != nil {
		t.Fatal(err)
	}
	c.In[0][0] += float32(6 * deviation[0])
	var strange *InputError
	if err := opened.runners[0].Act(c); !errors.As(err, &strange) || !strings.Contains(strange.Got, "6 standard") {
		t.Errorf("%v", err)
	}
}

// TestBrokenPolicyDoesNotHideBehindItsFallback: golden vectors and trials are
// of what the network gives.
func TestBrokenPolicyDoesNotHideBehindItsFallback(t *testing.T) {
	src := pedals(t, &artifact.Envelope{}, &artifact.Fallback{Word: "brake"})
	p := mustCompose(t, src)
	golden := &artifact.Card{Golden: &artifact.Golden{Atol: 1e-6, Vectors: []artifact.GoldenVector{
		{Observation: []float64{4, 0, 0}, Action: []float64{4, 0, 0}, Deterministic: true}, // beyond its bounds, and right
	}}}
	if err := p.replayGolden(golden); err != nil {
		t.Error(err)
	}
	c := p.newCall(1)
	c.In[0][1] = float32(math.Inf(1))
	var unusable *ActionError
	if err := p.runners[0].Act(c); !errors.As(err, &unusable) {
		t.Errorf("a trial gave %v, %v", c.Actions, err)
	}
	src.network = neverNumber(t)
	if err := mustCompose(t, src).probe(); err == nil {
		t.Error("a policy that never gives a number is served with its fallback")
	}
}

// neverNumber gives NaN for every observation.
func neverNumber(t *testing.T) *network {
	t.Helper()
	n := built(t, 3, 3, 1)
	lower := n.lower
	return &network{n.description, func(o format.LowerOptions) (*graph.Graph, error) {
		g, err := lower(o)
		if err != nil {
			return nil, err
		}
		y, err := g.Add(graph.OpMul, nil, g.Outputs[0].Value, g.Constant("", graph.Float32s([]float32{0}, 1)))
		if err == nil {
			y, err = g.Add(graph.OpDiv, nil, y, y)
		}
		g.Outputs[0].Value = y
		return g, err
	}}
}

func TestEnvelopeDoesNotAllocate(t *testing.T) {
	e := &artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{{Feature: "speed", Mean: []float64{0}, Std: []float64{1}}}}
	p := mustCompose(t, pedals(t, e, &artifact.Fallback{Word: "brake"}))
	c, err := rows(t, p, 2, 0, 0, 9, 0, 0)
	if err != nil || len(c.Interventions) != 4 {
		t.Fatalf("%v, %+v", err, c.Interventions)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := p.runners[0].Act(c); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
