package experience

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
)

// A batch in bytes, as the spool keeps it: a version, the layouts as JSON, and
// the steps, gaps and outcomes field by field. Whole numbers are varints, floats
// their bits with the least significant byte first. A string that is the one of
// the step before takes one byte, as most do.

const batchFormat = 1

// errBatchFormat says that bytes are no batch of this form.
var errBatchFormat = errors.New("not a batch of experience")

type batchWriter struct {
	b      []byte
	before Step
}

// appendBatch appends a batch.
func appendBatch(b []byte, batch *Batch) ([]byte, error) {
	w := batchWriter{b: append(b, batchFormat)}
	layouts, err := json.Marshal(batch.Layouts)
	if err != nil {
		return b, err
	}
	w.text(string(layouts))
	w.uint(uint64(len(batch.Steps)))
	for i := range batch.Steps {
		w.step(&batch.Steps[i])
	}
	w.uint(uint64(len(batch.Gaps)))
	for i := range batch.Gaps {
		g := &batch.Gaps[i]
		w.text(g.Run)
		w.uint(g.First)
		w.uint(g.Last)
		w.text(g.Reason)
		w.time(g.Time)
	}
	w.uint(uint64(len(batch.Outcomes)))
	for i := range batch.Outcomes {
		w.outcome(&batch.Outcomes[i])
	}
	return w.b, nil
}

func (w *batchWriter) uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *batchWriter) int(n int64)   { w.b = binary.AppendVarint(w.b, n) }

func (w *batchWriter) text(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *batchWriter) time(t time.Time) {
	w.int(t.Unix())
	w.uint(uint64(t.Nanosecond()))
}

func (w *batchWriter) float(v float32) {
	w.b = binary.LittleEndian.AppendUint32(w.b, math.Float32bits(v))
}

func (w *batchWriter) double(v float64) {
	w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(v))
}

// floats writes the length and one more, 0 for nil.
func (w *batchWriter) floats(x []float32) {
	if x == nil {
		w.uint(0)
		return
	}
	w.uint(uint64(len(x)) + 1)
	for _, v := range x {
		w.float(v)
	}
}

// again writes a string that is mostly that of the step before, as its length
// and one more, 0 for the same.
func (w *batchWriter) again(s, before string) {
	if s == before {
		w.uint(0)
		return
	}
	w.uint(uint64(len(s)) + 1)
	w.b = append(w.b, s...)
}

// Flags of a step and of an outcome.
const (
	codedFirst = 1 << iota
	codedDeterministic
	codedValue
	codedLogProb
)

const (
	codedReward = 1 << iota
	codedTerminated
	codedTruncated
)

func flag(set bool, f uint64) uint64 {
	if set {
		return f
	}
	return 0
}

func (w *batchWriter) step(s *Step) {
	p := &w.before
	w.again(s.Run, p.Run)
	w.again(s.Session, p.Session)
	w.again(s.Model, p.Model)
	w.again(s.Version, p.Version)
	w.again(s.Digest, p.Digest)
	*p = Step{Run: s.Run, Session: s.Session, Model: s.Model, Version: s.Version, Digest: s.Digest}
	w.text(s.RequestID)
	w.uint(s.Sequence)
	w.time(s.Time)
	w.int(int64(s.Mono))
	w.int(int64(s.Row))
	w.uint(s.Episode)
	w.uint(s.SessionStep)
	w.uint(flag(s.First, codedFirst) | flag(s.Deterministic, codedDeterministic) | flag(s.HasValue, codedValue) | flag(s.HasLogProb, codedLogProb))
	w.float(s.Value)
	w.float(s.LogProb)
	w.floats(s.Observation)
	w.floats(s.Action)
	w.floats(s.Raw)
	w.floats(s.Masks)
	w.int(int64(s.Queue))
	w.int(int64(s.Infer))
	w.int(int64(s.Enveloping))
	w.uint(s.Seed)
	w.uint(s.DrawStep)
	w.uint(s.DrawRow)
	w.uint(uint64(len(s.Interventions)))
	for i := range s.Interventions {
		v := &s.Interventions[i]
		w.int(int64(v.Value))
		w.text(v.Kind)
		w.text(v.Fallback)
		w.int(int64(v.Feature))
		w.double(v.Score)
		w.float(v.From)
		w.float(v.To)
	}
}

func (w *batchWriter) outcome(o *Outcome) {
	w.text(o.Run)
	w.text(o.ID)
	w.text(o.Session)
	w.uint(o.Episode)
	w.uint(o.SessionStep)
	w.uint(flag(o.Reward != nil, codedReward) | flag(o.Terminated, codedTerminated) | flag(o.Truncated, codedTruncated))
	if o.Reward != nil {
		w.double(*o.Reward)
	}
	w.text(string(o.Info))
	w.time(o.Time)
}

