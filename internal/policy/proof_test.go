package policy

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// proofs is how many observations TestNothingUnsafeLeavesAPolicy goes through:
// `make prove` asks for a million.
var proofs = flag.Int("proofs", 200_000, "observations of TestNothingUnsafeLeavesAPolicy")

// adversary draws weights and observations that arithmetic goes wrong on.
type adversary struct{ *rand.Rand }

func (r adversary) number() float32 {
	strange := []float32{
		float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32,
		math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0x1p-126, 0, float32(math.Copysign(0, -1)), 1, -1,
	}
	switch r.IntN(8) {
	case 0:
		return strange[r.IntN(len(strange))]
	case 1:
		return math.Float32frombits(r.Uint32()) // any there is, NaNs with a payload and denormals among them
	case 2:
		return float32(1000 * r.NormFloat64())
	}
	return float32(r.NormFloat64())
}

// network is two layers of three units with weights that are all drawn: in one
// of four networks as a training leaves them, in the others some of them as no
// training does. It tells whether all are finite.
func (r adversary) network() (_ *network, finite bool) {
	tame, finite := r.IntN(4) == 0, true
	weights := func(dims ...int) *graph.Tensor {
		n := 1
		for _, d := range dims {
			n *= d
		}
		w := make([]float32, n)
		for i := range w {
			if w[i] = float32(r.NormFloat64()); !tame && r.IntN(6) == 0 {
				w[i] = r.number()
			}
			finite = finite && w[i]-w[i] == 0
		}
		return graph.Float32s(w, dims...)
	}
	w0, b0, w1, b1 := weights(3, 3), weights(3), weights(3, 3), weights(3)
	d := format.Description{Inputs: []format.InputDescription{{Name: "x", DType: graph.Float32}}, Methods: []string{"forward"}}
	return &network{d, func(format.LowerOptions) (*graph.Graph, error) {
		g := graph.New("")
		x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 3})
		y, err := g.Add(graph.OpLinear, nil, x, g.Constant("w0", w0), g.Constant("b0", b0))
		if err == nil {
			y, err = g.Add(graph.OpTanh, nil, y)
		}
		if err == nil {
			y, err = g.Add(graph.OpLinear, nil, y, g.Constant("w1", w1), g.Constant("b1", b1))
		}
		if err == nil {
			g.Output("out", y)
		}
		return g, err
	}}, finite
}

// steering are the limits of the proof's third action.
var steering = envelope.Limit{Low: -0.75, High: 0.5, Rate: 4, Jerk: 60}

const proofHz = 20

// policy is a policy of drawn weights with one of the fallbacks. Weights that are
// not finite are refused before there is one.
func (r adversary) policy(t *testing.T, tally *proofTally) (*Policy, envelope.Fallback) {
	t.Helper()
	words := []string{"error", "hold", "decay", "brake", "constant"}
	word := words[r.IntN(len(words))]
	fallback := &artifact.Fallback{Word: word}
	if word == "constant" {
		fallback = &artifact.Fallback{Values: []float64{0, 0.25, 0.5}}
	}
	e := &artifact.Envelope{Limits: []artifact.EnvelopeLimit{{Action: "steer", Low: &steering.Low, High: &steering.High, Rate: steering.Rate, Jerk: steering.Jerk}}}
	if r.IntN(2) == 0 {
		e.MaxZScore = 4
		e.Statistics = []artifact.FeatureStatistics{{Feature: "speed", Mean: []float64{0}, Std: []float64{1}}}
	}
	src := pedals(t, e, fallback)
	src.card.ControlHz = proofHz
	kind, _ := envelope.ParseFallback(word)
	for {
		finite := false
		src.network, finite = r.network()
		tally.networks++
		p, err := compose(src, Options{})
		if finite {
			if err != nil {
				t.Fatal(err)
			}
			p.Prepare(1)
			return p, kind
		}
		if tally.unloaded++; err == nil || !strings.Contains(err.Error(), "not trained to a finite state") {
			t.Fatalf("weights that are not finite: %v", err)
		}
	}
}

// proofTally is what a proof went through.
type proofTally struct {
	networks, unloaded           int
	observations, refused, moved int
	fell                         [5]int
}

// TestNothingUnsafeLeavesAPolicy runs policies of random and broken weights on
// random and impossible observations, with the streams that they are steps of
// and without. What leaves is finite and within its bounds, changes no faster
// than it may, and is what the network gave or labelled; and no row is refused
// that has a fallback.
func TestNothingUnsafeLeavesAPolicy(t *testing.T) {
	r := adversary{rand.New(rand.NewPCG(3, 5))}
	var tally proofTally
	for tally.observations < *proofs {
		p, fallback := r.policy(t, &tally)
		for range 10 {
			r.prove(t, p, fallback, &tally)
		}
	}
	t.Logf("figure: %d networks, of which %d were refused for weights that are not finite; %d observations through the others and their envelopes: %d rows refused, %d values moved, fallbacks of rows %v (error, hold, decay, brake, constant): no action left that was not finite, out of bounds, too fast or unlabelled",
		tally.networks, tally.unloaded, tally.observations, tally.refused, tally.moved, tally.fell)
	for f, n := range tally.fell[1:] {
		if n < tally.observations/200 {
			t.Errorf("only %d rows of %d had the fallback %v", n, tally.observations, envelope.Fallback(f+1))
		}
	}
	if tally.refused < tally.observations/50 || tally.moved < tally.observations/50 {
		t.Errorf("of %d only %d rows were refused and %d values moved", tally.observations, tally.refused, tally.moved)
	}
}

