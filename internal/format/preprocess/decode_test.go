package preprocess_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The pickled forms of values, in protocol 0 and 1 where there is a choice.
const (
	yes  = "I01\n"
	no   = "I00\n"
	none = "N"
)

func str(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func list(values ...float64) string {
	s := "("
	for _, v := range values {
		s += num(v)
	}
	return s + "l"
}

func num(v float64) string {
	switch {
	case math.IsNaN(v):
		return "Fnan\n"
	case math.IsInf(v, 1):
		return "Finf\n"
	case math.IsInf(v, -1):
		return "F-inf\n"
	}
	return fmt.Sprintf("F%g\n", v)
}

// dict is a pickled dict of texts and pickled values.
func dict(items ...string) string {
	s := "}("
	for i := 0; i < len(items); i += 2 {
		s += str(items[i]) + items[i+1]
	}
	return s + "u"
}

// object is a pickled instance with its attributes.
func object(class string, attrs ...string) string {
	i := strings.LastIndexByte(class, '.')
	return "c" + class[:i] + "\n" + class[i+1:] + "\n)\x81" + dict(attrs...) + "b"
}

const (
	features = "src.preprocessing.StandardFeaturePreprocessor"
	sklearn  = "sklearn.preprocessing._data."
	sb3      = "stable_baselines3.common."
)

// standard are the attributes of the ancestor's preprocessor, with changes.
func standard(changes ...string) string {
	attrs := []string{
		"is_fitted", yes, "input_shape", list(5)[:1] + "I5\nl",
		"normalize_speed", yes, "normalize_steering", yes, "normalize_sensors", yes,
		"sensor_clip_range", "(" + num(-1) + num(1) + "t",
		"speed_stats", dict("mean", num(10), "std", num(2)),
		"steering_stats", dict("mean", num(0.5), "std", num(0.5)),
		"sensor_stats", dict("mean", num(0.25), "std", num(4)),
	}
	return object(features, with(attrs, changes)...)
}

// with replaces attributes, or removes them where the new value is empty.
func with(attrs, changes []string) []string {
	var out []string
	for i := 0; i < len(attrs); i += 2 {
		value := attrs[i+1]
		for j := 0; j < len(changes); j += 2 {
			if changes[j] == attrs[i] {
				value = changes[j+1]
			}
		}
		if value != "" {
			out = append(out, attrs[i], value)
		}
	}
	return out
}

func vecNormalize(changes ...string) string {
	rms := object(sb3+"running_mean_std.RunningMeanStd", "mean", list(1, 2), "var", list(4, 9), "count", num(10))
	attrs := []string{"norm_obs", yes, "obs_rms", rms, "clip_obs", num(1), "epsilon", num(0)}
	return object(sb3+"vec_env.vec_normalize.VecNormalize", with(attrs, changes)...)
}

func decode(t *testing.T, in string) *preprocess.Preprocessor {
	t.Helper()
	p, err := preprocess.Decode([]byte(in))
	if err != nil {
		t.Fatalf("%q: %v", in, err)
	}
	return p
}

func TestDecode(t *testing.T) {
	f := func(name, in, kind string, width int, x, want []float64) {
		t.Helper()
		p := decode(t, in+".")
		if p.Kind() != kind || p.Width() != width {
			t.Errorf("%s: %s of %d, want %s of %d", name, p.Kind(), p.Width(), kind, width)
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
	const std, minimal = "StandardFeaturePreprocessor", "MinimalPreprocessor"
	f("all parts", standard(), std, 0, []float64{14, 1, 3, 0.25, -3}, []float64{2, 1, 0.1875, 0, -0.3125})
	f("raw speed", standard("normalize_speed", no), std, 0, []float64{14, 1, 3}, []float64{14, 1, 0.1875})
	f("raw steering", standard("normalize_steering", no), std, 0, []float64{14, 1, 3}, []float64{2, 1, 0.1875})
	f("raw sensors, which are not clipped either", standard("normalize_sensors", no), std, 0, []float64{14, 1, 3}, []float64{2, 1, 3})
	f("all raw", standard("normalize_speed", no, "normalize_steering", no, "normalize_sensors", no), std, 0, []float64{14, 1}, []float64{14, 1})
	f("not fitted", standard("is_fitted", no), std, 0, []float64{14, 1, 3}, []float64{14, 1, 3})
	f("endless clip range", standard("sensor_clip_range", "("+num(math.Inf(-1))+num(math.Inf(1))+"t"), std, 0, []float64{14, 1, 3}, []float64{2, 1, 0.6875})
	f("shape of another form", standard("input_shape", none), std, 0, []float64{14, 1, 3}, []float64{2, 1, 0.1875})
	f("minimal", object("src.preprocessing.MinimalPreprocessor", "is_fitted", yes), minimal, 0, []float64{14, 1, 3}, []float64{14, 1, 3})
	for _, module := range []string{"preprocessing", "model_serving.src.preprocessing", "__main__"} {
		f(module, object(module+".MinimalPreprocessor", "is_fitted", yes), minimal, 0, []float64{1, 2}, []float64{1, 2})
	}
	f("protocol 0", "ccopy_reg\n_reconstructor\n(csrc.preprocessing\nMinimalPreprocessor\nc__builtin__\nobject\nNtR"+dict("is_fitted", yes)+"b", minimal, 0, []float64{1, 2}, []float64{1, 2})

	f("standard", object(sklearn+"StandardScaler", "mean_", list(1, 2), "scale_", list(2, 4)), "StandardScaler", 2, []float64{5, 6}, []float64{2, 1})
	f("old module", object("sklearn.preprocessing.data.StandardScaler", "mean_", list(1, 2), "scale_", list(2, 4)), "StandardScaler", 2, []float64{5, 6}, []float64{2, 1})
	f("without mean", object(sklearn+"StandardScaler", "with_mean", no, "scale_", list(2, 4)), "StandardScaler", 2, []float64{5, 6}, []float64{2.5, 1.5})
	f("without std", object(sklearn+"StandardScaler", "with_std", no, "mean_", list(1, 2)), "StandardScaler", 2, []float64{5, 6}, []float64{4, 4})
	f("without either", object(sklearn+"StandardScaler", "with_std", no, "with_mean", no, "n_features_in_", "I2\n"), "StandardScaler", 2, []float64{5, 6}, []float64{5, 6})
	f("without either, old", object(sklearn+"StandardScaler", "with_std", no, "with_mean", no), "StandardScaler", 0, []float64{5, 6}, []float64{5, 6})
	f("one column", object(sklearn+"StandardScaler", "mean_", list(1), "scale_", list(2)), "StandardScaler", 1, []float64{5}, []float64{2})
	f("robust", object(sklearn+"RobustScaler", "center_", list(1, 2), "scale_", list(2, 4)), "RobustScaler", 2, []float64{5, 6}, []float64{2, 1})
	f("min max", object(sklearn+"MinMaxScaler", "scale_", list(2, 4), "min_", list(1, -1)), "MinMaxScaler", 2, []float64{5, 6}, []float64{11, 23})
	f("min max, clipped", object(sklearn+"MinMaxScaler", "scale_", list(2, 4), "min_", list(1, -1), "clip", yes, "feature_range", "(I0\nI12\nt"), "MinMaxScaler", 2, []float64{5, -6}, []float64{11, 0})
	f("max abs", object(sklearn+"MaxAbsScaler", "scale_", list(2, 4)), "MaxAbsScaler", 2, []float64{5, 6}, []float64{2.5, 1.5})
	f("max abs, clipped", object(sklearn+"MaxAbsScaler", "scale_", list(2, 4), "clip", yes), "MaxAbsScaler", 2, []float64{5, -2}, []float64{1, -0.5})
	scaler := object(sklearn+"MaxAbsScaler", "scale_", list(2, 4))
	f("pipeline", object("sklearn.pipeline.Pipeline", "steps", "(("+str("a")+scaler+"t("+str("b")+none+"t("+str("c")+str("passthrough")+"t("+str("d")+scaler+"tl"), "Pipeline", 2, []float64{8, 16}, []float64{2, 1})
	f("pipeline of nothing", object("sklearn.pipeline.Pipeline", "steps", "(l"), "Pipeline", 0, []float64{8}, []float64{8})
	f("pipeline of features", object("sklearn.pipeline.Pipeline", "steps", "(("+str("a")+standard()+"tl"), "Pipeline", 0, []float64{14, 1, 3}, []float64{2, 1, 0.1875})

	f("VecNormalize", vecNormalize(), "VecNormalize", 2, []float64{2, 20}, []float64{0.5, 1})
	f("VecNormalize without a clip", vecNormalize("clip_obs", num(math.Inf(1))), "VecNormalize", 2, []float64{2, 20}, []float64{0.5, 6})
	f("VecNormalize of rewards", vecNormalize("norm_obs", no), "VecNormalize", 0, []float64{2, 20}, []float64{2, 20})

	f("std", dict("mean", list(1, 2), "std", list(2, 4)), "statistics", 2, []float64{5, 6}, []float64{2, 1})
	f("var", dict("obs_mean", list(1, 2), "obs_var", list(4, 16)), "statistics", 2, []float64{5, 6}, []float64{2, 1})
	f("eps outside the root", dict("mean", list(1, 2), "std", list(1, 3), "eps", num(1)), "statistics", 2, []float64{5, 6}, []float64{2, 1})
	f("eps inside the root", dict("mean", list(1, 2), "var", list(3, 15), "epsilon", num(1)), "statistics", 2, []float64{5, 6}, []float64{2, 1})
	f("one std", dict("mean", list(1, 2), "std", num(2), "count", "I7\n"), "statistics", 2, []float64{5, 6}, []float64{2, 2})
	f("two numbers", dict("mean", num(1), "std", num(2)), "statistics", 0, []float64{5, 6, 7}, []float64{2, 2.5, 3})
	f("clip", dict("mean", num(1), "std", num(2), "clip", num(2)), "statistics", 0, []float64{5, 60}, []float64{2, 2})
	f("clip on two sides", dict("mean", num(1), "std", num(2), "clip_range", list(-1, 3)), "statistics", 0, []float64{-50, 60}, []float64{-1, 3})
	f("image", dict("mean", "("+list(1, 2)+list(3, 4)+"l", "std", num(1)), "statistics", 4, []float64{1, 2, 3, 5}, []float64{0, 0, 0, 1})
}

// A mean far from zero is subtracted as exactly as float64 does it.
func TestPrecision(t *testing.T) {
	const mean, std = 1234567.0123456789, 0.5
	p := decode(t, dict("mean", num(mean), "std", num(std))+".")
	x := float64(float32(1234567.5))
	check(t, p, [][]float64{{x}}, [][]float64{{(x - mean) / std}})
	p = decode(t, dict("mean", list(mean, 0), "std", list(std, 1))+".")
	check(t, p, [][]float64{{x, 3}}, [][]float64{{(x - mean) / std, 3}})
}

func TestLowerFails(t *testing.T) {
	f := func(in string, dt graph.DType, shape graph.Shape, want string) {
		t.Helper()
		g := graph.New("preprocess")
		_, err := decode(t, in+".").Lower(g, g.Input("obs", dt, shape))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	stats := dict("mean", list(1, 2), "std", list(2, 4))
	f(stats, graph.Float32, graph.Shape{graph.Batch, 3}, "preprocessor statistics: takes 2 values, got 3")
	f(stats, graph.Float64, graph.Shape{graph.Batch, 2}, "takes rows [B,N] of f32, got [B,2] of f64")
	f(stats, graph.Float32, graph.Shape{2}, "takes rows [B,N] of f32, got [2] of f32")
	f(stats, graph.Float32, graph.Shape{3, 2}, "takes rows [B,N]")
	f(standard(), graph.Float32, graph.Shape{graph.Batch, 2}, "at least one sensor, got 2 values")
}

func TestDescribe(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		got := strings.Join(decode(t, in+".").Describe(), "\n")
		if got != strings.Join(want, "\n") {
			t.Errorf("got  %s\nwant %s", got, strings.Join(want, "\n"))
		}
	}
	f(standard(), "StandardFeaturePreprocessor",
		"speed (x - 10) / 2, steering (x - 0.5) / 0.5, sensors clip to [-1, 1], then (x - 0.25) / 4", "was fitted on 5 values")
	f(standard("normalize_sensors", no, "input_shape", ""), "StandardFeaturePreprocessor",
		"speed (x - 10) / 2, steering (x - 0.5) / 0.5, sensors as they are")
	f(standard("is_fitted", no), "StandardFeaturePreprocessor", "leaves observations as they are", "was never fitted: observations pass as they are")
	f(dict("mean", list(1, 2, 3, 4, 5, 6, 7, 8), "std", num(2)), "statistics of 8 values", "(x - [1 2 3 4 5 6 ...]) / 2")
	f(vecNormalize(), "VecNormalize of 2 values", "(x - [1 2]) / [2 3]", "clip to [-1, 1]")
	f(object(sklearn+"MinMaxScaler", "scale_", list(2, 4), "min_", list(1, -1)), "MinMaxScaler of 2 values", "x * [2 4] + [1 -1]")
	f(object(sklearn+"MaxAbsScaler", "scale_", list(2, 4)), "MaxAbsScaler of 2 values", "x / [2 4]")
	f(object(sklearn+"RobustScaler", "center_", list(1, 2), "with_scaling", no), "RobustScaler of 2 values", "x - [1 2]")
}

// npy is an array in a file of version 1.
func npy(header string, values ...float64) []byte {
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), 0)
	b = append(b, header...)
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

func header(shape string) string {
	return "{'descr': '<f8', 'fortran_order': False, 'shape': (" + shape + "), }    \n"
}

// npz archives arrays as numpy does, compressed or not.
func npz(t testing.TB, method uint16, items ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(items); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: items[i].(string), Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(items[i+1].([]byte)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNPZ(t *testing.T) {
	f := func(b []byte) {
		t.Helper()
		p, err := preprocess.Decode(b)
		if err != nil {
			t.Error(err)
			return
		}
		check(t, p, [][]float64{{5, 6}}, [][]float64{{2, 1}})
	}
	mean, std := npy(header("2,"), 1, 2), npy(header("2,"), 2, 4)
	f(npz(t, zip.Store, "mean.npy", mean, "std.npy", std))
	f(npz(t, zip.Deflate, "mean.npy", mean, "std.npy", std))
	two := append([]byte("\x93NUMPY\x02\x00"), byte(len(header("2,"))), 0, 0, 0)
	f(npz(t, zip.Store, "mean.npy", append(append(two, header("2,")...), mean[len(mean)-16:]...), "std.npy", std))
	f(npz(t, zip.Store, "mean.npy", mean, "var.npy", npy(header("1, 2"), 4, 16)))
}

// tensor is a pickled vector of two float32 on a storage; more is what the id
// of a storage has in files before the zip.
func tensor(key, more string) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n((" + str("storage") + "ctorch\nFloatStorage\n" + str(key) + str("cpu") +
		"I2\n" + more + "tQI0\n(I2\nt(I1\nt" + no + "NtR"
}

func float32s(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// Statistics that were saved with torch.save, in the zip and before it.
func TestTorch(t *testing.T) {
	f := func(b []byte) {
		t.Helper()
		p, err := preprocess.Decode(b)
		if err != nil {
			t.Error(err)
			return
		}
		check(t, p, [][]float64{{5, 6}}, [][]float64{{2, 1}})
	}
	object := dict("mean", tensor("0", ""), "std", tensor("1", ""), "eps", num(0)) + "."
	f(npz(t, zip.Store, "stats/data.pkl", []byte(object), "stats/data/0", float32s(1, 2), "stats/data/1", float32s(2, 4)))
	legacy := "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.M\xe9\x03." + dict("little_endian", yes) + "." +
		dict("mean", tensor("0", none), "std", tensor("1", none)) + ".(" + str("0") + str("1") + "l." +
		"\x02\x00\x00\x00\x00\x00\x00\x00" + string(float32s(1, 2)) + "\x02\x00\x00\x00\x00\x00\x00\x00" + string(float32s(2, 4))
	f([]byte(legacy))
	for _, object := range []string{"cposix\nsystem\n.", dict("mean", tensor("5", "")) + "."} {
		_, err := preprocess.Decode(npz(t, zip.Store, "stats/data.pkl", []byte(object)))
		if err := refused(err, "torch: data.pkl: "); err != nil {
			t.Error(err)
		}
	}
}

func TestNPZFails(t *testing.T) {
	f := func(want string, b []byte) {
		t.Helper()
		_, err := preprocess.Decode(b)
		if err := refused(err, want); err != nil {
			t.Error(err)
		}
	}
	mean, std := npy(header("2,"), 1, 2), npy(header("2,"), 2, 4)
	one := func(b []byte) []byte { return npz(t, zip.Store, "mean.npy", b, "std.npy", std) }
	f(`unsupported: member "policy.onnx"`, npz(t, zip.Store, "policy.onnx", mean))
	f(`unsupported: member "weights.npy"`, npz(t, zip.Store, "weights.npy", mean))
	f("says again", npz(t, zip.Store, "mean.npy", mean, "obs_mean.npy", mean))
	f("mean.npy: not an .npy array", one([]byte("GIF")))
	f("not an .npy array", one([]byte("GIF89a and more bytes")))
	f(".npy version 9", one([]byte("\x93NUMPY\x09\x00v\x00  ")))
	f("an .npy header of 255 bytes", one([]byte("\x93NUMPY\x01\x00\xff\x00  ")))
	f("an .npy header of 4294967295 bytes", one([]byte("\x93NUMPY\x02\x00\xff\xff\xff\xff")))
	f("unsupported: .npy header", one(npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }\n")))
	f("unsupported: .npy header", one(npy("__import__('os').system('ls')\n")))
	f("value out of range", one(npy(header("99999999999,"))))
	f("are not an array of shape [3]", one(npy(header("3,"), 1, 2)))
	f("is not read", one(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }\n", 1, 2)))
	bad := npz(t, zip.Store, "mean.npy", mean, "std.npy", std)
	at := bytes.Index(bad, []byte("NUMPY"))
	bad[at+len(mean)-10]++
	f("checksum", bad)
	f("without a mean", npz(t, zip.Store, "std.npy", std))
}

// hostile are files that must be refused, each a small change of one that
// loads, with a part of the message.
var hostile = []struct{ name, in, want string }{
	{"system", "cposix\nsystem\n(" + str("touch /tmp/pwned-p") + "tR", `"posix.system"`},
	{"system in the state", object(features, "is_fitted", "cposix\nsystem\n("+str("touch /tmp/pwned-p")+"tR"), `"posix.system"`},
	{"class beside a known one", object("src.preprocessing.OtherPreprocessor"), `unsupported: preprocessor class "src.preprocessing.OtherPreprocessor"; known are`},
	{"known class in another module", object("evil.StandardFeaturePreprocessor"), `global is not on the allow list: "evil.StandardFeaturePreprocessor"`},
	{"long name of a known module", object("sklearn." + strings.Repeat("\x19", 4000) + ".Scaler"), `preprocessor class "sklearn.\x19\x19`},
	{"class that is not known", object(sklearn + "KernelCenterer"), `unsupported: preprocessor class "sklearn.preprocessing._data.KernelCenterer"`},
	{"joblib of another version", object("joblib.numpy_pickle.NDArrayWrapper"), `unsupported: "joblib.numpy_pickle.NDArrayWrapper" of a joblib file`},
	{"number", "I1\n", "unsupported: preprocessor that is a int"},
	{"class", "csklearn.pipeline\nPipeline\n", "unsupported: preprocessor that is a global"},
	{"helper class", object(sb3 + "running_mean_std.RunningMeanStd"), "unsupported: preprocessor of class"},
	{"persistent id", "P1\n", "persistent id"},

	{"fitted or not", standard("is_fitted", ""), "is_fitted is nothing"},
	{"fitted as a number", standard("is_fitted", "I1\n"), "is_fitted is int, a bool was wanted"},
	{"flag of speed", standard("normalize_speed", ""), "normalize_speed is nothing"},
	{"statistics of speed", standard("speed_stats", ""), "speed_stats is a nothing"},
	{"mean of speed", standard("speed_stats", dict("std", num(1))), "mean is a nothing"},
	{"std of steering", standard("steering_stats", dict("mean", num(1), "std", str("x"))), "std a str"},
	{"std of zero", standard("steering_stats", dict("mean", num(1), "std", num(0))), "is 0, a finite positive number"},
	{"std beyond float32", standard("steering_stats", dict("mean", num(1), "std", num(1e300))), "is 1e+300, a finite positive number"},
	{"std below float32", standard("steering_stats", dict("mean", num(1), "std", num(1e-300))), "is 1e-300"},
	{"mean that is NaN", standard("sensor_stats", dict("mean", num(math.NaN()), "std", num(1))), "is NaN, a finite number"},
	{"clip range", standard("sensor_clip_range", ""), "sensor_clip_range is not a pair"},
	{"clip range of one", standard("sensor_clip_range", list(1)), "sensor_clip_range is not a pair"},
	{"clip range of texts", standard("sensor_clip_range", "("+str("a")+str("b")+"t"), "sensor_clip_range is not a pair"},
	{"clip range upside down", standard("sensor_clip_range", list(1, -1)), "the smaller first"},
	{"clip range of NaN", standard("sensor_clip_range", list(math.NaN(), 1)), "the smaller first"},

	{"not fitted", object(sklearn + "StandardScaler"), "was never fitted: has no mean_"},
	{"flag of a scaler", object(sklearn+"StandardScaler", "with_mean", str("yes")), "with_mean is a str"},
	{"mean of a scaler", object(sklearn+"StandardScaler", "mean_", none, "scale_", list(1)), "mean_: a None, numbers were wanted"},
	{"table of means", object(sklearn+"StandardScaler", "mean_", "("+list(1)+"l", "scale_", list(1)), "mean_ has shape [1 1]"},
	{"infinite mean", object(sklearn+"StandardScaler", "mean_", list(1, math.Inf(1)), "scale_", list(1, 1)), "mean_[1] is +Inf"},
	{"negative scale", object(sklearn+"StandardScaler", "mean_", list(1, 1), "scale_", list(1, -1)), "scale_[1] is -1"},
	{"two widths", object(sklearn+"StandardScaler", "mean_", list(1, 2), "scale_", list(1, 2, 3)), "scale_ has 3 values, 2 were wanted"},
	{"no columns", object(sklearn+"MaxAbsScaler", "scale_", "(l"), "scale_ has 0 values"},
	{"another number of columns", object(sklearn+"MaxAbsScaler", "scale_", list(1, 2), "n_features_in_", "I3\n"), "scale_ has 2 values and n_features_in_ is 3"},
	{"no number of columns", object(sklearn+"MaxAbsScaler", "scale_", list(1, 2), "n_features_in_", num(2)), "n_features_in_ is not a number"},
	{"negative number of columns", object(sklearn+"StandardScaler", "with_mean", no, "with_std", no, "n_features_in_", "I-3\n"), "n_features_in_ is not a number"},
	{"clip without a range", object(sklearn+"MinMaxScaler", "scale_", list(1), "min_", list(1), "clip", yes), "feature_range is not a pair"},
	{"steps", object("sklearn.pipeline.Pipeline"), "steps are a nothing"},
	{"65 steps", object("sklearn.pipeline.Pipeline", "steps", "("+strings.Repeat("("+str("a")+none+"t", 65)+"l"), "at most 64"},
	{"steps in steps", object("sklearn.pipeline.Pipeline", "steps", "("+strings.Repeat("("+str("a")+object("sklearn.pipeline.Pipeline", "steps", "("+strings.Repeat("("+str("b")+object(sklearn+"MaxAbsScaler", "scale_", list(1))+"t", 10)+"l")+"t", 10)+"l"), "more than 64 steps"},
	{"step that is no pair", object("sklearn.pipeline.Pipeline", "steps", "("+none+"l"), "step 0 is not a pair"},
	{"step of a number", object("sklearn.pipeline.Pipeline", "steps", "(("+str("a")+"I1\nt"+"l"), "unsupported: step 0 that is a int"},
	{"step of a helper", object("sklearn.pipeline.Pipeline", "steps", "(("+str("a")+object("builtins.object")+"t"+"l"), "step 0: unsupported: preprocessor of class builtins.object"},
	{"steps of two widths", object("sklearn.pipeline.Pipeline", "steps", "(("+str("a")+object(sklearn+"MaxAbsScaler", "scale_", list(1, 2))+"t("+str("a")+object(sklearn+"MaxAbsScaler", "scale_", list(1))+"tl"), "step 1 takes 1 values, the steps before it give 2"},
	{"features after a step", object("sklearn.pipeline.Pipeline", "steps", "(("+str("a")+object(sklearn+"MaxAbsScaler", "scale_", list(1, 2))+"t("+str("a")+standard()+"tl"), "step 1 takes named features"},

	{"norm_obs", vecNormalize("norm_obs", ""), "norm_obs is nothing"},
	{"dict observations", vecNormalize("obs_rms", dict()), "unsupported: VecNormalize of dict observations"},
	{"no statistics", vecNormalize("obs_rms", none), "obs_rms is a None"},
	{"statistics of another class", vecNormalize("obs_rms", object("builtins.object")), "a RunningMeanStd was wanted"},
	{"no mean", vecNormalize("obs_rms", object(sb3+"running_mean_std.RunningMeanStd", "var", list(1))), "obs_rms.mean: a nothing"},
	{"no variance", vecNormalize("obs_rms", object(sb3+"running_mean_std.RunningMeanStd", "mean", list(1))), "obs_rms.var: a nothing"},
	{"mean of infinity", vecNormalize("obs_rms", object(sb3+"running_mean_std.RunningMeanStd", "mean", list(math.Inf(1)), "var", list(1))), "obs_rms.mean[0] is +Inf"},
	{"negative variance", vecNormalize("obs_rms", object(sb3+"running_mean_std.RunningMeanStd", "mean", list(1), "var", list(-1))), "sqrt(obs_rms.var + epsilon)[0] is NaN"},
	{"two lengths", vecNormalize("obs_rms", object(sb3+"running_mean_std.RunningMeanStd", "mean", list(1), "var", list(1, 2))), "1 means and 2 variances"},
	{"no values", vecNormalize("obs_rms", object(sb3+"running_mean_std.RunningMeanStd", "mean", "(l", "var", "(l")), "0 values"},
	{"negative epsilon", vecNormalize("epsilon", num(-1)), "epsilon is a float, a number of at least 0"},
	{"epsilon of NaN", vecNormalize("epsilon", num(math.NaN())), "a number of at least 0"},
	{"no clip", vecNormalize("clip_obs", ""), "clip_obs is a nothing"},

	{"unknown key", dict("mean", num(1), "std", num(1), "bias", num(1)), `unsupported: key "bias"`},
	{"key that is a number", "}I1\nI1\ns", "unsupported: key"},
	{"two means", dict("mean", num(1), "mean_", num(1), "std", num(1)), "says again"},
	{"mean of a text", dict("mean", str("x"), "std", num(1)), "mean: a str"},
	{"only mean", dict("mean", num(1)), "one of std and var"},
	{"std and var", dict("mean", num(1), "std", num(1), "var", num(1)), "one of std and var"},
	{"no statistics at all", "}", "unsupported: statistics without a mean"},
	{"statistics of two lengths", dict("mean", list(1, 2), "std", list(1, 2, 3)), "std has 3 values, 2 were wanted"},
	{"statistics of infinity", dict("mean", list(1, math.Inf(1)), "std", list(1, 2)), "mean[1] is +Inf"},
	{"statistics of zero", dict("mean", list(1, 2), "std", list(1, 0)), "std[1] is 0"},
	{"statistics of nothing", dict("mean", "(l", "std", num(1)), "mean has 0 values"},
	{"deviation of nothing", dict("mean", num(1), "std", "(l"), "std has 0 values"},
	{"two eps", dict("mean", num(1), "std", num(1), "eps", list(1, 2)), "eps is not a single number"},
	{"clip of three", dict("mean", num(1), "std", num(1), "clip", list(1, 2, 3)), "clip is neither"},
	{"negative clip", dict("mean", num(1), "std", num(1), "clip", num(-1)), "clip is neither"},
}

func TestDecodeHostile(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			guarded(t, func() error {
				_, err := preprocess.Decode([]byte(c.in + "."))
				return refused(err, c.want)
			})
		})
	}
}

func TestDecodeNothing(t *testing.T) {
	for _, in := range []string{"", "PK\x03\x04", "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."} {
		_, err := preprocess.Decode([]byte(in))
		if err := refused(err, ""); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// refused says what is wrong with a refusal.
func refused(err error, want string) error {
	fe := new(preprocess.FormatError)
	switch {
	case err == nil:
		return errors.New("loads")
	case !errors.As(err, &fe):
		return fmt.Errorf("%T is no FormatError: %w", err, err)
	case !strings.Contains(err.Error(), want):
		return fmt.Errorf("got %q, want %q in it", err, want)
	case len(err.Error()) > 800:
		return fmt.Errorf("a message of %d bytes", len(err.Error()))
	case strings.HasPrefix(want, "unsupported") && !errors.Is(err, preprocess.ErrUnsupported):
		return fmt.Errorf("%q is not ErrUnsupported", err)
	}
	return nil
}

// guarded runs f within the time and the memory that one file may take, and
// looks for what a hostile file would leave behind.
func guarded(t *testing.T, f func() error) {
	t.Helper()
	const maxBytes, maxTime = 64 << 20, time.Second
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Error(err)
	}
	if took > slowdown*maxTime {
		t.Errorf("took %v", took)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > maxBytes {
		t.Errorf("allocated %d MiB", n>>20)
	}
	if found, _ := os.ReadDir("/tmp"); found != nil {
		for _, e := range found {
			if strings.HasPrefix(e.Name(), "pwned-") {
				t.Errorf("/tmp/%s was made", e.Name())
			}
		}
	}
}

// The hostile pickles of the corpus, read in the role of a preprocessor.
func TestCorpusHostile(t *testing.T) {
	root, ok := corpus(t, 16)
	if !ok {
		return
	}
	found, err := filepath.Glob(filepath.Join(root, "hostile", "pickle", "*.pkl"))
	if err != nil || len(found) < 15 {
		t.Fatalf("%d files: %v", len(found), err)
	}
	for _, path := range append(found, filepath.Join(root, "hostile", "sb3", "evil_vecnormalize.pkl")) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			guarded(t, func() error {
				_, err := preprocess.Decode(b)
				return refused(err, "")
			})
		})
	}
}

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
