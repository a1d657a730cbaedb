// Package export writes recorded steps into files that other programs read:
// Parquet, CSV, JSON Lines and NumPy's .npz.
//
// What enters are steps of an experience.Store, with what their layouts name and
// what came of them; what leaves is one file. Columns have the names of the
// layout's features and actions. The package imports experience and parquet and
// knows no protocol.
package export

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// kind is what a column holds.
type kind int

const (
	boolean  kind = iota
	integer       // int64
	unsigned      // uint64
	single        // float32
	double        // float64, NaN where there is none
	text          // empty where there is none
	moment        // microseconds since 1970
	list          // float32, or whole numbers, of a shape
)

// column is one column of a file.
type column struct {
	name  string
	kind  kind
	shape []int // of a list
	whole bool  // a list of whole numbers
	value func(*record, *cell)
}

// record is a step and what came of it.
type record struct {
	*experience.Step
	outcome outcome
	buf     []float32
	note    []byte
}

// cell is the value of a column in a record: the field of its kind. A list is
// valid until the next one.
type cell struct {
	bool  bool
	int   int64
	float float64
	text  string
	list  []float32
}

// table is the columns of steps with one layout.
type table struct {
	columns []column
	layout  *experience.Layout // nil of steps without one
}

// newTable makes the columns of a layout; of a step alone where there is none.
func newTable(l *experience.Layout, s *experience.Step) *table {
	t := &table{layout: l}
	t.fixed()
	if l == nil {
		t.list("observation", "observation", []int{len(s.Observation)}, 0, len(s.Observation), false)
		t.list("action", "action", []int{len(s.Action)}, 0, len(s.Action), false)
		t.list("raw_action", "raw", []int{len(s.Action)}, 0, len(s.Action), false)
		t.outcomes()
		return t
	}
	features := l.Features
	if len(features) == 0 {
		at := 0
		for _, in := range l.Inputs {
			features = append(features, experience.Part{Name: in.Name, Shape: in.Shape, Offset: at, Size: in.Width})
			at += in.Width
		}
	}
	t.parts("observation", "observation", features)
	t.parts("action", "action", l.Actions)
	t.parts("raw_action", "raw", l.Actions)
	if l.Masks > 0 {
		t.add("action_masks", list, func(r *record, c *cell) { c.list = r.masks(l.Masks) })
		t.columns[len(t.columns)-1].shape = []int{l.Masks}
	}
	t.outcomes()
	return t
}

// masks are those of a step; one that has none could take every action.
func (r *record) masks(n int) []float32 {
	if r.Masks != nil {
		return r.Masks
	}
	r.buf = slices.Grow(r.buf[:0], n)[:n]
	for i := range r.buf {
		r.buf[i] = 1
	}
	return r.buf
}

func (t *table) add(name string, k kind, value func(*record, *cell)) {
	t.columns = append(t.columns, column{name: name, kind: k, value: value})
}

// fixed are the columns that every step has.
func (t *table) fixed() {
	t.add("run", text, func(r *record, c *cell) { c.text = r.Run })
	t.add("sequence", unsigned, func(r *record, c *cell) { c.int = int64(r.Sequence) })
	t.add("time", moment, func(r *record, c *cell) { c.int = r.Time.UnixMicro() })
	t.add("mono_ns", integer, func(r *record, c *cell) { c.int = int64(r.Mono) })
	t.add("request_id", text, func(r *record, c *cell) { c.text = r.RequestID })
	t.add("request_row", integer, func(r *record, c *cell) { c.int = int64(r.Row) })
	t.add("session", text, func(r *record, c *cell) { c.text = r.Session })
	t.add("episode", unsigned, func(r *record, c *cell) { c.int = int64(r.Episode) })
	t.add("session_step", unsigned, func(r *record, c *cell) { c.int = int64(r.SessionStep) })
	t.add("first", boolean, func(r *record, c *cell) { c.bool = r.First })
	t.add("model", text, func(r *record, c *cell) { c.text = r.Model })
	t.add("version", text, func(r *record, c *cell) { c.text = r.Version })
	t.add("digest", text, func(r *record, c *cell) { c.text = r.Digest })
	t.add("value", double, func(r *record, c *cell) { c.float = orNaN(r.Value, r.HasValue) })
	t.add("log_prob", double, func(r *record, c *cell) { c.float = orNaN(r.LogProb, r.HasLogProb) })
	t.add("queue_ns", integer, func(r *record, c *cell) { c.int = int64(r.Queue) })
	t.add("infer_ns", integer, func(r *record, c *cell) { c.int = int64(r.Infer) })
	t.add("enveloping_ns", integer, func(r *record, c *cell) { c.int = int64(r.Enveloping) })
	t.add("deterministic", boolean, func(r *record, c *cell) { c.bool = r.Deterministic })
	t.add("seed", unsigned, func(r *record, c *cell) { c.int = int64(r.Seed) })
	t.add("draw_step", unsigned, func(r *record, c *cell) { c.int = int64(r.DrawStep) })
	t.add("draw_row", unsigned, func(r *record, c *cell) { c.int = int64(r.DrawRow) })
	t.add("interventions", text, func(r *record, c *cell) { c.text = r.interventions() })
}

