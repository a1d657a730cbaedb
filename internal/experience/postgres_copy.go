package experience

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// copyTable is a table and its columns in the order in which rows are copied.
type copyTable struct {
	name, what string
	columns    []string
}

var (
	stepTable = copyTable{"carla_rl_steps", "steps", []string{
		"run", "sequence", "time", "mono_ns", "request_id", "request_row", "session", "episode", "session_step", "first",
		"model", "version", "digest", "observation", "action", "raw", "value", "log_prob", "queue_ns", "infer_ns", "enveloping_ns",
		"interventions", "deterministic", "seed", "draw_step", "draw_row", "masks",
	}}
	gapTable     = copyTable{"carla_rl_gaps", "gaps", []string{"run", "first", "last", "reason", "time"}}
	outcomeTable = copyTable{"carla_rl_outcomes", "outcomes", []string{
		"id", "run", "session", "episode", "session_step", "reward", "terminated", "truncated", "info", "time",
	}}
)

// copyWriter writes rows in the binary form of COPY: a signature, for each row
// the number of its fields and for each field its length and value, the most
// significant byte first, and at the end a number of fields of -1. See "COPY",
// binary format, in PostgreSQL's manual.
type copyWriter struct{ buf []byte }

const copySignature = "PGCOPY\n\xff\r\n\x00"

func (w *copyWriter) begin() {
	w.buf = append(w.buf, copySignature...)
	w.buf = append(w.buf, 0, 0, 0, 0, 0, 0, 0, 0) // flags, and length of the header's extension
}

func (w *copyWriter) end() { w.buf = append(w.buf, 0xff, 0xff) }

func (w *copyWriter) row(fields int) { w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(fields)) }

func (w *copyWriter) size(n int) { w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(int32(n))) }

func (w *copyWriter) null() { w.size(-1) }

func (w *copyWriter) text(s string) {
	s = storable(s)
	w.size(len(s))
	w.buf = append(w.buf, s...)
}

func (w *copyWriter) bool(v bool) {
	w.size(1)
	if v {
		w.buf = append(w.buf, 1)
	} else {
		w.buf = append(w.buf, 0)
	}
}

func (w *copyWriter) int4(v int) {
	w.size(4)
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(int32(v)))
}

func (w *copyWriter) int8(v int64) {
	w.size(8)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(v))
}

func (w *copyWriter) float4(v float32) {
	w.size(4)
	w.buf = binary.BigEndian.AppendUint32(w.buf, math.Float32bits(v))
}

func (w *copyWriter) float8(v float64) {
	w.size(8)
	w.buf = binary.BigEndian.AppendUint64(w.buf, math.Float64bits(v))
}

// postgresEpoch is 2000-01-01, from which PostgreSQL counts microseconds.
const postgresEpoch = 946_684_800_000_000 // Unix microseconds

func (w *copyWriter) time(t time.Time) { w.int8(t.UnixMicro() - postgresEpoch) }

// floatOID is the number of the type real.
const floatOID = 700

// floats writes an array of one dimension: dimensions, whether there are nulls,
// the type, length and first index, and each value with its length.
func (w *copyWriter) floats(x []float32) {
	if len(x) == 0 {
		w.size(12)
		w.buf = append(w.buf, 0, 0, 0, 0, 0, 0, 0, 0)
		w.buf = binary.BigEndian.AppendUint32(w.buf, floatOID)
		return
	}
	w.size(20 + 8*len(x))
	for _, v := range []uint32{1, 0, floatOID, uint32(len(x)), 1} {
		w.buf = binary.BigEndian.AppendUint32(w.buf, v)
	}
	for _, v := range x {
		w.buf = binary.BigEndian.AppendUint32(w.buf, 4)
		w.buf = binary.BigEndian.AppendUint32(w.buf, math.Float32bits(v))
	}
}

func (w *copyWriter) floatsOrNull(x []float32) {
	if x == nil {
		w.null()
		return
	}
	w.floats(x)
}

// json writes a document, nil as null. One that is none is written as a string.
func (w *copyWriter) json(doc []byte) {
	if len(doc) == 0 {
		w.null()
		return
	}
	if !jsontext.Value(doc).IsValid() {
		doc, _ = jsontext.AppendQuote(nil, strings.ToValidUTF8(string(doc), "\uFFFD")) // never fails
	}
	w.size(len(doc))
	w.buf = append(w.buf, doc...)
}

func (w *copyWriter) step(s *Step) {
	w.row(len(stepTable.columns))
	w.text(s.Run)
	w.int8(int64(s.Sequence))
	w.time(s.Time)
	w.int8(int64(s.Mono))
	w.text(s.RequestID)
	w.int4(s.Row)
	w.text(s.Session)
	w.int8(int64(s.Episode))
	w.int8(int64(s.SessionStep))
	w.bool(s.First)
	w.text(s.Model)
	w.text(s.Version)
	w.text(s.Digest)
	w.floats(s.Observation)
	w.floats(s.Action)
	w.floatsOrNull(s.Raw)
	w.optional(s.Value, s.HasValue)
	w.optional(s.LogProb, s.HasLogProb)
	w.int8(int64(s.Queue))
	w.int8(int64(s.Infer))
	w.int8(int64(s.Enveloping))
	w.json(pgInterventions(s.Interventions))
	w.bool(s.Deterministic)
	w.int8(int64(s.Seed))
	w.int8(int64(s.DrawStep))
	w.int8(int64(s.DrawRow))
	w.floatsOrNull(s.Masks)
}

func (w *copyWriter) optional(v float32, has bool) {
	if has {
		w.float4(v)
	} else {
		w.null()
	}
}

func (w *copyWriter) gap(g *Gap) {
	w.row(len(gapTable.columns))
	w.text(g.Run)
	w.int8(int64(g.First))
	w.int8(int64(g.Last))
	w.text(g.Reason)
	w.time(g.Time)
}

func (w *copyWriter) outcome(o *Outcome) {
	w.row(len(outcomeTable.columns))
	w.text(o.ID)
	w.text(o.Run)
	w.text(o.Session)
	w.int8(int64(o.Episode))
	w.int8(int64(o.SessionStep))
	if o.Reward == nil {
		w.null()
	} else {
		w.float8(*o.Reward)
	}
	w.bool(o.Terminated)
	w.bool(o.Truncated)
	w.json(o.Info)
	w.time(o.Time)
}

// storable is a text as PostgreSQL takes it: UTF-8 without zero bytes.
func storable(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// pgText is a parameter of a statement.
func pgText(s string) []byte { return []byte(storable(s)) }

// pgInterventions is nil where there are none.
func pgInterventions(list []Intervention) []byte {
	if len(list) == 0 {
		return nil
	}
	return appendInterventions(nil, list)
}
