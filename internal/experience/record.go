package experience

import (
	"time"
	"unsafe"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// A record is one request in the ring, in the machine's order of bytes:
//
//	recordHead
//	request id, session: bytes, together padded to 8
//	of each row: observation, action, float32
//	value, log-prob of each row, where there are any, float32
//	masks of all rows, where there are any, float32
//	rows whose state begins, uint32
//	interventions, recordIntervention; in front of them padding to 8

type recordHead struct {
	word uint64 // the ring's

	time, mono               int64
	queue, infer, enveloping int64
	episode, sessionStep     uint64
	seed, step, row          uint64

	version       uint32 // position in versionTable.list
	rows          uint32
	began         uint32 // rows
	interventions uint32
	id, session   uint16 // bytes
	flags         uint8
	_             [3]uint8
}

const (
	recordDeterministic = 1 << iota
	recordFirst
	recordValue
	recordLogProb
	recordMasks
)

type recordIntervention struct {
	row, value     uint32
	kind, fallback uint8
	_              [2]uint8
	feature        int32
	score          float64
	from, to       float32
}

const (
	headSize         = int(unsafe.Sizeof(recordHead{}))
	interventionSize = int(unsafe.Sizeof(recordIntervention{}))
)

// version is one opened policy as the recorder knows it.
type version struct {
	index       uint32
	layout      Layout
	inputs      []int // widths
	observation int   // their sum
	action      int
	masks       int
	value       int // position in Contract.Extras, or -1
	logProb     int
	written     bool // the writer's: the store has its layout
}

func newVersion(index int, p *policy.Policy, o *serving.Origin) *version {
	c := p.Contract()
	v := &version{
		index: uint32(index), action: c.ActionWidth(), masks: c.Masks, value: -1, logProb: -1,
		layout: LayoutOf(c, o.Model, o.Version, o.Digest),
	}
	for i := range c.Inputs {
		v.inputs = append(v.inputs, c.Inputs[i].Width)
		v.observation += c.Inputs[i].Width
	}
	for i := range c.Extras {
		if e := &c.Extras[i]; e.Width == 1 && e.Name == "value" {
			v.value = i
		} else if e.Width == 1 && e.Name == "log_prob" {
			v.logProb = i
		}
	}
	return v
}

// size is that of the record of a request.
func (v *version) size(req *serving.Request) int {
	floats := req.Rows * (v.observation + v.action)
	if len(req.Extras) > 0 {
		floats += 2 * req.Rows
	}
	if req.Masks != nil {
		floats += req.Rows * v.masks
	}
	o := req.Origin
	return headSize + aligned(len(o.RequestID)+len(o.Session)) + aligned(4*(floats+len(o.Began))) + interventionSize*len(req.Interventions)
}

func aligned(n int) int { return (n + 7) &^ 7 }

// encode fills in a record; its word is left for the ring.
func (v *version) encode(b []byte, req *serving.Request, mono time.Duration) {
	o := req.Origin
	h := (*recordHead)(unsafe.Pointer(unsafe.SliceData(b)))
	h.time, h.mono = o.Arrived.UnixNano(), int64(mono)
	h.queue, h.infer, h.enveloping = int64(req.Queue), int64(req.Infer), int64(req.Enveloping)
	h.episode, h.sessionStep = o.Episode, o.Step
	h.seed, h.step, h.row = req.Seed, req.Step, req.Row
	h.version, h.rows = v.index, uint32(req.Rows)
	h.began, h.interventions = uint32(len(o.Began)), uint32(len(req.Interventions))
	h.id, h.session = uint16(len(o.RequestID)), uint16(len(o.Session))
	flags := uint8(0)
	if req.Deterministic {
		flags |= recordDeterministic
	}
	if o.First {
		flags |= recordFirst
	}
	at := headSize
	at += copy(b[at:], o.RequestID)
	at += copy(b[at:], o.Session)
	at = headSize + aligned(at-headSize)

	f := floatsAt(b, at)
	for row := range req.Rows {
		for i, w := range v.inputs {
			f = f[copy(f, req.Inputs[i][row*w:][:w]):]
		}
		f = f[copy(f, req.Actions[row*v.action:][:v.action]):]
	}
	if len(req.Extras) > 0 {
		if v.value >= 0 && v.value < len(req.Extras) {
			flags |= recordValue
			f = f[copy(f, req.Extras[v.value][:req.Rows]):]
		}
		if v.logProb >= 0 && v.logProb < len(req.Extras) {
			flags |= recordLogProb
			f = f[copy(f, req.Extras[v.logProb][:req.Rows]):]
		}
	}
	if req.Masks != nil {
		flags |= recordMasks
		f = f[copy(f, req.Masks[:req.Rows*v.masks]):]
	}
	h.flags = flags
	if len(o.Began) > 0 {
		began := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(f))), len(o.Began))
		for i, row := range o.Began {
			began[i] = uint32(row)
		}
	}
	if len(req.Interventions) > 0 {
		list := unsafe.Slice((*recordIntervention)(unsafe.Pointer(&b[len(b)-interventionSize*len(req.Interventions)])), len(req.Interventions))
		for i := range req.Interventions {
			t := &req.Interventions[i]
			list[i] = recordIntervention{
				row: uint32(t.Row), value: uint32(t.Value), kind: kindNumber(t.Kind), fallback: uint8(t.Fallback),
				feature: int32(t.Feature), score: t.Score, from: t.From, to: t.To,
			}
		}
	}
}