// outcomes are the columns of what came of a step.
func (t *table) outcomes() {
	t.add("reward", double, func(r *record, c *cell) {
		if c.float = math.NaN(); r.outcome.rewarded {
			c.float = r.outcome.reward
		}
	})
	t.add("terminated", boolean, func(r *record, c *cell) { c.bool = r.outcome.terminated })
	t.add("truncated", boolean, func(r *record, c *cell) { c.bool = r.outcome.truncated })
	t.add("info", text, func(r *record, c *cell) { c.text = r.outcome.info })
}

func orNaN(v float32, has bool) float64 {
	if !has {
		return math.NaN()
	}
	return float64(v)
}

// parts are columns of named parts of an observation or an action.
func (t *table) parts(prefix, of string, parts []experience.Part) {
	for i, p := range parts {
		name := prefix
		switch {
		case p.Name != "":
			name += "." + p.Name
		case len(parts) > 1:
			name += "." + strconv.Itoa(i)
		}
		if len(p.Shape) == 0 && p.Size == 1 {
			t.one(name, of, p.Offset, p.Discrete)
			continue
		}
		shape := p.Shape
		if len(shape) == 0 {
			shape = []int{p.Size}
		}
		t.list(name, of, shape, p.Offset, p.Size, p.Discrete)
	}
}

// values are the numbers that a column is a part of. The raw action of a step
// whose envelope changed nothing is its action.
func (r *record) values(of string) []float32 {
	switch of {
	case "observation":
		return r.Observation
	case "raw":
		if r.Raw != nil {
			return r.Raw
		}
	}
	return r.Action
}

func (t *table) one(name, of string, at int, whole bool) {
	k := single
	if whole && of != "raw" { // A raw choice may be no number.
		k = integer
	}
	t.add(name, k, func(r *record, c *cell) {
		v := float32(math.NaN())
		if x := r.values(of); at < len(x) {
			v = x[at]
		}
		if k == integer {
			c.int = int64(v)
		} else {
			c.float = float64(v)
		}
	})
}

func (t *table) list(name, of string, shape []int, at, size int, whole bool) {
	t.add(name, list, func(r *record, c *cell) {
		x := r.values(of)
		if at+size <= len(x) {
			c.list = x[at : at+size]
			return
		}
		r.buf = slices.Grow(r.buf[:0], size)[:size]
		for i := range r.buf {
			r.buf[i] = float32(math.NaN())
		}
		c.list = r.buf
	})
	last := &t.columns[len(t.columns)-1]
	last.shape, last.whole = shape, whole && of != "raw"
}

// interventions is the JSON list of a step's, empty where there are none.
func (r *record) interventions() string {
	if len(r.Interventions) == 0 {
		return ""
	}
	r.note = append(r.note[:0], '[')
	for i := range r.Interventions {
		v := &r.Interventions[i]
		if i > 0 {
			r.note = append(r.note, ',')
		}
		r.note = fmt.Appendf(r.note, `{"value":%d,"kind":%q,"fallback":%q,"feature":%d,"from":%s,"to":%s,"score":%s}`,
			v.Value, v.Kind, v.Fallback, v.Feature, number(float64(v.From), 32), number(float64(v.To), 32), number(v.Score, 64))
	}
	r.note = append(r.note, ']')
	return string(r.note)
}

// number is a number in JSON: the shortest that is read as the same, and a
// string for what JSON has no number for.
func number(v float64, bits int) string { return string(appendNumber(nil, v, bits)) }

func appendNumber(b []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, bits)
}

// same tells whether two tables have the same columns, so that their steps can
// be in one file.
func (t *table) same(o *table) bool {
	return slices.EqualFunc(t.columns, o.columns, func(a, b column) bool {
		return a.name == b.name && a.kind == b.kind && a.whole == b.whole && slices.Equal(a.shape, b.shape)
	})
}
