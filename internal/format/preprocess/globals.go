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
	"builtins.slice",
	"collections.OrderedDict",
	wrapperClass.String(),
	// What fitted objects carry along: types, and helpers that are not used.
	"numpy.float64", "numpy.float32", "numpy.float16", "numpy.int64", "numpy.int32", "numpy.int16", "numpy.int8", "numpy.uint8", "numpy.uint16", "numpy.uint32", "numpy.uint64",
	"numpy.bool_", "numpy.bool", "numpy.number", "numpy.floating", "numpy.integer",
	"builtins.int", "builtins.long", "builtins.float", // long by protocol 2
	"pandas.core.indexes.base._new_Index", "pandas.core.indexes.base.Index",
	"sklearn.feature_selection._univariate_selection.f_classif",
	"sklearn.feature_selection._univariate_selection.f_regression",
	"sklearn.feature_selection._univariate_selection.r_regression",
	"sklearn.feature_selection._univariate_selection.chi2",
	"sklearn.feature_selection._mutual_info.mutual_info_classif",
	"sklearn.feature_selection._mutual_info.mutual_info_regression",
	"sklearn.compose._column_transformer.make_column_selector",
	"sklearn.compose._column_transformer._RemainderColsList",
)

// Modules under which one class has been pickled.
var (
	ancestorModules = []string{"src.preprocessing", "preprocessing", "model_serving.src.preprocessing", "model_serving.preprocessing", "__main__"}
	scalerModules   = []string{"sklearn.preprocessing._data", "sklearn.preprocessing.data"}
	// normalizeModules have the statistics of NormalizeObservation.
	normalizeModules = []string{"gym.wrappers.normalize", "gymnasium.wrappers.normalize", "gymnasium.wrappers.utils"}
	// numpyModules are those in which versions of numpy pickle a ufunc.
	numpyModules = []string{"numpy", "numpy.core._multiarray_umath", "numpy._core._multiarray_umath", "numpy.core.umath", "numpy._core.umath"}
)

// vecNormalizeGlobals are those of a VecNormalize and of the spaces that it
// carries along.
var vecNormalizeGlobals = []string{
	"stable_baselines3.common.running_mean_std.RunningMeanStd",
	"gym.spaces.box.Box", "gymnasium.spaces.box.Box",
	"gym.spaces.dict.Dict", "gymnasium.spaces.dict.Dict",
	"gym.spaces.discrete.Discrete", "gymnasium.spaces.discrete.Discrete",
	"gym.spaces.multi_discrete.MultiDiscrete", "gymnasium.spaces.multi_discrete.MultiDiscrete",
	"gym.spaces.multi_binary.MultiBinary", "gymnasium.spaces.multi_binary.MultiBinary",
	"gym.spaces.tuple.Tuple", "gymnasium.spaces.tuple.Tuple",
	"gym.utils.seeding.RandomNumberGenerator",
}

func init() {
	globals.Add(pickle.NumpyGlobals()...)
	globals.Add(pickle.NumpyRandomGlobals()...)
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
	def(scalerModules, "Binarizer", binarizer)
	def(scalerModules, "Normalizer", normalizer)
	def(scalerModules, "PowerTransformer", powerTransformer)
	def(scalerModules, "QuantileTransformer", quantileTransformer)
	def(append([]string{"sklearn.preprocessing._polynomial"}, scalerModules...), "PolynomialFeatures", polynomialFeatures)
	def([]string{"sklearn.preprocessing._discretization"}, "KBinsDiscretizer", binsDiscretizer)
	def([]string{"sklearn.preprocessing._function_transformer"}, "FunctionTransformer", functionTransformer)
	def([]string{"sklearn.preprocessing._encoders"}, "OneHotEncoder", oneHotEncoder)
	def([]string{"sklearn.preprocessing._encoders"}, "OrdinalEncoder", ordinalEncoder)
	def([]string{"sklearn.decomposition._pca", "sklearn.decomposition.pca"}, "PCA", principalComponents)
	def([]string{"sklearn.decomposition._incremental_pca"}, "IncrementalPCA", principalComponents)
	def([]string{"sklearn.decomposition._fastica"}, "FastICA", independentComponents)
	def([]string{"sklearn.decomposition._truncated_svd"}, "TruncatedSVD", truncatedSVD)
	def([]string{"sklearn.random_projection"}, "GaussianRandomProjection", gaussianProjection)
	def([]string{"sklearn.feature_selection._variance_threshold"}, "VarianceThreshold", varianceThreshold)
	def([]string{"sklearn.feature_selection._univariate_selection"}, "SelectKBest", selectKBest)
	def([]string{"sklearn.impute._base"}, "MissingIndicator", missingIndicator)
	def([]string{"sklearn.impute._base"}, "SimpleImputer", simpleImputer)
	def([]string{"sklearn.pipeline"}, "Pipeline", pipeline)
	def([]string{"sklearn.pipeline"}, "FeatureUnion", featureUnion)
	def([]string{"sklearn.compose._column_transformer"}, "ColumnTransformer", columnTransformer)
	globals.Add(ufuncOf.String())
	for _, g := range clipFunctions {
		globals.Add(g.String())
	}
	for name := range functions {
		for _, m := range numpyModules {
			globals.Add(m + "." + name)
		}
	}
	def([]string{"stable_baselines3.common.vec_env.vec_normalize"}, "VecNormalize", vecNormalize)
	def(normalizeModules, "RunningMeanStd", runningMeanStd)
}