type batchReader struct {
	b      []byte
	before Step
	err    error
}

// decodeBatch reads what appendBatch wrote.
func decodeBatch(b []byte) (*Batch, error) {
	if len(b) == 0 || b[0] != batchFormat {
		return nil, errBatchFormat
	}
	r := batchReader{b: b[1:]}
	batch := &Batch{}
	if err := json.Unmarshal([]byte(r.text()), &batch.Layouts); err != nil {
		return nil, fmt.Errorf("%w: its layouts: %w", errBatchFormat, err)
	}
	batch.Steps = make([]Step, r.length(minCodedStep))
	for i := range batch.Steps {
		r.step(&batch.Steps[i])
	}
	batch.Gaps = make([]Gap, r.length(minCodedGap))
	for i := range batch.Gaps {
		batch.Gaps[i] = Gap{Run: r.text(), First: r.uint(), Last: r.uint(), Reason: r.text(), Time: r.time()}
	}
	batch.Outcomes = make([]Outcome, r.length(minCodedOutcome))
	for i := range batch.Outcomes {
		r.outcome(&batch.Outcomes[i])
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	if r.err != nil {
		return nil, r.err
	}
	return batch, nil
}

// The fewest bytes that each takes, by which a number of them is bounded before
// there is memory for it.
const (
	minCodedStep    = 30
	minCodedGap     = 6
	minCodedOutcome = 9
)

func (r *batchReader) fail() {
	if r.err == nil {
		r.err = fmt.Errorf("%w: it does not end where it should", errBatchFormat)
	}
	r.b = nil
}

func (r *batchReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *batchReader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// length reads a number of things of which each has least bytes.
func (r *batchReader) length(least int) int {
	n := r.uint()
	if n > uint64(len(r.b)/least) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *batchReader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *batchReader) text() string { return string(r.bytes(r.uint())) }

func (r *batchReader) time() time.Time {
	s := r.int()
	return time.Unix(s, int64(r.uint())).UTC()
}

func (r *batchReader) float() float32 {
	b := r.bytes(4)
	if b == nil {
		return 0
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(b))
}

func (r *batchReader) double() float64 {
	b := r.bytes(8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

func (r *batchReader) floats() []float32 {
	n := r.uint()
	if n == 0 {
		return nil
	}
	if n-1 > uint64(len(r.b)/4) {
		r.fail()
		return nil
	}
	x := make([]float32, n-1)
	for i := range x {
		x[i] = r.float()
	}
	return x
}

func (r *batchReader) again(before string) string {
	n := r.uint()
	if n == 0 {
		return before
	}
	return string(r.bytes(n - 1))
}

func (r *batchReader) step(s *Step) {
	p := &r.before
	s.Run, s.Session, s.Model, s.Version, s.Digest = r.again(p.Run), r.again(p.Session), r.again(p.Model), r.again(p.Version), r.again(p.Digest)
	*p = Step{Run: s.Run, Session: s.Session, Model: s.Model, Version: s.Version, Digest: s.Digest}
	s.RequestID = r.text()
	s.Sequence = r.uint()
	s.Time = r.time()
	s.Mono = time.Duration(r.int())
	s.Row = int(r.int())
	s.Episode, s.SessionStep = r.uint(), r.uint()
	f := r.uint()
	s.First, s.Deterministic, s.HasValue, s.HasLogProb = f&codedFirst != 0, f&codedDeterministic != 0, f&codedValue != 0, f&codedLogProb != 0
	s.Value, s.LogProb = r.float(), r.float()
	s.Observation, s.Action, s.Raw, s.Masks = r.floats(), r.floats(), r.floats(), r.floats()
	s.Queue, s.Infer, s.Enveloping = time.Duration(r.int()), time.Duration(r.int()), time.Duration(r.int())
	s.Seed, s.DrawStep, s.DrawRow = r.uint(), r.uint(), r.uint()
	n := r.length(minCodedIntervention)
	for range n {
		s.Interventions = append(s.Interventions, Intervention{
			Value: int(r.int()), Kind: r.text(), Fallback: r.text(), Feature: int(r.int()), Score: r.double(), From: r.float(), To: r.float(),
		})
	}
}

const minCodedIntervention = 20

func (r *batchReader) outcome(o *Outcome) {
	o.Run, o.ID, o.Session = r.text(), r.text(), r.text()
	o.Episode, o.SessionStep = r.uint(), r.uint()
	f := r.uint()
	o.Terminated, o.Truncated = f&codedTerminated != 0, f&codedTruncated != 0
	if f&codedReward != 0 {
		v := r.double()
		o.Reward = &v
	}
	if info := r.text(); info != "" {
		o.Info = append(o.Info, info...)
	}
	o.Time = r.time()
}
