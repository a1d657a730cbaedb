package graph_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

func TestTextReadsBack(t *testing.T) {
	f := func(text string) {
		t.Helper()
		if d := cmp.Diff(text, parse(t, text).String()); d != "" {
			t.Errorf("(-text +read and printed)\n%s", d)
		}
	}
	f(demo)
	f("graph \"\"\n")
	f(`graph "quotes \" and \\ and \n and ü"
%0 = input "x" f64[3B,2]
%1 = input "a # b" bool[]
%2 = const "odd" f32[5] {nan,inf,-inf,-0,1e-45}
%3 = neg(%2) f32[5]
%4 = const "empty" u8[0,3] {}
%5 = concat(%4) axis=0 u8[0,3]
%6 = const "flags" bool[2] {true,false}
%7 = not(%6) bool[2]
%8 = const "wide" f64[1] {0.1}
%9 = sum(%8) axes=[0] keepdim=true f64[1]
%10 = const "ints" i64[2] {-9223372036854775808,9223372036854775807}
%11 = cast(%10) dtype=i8 i8[2]
%12 = transpose(%0) perm=[1,0] f64[2,3B]
%13 = gelu(%12) approximate="tanh" f64[2,3B]
output "a" %1
output "b" %13
output "c" %2
`)
}

func TestParseIsLenient(t *testing.T) {
	g := parse(t, `
# A comment before all.
graph "g"   # and one behind

   %in.1 = input "x" f32[B, 2]
%c = const "c" f32[ 2 ] { 1 , 2.5 } # data
	%sum_2 = add( %in.1 , %c ) # no type
output "y" %sum_2
`)
	want := `graph "g"
%0 = input "x" f32[B,2]
%1 = const "c" f32[2] {1,2.5}
%2 = add(%0,%1) f32[B,2]
output "y" %2
`
	if d := cmp.Diff(want, g.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestParseRefuses(t *testing.T) {
	f := func(line string, kind error, words string) {
		t.Helper()
		text := "graph \"g\"\n%x = input \"x\" f32[B,2]\n" + line + "\n"
		_, err := graph.Parse(text)
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: got %v, want %v with %q", line, err, kind, words)
		}
		if err != nil && errors.Is(kind, graph.ErrSyntax) && !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%q: %v does not name the line", line, err)
		}
	}
	f(`nonsense`, graph.ErrSyntax, "no %name")
	f(`%x = relu(%x)`, graph.ErrSyntax, "defined twice")
	f(`%y = relu(%z)`, graph.ErrSyntax, "%z is not defined")
	f(`%y relu(%x)`, graph.ErrSyntax, "equals")
	f(`%y = relu %x`, graph.ErrSyntax, "parentheses")
	f(`%y = add(%x %x)`, graph.ErrSyntax, "comma")
	f(`%y = relu(%x`, graph.ErrSyntax, "comma")
	f(`%y = foo(%x)`, graph.ErrUnsupportedOp, "foo")
	f(`%y = relu(%x) alpha=1`, graph.ErrSyntax, "alpha")
	f(`%y = elu(%x) alpha=1 alpha=2`, graph.ErrSyntax, "twice")
	f(`%y = elu(%x) alpha=x`, graph.ErrSyntax, "alpha")
	f(`%y = relu(%x) f32[B,3]`, graph.ErrSyntax, "the result is f32[B,2], not f32[B,3]")
	f(`%y = relu(%x) f32[B,2] more`, graph.ErrSyntax, "left over")
	f(`%y,%z = relu(%x)`, graph.ErrSyntax, "2 names for 1 results")
	f(`%y = cast(%x) dtype=f8`, graph.ErrSyntax, "f8")
	f(`%y = sum(%x) axes=[a]`, graph.ErrSyntax, "integers")
	f(`%y = sum(%x) axes=1`, graph.ErrSyntax, "'['")
	f(`%y = sum(%x) axes=[1`, graph.ErrSyntax, "no ']'")
	f(`%y = gelu(%x) approximate=none`, graph.ErrSyntax, "quoted")
	f(`%y = input y f32[B]`, graph.ErrSyntax, "quoted")
	f(`%y = input "y" q32[B]`, graph.ErrSyntax, "q32")
	f(`%y = input "y" f32[B`, graph.ErrSyntax, "no ']'")
	f(`%y = input "y" f32[0B]`, graph.ErrSyntax, "0B")
	f(`%y = input "y" f32[-1]`, graph.ErrSyntax, "-1")
	f(`%y = const "c" f32[2] {1}`, graph.ErrSyntax, "1 elements")
	f(`%y = const "c" f32[B] {1}`, graph.ErrSyntax, "elements")
	f(`%y = const "c" f32[1] {x}`, graph.ErrSyntax, "element 0")
	f(`%y = const "c" f32[1] {1e99}`, graph.ErrSyntax, "element 0")
	f(`%y = const "c" bf16[1] {0.1}`, graph.ErrSyntax, "0.1 is no bf16")
	f(`%y = const "c" u8[1] {256}`, graph.ErrSyntax, "256 is no u8")
	f(`%y = const "c" bool[1] {2}`, graph.ErrSyntax, "element 0")
	f(`%y = const "c" f32[99999999,99999999] {}`, graph.ErrLimit, "")
	f(`%y = const "c" f32[20] sha256:0011223344556677`, graph.ErrSyntax, "not in the text")
	f(`output "y" %y`, graph.ErrSyntax, "%y is not defined")
	f(`output y %x`, graph.ErrSyntax, "quoted")
	f("output \"y\" %x\noutput \"y\" %x", graph.ErrInvalid, `"y"`)
	f(`%y = input "x" f32[B]`, graph.ErrInvalid, `"x"`)

	for _, text := range []string{"", "# only a comment", "%x = input \"x\" f32[B]", "graph g"} {
		if _, err := graph.Parse(text); !errors.Is(err, graph.ErrSyntax) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if _, err := graph.Parse(strings.Repeat("\n", graph.MaxTextBytes+1)); !errors.Is(err, graph.ErrLimit) {
		t.Errorf("a text beyond the limit: got %v", err)
	}
}

// A constant beyond the inline size shows its digest, which tells data, type
// and shape apart.
func TestLongConstantsShowADigest(t *testing.T) {
	text := func(x *graph.Tensor) string {
		g := graph.New("g")
		g.Output("y", g.Constant("w", x))
		return g.String()
	}
	a := text(tensor(graph.Float32, 17))
	if !strings.Contains(a, `const "w" f32[17] sha256:`) || strings.Contains(a, "{") {
		t.Errorf("got %s", a)
	}
	one := tensor(graph.Float32, 17)
	one.F32[16] = 1
	seen := map[string]bool{}
	for _, x := range []*graph.Tensor{tensor(graph.Float32, 17), one, tensor(graph.Float64, 17), tensor(graph.Int64, 17), tensor(graph.Float32, 17, 1)} {
		if d := x.Digest(); seen[d] || len(d) != 64 {
			t.Errorf("digest %q of %v%v is not new", d, x.DType, x.Shape)
		} else {
			seen[d] = true
		}
	}
	// sha256 of "f32[2]" and the two numbers, by Python's hashlib and struct.
	if got, want := graph.Float32s([]float32{1.5, -2}, 2).Digest(), "fc0b0d176567c502d63915bbde01ee82ea645e7282b8b25ad426c3e345da82f9"; got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

// A broken graph still prints, for error messages and debugging.
func TestBrokenGraphsPrint(t *testing.T) {
	g := parse(t, demo)
	g.Nodes[0].In[0] = nil
	g.Nodes[1].In[1] = &graph.Value{ID: 77}
	g.Nodes[2].Op = "nope"
	text := g.String()
	for _, w := range []string{"%nil", "%undefined77", "nope("} {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

func TestStats(t *testing.T) {
	g := parse(t, demo)
	got := g.Stats()
	want := graph.Stats{
		Nodes: 8, Parameters: 15, ConstantBytes: 60, MultiplyAdds: 9, Stochastic: true,
		Ops: []graph.OpCount{{Op: "linear", Count: 2}, {Op: "add", Count: 1}, {Op: "clamp", Count: 1}, {Op: "mul", Count: 1},
			{Op: "normal", Count: 1}, {Op: "sub", Count: 1}, {Op: "tanh", Count: 1}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	g.Outputs = g.Outputs[1:]
	if g.Stats().Stochastic {
		t.Error("the mean does not depend on a draw")
	}
	conv := parse(t, `graph "g"
%x = input "x" u8[B,1,3,3]
%f = cast(%x) dtype=f32
%w = const "w" f32[2,1,2,2] {1,2,3,4,5,6,7,8}
%y = conv(%f,%w)
%z = matmul(%y,%y)
output "z" %z
`).Stats()
	if conv.MultiplyAdds != 2*2*2*4+2*2*2*2 || conv.Parameters != 8 {
		t.Errorf("got %+v", conv)
	}
}

func TestDTypes(t *testing.T) {
	for d := graph.Float32; d <= graph.Bool; d++ {
		got, ok := graph.ParseDType(d.String())
		if !ok || got != d || d.Bytes() == 0 {
			t.Errorf("%v reads back as %v, %v", d, got, ok)
		}
	}
	if _, ok := graph.ParseDType("invalid"); ok || graph.DType(200).Bytes() != 0 {
		t.Error("a type that does not exist is known")
	}
	if math.IsNaN(graph.Float32s([]float32{1}, 1).At(0)) {
		t.Error("At")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(demo)
	f.Add("graph \"g\"\n%0 = const \"\" f32[1] {nan}\n%1 = sum(%0) axes=[0]\noutput \"y\" %1")
	f.Add("graph \"g\"\n%x = input \"x\" f32[B,2]\n%y = slice(%x) axis=1 start=-1\noutput \"y\" %y")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := graph.Parse(text)
		if err != nil {
			return
		}
		printed := g.String()
		again, err := graph.Parse(printed)
		if err != nil {
			if strings.Contains(printed, "sha256:") {
				return
			}
			t.Fatalf("does not read back: %v\n%s", err, printed)
		}
		if again.String() != printed {
			t.Fatalf("reads back as another graph\n%s\n%s", printed, again)
		}
		if err := graph.Optimize(again); err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
	})
}
