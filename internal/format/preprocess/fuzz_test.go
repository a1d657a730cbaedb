package preprocess_test

import (
	"archive/zip"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
)

// FuzzDecode asserts that a file is refused with a FormatError or lowers to a
// graph that verifies and that runs.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(standard() + "."))
	f.Add([]byte(vecNormalize() + "."))
	f.Add([]byte(dict("mean", list(1, 2), "std", list(2, 4), "clip", num(2)) + "."))
	f.Add([]byte(object(sklearn+"MinMaxScaler", "scale_", list(2, 4), "min_", list(1, -1), "clip", yes, "feature_range", "(I0\nI12\nt") + "."))
	f.Add([]byte(object("sklearn.pipeline.Pipeline", "steps", "(("+str("a")+object(sklearn+"RobustScaler", "center_", list(1, 2), "scale_", list(2, 4))+"tl") + "."))
	f.Add(npz(f, zip.Store, "mean.npy", npy(header("2,"), 1, 2), "std.npy", npy(header("2,"), 2, 4)))
	for _, c := range append(hostile, more...) {
		f.Add([]byte(c.in + "."))
	}
	for _, in := range []string{
		encoder(oneHot, "drop_idx_", list(0, 0)), encoder(ordinal), of(kBest, "scores_", list(2, 3), "k", "I1\n"),
		object(svd, "components_", seq(list(1, 2), list(0, 3))), of(functions, "func", global("numpy", "clip"), "kw_args", dict("a_min", num(-1))),
		dict("running_mean", list(1, 2), "running_variance", list(4, 0), "current_count", num(9)), named()[:len(named())-1],
	} {
		f.Add([]byte(in + "."))
	}
	found, err := filepath.Glob(filepath.Join(testdata, "*", "*.*l*"))
	if err != nil || len(found) == 0 {
		f.Fatalf("%d files: %v", len(found), err)
	}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := preprocess.Decode(b)
		if err != nil {
			if err := refused(err, ""); err != nil {
				t.Fatal(err)
			}
			return
		}
		n := p.Width()
		if n == 0 {
			n = 4
		}
		if n > 1000 {
			return
		}
		_ = p.Describe()
		for _, key := range p.Keys() {
			got, err := applyNamed(p, key, [][]float64{make([]float64, p.KeyWidth(key))})
			if err != nil || len(got.Shape) != 2 || got.Shape[1] != p.KeyWidth(key) {
				t.Fatalf("part %q: %v, %v", key, got, err)
			}
		}
		if len(p.Keys()) > 0 {
			return
		}
		got, err := apply(p, [][]float64{make([]float64, n)})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Shape) != 2 || got.Shape[0] != 1 {
			t.Fatalf("shape %v", got.Shape)
		}
		switch p.Kind() {
		case "StandardFeaturePreprocessor", "MinimalPreprocessor", "VecNormalize", "statistics", "StandardScaler", "Binarizer", "Normalizer", "KBinsDiscretizer", "QuantileTransformer":
		default: // functions of 0, and sums of infinities
			return
		}
		for i := range got.Len() {
			if math.IsNaN(got.At(i)) {
				t.Fatalf("zeros become NaN in column %d", i)
			}
		}
	})
}
