package kernel

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// benchmarked is a kernel with operands of a size that policies have.
type benchmarked struct {
	kernel, name string
	elements     int // what is told in ns of
	run          func(k Impl)
	goOnly       bool // there is no other implementation than Go
}

// unaryOfVectors are the functions that plans use most; BenchmarkUnary has all
// that have a vector kernel.
var unaryOfVectors = []UnaryOp{Relu, Tanh, Sigmoid, Exp, Gelu, Elu, Softplus, Log, Sqrt, Erf, Sin}

// everyKernel makes one of each.
func everyKernel() []benchmarked {
	r := rand.New(rand.NewPCG(1, 1))
	fill := func(n int) []float32 { return random(r, aligned(n)) }
	const n = 1024
	x, z, y, cond := fill(n), fill(n), aligned(n), fill(n)
	positive := fill(n)
	index := make([]float32, n)
	for i := range n {
		positive[i] = 0.5 + positive[i]*positive[i]
		index[i] = float32(r.IntN(16))
	}
	list := []benchmarked{}
	add := func(kernel, name string, elements int, run func(k Impl)) {
		list = append(list, benchmarked{kernel: kernel, name: name, elements: elements, run: run})
	}
	only := func(kernel, name string, elements int, run func()) {
		list = append(list, benchmarked{kernel: kernel, name: name, elements: elements, run: func(Impl) { run() }, goOnly: true})
	}

	for _, op := range unaryOfVectors {
		add("Apply", Unary{Op: op}.String(), n, func(k Impl) { k.Apply(Unary{Op: op}, y, positive) })
	}
	for _, op := range []BinaryOp{Add, Mul, Div, Pow, Atan2, Remainder, Maximum, Lt} {
		add("Binary", op.String(), n, func(k Impl) { k.Binary(op, y, positive, z) })
	}
	add("Columns", "Add", n, func(k Impl) { k.Columns(Add, y, x, z[:32], 32, false) })
	add("Amax", "16x64", n, func(k Impl) { k.Amax(y[:16], x, 64) })
	add("Amin", "16x64", n, func(k Impl) { k.Amin(y[:16], x, 64) })
	add("Argmax", "16x64", n, func(k Impl) { k.Argmax(y[:16], x, 64) })
	add("Sum", "16x64", n, func(k Impl) { k.Sum(y[:16], x, 64, 64) })
	add("Softmax", "16x64", n, func(k Impl) { k.Softmax(y, x, 64, false) })
	add("Softmax", "log/16x64", n, func(k Impl) { k.Softmax(y, x, 64, true) })

	for _, s := range [][3]int{{64, 64, 1}, {256, 256, 1}, {256, 256, 32}} {
		l := newLayer(r, s[0], s[1])
		in, out := fill(s[1]*s[2]), aligned(s[0]*s[2])
		name := strings.Join([]string{itoa(s[0]), itoa(s[1]), itoa(s[2])}, "x")
		add("Linear", name, s[0]*s[1]*s[2], func(k Impl) { k.Linear(out, s[0], in, s[1], s[2], l.m, Unary{Op: Relu}) })
		for kind, narrow := range map[string]*Narrow{"bf16": newBF16(r, s[0], s[1]).n, "int8": newInt8(r, s[0], s[1]).n} {
			scratch := aligned(narrow.Scratch())
			add("LinearNarrow", kind+"/"+name, s[0]*s[1]*s[2], func(k Impl) {
				k.LinearNarrow(out, s[0], in, s[1], s[2], narrow, Unary{Op: Relu}, scratch)
			})
		}
	}
	c := newChain(r, []Unary{{Op: Relu}}, 5, 64, 64, 3)
	room := aligned(c.Room())
	add("Chain", "5-64-64-3", 5*64+64*64+64*3, func(k Impl) { k.Chain(y[:3], x[:5], c, room) })
	product := aligned(MatMulScratch(64))
	add("MatMul", "16x64x16", 16*64*16, func(k Impl) { k.MatMul(y[:256], x, z, 16, 64, 16, product) })

	shape := ConvShape{Groups: 1, Channels: 16, Outputs: 16, In: [3]int{1, 16, 16}, Out: [3]int{1, 14, 14}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1}, Dilation: [3]int{1, 1, 1}}
	weights, bias := fill(16*16*9), fill(16)
	in, out := fill(16*256), aligned(16*196)
	packed := PackConv(weights, bias, &shape, false)
	scratch := aligned(packed.Scratch())
	terms := 16 * 196 * 16 * 9
	add("Convolve", "16x3x3", terms, func(k Impl) { k.Convolve(out, in, 1, packed, Unary{Op: Relu}, scratch) })
	only("Conv", "16x3x3", terms, func() { Conv(out, in, weights, bias, 1, &shape) })
	back := shape
	back.In, back.Out = shape.Out, shape.In
	only("ConvTranspose", "16x3x3", terms, func() { ConvTranspose(in, out, weights, bias, 1, &back) })

	ints := fill(n)
	key := [2]uint32{1, 2}
	only("Where", "1024", n, func() { Where(y, cond, x, z) })
	only("WrapInt", "1024", n, func() { WrapInt(ints, 32, true) })
	only("Take", "64x16", n, func() { Take(y, x, index[:64], 1, 64, 16, 0) })
	only("Gather", "16x64", n, func() { Gather(y, x, index, 64, 64, 0) })
	only("Argsort", "16x64", n, func() { Argsort(y, x, 64, true) })
	only("ArgsortFirst", "16x64", n, func() { ArgsortFirst(y, x, 64, 4, true) })
	only("Prod", "16x64", n, func() { Prod(y[:16], x, 64) })
	only("Cumulate", "16x64", n, func() { Cumulate(y, x, 64, false) })
	only("Move", "32x32", n, func() { Move(y, x, []Axis{{32, 1, 32}, {32, 32, 1}}) })
	only("Normal", "1024", n, func() { Normal(y, key, 1, 1) })
	only("Beta", "64", 64, func() { Beta(y[:64], positive[:64], positive[64:128], key, 1, 1) })
	return list
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// BenchmarkKernels runs every kernel by every set of instructions that this CPU
// has: name/operands/set.
func BenchmarkKernels(b *testing.B) {
	for _, f := range everyKernel() {
		impls := Impls()
		if f.goOnly {
			impls = impls[:1]
		}
		for _, k := range impls {
			if f.kernel == "Chain" && !k.Chains() {
				continue // Linear, layer after layer, does the same
			}
			b.Run(f.kernel+"/"+f.name+"/"+k.String(), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					f.run(k)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(f.elements), "ns/element")
			})
		}
	}
}

