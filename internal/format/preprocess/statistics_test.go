package preprocess

import (
	"math"
	"slices"
	"testing"
)

func TestStatistics(t *testing.T) {
	f := func(p *Preprocessor, n int, mean, deviation []float64) {
		t.Helper()
		m, d := p.Statistics(n)
		if !slices.Equal(m, mean) || !slices.Equal(d, deviation) {
			t.Errorf("%v, %v; want %v, %v", m, d, mean, deviation)
		}
	}
	unknown := math.Inf(1)
	whole := &normalize{mean: []float64{1, 2}, std: []float64{3, 4}}
	f(&Preprocessor{width: 2, steps: []step{whole, &clip{-10, 10}}}, 2, []float64{1, 2}, []float64{3, 4})
	f(&Preprocessor{width: 3, steps: []step{&normalize{mean: []float64{1}, std: []float64{-2}}}}, 3, []float64{1, 1, 1}, []float64{2, 2, 2})
	f(&Preprocessor{width: 2, steps: []step{&normalize{mean: []float64{1, 2}, std: []float64{3, 0}}}}, 2, []float64{1, 2}, []float64{3, unknown})
	f(&Preprocessor{width: 2, steps: []step{&normalize{[]float64{1, 2}, []float64{3, 1e-4}, []bool{false, true}}}}, 2, []float64{1, 2}, []float64{3, unknown})
	f(&Preprocessor{width: 2}, 2, nil, nil)
	f(&Preprocessor{width: 2, steps: []step{whole}}, 3, nil, nil)
	f(&Preprocessor{width: 2, steps: []step{&clip{-1, 1}, whole}}, 2, nil, nil)
	f(&Preprocessor{width: 2, steps: []step{&normalize{std: []float64{3, 4}}}}, 2, nil, nil)
	f(&Preprocessor{width: 2, steps: []step{&normalize{mean: []float64{1, 2}}}}, 2, nil, nil)
	car := &carStep{mean: [3]float64{30, 0, 0.5}, std: [3]float64{10, 1, 0.25}}
	f(&Preprocessor{steps: []step{car}}, 4, []float64{30, 0, 0.5, 0.5}, []float64{10, unknown, 0.25, 0.25})
}

func TestStatisticsOfAPart(t *testing.T) {
	p := &Preprocessor{parts: []part{{name: "pose", width: 2, steps: []step{&normalize{mean: []float64{1, 2}, std: []float64{3, 4}}}}}}
	if m, d := p.StatisticsOf("pose", 2); !slices.Equal(m, []float64{1, 2}) || !slices.Equal(d, []float64{3, 4}) {
		t.Errorf("%v, %v", m, d)
	}
	if m, d := p.StatisticsOf("image", 2); m != nil || d != nil {
		t.Errorf("of another: %v, %v", m, d)
	}
}
