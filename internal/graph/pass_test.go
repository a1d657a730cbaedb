package graph

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each case is the text of a graph before and after one pass. Both compute
// the same on random rows, to within tol of the largest magnitude.
type passCase struct {
	name          string
	pass          func(g *Graph) (bool, error)
	before, after string
	tol           float64
}

func TestPasses(t *testing.T) {
	for _, group := range [][]passCase{constantCases, noOpCases, clampCases, biasCases, affineCases, scaleCases, normaliseCases, cleanupCases} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) { c.run(t) })
		}
	}
}

func (c *passCase) run(t *testing.T) {
	g := mustParse(t, c.before)
	want := mustParse(t, c.after).String()
	changed, err := c.pass(g)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Verify(); err != nil {
		t.Fatalf("the graph does not verify after the pass: %v\n%v", err, g)
	}
	if d := cmp.Diff(want, g.String()); d != "" {
		t.Errorf("graph after the pass (-want +got):\n%s", d)
	}
	if same := mustParse(t, c.before).String() == want; changed == same {
		t.Errorf("the pass reports changed=%v", changed)
	}
	sameResults(t, mustParse(t, c.before), g, 5, c.tol, rand.New(rand.NewPCG(1, 2)))
}

func mustParse(t *testing.T, text string) *Graph {
	t.Helper()
	g, err := Parse(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return g
}

// sameResults runs both graphs on the same random rows.
func sameResults(t *testing.T, a, b *Graph, rows int, tol float64, rng *rand.Rand) {
	t.Helper()
	var inputs []*Tensor
	for _, in := range a.Inputs {
		x := newTensor(in.DType, in.Shape.For(rows))
		for i := range x.Len() {
			x.set(i, 3*rng.NormFloat64())
		}
		inputs = append(inputs, x)
	}
	noise := Noise{Seed: rng.Uint64(), Step: rng.Uint64()}
	want, err := Evaluate(a, rows, inputs, noise)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Evaluate(b, rows, inputs, noise)
	if err != nil {
		t.Fatal(err)
	}
	for k := range want {
		scale := 0.0
		for i := range want[k].Len() {
			scale = max(scale, math.Abs(want[k].At(i)))
		}
		for i := range want[k].Len() {
			w, g := want[k].At(i), got[k].At(i)
			if w != g && !(math.Abs(w-g) <= tol*scale) && !(math.IsNaN(w) && math.IsNaN(g)) {
				t.Fatalf("output %q, element %d: %v became %v\n%v", a.Outputs[k].Name, i, w, g, b)
			}
		}
	}
}

var constantCases = []passCase{
	{"a weight computed of parameters", foldConstants, `graph "g"
%x = input "x" f32[B,2]
%v = const "v" f32[2,2] {3,4,6,8}
%g = const "g" f32[2,1] {5,20}
%two = const "" f32[] {2}
%sq = pow(%v,%two)
%sum = sum(%sq) axes=[1] keepdim=true
%norm = sqrt(%sum)
%ratio = div(%g,%norm)
%w = mul(%v,%ratio)
%y = linear(%x,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "" f32[2,2] {3,4,12,16}
%y = linear(%x,%w)
output "y" %y
`, 0},
	{"a cast weight keeps its name and its rounding", foldConstants, `graph "g"
%x = input "x" f32[B,2]
%v = const "fc.weight" f32[1,2] {0.1,0.2}
%h = cast(%v) dtype=bf16
%w = cast(%h) dtype=f32
%y = linear(%x,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "fc.weight" f32[1,2] {0.100097656,0.20019531}
%y = linear(%x,%w)
output "y" %y
`, 0},
	{"random draws stay", foldConstants, `graph "g"
%c = const "" f32[2] {0,0}
%y = normal(%c) stream=0
output "y" %y
`, `graph "g"
%c = const "" f32[2] {0,0}
%y = normal(%c) stream=0
output "y" %y
`, 0},
	{"what would grow much stays", foldConstants, `graph "g"
%c = const "" f32[1] {1}
%y = expand(%c) shape=[100,100]
output "y" %y
`, `graph "g"
%c = const "" f32[1] {1}
%y = expand(%c) shape=[100,100]
output "y" %y
`, 0},
}

var noOpCases = []passCase{
	{"reshapes", dropNoOps, `graph "g"
%x = input "x" f32[B,2,3]
%a = reshape(%x) shape=[2B,3]
%b = reshape(%a) shape=[B,6]
%c = reshape(%b) shape=[B,6]
%d = reshape(%c) shape=[B,2,3]
%y = relu(%c)
output "y" %y
output "z" %d
`, `graph "g"
%x = input "x" f32[B,2,3]
%b = reshape(%x) shape=[B,6]
%y = relu(%b)
output "y" %y
output "z" %x
`, 0},
	{"transposes", dropNoOps, `graph "g"
%x = input "x" f32[B,2,3]
%a = transpose(%x) perm=[1,0,2]
%b = transpose(%a) perm=[1,0,2]
%c = transpose(%a) perm=[2,1,0]
output "b" %b
output "c" %c
`, `graph "g"
%x = input "x" f32[B,2,3]
%c = transpose(%x) perm=[2,0,1]
output "b" %x
output "c" %c
`, 0},
	{"casts", dropNoOps, `graph "g"
%x = input "x" f32[B,2]
%same = cast(%x) dtype=f32
%wide = cast(%same) dtype=f64
%back = cast(%wide) dtype=f32
%half = cast(%back) dtype=f16
%rounded = cast(%half) dtype=f32
output "y" %back
output "z" %rounded
`, `graph "g"
%x = input "x" f32[B,2]
%half = cast(%x) dtype=f16
%rounded = cast(%half) dtype=f32
output "y" %x
output "z" %rounded
`, 0},
	{"expands before what broadcasts", dropNoOps, `graph "g"
%x = input "x" f32[B,3]
%c = const "" f32[3] {1,2,3}
%e = expand(%c) shape=[1,3]
%f = expand(%e) shape=[B,3]
%y = add(%x,%f)
%z = mul(%f,%f)
output "y" %y
output "z" %z
`, `graph "g"
%x = input "x" f32[B,3]
%c = const "" f32[3] {1,2,3}
%f = expand(%c) shape=[B,3]
%y = add(%x,%c)
%z = mul(%c,%f)
output "y" %y
output "z" %z
`, 0},
	{"casts that round stay", dropNoOps, `graph "g"
%x = input "x" f64[B,2]
%i = input "i" i64[B,2]
%a = cast(%x) dtype=f32
%b = cast(%a) dtype=f64
%c = cast(%i) dtype=f32
%d = cast(%c) dtype=i64
%e = cast(%i) dtype=u8
%f = cast(%e) dtype=i64
output "b" %b
output "d" %d
output "f" %f
`, `graph "g"
%x = input "x" f64[B,2]
%i = input "i" i64[B,2]
%a = cast(%x) dtype=f32
%b = cast(%a) dtype=f64
%c = cast(%i) dtype=f32
%d = cast(%c) dtype=i64
%e = cast(%i) dtype=u8
%f = cast(%e) dtype=i64
output "b" %b
output "d" %d
output "f" %f
`, 0},
	{"slices, concats and empty reductions", dropNoOps, `graph "g"
%x = input "x" f32[B,3]
%a = slice(%x) axis=0
%b = slice(%a) axis=1 start=0 end=3
%c = concat(%b) axis=1
%d = sum(%c) axes=[]
%e = slice(%d) axis=1 step=2
output "y" %e
`, `graph "g"
%x = input "x" f32[B,3]
%e = slice(%x) axis=1 step=2
output "y" %e
`, 0},
}

var clampCases = []passCase{
	{"what overlaps", mergeClamps, `graph "g"
%x = input "x" f32[B,3]
%a = relu(%x)
%b = clamp(%a) min=-1 max=5
%six = const "" f32[] {4}
%y = minimum(%six,%b)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,3]
%y = clamp(%x) min=0 max=4
output "y" %y
`, 0},
	{"what does not", mergeClamps, `graph "g"
%x = input "x" f32[B,3]
%a = clamp(%x) min=0 max=1
%y = clamp(%a) min=2 max=3
output "y" %y
`, `graph "g"
%x = input "x" f32[B,3]
%y = clamp(%x) min=2 max=2
output "y" %y
`, 0},
	{"a bound at zero and none", mergeClamps, `graph "g"
%x = input "x" f32[B,3]
%a = clamp(%x)
%zeros = const "" f32[3] {0,0,0}
%y = maximum(%a,%zeros)
%z = clamp(%y) min=0
output "y" %y
output "z" %z
`, `graph "g"
%x = input "x" f32[B,3]
%y = relu(%x)
%z = relu(%x)
output "y" %y
output "z" %z
`, 0},
	{"bounds that differ by feature stay", mergeClamps, `graph "g"
%x = input "x" f32[B,2]
%c = const "" f32[2] {0,1}
%y = maximum(%x,%c)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%c = const "" f32[2] {0,1}
%y = maximum(%x,%c)
output "y" %y
`, 0},
	{"the inner value is still needed", mergeClamps, `graph "g"
%x = input "x" f32[B,2]
%a = clamp(%x) min=-2 max=2
%y = clamp(%a) min=-1 max=1
output "a" %a
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%a = clamp(%x) min=-2 max=2
%y = clamp(%x) min=-1 max=1
output "a" %a
output "y" %y
`, 0},
}

var biasCases = []passCase{
	{"matmul and sum", fuseBias, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,3] {1,2,3,4,5,6}
%b = const "b" f32[1,3] {0.5,1,1.5}
%m = matmul(%x,%w)
%y = add(%b,%m)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[3,2] {1,4,2,5,3,6}
%b = const "b" f32[3] {0.5,1,1.5}
%y = linear(%x,%w,%b)
output "y" %y
`, 1e-7},
	{"one number for all outputs", fuseBias, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%b = const "" i64[] {3}
%m = linear(%x,%w)
%y = add(%m,%b)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%b = const "" f32[2] {3,3}
%y = linear(%x,%w,%b)
output "y" %y
`, 1e-7},
	{"half precision keeps both roundings", fuseBias, `graph "g"
%x = input "x" bf16[B,2]
%w = const "w" bf16[2,1] {1,2}
%b = const "b" bf16[1] {0.5}
%m = matmul(%x,%w)
%y = add(%m,%b)
output "y" %y
`, `graph "g"
%x = input "x" bf16[B,2]
%w = const "w" bf16[1,2] {1,2}
%m = linear(%x,%w)
%b = const "b" bf16[1] {0.5}
%y = add(%m,%b)
output "y" %y
`, 0},
	{"a sum that someone else needs", fuseBias, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%b = const "b" f32[1] {0.5}
%m = linear(%x,%w)
%y = add(%m,%b)
output "m" %m
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%m = linear(%x,%w)
%b = const "b" f32[1] {0.5}
%y = add(%m,%b)
output "m" %m
output "y" %y
`, 0},
	{"a sum that stretches the result", fuseBias, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%b = const "b" f32[3] {1,2,3}
%m = linear(%x,%w)
%y = add(%m,%b)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%m = linear(%x,%w)
%b = const "b" f32[3] {1,2,3}
%y = add(%m,%b)
output "y" %y
`, 0},
}

