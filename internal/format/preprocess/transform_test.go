package preprocess_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
)

const (
	ints      = "sklearn.preprocessing._"
	pca       = "sklearn.decomposition._pca.PCA"
	imputer   = "sklearn.impute._base.SimpleImputer"
	union     = "sklearn.pipeline.FeatureUnion"
	columns   = "sklearn.compose._column_transformer.ColumnTransformer"
	functions = ints + "function_transformer.FunctionTransformer"
	bins      = ints + "discretization.KBinsDiscretizer"
	poly      = ints + "polynomial.PolynomialFeatures"
	quantile  = sklearn + "QuantileTransformer"
	power     = sklearn + "PowerTransformer"
)

// seq is a pickled list of pickled values, tup a tuple.
func seq(items ...string) string { return "(" + strings.Join(items, "") + "l" }
func tup(items ...string) string { return "(" + strings.Join(items, "") + "t" }

// global is the pickled name of a class or function.
func global(module, name string) string { return "c" + module + "\n" + name + "\n" }

var (
	two    = []string{"n_features_in_", "I2\n"}
	scaler = object(sklearn+"MaxAbsScaler", "scale_", list(2, 4))
)

func of(class string, attrs ...string) string { return object(class, append(attrs, two...)...) }

func TestTransformers(t *testing.T) {
	f := func(name, in string, width int, x, want []float64) {
		t.Helper()
		p := decode(t, in+".")
		if p.Width() != width {
			t.Errorf("%s: width %d, want %d", name, p.Width(), width)
		}
		got, err := apply(p, [][]float64{x})
		if err == nil {
			err = near(got, [][]float64{want})
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, line := range p.Describe() {
			if line == "" || strings.Contains(line, "%!") {
				t.Errorf("%s: described as %q", name, line)
			}
		}
	}
	f("binarizer of any width", object(sklearn+"Binarizer", "threshold", num(0.1)), 0, []float64{0.1, 0.11, -1}, []float64{0, 1, 0})
	f("normalizer of a small row", object(sklearn+"Normalizer", "norm", str("l1")), 0, []float64{1e-9, 1e-8}, []float64{1e-9, 1e-8})
	f("polynomial of degree 0", of(poly, "degree", "I0\n"), 2, []float64{5, 6}, []float64{1})
	f("polynomial of degree 1", of(poly, "degree", "I1\n", "include_bias", no), 2, []float64{5, 6}, []float64{5, 6})
	f("interaction beyond the columns", of(poly, "degree", "I5\n", "interaction_only", yes), 2, []float64{5, 6}, []float64{1, 5, 6, 30})
	f("box-cox of zero, the logarithm", object(power, "method", str("box-cox"), "standardize", no, "lambdas_", list(0, 2)), 2, []float64{3, 3}, []float64{math.Log(3), 4})
	scaledTo := func(mean, scale float64) string {
		return object(sklearn+"StandardScaler", "mean_", list(mean, mean), "scale_", list(scale, scale))
	}
	f("yeo-johnson far from 1", object(power, "method", str("yeo-johnson"), "lambdas_", list(40, -3), "_scaler", scaledTo(0.3, 1e-3)), 2, []float64{0.05, 0},
		[]float64{((math.Pow(1.05, 40)-1)/40 - 0.3) / 1e-3, -300})
	f("yeo-johnson of a mean beyond float32", object(power, "method", str("yeo-johnson"), "lambdas_", list(20, 20), "_scaler", scaledTo(1e60, 1e59)), 2, []float64{1000, 1234},
		[]float64{(math.Pow(1001, 20)/20 - 1e60) / 1e59, (math.Pow(1235, 20)/20 - 1e60) / 1e59})
	f("yeo-johnson that has no such mean", object(power, "method", str("yeo-johnson"), "lambdas_", list(-1, 1), "_scaler", scaledTo(2, 1)), 2, []float64{1, 1}, []float64{-1.5, -1})
	f("box-cox with a mean", object(power, "method", str("box-cox"), "lambdas_", list(0.5, -2), "_scaler", scaledTo(0.25, 0.5)), 2, []float64{1e-4, 1e4},
		[]float64{((math.Sqrt(1e-4)-1)/0.5 - 0.25) / 0.5, (0.5 - 0.25) / 0.5})
	f("yeo-johnson of 0 and 2", object(power, "method", str("yeo-johnson"), "standardize", no, "lambdas_", list(0, 2)), 2, []float64{3, -3}, []float64{math.Log(4), -math.Log(4)})
	steps := seq(list(1, 1), list(1, 3), list(2, 3), list(4, 3))
	uniform := []string{"output_distribution", str("uniform"), "references_", list(0, 0.25, 0.5, 1)}
	f("equal quantiles", object(quantile, append(uniform, "quantiles_", steps)...), 2, []float64{1, 3}, []float64{0, 1})
	f("beside equal quantiles", object(quantile, append(uniform, "quantiles_", steps)...), 2, []float64{1.5, 2}, []float64{0.375, 0.125})
	middle := seq(list(0), list(1), list(1), list(2))
	f("on equal quantiles", object(quantile, append(uniform, "quantiles_", middle)...), 1, []float64{1}, []float64{0.375})
	f("imputer without a column", object(imputer, "missing_values", num(-1), "statistics_", list(7, math.NaN(), 9), "n_features_in_", "I3\n"), 3, []float64{-1, 2, 3}, []float64{7, 3})
	f("imputer of NaN without a column", object(imputer, "missing_values", num(math.NaN()), "statistics_", list(7, math.NaN())), 2, []float64{-1, 2}, []float64{-1})
	for _, module := range []string{"numpy", "numpy.core._multiarray_umath", "numpy._core._multiarray_umath"} {
		f("square of "+module, object(functions, "func", global(module, "square"), "kw_args", dict()), 0, []float64{3}, []float64{9})
	}
	edges := seq(list(0, 1, 2), list(0, 5))
	f("bins by number", of(bins, "encode", str("ordinal"), "bin_edges_", edges), 2, []float64{1, 7}, []float64{1, 0})
	f("bins below and above", of(bins, "encode", str("onehot-dense"), "bin_edges_", edges), 2, []float64{-5, 70}, []float64{1, 0, 1})
	f("edge that float32 does not have", of(bins, "encode", str("ordinal"), "bin_edges_", seq(list(0, 0.1, 2), list(0, 0.3, 2))), 2, []float64{0.1, 0.3}, []float64{1, 1})
	f("union", object(union, "transformer_list", seq(tup(str("a"), scaler), tup(str("b"), none)), "transformer_weights", dict("a", num(10))), 2, []float64{2, 4}, []float64{10, 10, 2, 4})
	slice := func(a, b, c string) string { return global("builtins", "slice") + tup(a, b, c) + "R" }
	of3 := func(spec string, more ...string) string {
		return object(columns, append(more, "transformers_", seq(tup(str("a"), str("passthrough"), spec)), "n_features_in_", "I3\n")...)
	}
	x := []float64{1, 2, 3}
	f("columns by slice", of3(slice(none, "I-1\n", none)), 3, x, []float64{1, 2})
	f("columns by slice with a step", of3(slice("I-9\n", none, "I2\n")), 3, x, []float64{1, 3})
	f("columns by index", of3(seq("I-1\n", "I0\n", "I0\n")), 3, x, []float64{3, 1, 1})
	f("columns by bool", of3(seq(yes, no, yes)), 3, x, []float64{1, 3})
	f("columns of the remainder", of3(object("sklearn.compose._column_transformer._RemainderColsList", "data", seq("I1\n"))), 3, x, []float64{2})
	f("columns by name, with their indices", of3(seq(str("speed")), "_transformer_to_input_indices", dict("a", seq("I2\n"))), 3, x, []float64{3})
	nested := object(union, "transformer_list", seq(tup(str("a"), of3(seq("I0\n"))), tup(str("b"), of3(seq("I2\n", "I1\n")))))
	f("branches in branches", object("sklearn.pipeline.Pipeline", "steps", seq(tup(str("u"), nested), tup(str("p"), object(poly, "degree", "I1\n", "n_features_in_", "I3\n")))), 3, x, []float64{1, 1, 3, 2})
}

// more are files that must be refused, as those of hostile.
var more = []struct{ name, in, want string }{
	{"loading function", of(functions, "func", global("numpy", "load")), `unsupported: function "numpy.load"; known are numpy's absolute`},
	{"function of the system", of(functions, "func", global("posix", "system")), `"posix.system"`},
	{"evaluated function", of(functions, "func", global("builtins", "eval")), `"builtins.eval"`},
	{"ufunc that is not known", of(functions, "func", global("numpy", "arctan2")), `unsupported: function "numpy.arctan2"`},
	{"ufunc of another module", of(functions, "func", global("car", "log1p")), `"car.log1p"`},
	{"ufunc that is called", of(functions, "func", global("numpy", "log1p")+"(I1\ntR"), "unsupported: func that is a numpy.log1p"},
	{"function that is a type", of(functions, "func", global("numpy", "float64")), `unsupported: function "numpy.float64"`},
	{"arguments of a function", of(functions, "func", global("numpy", "log1p"), "kw_args", dict("out", num(1))), "unsupported: kw_args"},
	{"inverse function", of(functions, "func", none, "inverse_func", global("os", "remove")), `"os.remove"`},
	{"preprocessor that is a function", global("numpy", "log1p"), "unsupported: preprocessor that is a global"},

	{"norm", of(sklearn+"Normalizer", "norm", str("l3")), `unsupported: norm "l3"`},
	{"norm of a number", of(sklearn+"Normalizer", "norm", "I2\n"), "norm is a int"},
	{"threshold of NaN", of(sklearn+"Binarizer", "threshold", num(math.NaN())), "threshold is a float, a finite number"},
	{"components of another width", of(pca, "mean_", list(1, 2), "components_", seq(list(1, 2, 3))), "components_ has shape [1 3] and mean_ 2 values"},
	{"components in a row", of(pca, "mean_", list(1, 2), "components_", list(1, 2)), "two dimensions were wanted"},
	{"no components", of(pca, "mean_", list(1, 2)), "was never fitted: has no components_"},
	{"variance", of(pca, "mean_", list(1, 2), "components_", seq(list(1, 2)), "whiten", yes, "explained_variance_", list(-1)), "explained_variance_[0] is -1"},
	{"variances", of(pca, "mean_", list(1, 2), "components_", seq(list(1, 2)), "whiten", yes, "explained_variance_", list(1, 1)), "2 values, 1 were wanted"},
	{"component beyond float32", of(pca, "mean_", list(1, 2), "components_", seq(list(1e30, 2)), "whiten", yes, "explained_variance_", list(1e-30)), "a finite number was wanted"},
	{"degree of a text", of(poly, "degree", str("x")), "degree is not a number"},
	{"degrees upside down", of(poly, "degree", tup("I3\n", "I2\n")), "degree is not a number"},
	{"negative degree", of(poly, "degree", "I-1\n"), "degree is not a number"},
	{"great degree", of(poly, "degree", "I1000000000\n"), "degree is not a number up to 64"},
	{"degree 60 of 40 columns", object(poly, "degree", "I60\n", "n_features_in_", "I40\n"), "more than 65536 products"},
	{"many columns to a degree", object(poly, "degree", "I2\n", "n_features_in_", "I3000\n"), "3000 columns to the degree 2"},
	{"no products", of(poly, "degree", "I0\n", "include_bias", no), "gives no values"},
	{"polynomial of unknown width", object(poly, "degree", "I2\n"), "was never fitted: has no n_features_in_"},
	{"references", object(quantile, "output_distribution", str("uniform"), "references_", list(0, 0), "quantiles_", seq(list(1), list(2))), "references_[1] does not rise"},
	{"falling quantiles", object(quantile, "output_distribution", str("normal"), "references_", list(0, 1), "quantiles_", seq(list(2), list(1))), "quantiles_ of column 0 do not rise"},
	{"far quantiles", object(quantile, "output_distribution", str("normal"), "references_", list(0, 1), "quantiles_", seq(list(-3e38), list(3e38))), "reach from"},
	{"number of quantiles", object(quantile, "output_distribution", str("normal"), "references_", list(0, 0.5, 1), "quantiles_", seq(list(1), list(2))), "quantiles_ has shape [2 1] and references_ 3"},
	{"distribution", object(quantile, "output_distribution", str("cauchy")), "unsupported: output_distribution"},
	{"method", object(power, "method", str("log")), "unsupported: method"},
	{"great lambda", object(power, "method", str("box-cox"), "lambdas_", list(1e7)), "lambdas_[0] is 1e+07"},
	{"scaler of a power", object(power, "method", str("box-cox"), "lambdas_", list(1)), "was never fitted: _scaler is a nothing"},
	{"scaler of another width", object(power, "method", str("box-cox"), "lambdas_", list(1, 1, 1), "_scaler", object(sklearn+"StandardScaler", "mean_", list(1, 2), "with_std", no)), "_scaler: takes 2 values, 3 were wanted"},
	{"scaler of another class", object(power, "method", str("box-cox"), "lambdas_", list(1, 1), "_scaler", scaler), "a StandardScaler was wanted"},
	{"scaler of zero", object(power, "method", str("box-cox"), "lambdas_", list(1), "_scaler", object(sklearn+"StandardScaler", "mean_", list(1), "scale_", list(0))), "scale_[0] is 0"},
	{"scaler of NaN", object(power, "method", str("box-cox"), "lambdas_", list(1), "_scaler", object(sklearn+"StandardScaler", "mean_", list(math.NaN()), "scale_", list(1))), "mean_[0] is NaN"},
	{"bins in another way", of(bins, "encode", str("onehot-sparse")), "unsupported: encode"},
	{"no bins", of(bins, "encode", str("ordinal")), "was never fitted: has no bin_edges_"},
	{"bins of a number", of(bins, "encode", str("ordinal"), "bin_edges_", num(1)), "a float, an array of arrays"},
	{"bins of another width", of(bins, "encode", str("ordinal"), "bin_edges_", seq(list(1, 2))), "bin_edges_ has 1 columns and n_features_in_ is 2"},
	{"one edge", of(bins, "encode", str("ordinal"), "bin_edges_", seq(list(1), list(1))), "at least two edges"},
	{"falling edges", of(bins, "encode", str("ordinal"), "bin_edges_", seq(list(1, 2), list(2, 1))), "bin_edges_[1] do not rise"},
	{"edge of NaN", of(bins, "encode", str("ordinal"), "bin_edges_", seq(list(1, 2), list(2, math.NaN()))), "bin_edges_[1] do not rise"},
	{"indicator", of(imputer, "add_indicator", yes, "statistics_", list(1, 2)), "was never fitted: indicator_ is a nothing"},
	{"missing texts", of(imputer, "missing_values", str("?")), "unsupported: missing_values that is a str"},
	{"nothing to impute", object(imputer, "missing_values", num(1), "statistics_", list(math.NaN())), "statistics_ has 0 numbers"},

	{"union of a number", object(union, "transformer_list", num(1)), "transformer_list is a float"},
	{"union of nothing", object(union, "transformer_list", seq()), "was never fitted"},
	{"union of unknown width", object(union, "transformer_list", seq(tup(str("a"), str("passthrough")))), "how many columns it takes"},
	{"union of two widths", object(union, "transformer_list", seq(tup(str("a"), scaler), tup(str("b"), object(sklearn+"MaxAbsScaler", "scale_", list(1))))), "transformer 1 takes 1 values"},
	{"union of features", object(union, "transformer_list", seq(tup(str("a"), scaler), tup(str("b"), standard()))), "unsupported: StandardFeaturePreprocessor, which takes named features"},
	{"union of a text", object(union, "transformer_list", seq(tup(str("a"), str("rm")))), "unsupported: transformer that is a str"},
	{"weights", object(union, "transformer_list", seq(tup(str("a"), scaler)), "transformer_weights", num(1)), "transformer_weights are a float"},
	{"infinite weight", object(union, "transformer_list", seq(tup(str("a"), scaler)), "transformer_weights", dict("a", num(math.Inf(1)))), "a finite number was wanted"},
	{"unions in unions", deepUnion(8), "more than 64 steps"},
	{"columns by name", of(columns, "transformers_", seq(tup(str("a"), str("passthrough"), seq(str("speed"))))), "unsupported: columns by names that the file does not have"},
	{"column that is not there", of(columns, "transformers_", seq(tup(str("a"), str("passthrough"), seq("I2\n")))), "numbers below 2"},
	{"bool too many", of(columns, "transformers_", seq(tup(str("a"), str("passthrough"), seq(yes, yes, yes)))), "columns are 3 bools, 2 were wanted"},
	{"bools and numbers", of(columns, "transformers_", seq(tup(str("a"), str("passthrough"), seq(yes, "I0\n")))), "unsupported: columns"},
	{"slice backward", of(columns, "transformers_", seq(tup(str("a"), str("passthrough"), global("builtins", "slice")+tup(none, none, "I-1\n")+"R"))), "unsupported: columns of a slice"},
	{"all dropped", of(columns, "transformers_", seq(tup(str("a"), str("drop"), seq("I0\n")))), "unsupported: all columns are dropped"},
	{"columns never fitted", of(columns), "was never fitted: has no transformers_"},
	{"scaler of other columns", of(columns, "transformers_", seq(tup(str("a"), scaler, seq("I0\n")))), "MaxAbsScaler takes 2 values, the columns are 1"},
}

// deepUnion is a union of a union twice, and so on: a few bytes that say 2^n
// scalers.
func deepUnion(n int) string {
	in := scaler + "p0\n0"
	for i := range n {
		last := fmt.Sprintf("g%d\n", i)
		in += object(union, "transformer_list", seq(tup(str("a"), last), tup(str("b"), last))) + fmt.Sprintf("p%d\n0", i+1)
	}
	return in + fmt.Sprintf("g%d\n", n)
}

func TestTransformersHostile(t *testing.T) {
	for _, c := range more {
		t.Run(c.name, func(t *testing.T) {
			guarded(t, func() error {
				_, err := preprocess.Decode([]byte(c.in + "."))
				return refused(err, c.want)
			})
		})
	}
}

const float64s = "cnumpy\ndtype\n(U\x02f8I00\nI01\ntR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"

// wrapped is an array as joblib writes it, with changes to its wrapper: data
// are what follows the opcodes.
func wrapped(data string, changes ...string) string {
	attrs := []string{
		"subclass", global("numpy", "ndarray"), "shape", tup("I2\n"), "order", str("C"), "dtype", float64s,
		"allow_mmap", yes, "numpy_array_alignment_bytes", "I16\n",
	}
	return object("joblib.numpy_pickle.NumpyArrayWrapper", with(attrs, changes)...) + data
}

func doubles(values ...float64) string {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return string(b)
}

// packed compresses with the writer that open makes.
func packed(t testing.TB, in string, open func(io.Writer) io.WriteCloser) string {
	t.Helper()
	var b bytes.Buffer
	w := open(&b)
	if _, err := w.Write([]byte(in)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zlibOf(t testing.TB, in string) string {
	return packed(t, in, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
}

func gzipOf(t testing.TB, in string) string {
	return packed(t, in, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func maxAbs(scale string) string { return object(sklearn+"MaxAbsScaler", "scale_", scale) + "." }

func TestJoblib(t *testing.T) {
	f := func(in string) {
		t.Helper()
		check(t, decode(t, in), [][]float64{{5, 6}}, [][]float64{{2.5, 1.5}})
		if got, want := preprocess.IsCompressed([]byte(in)), in[0] == 'x' || in[0] == 0x1f; got != want {
			t.Errorf("%q: compressed %v", in[:2], got)
		}
	}
	data := doubles(2, 4)
	f(maxAbs(wrapped("\x00" + data)))
	f(maxAbs(wrapped("\x03\xff\xff\xff" + data)))
	f(maxAbs(wrapped(data, "numpy_array_alignment_bytes", "")))
	f(maxAbs(wrapped(data, "numpy_array_alignment_bytes", none, "order", str("F"))))
	f(zlibOf(t, maxAbs(wrapped("\x00"+data))))
	f(gzipOf(t, maxAbs(wrapped("\x00"+data))))
	f(maxAbs(list(2, 4)))
}

func TestJoblibFails(t *testing.T) {
	f := func(want, in string) {
		t.Helper()
		guarded(t, func() error {
			_, err := preprocess.Decode([]byte(in))
			return refused(err, want)
		})
	}
	data := doubles(2, 4)
	f("larger than the", maxAbs(wrapped("\x00"+data, "shape", tup("I2000000000\n"))))
	f("larger than the", maxAbs(wrapped("\x00"+data, "shape", tup("I4611686018427387904\n", "I4\n"))))
	f("larger than the", maxAbs(wrapped("\x00"+data, "shape", tup("I-1\n"))))
	f("larger than the", maxAbs(wrapped("\x00"+data, "shape", tup("I9\n"))))
	f("a shape that is a list", maxAbs(wrapped("\x00"+data, "shape", seq("I2\n"))))
	f("an array of 8 bytes, 3 are left", maxAbs(wrapped("\x00", "shape", tup())))
	f("goes beyond the file", maxAbs(wrapped("\xff"+data)))
	f("unknown opcode", maxAbs(wrapped("\x00"+data, "shape", tup("I1\n")))) // the rest is not opcodes
	f("another class than ndarray", maxAbs(wrapped("\x00"+data, "subclass", global("numpy", "dtype"))))
	f("is not (bytes, dtype, shape, order)", maxAbs(wrapped("\x00"+data, "order", "I1\n")))
	f(`unsupported: array of type ""`, maxAbs(wrapped("\x00"+data, "dtype", none)))
	other := func(descr string) string { return strings.Replace(float64s, "U\x02f8", "X"+str(descr)[1:], 1) }
	f(`array of type "V8"`, maxAbs(wrapped("\x00"+data, "dtype", other("V8"))))
	f(`array of type "f0"`, maxAbs(wrapped("\x00"+data, "dtype", other("f0"))))
	f(`array of type "f-8"`, maxAbs(wrapped("\x00"+data, "dtype", other("f-8"))))
	f(`array of type "U99999999999999999999"`, maxAbs(wrapped("\x00"+data, "dtype", other("U99999999999999999999"))))
	f(`type "<U2" is not read`, maxAbs(wrapped("\x00"+data, "dtype", other("U2"))))
	f(`"posix.system"`, maxAbs(wrapped("cposix\nsystem\n("+str("touch /tmp/pwned-j")+"tR.", "dtype", other("O8"))))
	f("an array of objects that is a list", maxAbs(wrapped("(l.", "dtype", other("O8"))))
	f("more than 16 arrays of objects", "("+strings.Repeat(wrapped(
		"cnumpy.core.multiarray\n_reconstruct\n)R.", "dtype", other("O8")), 17)+"l.")
	f("without STOP", maxAbs(wrapped("\x00" + data))[:len(maxAbs(wrapped("\x00"+data)))-2])

	whole := zlibOf(t, maxAbs(wrapped("\x00"+data)))
	f("joblib: unexpected EOF", whole[:len(whole)-10])
	f("joblib: zlib: invalid checksum", whole[:len(whole)-1]+"\xff")
	f("joblib: 4 bytes after", whole+"more")
	f("inflate to more than 6", zlibOf(t, strings.Repeat("\x00", 60<<20)))
	f("inflate to more than 6", gzipOf(t, strings.Repeat("N", 60<<20)))
	f("unknown opcode", zlibOf(t, whole)) // once is enough
	f("joblib: unexpected EOF", "BZh91AY&SY")
	f("bzip2 data invalid", "BZh9"+strings.Repeat("x", 40))
	f("unsupported: compression of lzma", "\x5d\x00\x00\x80")
	f("unsupported: compression of xz", "\xfd7zXZ\x00")
	f("unsupported: compression of lz4", "\x04\x22\x4d\x18")
	_, err := preprocess.Decode([]byte(zlibOf(t, strings.Repeat("\x00", 60<<20))))
	if !errors.Is(err, pickle.ErrLimit) {
		t.Errorf("got %v, want ErrLimit", err)
	}
}
