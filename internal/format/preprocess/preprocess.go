// Package preprocess reads what stands between an observation and a network:
// the pickled preprocessors of the Python ancestor, scalers and pipelines of
// scikit-learn as pickle or joblib, VecNormalize of stable-baselines3, and plain
// statistics as a pickled dict, .npz, JSON or torch file.
//
// Bytes enter; a Preprocessor leaves that lowers itself into a graph. Nothing
// of a file is executed, and a class that is not known is refused by its name.
// The package imports pickle, torch and graph and nothing else of this module.
package preprocess

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// FormatError says what is wrong with a file and where.
type FormatError = pickle.FormatError

// ErrUnsupported is the refusal of a preprocessor that is valid and not known.
var ErrUnsupported = torch.ErrUnsupported

// maxWidth bounds the values of an observation.
const maxWidth = 1 << 22

// Preprocessor maps a row of observation values to the row that the network
// was trained on. It is read only.
type Preprocessor struct {
	kind     string
	width    int // of the rows it takes, 0 for any
	out      int // of the rows it gives, 0 for as many as it takes
	values   int // numbers that its steps hold
	features []string
	steps    []step
	shape    []int  // of an observation, where the file has it
	parts    []part // of an observation that is a dict; there are no steps then
	notes    []string
}

// gives returns the number of values of the rows that leave, 0 where it is not
// known. Steps that change it take a known number.
func (p *Preprocessor) gives() int {
	if p.out != 0 {
		return p.out
	}
	return p.width
}

// step is one operation on rows of n values.
type step interface {
	lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error)
	String() string
}

// Kind names the class that was read, "StandardScaler".
func (p *Preprocessor) Kind() string { return p.kind }

// Width returns the number of values that the preprocessor takes, 0 where it
// takes any.
func (p *Preprocessor) Width() int { return p.width }

// OutputWidth returns the number of values that a row of n values becomes.
func (p *Preprocessor) OutputWidth(n int) int {
	if p.out != 0 {
		return p.out
	}
	return n
}

// Features returns the names of the observation's parts in their order, nil
// where the preprocessor does not know them.
func (p *Preprocessor) Features() []string { return p.features }

// Identity reports whether observations leave as they enter.
func (p *Preprocessor) Identity() bool { return len(p.steps) == 0 && len(p.parts) == 0 }

// Describe says in a few lines what is done to an observation.
func (p *Preprocessor) Describe() []string {
	lines := []string{p.kind}
	if p.width > 0 {
		lines[0] = fmt.Sprintf("%s of %d values", p.kind, p.width)
	}
	for _, s := range p.steps {
		lines = append(lines, s.String())
	}
	for _, part := range p.parts {
		for _, s := range part.steps {
			lines = append(lines, fmt.Sprintf("%.64q: %s", part.name, s))
		}
	}
	if p.Identity() {
		lines = append(lines, "leaves observations as they are")
	}
	return append(lines, p.notes...)
}

// Lower adds the operations to a graph. x is a row [B,N] of float32. Where the
// preprocessor has Keys, LowerNamed is the way.
func (p *Preprocessor) Lower(g *graph.Graph, x *graph.Value) (*graph.Value, error) {
	if len(p.parts) > 0 {
		return nil, p.notFlat()
	}
	if len(x.Shape) != 2 || x.Shape[0] != graph.Batch || x.DType != graph.Float32 {
		return nil, fmt.Errorf("preprocessor %s: takes rows [B,N] of f32, got %s of %s", p.kind, x.Shape, x.DType)
	}
	n := x.Shape[1]
	if p.width != 0 && n != p.width {
		return nil, fmt.Errorf("preprocessor %s: takes %d values, got %d", p.kind, p.width, n)
	}
	x, err := lowerAll(g, x, p.steps)
	if err != nil {
		return nil, fmt.Errorf("preprocessor %s: %w", p.kind, err)
	}
	return x, nil
}

