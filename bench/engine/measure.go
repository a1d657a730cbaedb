package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/ceiling"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// Row is one line of the table: a case at a batch size. Times are nanoseconds
// of a run of the whole batch, not of a row.
type Row struct {
	Case    string `json:"case"`
	Name    string `json:"name"`
	Batch   int    `json:"batch"`
	Samples int    `json:"samples"`

	Ours    Times  `json:"ours"`
	Runtime *Times `json:"onnxruntime,omitempty"`
	Eager   *Times `json:"torch_eager,omitempty"`
	JIT     *Times `json:"torch_jit,omitempty"`

	// Ratio is that of the minima, ours to ONNX Runtime's; Paired the median
	// of the ratios of samples beside each other.
	Ratio  float64 `json:"ratio,omitempty"`
	Paired float64 `json:"ratio_paired_median,omitempty"`

	// Read is of the weights' bytes, which each run reads at least once.
	ReadBytes   int     `json:"read_bytes"`
	ReadCeiling float64 `json:"read_ceiling_gb_s,omitempty"`
	ReadShare   float64 `json:"read_share,omitempty"`
	// Arithmetic is of the multiply-adds of the network's own definition.
	Operations    float64 `json:"operations"`
	ArithmCeiling float64 `json:"fma_ceiling_gflops,omitempty"`
	ArithmShare   float64 `json:"fma_share,omitempty"`

	Limits []Limit `json:"limits,omitempty"`
}

// Times are of one engine, in nanoseconds.
type Times struct {
	Min    float64 `json:"min_ns"`
	Median float64 `json:"median_ns"`
	Max    float64 `json:"max_ns"`
}

// Limit is something that a row is held to. Measured is 0 where it was not.
type Limit struct {
	What     string  `json:"what"`
	Measured float64 `json:"measured"`
	Bound    float64 `json:"bound"`
	AtMost   bool    `json:"at_most"`
	Pass     bool    `json:"pass"`
}

func newLimit(what string, measured, bound float64, atMost bool) Limit {
	pass := measured >= bound
	if atMost {
		pass = measured > 0 && measured <= bound
	}
	return Limit{what, measured, bound, atMost, pass}
}

// runner is something whose time is taken in turn with others.
type runner struct {
	run   func()
	count int       // runs of one sample
	times []float64 // seconds of a run, of each sample
}

func newRunner(run func(), length time.Duration) *runner {
	r := &runner{run: run, count: 1}
	for ; ; r.count *= 2 {
		if t := r.sample() * float64(r.count); t >= length.Seconds()/2 {
			r.count = max(1, int(float64(r.count)*length.Seconds()/t))
			break
		}
	}
	r.times = nil
	return r
}

func (r *runner) sample() float64 {
	start := time.Now()
	for range r.count {
		r.run()
	}
	t := time.Since(start).Seconds() / float64(r.count)
	r.times = append(r.times, t)
	return t
}

func (r *runner) min() float64 { return slices.Min(r.times) }

func timesOf(seconds []float64) *Times {
	if len(seconds) == 0 {
		return nil
	}
	s := slices.Sorted(slices.Values(seconds))
	return &Times{s[0] * 1e9, s[len(s)/2] * 1e9, s[len(s)-1] * 1e9}
}

// bench is what the cases are measured with.
type bench struct {
	weights graph.DType  // of the plan
	runtime *onnxruntime // or nil
	torch   *torch       // or nil
	sample  time.Duration
	budget  time.Duration // of a row
}

// fewest is how many samples a row has at least, however long they take.
const fewest = 5

// torchSample is the length of a sample of torch: the process has slept before,
// and its first runs find the caches cold.
const torchSample = 10 * time.Millisecond

