package preprocess_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

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
	attrs := []string{"norm_obs", yes, "obs_rms", rms, "clip_obs", num(1), "epsilon", num(0), "norm_obs_keys", ""}
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
