package preprocess_test

import (
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
)

const (
	oneHot    = ints + "encoders.OneHotEncoder"
	ordinal   = ints + "encoders.OrdinalEncoder"
	variances = "sklearn.feature_selection._variance_threshold.VarianceThreshold"
	kBest     = "sklearn.feature_selection._univariate_selection.SelectKBest"
	indicator = "sklearn.impute._base.MissingIndicator"
	svd       = "sklearn.decomposition._truncated_svd.TruncatedSVD"
	ica       = "sklearn.decomposition._fastica.FastICA"
)

// scalar is a pickled scalar of numpy.
func scalar(descr, order, data string) string {
	return global("numpy._core.multiarray", "scalar") + tup(global("numpy", "dtype")+tup(str(descr), no, yes)+"R"+tup("I3\n", str(order), none, none, none, "I8\n", "I4\n", "I8\n")+"b",
		"C"+string(rune(len(data)))+data) + "R"
}

// encoder is an encoder of two columns.
func encoder(class string, attrs ...string) string {
	return of(class, append([]string{"handle_unknown", str("error"), "categories_", seq(list(1, 3, 5), list(-1, 0.5))}, attrs...)...)
}

func TestEncoders(t *testing.T) {
	f := func(name, in string, x, want [][]float64) {
		t.Helper()
		p := decode(t, in+".")
		if p.Width() != len(x[0]) || p.OutputWidth(p.Width()) != len(want[0]) {
			t.Errorf("%s: %d values become %d", name, p.Width(), p.OutputWidth(p.Width()))
		}
		check(t, p, x, want)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	x := [][]float64{{1, 0.5}, {5, -1}, {3, 7}}
	f("one-hot", encoder(oneHot), x, [][]float64{{1, 0, 0, 0, 1}, {0, 0, 1, 1, 0}, {0, 1, 0, 0, 0}})
	f("one-hot of objects", of(oneHot, "handle_unknown", str("ignore"), "categories_", seq(seq("I1\n", num(3), "I5\n"), list(-1, 0.5))), x,
		[][]float64{{1, 0, 0, 0, 1}, {0, 0, 1, 1, 0}, {0, 1, 0, 0, 0}})
	f("the first is dropped", encoder(oneHot, "drop_idx_", list(0, 0)), x, [][]float64{{0, 0, 1}, {0, 1, 0}, {1, 0, 0}})
	f("where there are two", encoder(oneHot, "drop_idx_", seq(none, "I0\n")), x, [][]float64{{1, 0, 0, 1}, {0, 0, 1, 0}, {0, 1, 0, 0}})
	rare := []string{"_infrequent_enabled", yes, "_infrequent_indices", seq(list(0, 2), none), "_default_to_infrequent_mappings", seq(list(1, 0, 1), none)}
	f("rare ones", encoder(oneHot, rare...), x, [][]float64{{0, 1, 0, 1}, {0, 1, 1, 0}, {1, 0, 0, 0}})
	f("what is none of them is rare", of(oneHot, append(rare, "handle_unknown", str("infrequent_if_exist"), "categories_", seq(list(1, 3, 5), list(-1, 0.5)))...),
		[][]float64{{2, 0.5}, {3, 8}}, [][]float64{{0, 1, 0, 1}, {1, 0, 0, 0}})
	f("ordinal", encoder(ordinal), x, [][]float64{{0, 1}, {2, 0}, {1, 0}})
	f("ordinal with a code", of(ordinal, "handle_unknown", str("use_encoded_value"), "unknown_value", "I-2\n", "categories_", seq(list(1, 3, 5), list(-1, 0.5))), x,
		[][]float64{{0, 1}, {2, 0}, {1, -2}})
	f("ordinal before there was a choice", of(ordinal, "categories_", seq(list(1, 3, 5), list(-1, 0.5))), x, [][]float64{{0, 1}, {2, 0}, {1, 0}})
	f("category that is missing", of(oneHot, "handle_unknown", str("error"), "categories_", seq(list(1, math.NaN()), list(0))),
		[][]float64{{1, 0}}, [][]float64{{1, 0, 1}})

	f("variance", of(variances, "variances_", list(2, 0.5), "threshold", num(1)), [][]float64{{7, 8}}, [][]float64{{7}})
	f("all of them", of(variances, "variances_", list(2, 0.5)), [][]float64{{7, 8}}, [][]float64{{7, 8}})
	f("best", of(kBest, "scores_", list(2, 3), "k", "I1\n"), [][]float64{{7, 8}}, [][]float64{{8}})
	f("the last of equals", of(kBest, "scores_", list(3, 3), "k", "I1\n"), [][]float64{{7, 8}}, [][]float64{{8}})
	f("no score", of(kBest, "scores_", list(math.NaN(), -3), "k", "I1\n"), [][]float64{{7, 8}}, [][]float64{{8}})
	f("all scores", of(kBest, "scores_", list(2, 3), "k", str("all")), [][]float64{{7, 8}}, [][]float64{{7, 8}})

	missing := of(indicator, "missing_values", "I-1\n", "features_", list(1))
	f("indicator", missing, [][]float64{{-1, -1}, {0, 0}}, [][]float64{{1}, {0}})
	f("indicator of NaN", of(indicator, "features_", list(0, 1)), [][]float64{{-1, 5}}, [][]float64{{0, 0}})
	f("imputer and indicator", of(imputer, "missing_values", "I-1\n", "statistics_", list(5, math.NaN()), "add_indicator", yes, "indicator_", missing),
		[][]float64{{-1, -1}, {3, 4}}, [][]float64{{5, 1}, {3, 0}})
	f("imputer that keeps", of(imputer, "missing_values", "I-1\n", "statistics_", list(5, 0), "keep_empty_features", yes),
		[][]float64{{-1, -1}}, [][]float64{{5, 0}})

	f("singular vectors", object(svd, "components_", seq(list(1, 2), list(0, 3), list(1, 1))), [][]float64{{5, 7}}, [][]float64{{19, 21, 12}})
	f("independent components", object(ica, "components_", seq(list(1, 2)), "mean_", list(1, 1), "whiten", str("unit-variance")), [][]float64{{5, 7}}, [][]float64{{16}})
	f("without a mean", object(ica, "components_", seq(list(1, 2)), "whiten", no), [][]float64{{5, 7}}, [][]float64{{19}})
	f("without a mean, by a bool of numpy", object(ica, "components_", seq(list(1, 2)), "whiten", scalar("b1", "|", "\x00")), [][]float64{{5, 7}}, [][]float64{{19}})
	f("with a mean, by a text of numpy", object(ica, "components_", seq(list(1, 2)), "mean_", list(1, 1), "whiten", scalar("U4", "<", "w\x00\x00\x00a\x00\x00\x00r\x00\x00\x00n\x00\x00\x00")),
		[][]float64{{5, 7}}, [][]float64{{16}})
	f("imputer of float16", of(imputer, "missing_values", "I-1\n", "statistics_", list(0.1, 2051), "_fill_dtype", dtype("f2")), [][]float64{{-1, -1}}, [][]float64{{0.0999755859375, 2052}})
	f("imputer of objects", of(imputer, "missing_values", "I-1\n", "statistics_", list(0.1, 7), "_fill_dtype", dtype("O8")), [][]float64{{-1, -1}}, [][]float64{{0.1, 7}})

	f("a text of numpy", of(sklearn+"Normalizer", "norm", scalar("U2", "<", "l\x00\x00\x001\x00\x00\x00")), [][]float64{{-3, 5}}, [][]float64{{-0.375, 0.625}})
	f("a bool of numpy", of(sklearn+"StandardScaler", "with_mean", scalar("b1", "|", "\x00"), "with_std", scalar("b1", "|", "\x01"), "scale_", list(2, 4)), [][]float64{{-3, 5}}, [][]float64{{-1.5, 1.25}})
	f("clip", of(functions, "func", global("numpy", "clip"), "kw_args", dict("a_min", num(-1), "a_max", num(2))), [][]float64{{-3, 5}}, [][]float64{{-1, 2}})
	f("clip one side", of(functions, "func", global("numpy", "clip"), "kw_args", dict("max", num(2), "min", none)), [][]float64{{-3, 5}}, [][]float64{{-3, 2}})
	for name, want := range map[string]func(float64) float64{"arcsin": math.Asin, "arccos": math.Acos, "arctanh": math.Atanh} {
		f(name, of(functions, "func", global("numpy", name)), [][]float64{{-0.3, 0.75}}, [][]float64{{want(-0.3), want(0.75)}})
	}
	f("arccosh", of(functions, "func", global("numpy", "arccosh")), [][]float64{{1.5, 20}}, [][]float64{{math.Acosh(1.5), math.Acosh(20)}})
	f("ufunc before numpy 1.20", of(functions, "func", global("numpy.core", "_ufunc_reconstruct")+tup(str("numpy.core._multiarray_umath"), str("square"))+"R"),
		[][]float64{{-3, 5}}, [][]float64{{9, 25}})
	names := []string{"_feature_names_in", seq(str("a"), str("b"))}
	f("columns by name", of(columns, append(names, "transformers_", seq(tup(str("x"), str("passthrough"), seq(str("b")))))...), [][]float64{{7, 8}}, [][]float64{{8}})
	f("a column by name", of(columns, append(names, "transformers_", seq(tup(str("x"), str("passthrough"), str("a"))))...), [][]float64{{7, 8}}, [][]float64{{7}})
	f("a range of names", of(columns, append(names, "transformers_", seq(tup(str("x"), str("passthrough"), global("builtins", "slice")+tup(none, str("a"), none)+"R")))...),
		[][]float64{{7, 8}}, [][]float64{{7}})
}

func TestEncodersHostile(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no categories", of(oneHot, "handle_unknown", str("error")), "was never fitted: has no categories_"},
		{"categories of a number", of(oneHot, "handle_unknown", str("error"), "categories_", "I1\n"), "categories_ is a int"},
		{"texts", of(oneHot, "handle_unknown", str("error"), "categories_", seq(seq(str("a")), list(1))), "unsupported: categories that are texts"},
		{"dicts", of(oneHot, "handle_unknown", str("error"), "categories_", seq(dict(), list(1))), "unsupported: categories that are no numbers"},
		{"none", of(oneHot, "handle_unknown", str("error"), "categories_", seq("(l", list(1))), "categories of shape [0]"},
		{"another width", of(oneHot, "handle_unknown", str("error"), "categories_", seq(list(1))), "categories_ has 1 columns and n_features_in_ is 2"},
		{"unknown way", of(oneHot, "handle_unknown", str("raise")), `unsupported: handle_unknown "raise"`},
		{"drop of another width", encoder(oneHot, "drop_idx_", list(0)), "drop_idx_ has 1 columns"},
		{"negative drop", encoder(oneHot, "drop_idx_", list(-1, 0)), "drop_idx_[0] is a float"},
		{"drop of NaN", encoder(oneHot, "drop_idx_", list(math.NaN(), 0)), "drop_idx_[0] is a float"},
		{"drop of a text", encoder(oneHot, "drop_idx_", str("first")), "drop_idx_: a str"},
		{"all dropped", object(oneHot, "handle_unknown", str("error"), "categories_", seq(list(1)), "drop_idx_", list(0)), "unsupported: all categories are dropped"},
		{"many columns of one that is wide", object(oneHot, "handle_unknown", str("error"), "categories_", seq(list(rising(3000)...), strings.Repeat(list(1), 200))), "3000 categories of 201 columns"},
		{"code of NaN", of(ordinal, "handle_unknown", str("use_encoded_value"), "unknown_value", num(math.NaN())), "unsupported: unknown_value"},
		{"no column", of(variances, "variances_", list(0, 0)), "unsupported: no column is selected"},
		{"no number of best", of(kBest, "scores_", list(1, 2), "k", str("some")), "k is a str"},
		{"scores of another width", of(kBest, "scores_", list(1, 2, 3), "k", "I1\n"), "scores_ has 3 values and n_features_in_ is 2"},
		{"indicator of no column", of(indicator, "features_", "(l"), "unsupported: no column was missing"},
		{"indicator beyond", of(indicator, "features_", list(2)), "columns are not at most"},
		{"components without rows", object(svd, "components_", "(l"), "two dimensions were wanted"},
		{"mean of another width", object(ica, "components_", seq(list(1, 2)), "mean_", list(1)), "mean_ 1 values"},
		{"clip of a list", of(functions, "func", global("numpy", "clip"), "kw_args", dict("a_min", list(1, 2))), "unsupported: clip with an argument that is a list"},
		{"clip upside down", of(functions, "func", global("numpy", "clip"), "kw_args", dict("a_min", num(2), "a_max", num(1))), "clip to [2, 1]"},
		{"clip to a file", of(functions, "func", global("numpy", "clip"), "kw_args", dict("out", num(1))), "unsupported: kw_args"},
		{"ufunc by another name", of(functions, "func", global("numpy.core", "_ufunc_reconstruct")+tup(str("os"), str("system"))+"R"), `unsupported: function "os.system"`},
		{"name that is not there", of(columns, "feature_names_in_", seq(str("a"), str("b")), "transformers_", seq(tup(str("x"), str("passthrough"), seq(str("c"))))), "unsupported: columns by names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			guarded(t, func() error {
				_, err := preprocess.Decode([]byte(c.in + "."))
				return refused(err, c.want)
			})
		})
	}
}