// prove takes one batch of rows a few steps on.
func (r adversary) prove(t *testing.T, p *Policy, fallback envelope.Fallback, tally *proofTally) {
	t.Helper()
	rows := 1 + r.IntN(8)
	c, raw := p.newCall(rows), p.newCall(rows)
	c.Raw = false
	if r.IntN(4) > 0 {
		c.Histories = make([]*envelope.History, rows)
		for i := range c.Histories {
			if r.IntN(8) > 0 {
				c.Histories[i] = envelope.NewHistory(3)
			}
		}
	}
	before := make([]envelope.History, rows)
	for range 8 {
		for i := range c.In[0] {
			c.In[0][i] = r.number()
		}
		for i, h := range c.Histories {
			before[i] = *envelope.NewHistory(3)
			if r.IntN(16) == 0 {
				h.Reset()
			}
			if h != nil {
				before[i].Copy(h)
			}
		}
		tally.observations += rows
		err := p.runners[0].Act(c)
		// What the network gives is known from a call that is held to nothing
		// but finite values, a row at a time.
		gave := r.gave(t, p, raw, c)
		if err != nil {
			r.rightlyRefused(t, p, c, gave, before, err)
			tally.refused += rows
			continue
		}
		for row := range rows {
			provenRow(t, p, c, row, gave[row], &before[row], fallback, tally)
		}
	}
}

// gave is what the network gives for each row; nil where it is not finite.
func (r adversary) gave(t *testing.T, p *Policy, raw, c *Call) [][]float32 {
	t.Helper()
	all := make([][]float32, c.Rows)
	for row := range all {
		raw.Rows = 1
		copy(raw.In[0], c.In[0][row*3:][:3])
		err := p.runners[0].Act(raw)
		if err == nil {
			all[row] = append(all[row], raw.Actions[:3]...)
		}
	}
	return all
}

// unlikely tells whether the policy refuses the observation of a row for itself:
// its speed is far from the training's, or a value is no number to compare.
func unlikely(p *Policy, c *Call, row int) bool {
	x := c.In[0][row*3:][:3]
	return p.scorer != nil && (math.Abs(float64(x[0])) > 4 || x[0]-x[0] != 0 || x[1]-x[1] != 0 || x[2]-x[2] != 0)
}

// rightlyRefused: some row has nothing that could leave, and nothing of the call
// has left a trace.
func (r adversary) rightlyRefused(t *testing.T, p *Policy, c *Call, gave [][]float32, before []envelope.History, err error) {
	t.Helper()
	if len(c.Interventions) > 0 {
		t.Fatalf("%v, and %+v", err, c.Interventions)
	}
	reason := false
	for row := range c.Rows {
		var h *envelope.History
		if c.Histories != nil {
			h = c.Histories[row]
		}
		if h != nil && fmt.Sprint(*h) != fmt.Sprint(before[row]) {
			t.Fatalf("%v, and the stream of row %d went on", err, row)
		}
		reason = reason || !p.envelope.Replaces(h) && (gave[row] == nil || unlikely(p, c, row))
	}
	if !reason {
		t.Fatalf("%v, and every row has an action", err)
	}
}

// provenRow holds one row that left to all that is promised of it.
func provenRow(t *testing.T, p *Policy, c *Call, row int, gave []float32, before *envelope.History, fallback envelope.Fallback, tally *proofTally) {
	t.Helper()
	action := c.Actions[row*3:][:3]
	bad := func(what string) {
		t.Helper()
		t.Fatalf("%s: row %d: observation %v, network %v, before %+v, action %v, %+v", what, row, c.In[0][row*3:][:3], gave, *before, action, c.Interventions)
	}
	low, high := [3]float32{0, 0, -0.75}, [3]float32{1, 1, 0.5}
	labels := map[int]envelope.Intervention{}
	for _, v := range c.Interventions {
		if v.Row != row {
			continue
		}
		if _, twice := labels[v.Value]; twice {
			bad("two labels of one value")
		}
		labels[v.Value] = v
	}
	fell := gave == nil || unlikely(p, c, row)
	for i, v := range action {
		label, labelled := labels[i]
		switch {
		case v-v != 0:
			bad("not finite")
		case v < low[i] || v > high[i]:
			bad("out of bounds")
		case labelled && label.To != v:
			bad("a label of another value")
		case fell && (!labelled || label.Fallback != fallback || label.Kind != envelope.NotFinite && label.Kind != envelope.Unlike):
			bad("a fallback that is not labelled")
		case !fell && labelled && (label.Fallback != envelope.FallbackError || label.From != gave[i]):
			bad("a wrong label")
		case !fell && !labelled && math.Abs(float64(v-gave[i])) > 1e-6:
			bad("changed in silence")
		}
		if labelled && !fell {
			tally.moved++
		}
	}
	if fell {
		tally.fell[fallback]++
		return
	}
	if h := c.Histories; h == nil || h[row] == nil || !before.Begun() {
		return
	}
	// The bounds hold before the rate, and the rate before the jerk. What was
	// before lies within its bounds, so that the rate is kept in any case.
	last, earlier, _ := before.Actions()
	step := float64(action[2]) - float64(last[2])
	const rounding = 1e-6
	if math.Abs(step) > steering.Rate/proofHz+rounding {
		bad("faster than its rate")
	}
	was := float64(last[2]) - float64(earlier[2])
	atBound, atRate := action[2] == low[2] || action[2] == high[2], math.Abs(math.Abs(step)-steering.Rate/proofHz) <= rounding
	if math.Abs(step-was) > steering.Jerk/proofHz/proofHz+rounding && !atBound && !atRate {
		bad("faster than its jerk")
	}
}
