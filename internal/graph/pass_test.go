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