var affineCases = []passCase{
	{"normalisation", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%mean = const "mean" f32[2] {1,-2}
%std = const "std" f32[1,2] {2,0.5}
%a = sub(%x,%mean)
%y = div(%a,%std)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%s = const "" f32[2] {0.5,2}
%a = mul(%x,%s)
%t = const "" f32[2] {-0.5,4}
%y = add(%a,%t)
output "y" %y
`, 1e-6},
	{"a mean far from zero stays before the product", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%mean = const "mean" f32[2] {1000,0}
%std = const "std" f32[2] {0.5,1}
%low = const "" f32[] {0.25}
%a = sub(%x,%mean)
%b = div(%a,%std)
%y = add(%b,%low)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%mean = const "" f32[2] {-1000,0}
%a = add(%x,%mean)
%s = const "" f32[2] {2,1}
%b = mul(%a,%s)
%t = const "" f32[2] {0.25,0.25}
%y = add(%b,%t)
output "y" %y
`, 1e-6},
	{"the range of an action", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%a = tanh(%x)
%one = const "" i64[] {1}
%half = const "" f64[] {0.5}
%width = const "" f32[2] {2000,4}
%low = const "" f32[2] {-1000,0}
%b = add(%a,%one)
%c = mul(%half,%b)
%d = mul(%c,%width)
%y = add(%low,%d)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%a = tanh(%x)
%s = const "" f32[2] {1000,2}
%b = mul(%a,%s)
%t = const "" f32[2] {0,2}
%y = add(%b,%t)
output "y" %y
`, 1e-6},
	{"what changes nothing", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%one = const "" f32[] {1}
%zero = const "" f32[2] {0,0}
%a = mul(%x,%one)
%b = sub(%a,%zero)
%c = neg(%b)
%d = neg(%c)
%y = div(%d,%one)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
output "y" %x
`, 0},
	{"a number less the value", fuseAffine, `graph "g"
%x = input "x" f32[B]
%one = const "" f32[] {1}
%y = sub(%one,%x)
output "y" %y
`, `graph "g"
%x = input "x" f32[B]
%s = const "" f32[] {-1}
%a = mul(%x,%s)
%one = const "" f32[] {1}
%y = add(%a,%one)
output "y" %y
`, 1e-6},
	{"a number by the value, and integers that become floating point, stay", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%i = input "i" i64[B,2]
%c = const "" f32[] {2}
%y = div(%c,%x)
%a = sub(%i,%c)
output "y" %y
output "a" %a
`, `graph "g"
%x = input "x" f32[B,2]
%i = input "i" i64[B,2]
%c = const "" f32[] {2}
%y = div(%c,%x)
%a = sub(%i,%c)
output "y" %y
output "a" %a
`, 0},
	{"a step that someone else needs stays", fuseAffine, `graph "g"
%x = input "x" f32[B,2]
%c = const "" f32[2] {2,4}
%a = mul(%x,%c)
%b = mul(%a,%c)
%d = add(%a,%c)
output "b" %b
output "d" %d
`, `graph "g"
%x = input "x" f32[B,2]
%c = const "" f32[2] {2,4}
%a = mul(%x,%c)
%b = mul(%a,%c)
%d = add(%a,%c)
output "b" %b
output "d" %d
`, 0},
	{"half precision, integers, division by zero and stretching stay", fuseAffine, `graph "g"
%x = input "x" bf16[B,1]
%i = input "i" i64[B,1]
%f = input "f" f32[B,1]
%three = const "" bf16[] {3}
%a = mul(%x,%three)
%b = div(%a,%three)
%two = const "" i64[] {2}
%c = mul(%i,%two)
%d = mul(%c,%two)
%zero = const "" f32[] {0}
%e = div(%f,%zero)
%wide = const "" f32[2] {1,2}
%h = add(%f,%wide)
output "b" %b
output "d" %d
output "e" %e
output "h" %h
`, `graph "g"
%x = input "x" bf16[B,1]
%i = input "i" i64[B,1]
%f = input "f" f32[B,1]
%three = const "" bf16[] {3}
%a = mul(%x,%three)
%b = div(%a,%three)
%two = const "" i64[] {2}
%c = mul(%i,%two)
%d = mul(%c,%two)
%zero = const "" f32[] {0}
%e = div(%f,%zero)
%wide = const "" f32[2] {1,2}
%h = add(%f,%wide)
output "b" %b
output "d" %d
output "e" %e
output "h" %h
`, 0},
}

var scaleCases = []passCase{
	{"scale and shift behind linear", foldScale, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%b = const "b" f32[2] {1,-1}
%y = linear(%x,%w,%b)
%s = const "" f32[2] {2,0.5}
%t = const "" f32[] {1}
%p = mul(%y,%s)
%q = sub(%p,%t)
output "q" %q
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {2,4,1.5,2}
%b = const "b" f32[2] {1,-1.5}
%q = linear(%x,%w,%b)
output "q" %q
`, 1e-6},
	{"a product needs no bias", foldScale, `graph "g"
%x = input "x" f64[B,2]
%w = const "w" f64[1,2] {1,2}
%y = linear(%x,%w)
%q = neg(%y)
output "q" %q
`, `graph "g"
%x = input "x" f64[B,2]
%w = const "w" f64[1,2] {-1,-2}
%q = linear(%x,%w)
output "q" %q
`, 0},
	{"a result that someone else needs stays", foldScale, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%y = linear(%x,%w)
%s = const "" f32[] {3}
%q = mul(%y,%s)
output "q" %q
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%y = linear(%x,%w)
%s = const "" f32[] {3}
%q = mul(%y,%s)
output "q" %q
output "y" %y
`, 0},
	{"what would overflow stays", foldScale, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1e+30,2}
%y = linear(%x,%w)
%s = const "" f32[] {1e+20}
%q = mul(%y,%s)
output "q" %q
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1e+30,2}
%y = linear(%x,%w)
%s = const "" f32[] {1e+20}
%q = mul(%y,%s)
output "q" %q
`, 0},
}

