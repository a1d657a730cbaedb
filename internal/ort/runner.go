//go:build ort && cgo

package ort

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/yalue/onnxruntime_go"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// maxBindings is the number of batch sizes for which a runner keeps the
// library's view of its memory; a service has few.
const maxBindings = 64

// Runner runs a session. It owns the memory of the inputs and outputs of one
// run at a time.
type Runner struct {
	session *Session
	in, out []*buffer
	memory  *memory
	rows    int // for which the buffers have room; -1 before the first run
}

// memory is what outlives the runner until it is cleaned up.
type memory struct {
	handle   *handle
	pinner   runtime.Pinner
	bindings map[int]*binding
}

// binding is the library's view of the buffers for one number of rows.
type binding struct {
	io      *onnxruntime_go.IoBinding
	values  []onnxruntime_go.Value // of inputs, then outputs
	scalars []int                  // inputs without dimensions, which are bound anew in each run
}

func (b *binding) destroy() {
	if b.io != nil {
		_ = b.io.Destroy()
	}
	for _, v := range b.values {
		if v != nil {
			_ = v.Destroy()
		}
	}
}

func (m *memory) clear() {
	for rows, b := range m.bindings {
		b.destroy()
		delete(m.bindings, rows)
	}
}

func (m *memory) release() {
	m.clear()
	m.pinner.Unpin()
	m.handle.release()
}

// NewRunner returns a runner for a session whose inputs and outputs have the
// given shapes, in the session's order; the batch axis is as in package graph.
// It allocates when a run has a number of rows that it has not seen, and not
// otherwise.
func (s *Session) NewRunner(in, out []graph.Shape) (*Runner, error) {
	if len(in) != len(s.inputs) || len(out) != len(s.outputs) {
		return nil, fmt.Errorf("ort: %w: %d shapes of %d inputs, %d of %d outputs", ErrArguments, len(in), len(s.inputs), len(out), len(s.outputs))
	}
	r := &Runner{session: s, rows: -1, memory: &memory{handle: s.handle, bindings: map[int]*binding{}}}
	for i, p := range s.inputs {
		b, err := newBuffer(p, in[i])
		if err != nil {
			return nil, err
		}
		r.in = append(r.in, b)
	}
	for i, p := range s.outputs {
		b, err := newBuffer(p, out[i])
		if err != nil {
			return nil, err
		}
		r.out = append(r.out, b)
	}
	s.handle.users.Add(1)
	runtime.AddCleanup(r, (*memory).release, r.memory)
	return r, nil
}

// Run computes the outputs of the given number of rows. in holds, for each
// input, its rows one after another, and out takes the outputs in the same
// way; what is longer than needed is left alone beyond its need. A nil input
// keeps what Fill put there. The error wraps ErrArguments or ErrModel.
func (r *Runner) Run(rows int, in, out [][]float32) error {
	if err := r.check(rows, in, out); err != nil {
		return err
	}
	b, err := r.bind(rows)
	if err != nil {
		return err
	}
	for i, x := range in {
		if x != nil {
			r.in[i].put(x[:r.in[i].shape.elements(rows)])
		}
	}
	if err := r.refresh(b); err != nil {
		return err
	}
	if err := r.session.handle.session.RunWithBinding(b.io); err != nil {
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	for i, y := range out {
		if y != nil {
			r.read(b, i, y[:r.out[i].shape.elements(rows)])
		}
	}
	runtime.KeepAlive(r)
	return nil
}

// Input returns the memory of a float32 input for a coming run of the given
// number of rows, to be filled in place.
func (r *Runner) Input(rows, i int) ([]float32, error) {
	if _, err := r.bind(rows); err != nil {
		return nil, err
	}
	return r.in[i].floats[:r.in[i].shape.elements(rows)], nil
}

func (r *Runner) check(rows int, in, out [][]float32) error {
	if rows < 1 || len(in) != len(r.in) || len(out) != len(r.out) {
		return fmt.Errorf("ort: %w: %d rows, %d inputs of %d, %d outputs of %d", ErrArguments, rows, len(in), len(r.in), len(out), len(r.out))
	}
	for i, x := range in {
		if need := r.in[i].shape.elements(rows); x != nil && len(x) < need {
			return fmt.Errorf("ort: %w: input %q has %d numbers, %d rows need %d", ErrArguments, r.in[i].port.Name, len(x), rows, need)
		}
	}
	for i, y := range out {
		if need := r.out[i].shape.elements(rows); y != nil && len(y) < need {
			return fmt.Errorf("ort: %w: output %q has room for %d numbers, %d rows need %d", ErrArguments, r.out[i].port.Name, len(y), rows, need)
		}
	}
	return nil
}

// bind returns the binding of a number of rows. More rows than ever before
// take new memory, and all bindings are then of the past.
func (r *Runner) bind(rows int) (*binding, error) {
	if b := r.memory.bindings[rows]; b != nil {
		return b, nil
	}
	if rows > r.rows {
		r.memory.clear()
		r.memory.pinner.Unpin()
		for _, b := range slices.Concat(r.in, r.out) {
			b.grow(rows, &r.memory.pinner)
		}
		r.rows = rows
	}
	if len(r.memory.bindings) >= maxBindings {
		r.memory.clear()
	}
	b, err := r.newBinding(rows)
	if err != nil {
		return nil, fmt.Errorf("%w: bind %d rows: %w", ErrModel, rows, err)
	}
	r.memory.bindings[rows] = b
	return b, nil
}

func (r *Runner) newBinding(rows int) (b *binding, err error) {
	b = &binding{}
	defer func() {
		if err != nil {
			b.destroy()
		}
	}()
	if b.io, err = r.session.handle.session.CreateIoBinding(); err != nil {
		return nil, err
	}
	for i, in := range r.in {
		v, err := in.value(rows)
		if err != nil {
			return nil, err
		}
		b.values = append(b.values, v)
		if len(in.shape) == 0 {
			b.scalars = append(b.scalars, i)
			continue
		}
		if err := b.io.BindInput(in.port.Name, v); err != nil {
			return nil, err
		}
	}
	for _, out := range r.out {
		v, err := out.value(rows)
		if err != nil {
			return nil, err
		}
		b.values = append(b.values, v)
		if err := b.io.BindOutput(out.port.Name, v); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// refresh binds the inputs of which the library took a copy when they were
// bound: all of them on a GPU, and those without dimensions.
func (r *Runner) refresh(b *binding) error {
	for _, i := range b.scalars {
		v, err := r.in[i].value(1)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrModel, err)
		}
		_ = b.values[i].Destroy()
		b.values[i] = v
		if err := b.io.BindInput(r.in[i].port.Name, v); err != nil {
			return fmt.Errorf("%w: %w", ErrModel, err)
		}
	}
	if !r.session.gpu {
		return nil
	}
	for i, in := range r.in {
		if len(in.shape) == 0 {
			continue
		}
		if err := b.io.BindInput(in.port.Name, b.values[i]); err != nil {
			return fmt.Errorf("%w: %w", ErrModel, err)
		}
	}
	return nil
}

// read takes an output out of the library's memory.
func (r *Runner) read(b *binding, i int, y []float32) {
	if len(r.out[i].shape) == 0 {
		y[0] = scalarValue(b.values[len(r.in)+i])
		return
	}
	r.out[i].get(y)
}
