package plan

import (
	"fmt"
	"runtime"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// Runner runs a plan. It owns the memory between the steps and serves one run
// at a time.
type Runner struct {
	plan  *Plan
	rows  int         // for which the temporary slots are laid out
	slots [][]float32 // the memory of each slot in this run
	arena []float32   // of what grows with the rows
	fixed []float32
	subs  []subRunner // of the steps that run plans of their own

	scratch []float32 // of one step at a time

	held *held // what is to be given back with the runner
}

// running is what the steps of one run share with those of plans inside.
type running struct {
	key      graph.NormalKey
	row      uint64 // number of the first row
	fixedRow uint64 // to which draws without a batch axis belong
	budget   *int   // left of graph.StepBudget
}

// NewRunner returns a runner, which allocates when a run has more rows than
// any before it, and not otherwise.
func (p *Plan) NewRunner() *Runner {
	r := &Runner{plan: p, rows: -1, slots: make([][]float32, len(p.slots))}
	r.fixed, r.scratch = r.floats("fixed", p.fixedFloats), r.floats("scratch", p.scratch)
	for i := range p.steps {
		if c := p.steps[i].control; c != nil {
			r.subs = append(r.subs, newSubRunner(c))
		}
	}
	for i := range p.slots {
		switch s := &p.slots[i]; {
		case s.kind == slotConst:
			r.slots[i] = s.data
		case s.kind == slotTemp && !s.size.batch:
			r.slots[i] = r.fixed[s.off : s.off+s.size.n]
		}
	}
	return r
}

// Run computes the outputs of the given number of rows. in holds, for each
// input of the graph, its rows one after another, and out takes the outputs
// in the same way; what is longer than needed is left alone beyond its need.
// Inputs are read in place and not changed, and must not share memory with
// outputs. Draws of the graph are keyed by noise.
//
// The error wraps ErrArguments, and outputs are then as they were, or
// graph.ErrStepBudget, and what is in the outputs then means nothing.
func (r *Runner) Run(rows int, in, out [][]float32, noise Noise) error {
	if err := r.check(rows, in, out); err != nil {
		return err
	}
	budget := graph.StepBudget
	st := running{row: noise.Row, budget: &budget}
	if r.plan.draws {
		st.key = noise.Key()
	}
	if !r.plan.batched {
		st.fixedRow = noise.Row
	}
	if !r.plan.chunked {
		r.bind(0, rows, in, out)
		return r.run(rows, st)
	}
	chunk := r.plan.chunk()
	chunks := (rows + chunk - 1) / chunk
	for base := 0; chunks > 0; chunks-- {
		n := (rows - base + chunks - 1) / chunks // even parts, so that none is small
		r.bind(base, n, in, out)
		if err := r.run(n, st); err != nil {
			return err
		}
		st.row += uint64(n)
		base += n
	}
	return nil
}

func (r *Runner) check(rows int, in, out [][]float32) error {
	p := r.plan
	if rows < 0 || len(in) != len(p.inputs) || len(out) != len(p.outputs) {
		return fmt.Errorf("plan: %w: %d rows, %d inputs of %d, %d outputs of %d", ErrArguments, rows, len(in), len(p.inputs), len(out), len(p.outputs))
	}
	for i := range p.inputs {
		if len(in[i]) < p.inputs[i].size.at(rows) {
			return fmt.Errorf("plan: %w: input %q has %d numbers, %d rows need %d", ErrArguments, p.inputs[i].name, len(in[i]), rows, p.inputs[i].size.at(rows))
		}
	}
	for i := range p.outputs {
		if len(out[i]) < p.outputs[i].size.at(rows) {
			return fmt.Errorf("plan: %w: output %q has room for %d numbers, %d rows need %d", ErrArguments, p.outputs[i].name, len(out[i]), rows, p.outputs[i].size.at(rows))
		}
	}
	if !p.chunked && p.rowFloats > 0 && rows > maxArenaFloats/p.rowFloats {
		return fmt.Errorf("plan: %w: %d rows take more than %d floats together", ErrArguments, rows, maxArenaFloats)
	}
	return nil
}

// bind points the slots of inputs and outputs at rows [base, base+rows) of the
// caller's memory, and lays out the arena for that number of rows.
func (r *Runner) bind(base, rows int, in, out [][]float32) {
	p := r.plan
	for i := range p.inputs {
		s := &p.inputs[i]
		from := 0
		if s.size.batch {
			from = base * s.size.n
		}
		r.slots[s.slot] = in[i][from : from+s.size.at(rows)]
	}
	for i := range p.outputs {
		s := &p.outputs[i]
		from := 0
		if s.size.batch {
			from = base * s.size.n
		}
		r.slots[s.slot] = out[i][from : from+s.size.at(rows)]
	}
	if rows != r.rows {
		r.layOut(rows)
	}
}

func (r *Runner) layOut(rows int) {
	p := r.plan
	if need := rows * p.rowFloats; need > len(r.arena) {
		r.arena = r.floats("arena", need)
	}
	for i := range p.slots {
		if s := &p.slots[i]; s.kind == slotTemp && s.size.batch {
			from := rows * s.off
			r.slots[i] = r.arena[from : from+rows*s.size.n]
		}
	}
	r.rows = rows
}

// run is the loop over the steps.
func (r *Runner) run(rows int, st running) error {
	k := r.plan.impl
	for i := 0; i < len(r.plan.steps); i++ {
		s := &r.plan.steps[i]
		out := r.slots[s.out]
		switch s.op {
		case stepLinear:
			if rows == 1 && s.chain != nil {
				k.Chain(r.slots[s.chain.out], r.slots[s.a], s.chain.chain, r.scratch)
				i = s.chain.last
				continue
			}
			k.Linear(out, s.matrix.Out(), r.slots[s.a], s.matrix.In(), s.count.at(rows), s.matrix, s.unary)
		case stepNarrow:
			k.LinearNarrow(out, s.narrow.Out(), r.slots[s.a], s.narrow.In(), s.count.at(rows), s.narrow, s.unary, r.scratch)
		case stepUnary:
			k.Apply(s.unary, out, r.slots[s.a])
		case stepBinary:
			k.Binary(s.binary, out, r.slots[s.a], r.slots[s.b])
		case stepTile:
			s.tile(k, out, r.slots[s.a], r.slots[s.b])
		case stepWhere:
			kernel.Where(out, r.slots[s.a], r.slots[s.b], r.slots[s.c])
		case stepWrap:
			copy(out, r.slots[s.a])
			kernel.WrapInt(out, s.n, s.flag)
		case stepMove:
			s.move(out, r.slots[s.a], rows)
		case stepSum:
			k.Sum(out, r.slots[s.a], s.n, s.div)
		case stepAmax:
			k.Amax(out, r.slots[s.a], s.n)
		case stepAmin:
			k.Amin(out, r.slots[s.a], s.n)
		case stepArgmax:
			k.Argmax(out, r.slots[s.a], s.n)
		case stepSoftmax:
			k.Softmax(out, r.slots[s.a], s.n, s.flag)
		case stepMatMul:
			s.matMul(k, out, r.slots[s.a], r.slots[s.b], r.scratch, rows)
		case stepConv:
			var bias []float32
			if s.c != none {
				bias = r.slots[s.c]
			}
			kernel.Conv(out, r.slots[s.a], r.slots[s.b], bias, s.count.at(rows), s.conv)
		case stepNormal:
			s.normal(out, &st)
		case stepBeta:
			s.beta(out, r.slots[s.a], r.slots[s.b], &st)
		case stepCopy:
			copy(out, r.slots[s.a])
		case stepProd:
			kernel.Prod(out, r.slots[s.a], s.n)
		case stepCumulate:
			kernel.Cumulate(out, r.slots[s.a], s.n, s.flag)
		case stepArgsort:
			if s.m.n > 0 {
				kernel.ArgsortFirst(out, r.slots[s.a], s.n, s.m.n, s.flag)
			} else {
				kernel.Argsort(out, r.slots[s.a], s.n, s.flag)
			}
		case stepColumns:
			k.Columns(s.binary, out, r.slots[s.a], r.slots[s.b], s.n, s.swapped)
		case stepTake:
			kernel.Take(out, r.slots[s.a], r.slots[s.b], s.count.at(rows), s.n, s.cols.at(rows), float32(s.div))
		case stepGather:
			kernel.Gather(out, r.slots[s.a], r.slots[s.b], s.n, s.m.at(rows), float32(s.div))
		case stepConvTranspose:
			var bias []float32
			if s.c != none {
				bias = r.slots[s.c]
			}
			kernel.ConvTranspose(out, r.slots[s.a], r.slots[s.b], bias, s.count.at(rows), s.conv)
		case stepConvolve:
			k.Convolve(out, r.slots[s.a], s.count.at(rows), s.packed, s.unary, r.scratch)
		case stepIf:
			if err := r.subs[s.n].choose(r, s, st); err != nil {
				return err
			}
		case stepLoop:
			if err := r.subs[s.n].loop(r, s, st); err != nil {
				return err
			}
		}
	}
	runtime.KeepAlive(r) // Its memory, and that of the plan, may not be the heap's.
	return nil
}

// tile goes through a in parts as long as what repeats.
func (s *step) tile(k kernel.Impl, out, a, b []float32) {
	for len(a) > 0 {
		n := min(len(a), len(b))
		if s.swapped {
			k.Binary(s.binary, out[:n], b[:n], a[:n])
		} else {
			k.Binary(s.binary, out[:n], a[:n], b[:n])
		}
		a, out = a[n:], out[n:]
	}
}

func (s *step) move(out, a []float32, rows int) {
	var axes [graph.MaxRank]kernel.Axis
	for i, x := range s.axes {
		axes[i] = kernel.Axis{N: x.n.at(rows), Dst: x.dst.at(rows), Src: x.src.at(rows)}
		if axes[i].N == 0 {
			return
		}
	}
	kernel.Move(out[s.dstOff.at(rows):], a[s.srcOff:], axes[:len(s.axes)])
}

func (s *step) matMul(impl kernel.Impl, out, a, b, scratch []float32, rows int) {
	m, n, k := s.m.at(rows), s.cols.at(rows), s.n
	for i := range s.count.at(rows) {
		impl.MatMul(out[i*m*n:(i+1)*m*n], a[i*m*k:(i+1)*m*k], b[i*k*n:(i+1)*k*n], m, k, n, scratch)
	}
}

// beta draws as normal does.
func (s *step) beta(out, alpha, beta []float32, st *running) {
	if !s.flag {
		kernel.Beta(out, alpha, beta, st.key, s.stream, st.fixedRow)
		return
	}
	for row := st.row; len(out) > 0; row++ {
		kernel.Beta(out[:s.n], alpha, beta, st.key, s.stream, row)
		out, alpha, beta = out[s.n:], alpha[s.n:], beta[s.n:]
	}
}

// normal draws for each row, or for one alone where the value has no batch
// axis.
func (s *step) normal(out []float32, st *running) {
	if !s.flag {
		kernel.Normal(out, st.key, s.stream, st.fixedRow)
		return
	}
	for row := st.row; len(out) > 0; row++ {
		kernel.Normal(out[:s.n], st.key, s.stream, row)
		out = out[s.n:]
	}
}