// Normalisers of other libraries are told by their keys.
func TestLibraries(t *testing.T) {
	f := func(in, kind string, x, want []float64) {
		t.Helper()
		p := decode(t, in+".")
		if p.Kind() != kind || len(p.Describe()) < 3 {
			t.Errorf("%s: described as %q", p.Kind(), p.Describe())
		}
		check(t, p, [][]float64{x}, [][]float64{want})
	}
	f(dict("running_mean", list(1, 2), "running_variance", list(4, 0), "current_count", num(9)), "skrl's RunningStandardScaler", []float64{2, 3}, []float64{0.5, 5})
	f(dict("_mean", seq(list(1, 2)), "_var", seq(list(4, 9)), "_std", seq(list(2, 3)), "count", num(9)), "rsl_rl's EmpiricalNormalization", []float64{3, 8}, []float64{2 / 2.01, 6 / 3.01})
	// Of float16, in which 1e-8 is no variance: what is divided by is _std.
	f(dict("_mean", seq(list(0, 0)), "_var", seq(list(4, 0)), "_std", seq(list(2, 1e-4))), "rsl_rl's EmpiricalNormalization", []float64{0, 101}, []float64{0, 10000})
	f(object("gymnasium.wrappers.utils.RunningMeanStd", "mean", list(1, 2), "var", list(4, 9), "count", num(9)), "RunningMeanStd", []float64{3, 95}, []float64{1, 31})
	f(object("gym.wrappers.normalize.RunningMeanStd", "mean", list(1, 2), "var", list(4, 9), "count", num(9)), "RunningMeanStd", []float64{3, 95}, []float64{1, 31})
}

func TestLibrariesFail(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		_, err := preprocess.Decode([]byte(in + "."))
		if err := refused(err, want); err != nil {
			t.Error(err)
		}
	}
	f(dict("running_mean", list(1, 2), "running_variance", list(4, -1), "current_count", num(9)), "sqrt(running_variance)[1] is NaN")
	f(dict("running_mean", str("x"), "running_variance", list(4), "current_count", num(9)), "running_mean: a str")
	f(dict("running_mean", list(1, 2, 3), "running_variance", list(4, 1), "current_count", num(9)), "2 values, 3 were wanted")
	f(dict("_mean", list(1), "_var", list(1), "_std", list(1), "bias", num(1)), `unsupported: key "_mean"`)
	f(object("ray.rllib.utils.filter.MeanStdFilter"), `unsupported: preprocessor class "ray.rllib.utils.filter.MeanStdFilter"`)
	f("\x93NUMPY\x01\x00", "unsupported: a single array does not say")
}
