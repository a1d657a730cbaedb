package plan_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

var convolutionForms = []string{plan.ConvolutionsDirect, plan.ConvolutionsWinograd2, plan.ConvolutionsWinograd4, ""}

// convolutional are the families with a convolution of 3×3 and stride 1.
var convolutional = []string{"nature", "smallcnn", "impala"}

// isConvolutional tells whether a family is one of them.
func isConvolutional(name string) bool { return slices.Contains(convolutional, name) }

// Whatever form the convolutions have, a network computes the same within the
// error that plain convolutions have too, a row has the same bits in every batch,
// and a run takes no memory.
func TestConvolutionForms(t *testing.T) {
	const rows = 5
	for _, f := range families {
		g := buildFamily(t, f.build)
		tensors, in := inputsFor(rand.New(rand.NewPCG(3, 3)), g, rows)
		var exact []*graph.Tensor
		plain := 0.
		for _, form := range convolutionForms {
			p, err := plan.Compile(g, plan.Options{Convolutions: form})
			if err != nil {
				t.Fatal(err)
			}
			switch has := strings.Contains(p.Steps(), "winograd"); {
			case form == plan.ConvolutionsDirect && has:
				t.Errorf("%s: not all convolutions are plain:\n%s", f.name, p.Steps())
			case form == plan.ConvolutionsWinograd2 || form == plan.ConvolutionsWinograd4:
				if isConvolutional(f.name) && !strings.Contains(p.Steps(), form) {
					t.Errorf("%s: no convolution is %s:\n%s", f.name, form, p.Steps())
				}
				fallthrough
			default:
				if !has && !isConvolutional(f.name) {
					continue
				}
			}
			if exact == nil {
				if exact, err = graph.Evaluate(g, rows, tensors, testNoise); err != nil {
					t.Fatal(err)
				}
			}
			t.Run(f.name+"/"+form, func(t *testing.T) {
				got, r := outputsFor(g, rows), p.NewRunner()
				if err := r.Run(rows, in, got, testNoise); err != nil {
					t.Fatal(err)
				}
				worst := errorOf(got, exact)
				t.Logf("greatest error %.1e of the greatest output", worst)
				if form == plan.ConvolutionsDirect {
					plain = worst
				}
				if !(worst <= 2*plain+1e-7) {
					t.Errorf("the error is %v, with plain convolutions %v", worst, plain)
				}
				alikeAlone(t, g, r, in, got, rows)
				if n := testing.AllocsPerRun(3, func() {
					if err := r.Run(rows, in, got, testNoise); err != nil {
						t.Error(err)
					}
				}); n != 0 {
					t.Errorf("%v allocations a run", n)
				}
			})
		}
	}
}

// errorOf is the greatest error in parts of the greatest output, or of 1.
func errorOf(got [][]float32, exact []*graph.Tensor) float64 {
	worst := 0.
	for o := range got {
		largest, distance := 1., 0.
		for i, v := range got[o] {
			w := exact[o].At(i)
			largest, distance = max(largest, math.Abs(w)), max(distance, math.Abs(float64(v)-w))
		}
		worst = max(worst, distance/largest)
	}
	return worst
}

// alikeAlone runs each row alone and compares the bits.
func alikeAlone(t *testing.T, g *graph.Graph, r *plan.Runner, in, whole [][]float32, rows int) {
	t.Helper()
	for row := range rows {
		part := make([][]float32, len(in))
		for i, v := range g.Inputs {
			part[i] = rowsOf(in[i], v.Shape, rows, row, 1)
		}
		got := outputsFor(g, 1)
		if err := r.Run(1, part, got, testNoise); err != nil {
			t.Fatal(err)
		}
		for o, out := range g.Outputs {
			for i, w := range rowsOf(whole[o], out.Value.Shape, rows, row, 1) {
				if math.Float32bits(got[o][i]) != math.Float32bits(w) {
					t.Fatalf("row %d alone, element %d: %v, in a batch %v", row, i, got[o][i], w)
				}
			}
		}
	}
}

func TestConvolutionFormsAreKnown(t *testing.T) {
	g := buildFamily(t, families[0].build)
	if _, err := plan.Compile(g, plan.Options{Convolutions: "winograd3"}); err == nil {
		t.Error("a form that there is not is taken")
	}
}

// BenchmarkConvolutions runs networks with each form of their convolutions.
func BenchmarkConvolutions(b *testing.B) {
	for _, f := range families {
		if !isConvolutional(f.name) {
			continue
		}
		g := buildFamily(b, f.build)
		for _, rows := range []int{1, 32} {
			for _, form := range convolutionForms[:3] {
				b.Run(fmt.Sprintf("%s/batch=%d/%s", f.name, rows, form), func(b *testing.B) {
					p, err := plan.Compile(g, plan.Options{Convolutions: form})
					if err != nil {
						b.Fatal(err)
					}
					_, in := inputsFor(rand.New(rand.NewPCG(4, 4)), g, rows)
					out, r := outputsFor(g, rows), p.NewRunner()
					if err := r.Run(rows, in, out, plan.Noise{}); err != nil {
						b.Fatal(err)
					}
					b.ReportAllocs()
					for b.Loop() {
						if err := r.Run(rows, in, out, plan.Noise{}); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// By the rule, what the fast kernels gain from goes in tiles.
func TestConvolutionRule(t *testing.T) {
	for _, name := range convolutional {
		for _, f := range families {
			if f.name != name {
				continue
			}
			p, err := plan.Compile(buildFamily(t, f.build), plan.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s := kernel.ConvShape{Groups: 1, Channels: 64, Outputs: 64, In: [3]int{1, 9, 9}, Kernel: [3]int{1, 3, 3}, Out: [3]int{1, 7, 7}, Stride: [3]int{1, 1, 1}, Dilation: [3]int{1, 1, 1}}
			if want := kernel.Best().WinogradTile(&s) == 4; strings.Contains(p.Steps(), plan.ConvolutionsWinograd4) != want {
				t.Errorf("%s: in tiles of 4 %v:\n%s", name, !want, p.Steps())
			}
		}
	}
}
