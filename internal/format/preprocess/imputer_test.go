package preprocess_test

import (
	"math"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestImputerNaN holds that a missing NaN becomes the statistic of its column,
// as scikit-learn 1.9.1's SimpleImputer.transform has it, also behind the
// passes of the optimizer.
func TestImputerNaN(t *testing.T) {
	p := decodeFile(t, "../../../testdata/preprocess/imputer_nan/preprocessor_p4.pkl")
	g := graph.New("imputer")
	y, err := p.Lower(g, g.Input("x", graph.Float32, graph.Shape{graph.Batch, 5}))
	if err != nil {
		t.Fatal(err)
	}
	g.Output("out", y)
	nan := float32(math.NaN())
	rows := []float32{nan, nan, nan, nan, nan, 7, nan, 8, nan, 9}
	want := []float64{3.34889405532772, 2.102741666683594, 1.32392680677647, -0.8239681421568877, -2.003210014566198, 7, 2.102741666683594, 8, -0.8239681421568877, 9}
	for _, optimized := range []bool{false, true} {
		if optimized {
			if err := graph.Optimize(g); err != nil {
				t.Fatal(err)
			}
		}
		outs, err := graph.Evaluate(g, 2, []*graph.Tensor{graph.Float32s(rows, 2, 5)}, graph.Noise{})
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got := outs[0].At(i); !(math.Abs(got-w) <= 1e-5+1e-5*math.Abs(w)) {
				t.Errorf("optimized %v: value %d is %v, want %v", optimized, i, got, w)
			}
		}
	}
}
