package plan

import (
	"cmp"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// Memory hands out memory of another kind than the heap's, such as memory that
// is locked. It must be safe for use by many goroutines.
type Memory interface {
	// Alloc returns that many bytes, all zero, which begin at a cache line, and
	// what gives them back. It returns nil where it has none to give: what was
	// to lie there then stays in the heap.
	Alloc(bytes int) (data []byte, free func())
}

// held is memory of a plan or a runner, which is given back with it. A runner
// puts another in its place when it grows.
type held struct {
	mu    sync.Mutex // guards frees
	frees map[string]func()
}

// keep takes over what gives memory back, for what was of that name before.
func (h *held) keep(name string, free func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.frees[name]; old != nil {
		old()
	}
	if h.frees == nil {
		h.frees = map[string]func(){}
	}
	h.frees[name] = free
}

func (h *held) free() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.frees {
		if f != nil {
			f()
		}
	}
	h.frees = nil
}

// move puts the constants of the plan and of those inside it into m, which gets
// them back when nobody has the plan any more: the collector finds that out.
func (p *Plan) move(m Memory) {
	p.memory = m
	p.inside(func(sub *Plan) { sub.memory = m })
	c := constants{seen: map[unsafe.Pointer]bool{}}
	c.find(reflect.ValueOf(p).Elem())
	size := c.place()
	if size == 0 {
		return
	}
	data, free := m.Alloc(size)
	if data == nil {
		return
	}
	c.copyTo(data)
	h := &held{}
	h.keep("constants", free)
	runtime.AddCleanup(p, (*held).free, h)
}

// inside calls f for each plan that a step runs.
func (p *Plan) inside(f func(*Plan)) {
	for i := range p.steps {
		if c := p.steps[i].control; c != nil {
			for _, sub := range c.plans {
				f(sub)
				sub.inside(f)
			}
		}
	}
}

// floats returns n zeros for a runner, under a name that says what they are.
func (r *Runner) floats(name string, n int) []float32 {
	if r.plan.memory == nil || n == 0 {
		return kernel.Aligned(n)
	}
	data, free := r.plan.memory.Alloc(4 * n)
	if r.held == nil {
		r.held = &held{}
		runtime.AddCleanup(r, (*held).free, r.held)
	}
	r.held.keep(name, free)
	if data == nil {
		return kernel.Aligned(n)
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(data))), n)
}

// constants are the numbers that a plan reads, wherever the forms in which
// kernels want them keep them: every slice of numbers that can be reached from
// the plan, and every pointer into one, as chains have them. Numbers of type int
// are sizes and places, and stay.
type constants struct {
	slices   []numbers
	pointers []reflect.Value
	ranges   []stretch
	seen     map[unsafe.Pointer]bool
}

// numbers is one slice: where its header is and what it shows.
type numbers struct {
	header reflect.Value
	at     uintptr
	bytes  int
}

// stretch is memory that slices share, and its place in the new.
type stretch struct {
	from, to uintptr
	data     unsafe.Pointer // at from
	place    int
}

// isNumber tells whether weights may be of a kind.
func isNumber(k reflect.Kind) bool {
	switch k {
	case reflect.Float32, reflect.Float64, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return true
	default:
		return false
	}
}

// find collects the slices and pointers below v, which is addressable.
func (c *constants) find(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if isNumber(v.Type().Elem().Kind()) {
			if !v.IsNil() {
				c.pointers = append(c.pointers, v)
			}
			return
		}
		if p := v.UnsafePointer(); p != nil && !c.seen[p] {
			c.seen[p] = true
			c.find(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			c.find(field)
		}
	case reflect.Array:
		for i := range v.Len() {
			c.find(v.Index(i))
		}
	case reflect.Slice:
		if !isNumber(v.Type().Elem().Kind()) {
			for i := range v.Len() {
				c.find(v.Index(i))
			}
			return
		}
		if n := v.Len() * int(v.Type().Elem().Size()); n > 0 {
			c.slices = append(c.slices, numbers{v, uintptr(v.UnsafePointer()), n})
		}
	}
}

// place gives each range of memory a place that begins at a cache line, and
// returns the size of all.
func (c *constants) place() int {
	slices.SortFunc(c.slices, func(a, b numbers) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.bytes, a.bytes)) })
	size := 0
	for _, s := range c.slices {
		if k := len(c.ranges) - 1; k >= 0 && s.at < c.ranges[k].to {
			c.ranges[k].to = max(c.ranges[k].to, s.at+uintptr(s.bytes))
			continue
		}
		c.ranges = append(c.ranges, stretch{from: s.at, to: s.at + uintptr(s.bytes), data: s.header.UnsafePointer()})
	}
	for i := range c.ranges {
		r := &c.ranges[i]
		r.place = size
		size += roundUp(int(r.to-r.from+3)/4) * 4
	}
	return size
}

// copyTo copies the ranges and turns the slices and pointers to the copies.
func (c *constants) copyTo(data []byte) {
	for _, r := range c.ranges {
		copy(data[r.place:], unsafe.Slice((*byte)(r.data), int(r.to-r.from)))
	}
	k := 0
	for _, s := range c.slices {
		for s.at >= c.ranges[k].to {
			k++
		}
		at := unsafe.Pointer(&data[c.ranges[k].place+int(s.at-c.ranges[k].from)])
		n := s.header.Len()
		moved := reflect.SliceAt(s.header.Type().Elem(), at, n)
		field(s.header).Set(moved.Convert(s.header.Type()))
	}
	for _, p := range c.pointers {
		from := uintptr(p.UnsafePointer())
		k, in := slices.BinarySearchFunc(c.ranges, from, func(r stretch, at uintptr) int {
			if at >= r.from && at < r.to {
				return 0
			}
			return cmp.Compare(r.from, at)
		})
		if in {
			at := unsafe.Pointer(&data[c.ranges[k].place+int(from-c.ranges[k].from)])
			field(p).Set(reflect.NewAt(p.Type().Elem(), at))
		}
	}
}

// field makes v settable, which may be a field that is not exported, of a
// package that we know.
func field(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
}