// lowerAll adds steps one after the other.
func lowerAll(g *graph.Graph, x *graph.Value, steps []step) (*graph.Value, error) {
	for _, s := range steps {
		var err error
		if x, err = s.lower(g, x, x.Shape[1]); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Decode reads a preprocessor from a pickle, a joblib file, an .npz archive, a
// JSON object or a torch file, told apart by content. Errors are *FormatError.
func Decode(data []byte) (*Preprocessor, error) {
	p, err := decode(data)
	if err != nil {
		return nil, &FormatError{Format: "preprocessor", Offset: -1, Err: err}
	}
	return p, nil
}

func decode(data []byte) (*Preprocessor, error) {
	switch {
	case torch.IsZip(data):
		z, err := torch.OpenZip(data, torch.Limits{})
		if err != nil {
			return nil, err
		}
		if torch.IsTorchZip(z) {
			f, err := torch.DecodeZip(z)
			if err != nil {
				return nil, err
			}
			return fromValue(f.Value)
		}
		return fromNPZ(z)
	case torch.IsLegacy(data):
		f, err := torch.Decode(data)
		if err != nil {
			return nil, err
		}
		return fromValue(f.Value)
	}
	if IsJSON(data) {
		return fromJSON(data)
	}
	if bytes.HasPrefix(data, []byte(npyMagic)) {
		return nil, fmt.Errorf("%w: a single array does not say whether it is a mean or a deviation: save both with numpy.savez, as mean and std", ErrUnsupported)
	}
	data, err := inflate(data)
	if err != nil {
		return nil, err
	}
	v, err := pickle.Decode(data, pickle.Options{Allow: globals.Allows, Built: new(joblibArrays).read})
	if err != nil {
		var forbidden *pickle.ForbiddenGlobalError
		if errors.As(err, &forbidden) {
			return nil, refusal(forbidden.Global, err)
		}
		return nil, err
	}
	return fromValue(v)
}

// fromValue builds the preprocessor of a decoded object.
func fromValue(v pickle.Value) (*Preprocessor, error) {
	switch v := v.(type) {
	case *pickle.Dict:
		return fromStatistics(v)
	case *pickle.Object:
		return fromObject(v)
	}
	return nil, fmt.Errorf("%w: preprocessor that is a %s", ErrUnsupported, pickle.TypeName(v))
}

// fromObject builds the preprocessor of an instance of a known class.
func fromObject(o *pickle.Object) (*Preprocessor, error) {
	build, ok := builders[o.Class]
	if !ok {
		return nil, fmt.Errorf("%w: preprocessor of class %s", ErrUnsupported, o.Class)
	}
	p, err := build(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Class.Name, err)
	}
	return p, nil
}

// known lists for messages what is read.
const known = "StandardFeaturePreprocessor, MinimalPreprocessor, VecNormalize, a dict of mean and std, and of scikit-learn " +
	"StandardScaler, MinMaxScaler, RobustScaler, MaxAbsScaler, Binarizer, Normalizer, PolynomialFeatures, QuantileTransformer, " +
	"PowerTransformer, KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, PCA, IncrementalPCA, FastICA, TruncatedSVD, GaussianRandomProjection, " +
	"VarianceThreshold, SelectKBest, SimpleImputer, MissingIndicator, FunctionTransformer, FeatureUnion, ColumnTransformer, Pipeline"

// refusal makes of a forbidden class of a library an unsupported one, with what
// is supported. Names of other places keep the plain refusal.
func refusal(g pickle.Global, err error) error {
	root, _, _ := strings.Cut(g.Module, ".")
	switch root {
	case "joblib":
		return &classError{text: fmt.Sprintf("%.100q of a joblib file of another version: save with pickle.dump instead", g.String()), err: err}
	case "numpy", "scipy":
		return &classError{text: fmt.Sprintf("function %.100q; known are numpy's %s", g.String(), functionNames()), err: err}
	case "sklearn", "gym", "gymnasium", "ray", "rsl_rl", "skrl", "rl_games", "torch", "stable_baselines3", "sb3_contrib", "src", "preprocessing", "model_serving":
		return &classError{text: fmt.Sprintf("preprocessor class %.100q; known are %s", g.String(), known), err: err}
	}
	return err
}

// classError is an ErrUnsupported that stands for the refusal of a global.
type classError struct {
	text string
	err  error
}

// Error says what is not supported and what is.
func (e *classError) Error() string { return ErrUnsupported.Error() + ": " + e.text }

// Unwrap makes the error an ErrUnsupported and gives the refusal.
func (e *classError) Unwrap() []error { return []error{ErrUnsupported, e.err} }
