package preprocess_test

import (
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
)

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
	{"part that is no statistics", vecNormalize("obs_rms", dict("a", num(1))), `obs_rms["a"] is a float, a RunningMeanStd was wanted`},
	{"part of nothing", vecNormalize("obs_rms", dict("a", object(sb3+"running_mean_std.RunningMeanStd", "mean", "(l", "var", "(l"))), "0 values"},
	{"part of zero", vecNormalize("obs_rms", dict("a", object(sb3+"running_mean_std.RunningMeanStd", "mean", list(1), "var", list(0)))), `sqrt(obs_rms["a"].var + epsilon)[0] is 0`},
	{"key without statistics", vecNormalize("obs_rms", dict(), "norm_obs_keys", "("+str("a")+"l"), `norm_obs_keys names "a"`},
	{"keys of numbers", vecNormalize("obs_rms", dict(), "norm_obs_keys", "(I1\nl"), "a key of the observation is a int"},
	{"keys of a text", vecNormalize("obs_rms", dict(), "norm_obs_keys", str("a")), "norm_obs_keys is a str"},
	{"statistics by number", vecNormalize("obs_rms", "}I1\nI1\ns"), "a key of the observation is a int"},
	{"keys of a flat row", vecNormalize("norm_obs_keys", "("+str("a")+"l"), "obs_rms is not a dict"},
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
	case len(err.Error()) > 1000:
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
	// It takes milliseconds; what grows with what a file claims would take minutes.
	const maxBytes, maxTime = 64 << 20, 10 * time.Second
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
