package replay

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// measure is what is known of one value of the action.
type measure struct {
	name     string // of the value
	action   string // of the action that it is part of
	discrete bool
	low      float32 // infinite where there is no bound
	high     float32
	ranged   bool    // it has both bounds
	scale    float64 // of its range; 1 where that has no end

	steps     uint64
	different uint64 // not the same bits
	sum       float64
	max       float64
	bias      float64 // sum of differences with their sign
	flips     uint64
	disagree  uint64
	apart     *histogram // of |difference|, nil for a choice
	saturated [2]uint64  // of the base and the version looked at
	marked    map[string]*[2]uint64
	confusion map[[2]float32]uint64 // of a choice: base, new
}

// measures are those of a replay.
type measures struct {
	o        *Options
	sides    []*side
	width    int
	values   []measure
	compared uint64
	differ   uint64
	refused  [2]map[string]*Refused // by text: of the base, of the version looked at
	worst    worst
	series   series
	samples  samples
	skip     []bool // rows of the chunk without an action on one side
}

func newMeasures(o *Options, sides []*side) *measures {
	c := sides[0].contract
	m := &measures{o: o, sides: sides, width: c.ActionWidth(), worst: worst{most: o.Worst}}
	m.values = make([]measure, m.width)
	for i := range c.Actions {
		a := &c.Actions[i]
		for value := a.Offset; value < a.Offset+a.Size; value++ {
			m.values[value] = newMeasure(c, a, value)
		}
	}
	m.series = newSeries(m.width)
	m.samples = newSamples(m.width, shapeOfContract(c).observation)
	m.refused = [2]map[string]*Refused{{}, {}}
	return m
}

func newMeasure(c *policy.Contract, a *policy.Action, value int) measure {
	v := measure{
		name: c.ActionName(value), action: a.Name, discrete: a.Discrete,
		low: float32(a.Low), high: float32(a.High), scale: 1, marked: map[string]*[2]uint64{},
	}
	if v.name == "" {
		v.name = "action"
	}
	if a.Discrete {
		v.confusion = map[[2]float32]uint64{}
		return v
	}
	v.apart = newHistogram()
	if r := a.High - a.Low; r > 0 && !math.IsInf(r, 0) {
		v.scale, v.ranged = r, true
	}
	return v
}

// base is what the version looked at is compared with.
func (m *measures) base(c *chunk) *outcome {
	if len(m.sides) > 1 {
		return &c.sides[1]
	}
	return &c.recorded
}

// take measures the rows of a chunk, in their order.
func (m *measures) take(c *chunk) {
	base, now := m.base(c), &c.sides[0]
	m.skip = slices.Grow(m.skip[:0], len(c.rows))[:len(c.rows)]
	clear(m.skip)
	for i, o := range [2]*outcome{base, now} {
		for _, r := range o.refused {
			m.skip[r.row] = true
			m.refuse(i, c, r)
		}
		for _, v := range o.marks {
			m.values[v.value].mark(v.kind, i)
		}
	}
	for row := range c.rows {
		if m.skip[row] {
			continue
		}
		x, y := base.actions[row*m.width:][:m.width], now.actions[row*m.width:][:m.width]
		if !finite(x) || !finite(y) {
			m.refuse(1, c, refusal{row, "raw action: a value is not finite"})
			continue
		}
		m.step(c, row, x, y)
	}
}

// finite tells whether all values are numbers. Only raw actions may have others.
func finite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// step measures one step, whose actions are x and y.
func (m *measures) step(c *chunk, row int, x, y []float32) {
	m.compared++
	same, score, at := true, 0.0, 0
	for i := range m.values {
		if s := m.values[i].take(x[i], y[i], m.o.Margin); s > score {
			score, at = s, i
		}
		same = same && math.Float32bits(x[i]) == math.Float32bits(y[i])
	}
	if !same {
		m.differ++
	}
	m.series.take(x, y, m.values)
	m.samples.take(c, row, x, y)
	if score > 0 && m.worst.wants(score) {
		m.worst.add(c, row, score, m.values[at].name, x, y)
	}
}

// take measures one value and returns how far apart the two are, as a part of
// the value's range; two choices are 1 apart.
func (v *measure) take(x, y float32, margin float64) float64 {
	v.steps++
	if math.Float32bits(x) != math.Float32bits(y) {
		v.different++
	}
	if v.discrete {
		v.confusion[[2]float32{x, y}]++
		if x != y {
			v.disagree++
			return 1
		}
		return 0
	}
	if v.saturates(x, margin) {
		v.saturated[0]++
	}
	if v.saturates(y, margin) {
		v.saturated[1]++
	}
	d := float64(y) - float64(x)
	apart := math.Abs(d)
	v.sum += apart
	v.max = max(v.max, apart)
	v.bias += d
	v.apart.add(float32(apart))
	if x < 0 && y > 0 || x > 0 && y < 0 {
		v.flips++
	}
	return apart / v.scale
}

// saturates tells whether a value is at a bound, or within a part of its range
// from it.
func (v *measure) saturates(x float32, margin float64) bool {
	off := 0.0
	if v.ranged {
		off = margin * v.scale
	}
	return float64(x) <= float64(v.low)+off || float64(x) >= float64(v.high)-off
}

func (v *measure) mark(kind string, side int) {
	n := v.marked[kind]
	if n == nil {
		n = &[2]uint64{}
		v.marked[kind] = n
	}
	n[side]++
}

// maxRefusedTexts is how many refusals are told apart.
const maxRefusedTexts = 64

func (m *measures) refuse(side int, c *chunk, r refusal) {
	list := m.refused[side]
	f := list[r.text]
	if f == nil {
		if len(list) >= maxRefusedTexts {
			r.text = "another"
			f = list[r.text]
		}
		if f == nil {
			f = &Refused{Text: r.text, First: c.rows[r.row].id}
			list[r.text] = f
		}
	}
	f.Steps++
}