// TestKernelsAllocateNothing holds every kernel to that, by every set of
// instructions.
func TestKernelsAllocateNothing(t *testing.T) {
	for _, f := range everyKernel() {
		for _, k := range Impls() {
			if f.kernel == "Chain" && !k.Chains() {
				continue
			}
			if n := testing.AllocsPerRun(3, func() { f.run(k) }); n != 0 {
				t.Errorf("%s of %s by %v allocates %v times", f.kernel, f.name, k, n)
			}
		}
	}
}

// TestEveryKernelHasABenchmark holds the list above to what the package
// exports: a function, or a method of Impl, that is given numbers.
func TestEveryKernelHasABenchmark(t *testing.T) {
	have := map[string]bool{}
	for _, f := range everyKernel() {
		have[f.kernel] = true
	}
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || strings.HasPrefix(f.Name.Name, "Pack") || !given(f.Type) {
				continue
			}
			if f.Recv != nil {
				if id, ok := f.Recv.List[0].Type.(*ast.Ident); !ok || id.Name != "Impl" {
					continue
				}
			}
			seen++
			if !have[f.Name.Name] {
				t.Errorf("%s: %s has no benchmark: add it to everyKernel", name, f.Name.Name)
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d kernels were seen", seen)
	}
}

// given reports whether a function has a slice of numbers among its arguments.
func given(f *ast.FuncType) bool {
	for _, p := range f.Params.List {
		if s, ok := p.Type.(*ast.ArrayType); ok && s.Len == nil {
			if id, ok := s.Elt.(*ast.Ident); ok && id.Name == "float32" {
				return true
			}
		}
	}
	return false
}
