package plan

import "slices"

// alignFloats is the granularity of the arena: a cache line.
const alignFloats = 16

// assign gives every temporary slot its place in the arena. A slot lives from
// the first step that writes it to the last that reads it; slots that do not
// live together may share memory, and a result may take the place of an
// operand that ends with the step.
//
// What grows with the rows and what does not are two regions. In that of the
// rows an offset is in floats a row, so that every plan of offsets holds for
// every number of rows.
func (p *Plan) assign() {
	last := make([]int, len(p.slots))
	for i := range p.steps {
		for _, s := range p.steps[i].reads() {
			last[s] = i
		}
	}
	var rows, fixed region
	placed := make([]bool, len(p.slots))
	heir := make([]bool, len(p.slots)) // whose memory has gone to a result
	at := func(s int) *region {
		if p.slots[s].size.batch {
			return &rows
		}
		return &fixed
	}
	for i := range p.steps {
		st := &p.steps[i]
		for _, s := range st.writes() {
			out := &p.slots[s]
			if out.kind != slotTemp || placed[s] {
				continue
			}
			placed[s] = true
			if st.inPlace() && p.slots[st.a].kind == slotTemp && last[st.a] == i && p.slots[st.a].size == out.size {
				out.off = p.slots[st.a].off
				heir[st.a] = true
			} else {
				out.off = at(s).take(out.size.n)
			}
		}
		freed := st.reads()
		slices.Sort(freed)
		for _, s := range slices.Compact(freed) {
			if p.slots[s].kind == slotTemp && last[s] == i && !heir[s] {
				at(s).give(p.slots[s].off, p.slots[s].size.n)
			}
		}
	}
	p.rowFloats, p.fixedFloats = rows.size, fixed.size
}

// reads returns the slots that the step reads.
func (s *step) reads() []int {
	var r []int
	for _, x := range []int{s.a, s.b, s.c} {
		if x != none {
			r = append(r, x)
		}
	}
	if s.control != nil {
		r = append(r, s.control.in...)
	}
	return r
}

// writes returns the slots that the step writes.
func (s *step) writes() []int {
	if s.control != nil {
		return s.control.outs
	}
	return []int{s.out}
}

// region hands out parts of a part of the arena, the first that fits.
type region struct {
	size int
	free []span // in order, never touching
}

type span struct{ from, to int }

func roundUp(n int) int { return (n + alignFloats - 1) / alignFloats * alignFloats }

func (r *region) take(n int) int {
	n = roundUp(n)
	for i := range r.free {
		f := &r.free[i]
		if f.to-f.from < n {
			continue
		}
		at := f.from
		if f.from += n; f.from == f.to {
			r.free = slices.Delete(r.free, i, i+1)
		}
		return at
	}
	// A free end grows rather than being left behind.
	if k := len(r.free) - 1; k >= 0 && r.free[k].to == r.size {
		at := r.free[k].from
		r.free = r.free[:k]
		r.size = at + n
		return at
	}
	at := r.size
	r.size += n
	return at
}

func (r *region) give(at, n int) {
	n = roundUp(n)
	if n == 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(r.free, at, func(s span, at int) int { return s.from - at })
	r.free = slices.Insert(r.free, i, span{at, at + n})
	if i+1 < len(r.free) && r.free[i].to == r.free[i+1].from {
		r.free[i].to = r.free[i+1].to
		r.free = slices.Delete(r.free, i+1, i+2)
	}
	if i > 0 && r.free[i-1].to == r.free[i].from {
		r.free[i-1].to = r.free[i].to
		r.free = slices.Delete(r.free, i, i+1)
	}
}
