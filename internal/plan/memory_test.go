package plan

import (
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// counted is memory that knows what it has handed out.
type counted struct {
	mu     sync.Mutex
	out    map[*byte][]byte
	asked  int
	refuse bool
}

func (c *counted) Alloc(bytes int) ([]byte, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.refuse {
		return nil, nil
	}
	floats := kernel.Aligned((bytes + 3) / 4)
	data := unsafe.Slice((*byte)(unsafe.Pointer(&floats[0])), bytes)
	if c.out == nil {
		c.out = map[*byte][]byte{}
	}
	c.out[&data[0]] = data
	return data, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.out[&data[0]] == nil {
			panic("given back twice")
		}
		delete(c.out, &data[0])
	}
}

// holds tells whether the bytes lie in what is handed out.
func (c *counted) holds(at uintptr, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.out {
		if from := uintptr(unsafe.Pointer(&d[0])); at >= from && at+uintptr(n) <= from+uintptr(len(d)) {
			return true
		}
	}
	return false
}

func (c *counted) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out)
}

// movedGraph has layers in several forms, and a constant beside them.
func movedGraph(t *testing.T) *graph.Graph {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	draw := func(shape ...int) *graph.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(random.NormFloat64())
		}
		return &graph.Tensor{DType: graph.Float32, Shape: shape, F32: data}
	}
	g := graph.New("moved")
	add := func(op graph.Op, a graph.Attrs, in ...*graph.Value) *graph.Value {
		v, err := g.Add(op, a, in...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	image := g.Input("image", graph.Float32, graph.Shape{graph.Batch, 3, 20, 20})
	c := add(graph.OpConv, graph.Attrs{"stride": []int{2, 2}}, image, g.Constant("cw", draw(32, 3, 4, 4)), g.Constant("cb", draw(32)))
	c = add(graph.OpRelu, nil, c)
	x := add(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, 32 * 9 * 9}}, c)
	x = add(graph.OpLinear, nil, x, g.Constant("w", draw(130, 32*9*9)), g.Constant("b", draw(130)))
	x = add(graph.OpTanh, nil, x)
	x = add(graph.OpLinear, nil, x, g.Constant("v", draw(3, 130)))
	x = add(graph.OpMul, nil, x, g.Constant("s", draw(3)))
	g.Output("y", x)
	return g
}

func moved(t *testing.T, m Memory) *Plan {
	t.Helper()
	p, err := Compile(movedGraph(t), Options{Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func runMoved(t *testing.T, r *Runner, rows int) []float32 {
	t.Helper()
	random := rand.New(rand.NewPCG(2, 2))
	in := make([]float32, rows*3*20*20)
	for i := range in {
		in[i] = float32(random.NormFloat64())
	}
	out := make([]float32, rows*3)
	if err := r.Run(rows, [][]float32{in}, [][]float32{out}, Noise{}); err != nil {
		t.Fatal(err)
	}
	return out
}

// Constants that were moved are all there, and give the same bits.
func TestMovedConstants(t *testing.T) {
	m := &counted{}
	p, heap := moved(t, m), moved(t, nil)
	r, twin := p.NewRunner(), heap.NewRunner()
	for _, rows := range []int{1, 5, 200, 2} {
		got, want := runMoved(t, r, rows), runMoved(t, twin, rows)
		if !slices.EqualFunc(got, want, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
			t.Errorf("%d rows: %v, want %v", rows, got, want)
		}
	}
	c := constants{seen: map[unsafe.Pointer]bool{}}
	c.find(reflect.ValueOf(p).Elem())
	bytes := 0
	for _, s := range c.slices {
		bytes += s.bytes
		if !m.holds(s.at, s.bytes) {
			t.Errorf("%d bytes of %v lie elsewhere", s.bytes, s.header.Type())
		}
	}
	for _, s := range c.pointers {
		if !m.holds(uintptr(s.UnsafePointer()), 4) {
			t.Errorf("a %v points elsewhere", s.Type())
		}
	}
	if kernel.Best().Chains() && len(c.pointers) == 0 {
		t.Error("no chain points to its weights")
	}
	if bytes < p.ConstantBytes() {
		t.Errorf("%d bytes were found, the plan counts %d", bytes, p.ConstantBytes())
	}
	for _, s := range []struct {
		name string
		data []float32
	}{{"arena", r.arena}, {"fixed", r.fixed}, {"scratch", r.scratch}} {
		if len(s.data) > 0 && !m.holds(uintptr(unsafe.Pointer(&s.data[0])), 4*len(s.data)) {
			t.Errorf("the %s lies elsewhere", s.name)
		}
	}
}

// Memory that is not given leaves all in the heap.
func TestMovedConstantsRefused(t *testing.T) {
	m := &counted{refuse: true}
	p, heap := moved(t, m), moved(t, nil)
	if got, want := runMoved(t, p.NewRunner(), 7), runMoved(t, heap.NewRunner(), 7); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if m.asked < 2 {
		t.Errorf("memory was asked for %d times", m.asked)
	}
}

// What nobody has any more is given back: that of a runner with it, that of a
// plan with the last of its runners.
func TestMovedConstantsAreGivenBack(t *testing.T) {
	m := &counted{}
	p := moved(t, m)
	if got := m.left(); got != 1 {
		t.Fatalf("%d pieces of memory for the constants", got)
	}
	r := p.NewRunner()
	runMoved(t, r, 1)
	runMoved(t, r, 50) // The arena grows, and the smaller one is given back.
	with := m.left()
	runtime.KeepAlive(r)
	if with < 2 {
		t.Fatalf("%d pieces of memory with a runner", with)
	}
	runtime.KeepAlive(p)
	for begun := time.Now(); m.left() > 0; {
		runtime.GC()
		if time.Since(begun) > time.Minute {
			t.Fatalf("%d pieces of memory are left", m.left())
		}
	}
}
