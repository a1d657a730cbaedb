package preprocess

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// builders make a preprocessor of an object by its class.
var builders = map[pickle.Global]func(*pickle.Object) (*Preprocessor, error){}

// globals are the names that a pickled preprocessor may use.
var globals = pickle.NewAllowList(
	"copyreg._reconstructor", // protocols 0 and 1
	"builtins.object",
	"builtins.set",
	"collections.OrderedDict",
)

// Modules under which one class has been pickled.
var (
	ancestorModules = []string{"src.preprocessing", "preprocessing", "model_serving.src.preprocessing", "model_serving.preprocessing", "__main__"}
	scalerModules   = []string{"sklearn.preprocessing._data", "sklearn.preprocessing.data"}
)

// vecNormalizeGlobals are those of the spaces and the random state that a
// VecNormalize carries along.
var vecNormalizeGlobals = []string{
	"stable_baselines3.common.running_mean_std.RunningMeanStd",
	"gym.spaces.box.Box", "gymnasium.spaces.box.Box",
	"gym.spaces.dict.Dict", "gymnasium.spaces.dict.Dict",
	"gym.spaces.discrete.Discrete", "gymnasium.spaces.discrete.Discrete",
	"gym.spaces.multi_discrete.MultiDiscrete", "gymnasium.spaces.multi_discrete.MultiDiscrete",
	"gym.spaces.multi_binary.MultiBinary", "gymnasium.spaces.multi_binary.MultiBinary",
	"gym.spaces.tuple.Tuple", "gymnasium.spaces.tuple.Tuple",
	"gym.utils.seeding.RandomNumberGenerator",
	"numpy.random._pickle.__randomstate_ctor",
	"numpy.random._pickle.__generator_ctor",
	"numpy.random._pickle.__bit_generator_ctor",
	"numpy.random._mt19937.MT19937",
	"numpy.random._pcg64.PCG64",
	"numpy.random._pcg64.PCG64DXSM",
	"numpy.random._philox.Philox",
	"numpy.random._sfc64.SFC64",
	"numpy.random.bit_generator.SeedSequence",
	"numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
}

func init() {
	globals.Add(pickle.NumpyGlobals()...)
	globals.Add(vecNormalizeGlobals...)
	def := func(modules []string, name string, build func(*pickle.Object) (*Preprocessor, error)) {
		for _, m := range modules {
			builders[pickle.Global{Module: m, Name: name}] = build
			globals.Add(m + "." + name)
		}
	}
	def(ancestorModules, "StandardFeaturePreprocessor", standardFeatures)
	def(ancestorModules, "MinimalPreprocessor", minimalFeatures)
	def(scalerModules, "StandardScaler", standardScaler)
	def(scalerModules, "MinMaxScaler", minMaxScaler)
	def(scalerModules, "RobustScaler", robustScaler)
	def(scalerModules, "MaxAbsScaler", maxAbsScaler)
	def([]string{"sklearn.pipeline"}, "Pipeline", pipeline)
	def([]string{"stable_baselines3.common.vec_env.vec_normalize"}, "VecNormalize", vecNormalize)
}