// floatsAt is the rest of a record as numbers.
func floatsAt(b []byte, at int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b[at:]))), (len(b)-at)/4)
}

func kindNumber(k envelope.Kind) uint8 {
	for i, known := range envelope.Kinds {
		if k == known {
			return uint8(i)
		}
	}
	return uint8(len(envelope.Kinds))
}

func kindName(n uint8) string {
	if int(n) < len(envelope.Kinds) {
		return string(envelope.Kinds[n])
	}
	return "other"
}

// decoder makes steps of records. What it makes is valid until the next reset.
type decoder struct {
	run           string
	steps         []Step
	raw           []float32
	interventions []Intervention
}

func (d *decoder) reset() {
	d.steps, d.raw, d.interventions = d.steps[:0], d.raw[:0], d.interventions[:0]
}

// add appends the steps of a record, whose sequence follows next. They point to
// the record.
func (d *decoder) add(b []byte, v *version, next uint64) {
	h := (*recordHead)(unsafe.Pointer(unsafe.SliceData(b)))
	rows := int(h.rows)
	id := unsafe.String(unsafe.SliceData(b[headSize:]), int(h.id))
	session := unsafe.String(unsafe.SliceData(b[headSize+int(h.id):]), int(h.session))
	f := floatsAt(b, headSize+aligned(int(h.id)+int(h.session)))
	of := f
	f = f[rows*(v.observation+v.action):]
	part := func(flag uint8, n int) []float32 {
		if h.flags&flag == 0 {
			return nil
		}
		p := f[:n:n]
		f = f[n:]
		return p
	}
	values, logProbs, masks := part(recordValue, rows), part(recordLogProb, rows), part(recordMasks, rows*v.masks)
	began := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(f))), h.began)
	var changed []recordIntervention
	if n := int(h.interventions); n > 0 {
		changed = unsafe.Slice((*recordIntervention)(unsafe.Pointer(&b[len(b)-interventionSize*n])), n)
	}
	for row := range rows {
		d.steps = append(d.steps, Step{
			Run: d.run, Sequence: next + uint64(row), Time: time.Unix(0, h.time), Mono: time.Duration(h.mono),
			RequestID: id, Row: row, Session: session, Episode: h.episode, SessionStep: h.sessionStep, First: h.flags&recordFirst != 0,
			Model: v.layout.Model, Version: v.layout.Version, Digest: v.layout.Digest,
			Observation: of[:v.observation:v.observation], Action: of[v.observation:][:v.action:v.action],
			Queue: time.Duration(h.queue), Infer: time.Duration(h.infer), Enveloping: time.Duration(h.enveloping),
			Deterministic: h.flags&recordDeterministic != 0, Seed: h.seed, DrawStep: h.step, DrawRow: h.row + uint64(row),
		})
		of = of[v.observation+v.action:]
		s := &d.steps[len(d.steps)-1]
		if values != nil {
			s.Value, s.HasValue = values[row], true
		}
		if logProbs != nil {
			s.LogProb, s.HasLogProb = logProbs[row], true
		}
		if masks != nil {
			s.Masks = masks[row*v.masks:][:v.masks:v.masks]
		}
		for _, r := range began {
			s.First = s.First || int(r) == row
		}
		if n := d.intervene(s, changed, row); n > 0 {
			changed = changed[n:]
		}
	}
}

// intervene gives a step the interventions of its row, which are in the order
// of rows, and what the action was before them. It returns how many there are.
func (d *decoder) intervene(s *Step, changed []recordIntervention, row int) int {
	n := 0
	for n < len(changed) && int(changed[n].row) == row {
		n++
	}
	if n == 0 {
		return 0
	}
	raw, list := len(d.raw), len(d.interventions)
	d.raw = append(d.raw, s.Action...)
	s.Raw = d.raw[raw:len(d.raw):len(d.raw)]
	for i := n - 1; i >= 0; i-- { // The first of a value has what the policy gave.
		s.Raw[changed[i].value] = changed[i].from
	}
	for i := range changed[:n] {
		t := &changed[i]
		v := Intervention{Value: int(t.value), Kind: kindName(t.kind), Feature: int(t.feature), Score: t.score, From: t.from, To: t.to}
		if f := envelope.Fallback(t.fallback); f != envelope.FallbackError {
			v.Fallback = f.String()
		}
		d.interventions = append(d.interventions, v)
	}
	s.Interventions = d.interventions[list:len(d.interventions):len(d.interventions)]
	return n
}
