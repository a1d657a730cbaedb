package preprocess_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
)

func TestJSON(t *testing.T) {
	f := func(in string, x, want []float64) {
		t.Helper()
		p, err := preprocess.Decode([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			return
		}
		check(t, p, [][]float64{x}, [][]float64{want})
	}
	f(`{"mean": [1, 2], "std": [2, 4]}`, []float64{5, 6}, []float64{2, 1})
	f("\n{ \"mean\": [[1, 2]], \"var\": [[4, 16]], \"eps\": 0, \"clip\": 1.5}\n", []float64{5, 6}, []float64{1.5, 1})
	f(`{"obs_mean": 1, "obs_std": 2e0}`, []float64{5, 7}, []float64{2, 3})
}

func TestJSONFails(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		guarded(t, func() error {
			_, err := preprocess.Decode([]byte(in))
			return refused(err, want)
		})
	}
	f(`{}`, "unsupported: statistics without a mean")
	f(`{"mean": [1], "std": [1]`, "unexpected EOF")
	f(`{"mean": [1], "std": [1]} {}`, "more follows")
	f(`{"mean": [1], "mean": [2], "std": [1]}`, "duplicate object member name")
	f(`{"mean": [1], "bias": [2], "std": [1]}`, `unsupported: key "bias"`)
	f(`{"mean": ["a"], "std": [1]}`, "mean: item 0: a str")
	f(`{"mean": [null], "std": [1]}`, "mean: item 0: a None")
	f(`{"mean": {"a": 1}, "std": [1]}`, "mean: a dict")
	f(`{"mean": [1e999], "std": [1]}`, "json: ")
	f(`{"mean": `+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`, "std": 1}`, "nested deeper than 8")
	f(`{"mean": `+strings.Repeat("[", 1<<20), "nested deeper than 8")
	f(`{"mean": [`+strings.Repeat("1,", 1<<20)+`1]}`, "more than 131072 values")
	f(`{"a":1,`+strings.Repeat(" ", 17<<20), "at most 8388608 are read")
	f(`{"mean" 1}`, "json: ")
}