var normaliseCases = []passCase{
	{"into both heads", foldNormalise, `graph "g"
%x = input "x" f32[B,2]
%mean = const "mean" f32[2] {1,-2}
%std = const "std" f32[2] {2,0.5}
%a = sub(%x,%mean)
%z = div(%a,%std)
%w = const "pi" f32[1,2] {4,8}
%b = const "pi.b" f32[1] {1}
%v = const "vf" f32[2,2] {2,0,0,1}
%p = linear(%z,%w,%b)
%q = linear(%z,%v)
output "p" %p
output "q" %q
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "pi" f32[1,2] {2,16}
%b = const "pi.b" f32[1] {31}
%p = linear(%x,%w,%b)
%v = const "vf" f32[2,2] {1,0,0,2}
%c = const "" f32[2] {-1,4}
%q = linear(%x,%v,%c)
output "p" %p
output "q" %q
`, 1e-6},
	{"through double precision", foldNormalise, `graph "g"
%x = input "x" f32[B,2]
%d = cast(%x) dtype=f64
%mean = const "mean" f64[2] {1,-2}
%a = sub(%d,%mean)
%s = cast(%a) dtype=f32
%w = const "w" f32[1,2] {1,1}
%y = linear(%s,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,1}
%b = const "" f32[1] {1}
%y = linear(%x,%w,%b)
output "y" %y
`, 1e-6},
	{"a mean far from zero stays", foldNormalise, `graph "g"
%x = input "x" f32[B,1]
%mean = const "mean" f32[1] {1000}
%a = sub(%x,%mean)
%w = const "w" f32[1,1] {1}
%y = linear(%a,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,1]
%mean = const "mean" f32[1] {1000}
%a = sub(%x,%mean)
%w = const "w" f32[1,1] {1}
%y = linear(%a,%w)
output "y" %y
`, 0},
	{"a rounding to integers or half precision stays", foldNormalise, `graph "g"
%x = input "x" f32[B,2]
%i = cast(%x) dtype=i64
%f = cast(%i) dtype=f32
%w = const "w" f32[1,2] {1,1}
%y = linear(%f,%w)
%h = cast(%x) dtype=f16
%g = cast(%h) dtype=f32
%z = linear(%g,%w)
output "y" %y
output "z" %z
`, `graph "g"
%x = input "x" f32[B,2]
%i = cast(%x) dtype=i64
%f = cast(%i) dtype=f32
%w = const "w" f32[1,2] {1,1}
%y = linear(%f,%w)
%h = cast(%x) dtype=f16
%g = cast(%h) dtype=f32
%z = linear(%g,%w)
output "y" %y
output "z" %z
`, 0},
	{"a clip stays", foldNormalise, `graph "g"
%x = input "x" f32[B,1]
%s = const "" f32[1] {2}
%a = mul(%x,%s)
%c = clamp(%a) min=-5 max=5
%w = const "w" f32[1,1] {1}
%y = linear(%c,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,1]
%s = const "" f32[1] {2}
%a = mul(%x,%s)
%c = clamp(%a) min=-5 max=5
%w = const "w" f32[1,1] {1}
%y = linear(%c,%w)
output "y" %y
`, 0},
	{"half precision stays", foldNormalise, `graph "g"
%x = input "x" f32[B,1]
%s = const "" f32[1] {2}
%a = mul(%x,%s)
%h = cast(%a) dtype=bf16
%w = const "w" bf16[1,1] {1}
%y = linear(%h,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,1]
%s = const "" f32[1] {2}
%a = mul(%x,%s)
%h = cast(%a) dtype=bf16
%w = const "w" bf16[1,1] {1}
%y = linear(%h,%w)
output "y" %y
`, 0},
}

var cleanupCases = []passCase{
	{"what two heads share", shareCommon, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%w2 = const "copy" f32[2,2] {1,2,3,4}
%a = linear(%x,%w)
%b = linear(%x,%w2)
%c = tanh(%a)
%d = tanh(%b)
%e = elu(%b)
%f = elu(%a) alpha=2
%n = normal(%a) stream=0
%m = normal(%b) stream=1
output "c" %c
output "d" %d
output "e" %e
output "f" %f
output "n" %n
output "m" %m
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%a = linear(%x,%w)
%c = tanh(%a)
%e = elu(%a)
%f = elu(%a) alpha=2
%n = normal(%a) stream=0
%m = normal(%a) stream=1
output "c" %c
output "d" %c
output "e" %e
output "f" %f
output "n" %n
output "m" %m
`, 0},
	{"what no output needs", removeDead, `graph "g"
%x = input "x" f32[B,2]
%u = input "unused" f32[B,2]
%a = tanh(%x)
%b = add(%a,%u)
%c = exp(%b)
%y = relu(%x)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%u = input "unused" f32[B,2]
%y = relu(%x)
output "y" %y
`, 0},
}
