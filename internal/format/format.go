// Package format tells what a model file is and reads it.
//
// What enters are the bytes of one file; what leaves is a [Network]: a
// description of what the file holds, and its lowering into a graph. The
// content decides which reader is used, never the name of the file. The
// readers themselves are the packages below this one. The package knows nothing
// of folders, model cards, plans or protocols: it imports package graph and the
// packages below it, and nothing else of this module.
package format

import (
	"errors"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// ErrUnsupported is wrapped by every refusal of a file that may well be sound
// but that this release cannot serve: a format, an operator, a way of control
// flow. The message begins with "unsupported:" and says what is missing.
var ErrUnsupported = errors.ErrUnsupported

// ErrFormat is wrapped by the error for bytes that are no model file at all.
var ErrFormat = errors.New("not a model file")

// Network is a decoded model file.
type Network interface {
	// Describe tells what the file holds.
	Describe() Description
	// Lower makes the graph of one method.
	Lower(o LowerOptions) (*graph.Graph, error)
}

// LowerOptions say which computation of a network is wanted.
type LowerOptions struct {
	// Method is the method to lower: "forward" or "act". Empty is "forward".
	Method string
	// Deterministic is given to a parameter of the method of that name.
	Deterministic bool
	// InputShapes gives the shape of inputs by name, with [graph.Batch] for the
	// batch axis, where the file does not tell it.
	InputShapes map[string][]int
	// InputTypes gives the element type of inputs by name, where the file does
	// not tell it, as that of a scripted module does not. A floating one says no
	// more than that: which, the weights tell.
	InputTypes map[string]graph.DType
	// Rows asks for the computation of exactly that number of rows, with no
	// batch axis in the graph; 0 is for any number of rows at once. A network
	// whose rows cannot be told apart (control flow that depends on data, state
	// in buffers) lowers only with Rows, and otherwise gives an error that wraps
	// [graph.ErrMixesRows].
	Rows int
	// ActionMasks asks for an input "action_masks" after the observation, one
	// number for each of Description.ActionMasks, 0 where the action may not
	// be taken.
	ActionMasks bool
	// Whole is for an engine that runs models of other formats as they are: a
	// model with an operator that is not known is one node of the graph,
	// [graph.OpModel].
	Whole bool
}

// Description is what a file tells of itself without being run.
type Description struct {
	Format   string // "torchscript", "torch weights"
	Producer string // the program that wrote it, as far as the file tells
	Inputs   []InputDescription
	Methods  []string // that can be lowered, "forward" first

	// HasSampling tells whether some method draws random numbers when it is
	// not deterministic.
	HasSampling bool
	// Distribution is the kind that actions are drawn from: "gaussian",
	// "squashed_gaussian", "gsde", "categorical", "multi_categorical" or
	// "bernoulli"; empty where there is none or the file does not tell. Where it
	// is told, the outputs mean, std, logits and probs of the graph are its
	// parameters.
	Distribution string
	// Recurrent tells that the network keeps state between the steps of an
	// episode: its graph has states.
	Recurrent bool
	// ActionMasks is the number of mask values of a row, 0 for a policy that
	// takes no masks.
	ActionMasks int
	// MaskParts are the sizes of the parts of a row of masks, one action of each
	// of which is taken; together they are ActionMasks.
	MaskParts []int
	// WeightsOnly tells that the file holds tensors and no computation.
	WeightsOnly bool

	Tensors    []TensorDescription // in the order of the file
	Layers     []string            // one line a module, in the order of the file
	Parameters int64               // number of values in all tensors, each storage counted once
	Notes      []string            // what a reader should know: one sentence each

	// NonFinite names the tensors that hold a NaN or an infinity.
	NonFinite []string
	// Spaces are those of the environment, nil for a file that does not tell
	// them. The action of such a network is in its space already.
	Spaces *Spaces
	// Architecture is the value of `architecture:` in a model card that fits
	// the weights, ready to be edited, where they make a chain of layers. The
	// activations in it are a guess.
	Architecture string
}

// InputDescription is one input of a network.
type InputDescription struct {
	Name  string
	DType graph.DType
	// Shape has [graph.Batch] for the batch axis; it is nil where the file does
	// not tell it.
	Shape []int
}

// TensorDescription is one tensor of a file.
type TensorDescription struct {
	Name  string
	DType graph.DType
	Shape []int
}

// Spaces are the spaces of the environment in which a policy was trained.
type Spaces struct {
	Observation []SpaceDescription // one for each input
	Named       bool               // the observation is an object of them
	Action      SpaceDescription
}

// SpaceDescription is one space.
type SpaceDescription struct {
	Name       string
	Text       string // as gymnasium prints it
	Categories bool   // values are integers from Low to High
	Image      bool   // taken with the channels last or, nested so, with the channels first
	// Low and High hold for every value; a side without a bound is infinite.
	Low, High float64
	Space     Space
}

// Space is a space as gymnasium has it.
type Space struct {
	Kind  string // "Box", "Discrete", "MultiDiscrete" or "MultiBinary"
	DType string // as numpy names it: "float32"
	Shape []int  // of one value of the space; nil for a Discrete
	// Low and High bound each value of a Box, in row-major order; a side
	// without a bound is infinite.
	Low, High []float32
	// N are the numbers of categories: one of a Discrete, each of a
	// MultiDiscrete.
	N []int
	// Start is what the environment of a Discrete counts from. The policy
	// counts from 0.
	Start int
}
