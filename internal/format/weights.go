package format

import (
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
	"github.com/carla-rl/carla-rl-serving/internal/format/safetensors"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// weightsNetwork is a file of tensors without a computation: a state_dict, a
// checkpoint or safetensors.
type weightsNetwork struct {
	format, producer string
	dict             torch.StateDict
	hint             string // what a card must say, of a layout that is nearly known
	whole            torch.StateDict
}

// torchWeights are those of a file of torch.save. One in the layout of a
// training library computes as that library does.
func torchWeights(f *torch.File) (Network, error) {
	dict, err := f.StateDict()
	if err != nil {
		return nil, err
	}
	producer := "torch 1.6 or later"
	if f.Kind == torch.KindLegacy {
		producer = "torch before 1.6, or with its old serialization"
	}
	all := f.Tensors()
	w := &weightsNetwork{format: "torch weights", producer: producer, dict: dict, whole: all}
	library := architecture.Recognize(all)
	if library == nil {
		w.hint = architecture.Hint(all)
		return w, nil
	}
	known := *w
	known.dict = all
	return &assembledNetwork{weights: &known, spec: library.Spec, library: library, bare: w}, nil
}

func safetensorsWeights(data []byte) (Network, error) {
	f, err := safetensors.Decode(data)
	if err != nil {
		return nil, err
	}
	return &weightsNetwork{format: "safetensors", producer: f.Metadata["format"], dict: f.Tensors}, nil
}

// Lower refuses: nothing in the file says how the tensors are used.
func (n *weightsNetwork) Lower(LowerOptions) (*graph.Graph, error) {
	hint := ""
	if n.hint != "" {
		hint = ". " + n.hint
	}
	return nil, &unsupportedError{"unsupported: weights only: the file holds tensors and no computation. " +
		"Either say in the model card how they are used (architecture: ..., `carla-rl inspect` prints one to edit), " +
		"or export the whole network: torch.jit.trace(model, example).save(\"model.pt\"), or ONNX" + hint}
}

// Describe lists the tensors and, where they make a chain of layers, an
// architecture to edit.
func (n *weightsNetwork) Describe() Description {
	d := Description{Format: n.format, Producer: n.producer, WeightsOnly: true}
	describeTensors(&d, n.dict)
	if n.hint != "" {
		d.Notes = append(d.Notes, n.hint)
	}
	if s, notes := architecture.Suggest(n.dict); s != nil {
		d.Architecture = s.String()
		d.Notes = append(d.Notes, notes...)
	}
	return d
}

// WithArchitecture returns the network that a spec makes of the tensors of n,
// which is a file of weights only; a file that holds its own computation
// needs none, and the error says so.
func WithArchitecture(n Network, s *architecture.Spec) (Network, error) {
	w, ok := n.(*weightsNetwork)
	if known, assembled := n.(*assembledNetwork); assembled && known.library != nil {
		w, ok = known.bare, true
	}
	if !ok {
		return nil, fmt.Errorf("architecture: the file is %s, which says itself how it computes", n.Describe().Format)
	}
	return &assembledNetwork{weights: w, spec: s}, nil
}

// WithDistribution returns the network of a file of weights in a layout of a
// training library which the kind of the distribution completes, and n where it
// is none: a network that gives the parameters of that distribution.
func WithDistribution(n Network, kind string) Network {
	w, ok := n.(*weightsNetwork)
	if !ok {
		return n
	}
	library := architecture.RecognizeDrawn(w.whole, kind)
	if library == nil {
		return n
	}
	known := *w
	known.dict, known.hint = w.whole, ""
	return &assembledNetwork{weights: &known, spec: library.Spec, library: library, bare: w}
}

// assembledNetwork is weights with a spec.
type assembledNetwork struct {
	weights *weightsNetwork
	spec    *architecture.Spec

	// library is whose layout the file has, nil where the card says what is
	// computed; bare is then the file without it.
	library *architecture.Library
	bare    *weightsNetwork
}

// Lower makes the graph of the spec.
func (n *assembledNetwork) Lower(o LowerOptions) (*graph.Graph, error) {
	if o.Method != "" && o.Method != "forward" {
		return nil, fmt.Errorf("method %q: an architecture has only forward", o.Method)
	}
	return n.spec.Lower(n.weights.dict, architecture.Options{InputShapes: o.InputShapes, Rows: o.Rows})
}

// Describe tells what the file and the spec say together.
func (n *assembledNetwork) Describe() Description {
	d := Description{Format: n.weights.format, Producer: n.weights.producer, Methods: []string{"forward"}}
	if n.library != nil {
		d.Producer = n.library.Name
		d.Notes = append(d.Notes, n.library.Notes...)
	}
	g, err := n.Lower(LowerOptions{})
	d.Recurrent = err == nil && len(g.States) > 0
	for i, name := range n.spec.InputNames() {
		in := InputDescription{Name: name, DType: graph.Float32}
		switch {
		case err == nil && i < len(g.Inputs):
			in.DType, in.Shape = g.Inputs[i].DType, g.Inputs[i].Shape
		case i < len(n.spec.Inputs) && n.spec.Inputs[i].Shape != nil:
			in.Shape = append([]int{graph.Batch}, n.spec.Inputs[i].Shape...)
		}
		d.Inputs = append(d.Inputs, in)
	}
	describeTensors(&d, n.weights.dict)
	for i := range n.spec.Layers {
		d.Layers = append(d.Layers, n.spec.Layers[i].String())
	}
	unused := n.spec.Unused(n.weights.dict)
	if len(unused) > 0 {
		const most = 8
		rest := ""
		if len(unused) > most {
			rest = fmt.Sprintf(" and %d more", len(unused)-most)
			unused = slices.Clone(unused[:most])
		}
		d.Notes = append(d.Notes, fmt.Sprintf("The architecture leaves out %v%s.", unused, rest))
	}
	return d
}