// measure takes the samples of one case at one batch size, all in turn: ours,
// ONNX Runtime's, the core's ceilings and, more rarely because a process has to
// wake for it, torch's.
func (b *bench) measure(n *network, batch int) (*Row, error) {
	ours, theirs, held, err := b.prepare(n, batch)
	if err != nil {
		return nil, err
	}
	row := &Row{Case: n.key, Name: n.name, Batch: batch, ReadBytes: 4 * n.weights, Operations: 2 * float64(n.macs) * float64(batch)}
	if b.narrows() {
		row.ReadBytes = held
	}
	a := newRunner(ours, b.sample)
	var o *runner
	if theirs != nil {
		o = newRunner(theirs, b.sample)
	}
	short := min(b.sample, time.Millisecond)
	var fma, read []*runner
	fmaLoops, readLoops := ceiling.FMA(), ceiling.Read(row.ReadBytes)
	for _, l := range fmaLoops {
		fma = append(fma, newRunner(l.Run, short/2))
	}
	for _, l := range readLoops {
		read = append(read, newRunner(l.Run, short/2))
	}
	kinds := []string{}
	if b.torch != nil && n.torch {
		if err := b.torch.prepare(n.key, batch); err != nil {
			return nil, fmt.Errorf("torch: %w", err)
		}
		kinds = []string{"eager", "jit"}
	}
	torchTimes, torchCount := map[string][]float64{}, map[string]int{"eager": 1, "jit": 1}

	runtime.GC()
	var paired []float64
	begin := time.Now()
	for i := 0; i < fewest || time.Since(begin) < b.budget; i++ {
		mine := a.sample()
		if o != nil {
			paired = append(paired, mine/o.sample())
		}
		for _, r := range slices.Concat(fma, read) {
			r.sample()
		}
		if i%8 != 0 {
			continue
		}
		for _, k := range kinds {
			s, err := b.torch.sample(k, torchCount[k])
			if err != nil {
				return nil, fmt.Errorf("torch: %w", err)
			}
			if i > 0 || s > torchSample.Seconds() { // The first is for the count alone.
				torchTimes[k] = append(torchTimes[k], s)
			}
			torchCount[k] = max(1, int(torchSample.Seconds()/s))
		}
	}

	row.Samples = len(a.times)
	row.Ours = *timesOf(a.times)
	row.Eager, row.JIT = timesOf(torchTimes["eager"]), timesOf(torchTimes["jit"])
	if o != nil {
		row.Runtime = timesOf(o.times)
		row.Ratio = row.Ours.Min / row.Runtime.Min
		row.Paired = timesOf(paired).Median / 1e9
	}
	for i, r := range fma {
		row.ArithmCeiling = max(row.ArithmCeiling, fmaLoops[i].Work/r.min()/1e9)
	}
	for i, r := range read {
		row.ReadCeiling = max(row.ReadCeiling, readLoops[i].Work/r.min()/1e9)
	}
	if row.ArithmCeiling > 0 {
		row.ArithmShare = row.Operations / row.Ours.Min / row.ArithmCeiling
	}
	if row.ReadCeiling > 0 {
		row.ReadShare = float64(row.ReadBytes) / row.Ours.Min / row.ReadCeiling
	}
	if !b.narrows() { // the limits are those of float32
		row.hold(n.limits[batch])
	}
	return row, nil
}

// hold writes how the row stands to its limits.
func (r *Row) hold(l limit) {
	add := func(what string, measured, bound float64, atMost bool) {
		if bound > 0 {
			r.Limits = append(r.Limits, newLimit(what, measured, bound, atMost))
		}
	}
	add("ratio", r.Ratio, l.ratio, true)
	add("ns", r.Ours.Min, l.ns, true)
	add("share of bandwidth", r.ReadShare, l.read, false)
	add("share of FMA peak", r.ArithmShare, l.arithm, false)
}

// prepare compiles a network for the plan and for ONNX Runtime and holds their
// answers against each other. held are the bytes of narrow constants, 0 of
// float32.
func (b *bench) prepare(n *network, batch int) (ours, theirs func(), held int, err error) {
	file := n.file()
	decoded, err := format.Decode("model.onnx", file)
	if err != nil {
		return nil, nil, 0, err
	}
	g, err := decoded.Lower(format.LowerOptions{})
	if err != nil {
		return nil, nil, 0, err
	}
	if err := graph.Optimize(g); err != nil {
		return nil, nil, 0, err
	}
	if held, err = b.narrow(g); err != nil {
		return nil, nil, 0, err
	}
	p, err := plan.Compile(g, plan.Options{})
	if err != nil {
		return nil, nil, 0, err
	}
	random := rand.New(rand.NewPCG(1, 2))
	var in, out, other [][]float32
	var inShapes, outShapes []graph.Shape
	for _, v := range g.Inputs {
		x := make([]float32, batch*v.Shape.RowElements())
		for i := range x {
			x[i] = random.Float32()
		}
		in, inShapes = append(in, x), append(inShapes, v.Shape)
	}
	for _, o := range g.Outputs {
		size := batch * o.Value.Shape.RowElements()
		out, other = append(out, make([]float32, size)), append(other, make([]float32, size))
		outShapes = append(outShapes, o.Value.Shape)
	}
	run := p.NewRunner()
	if err := run.Run(batch, in, out, plan.Noise{}); err != nil {
		return nil, nil, 0, err
	}
	if b.runtime != nil {
		if theirs, err = b.runtime.prepare(file, batch, in, other, inShapes, outShapes); err != nil {
			return nil, nil, 0, err
		}
		if err := same(out, other, b.near()); err != nil {
			return nil, nil, 0, err
		}
	}
	return func() { _ = run.Run(batch, in, out, plan.Noise{}) }, theirs, held, nil
}

// near is how far answers may be apart, absolute and relative.
func (b *bench) near() float64 {
	if b.narrows() {
		return 0.05
	}
	return 1e-4
}

// errDiffers is an answer that is not the other engine's.
var errDiffers = errors.New("the answers differ")

// same tells whether two engines answered the same, but for the order in which
// they add.
func same(a, b [][]float32, near float64) error {
	for i := range a {
		for j, x := range a[i] {
			if y := b[i][j]; !(math.Abs(float64(x-y)) <= near+near*math.Abs(float64(y))) {
				return fmt.Errorf("%w: output %d, element %d: %v and %v", errDiffers, i, j, x, y)
			}
		}
	}
	return nil
}
