// Package torchexport reads the programs of torch.export: .pt2 archives of a
// JSON graph and the storages of its parameters.
//
// The archive enters; a [Program] leaves, which lowers to a graph through
// torchscript.Build. The members of an archive that are pickles, which are the
// sample inputs, are never read. The package imports torch, torchscript,
// pickle and graph and nothing else of this module.
package torchexport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The maxima of a program.
const (
	maxModelBytes  = 16 << 20 // of models/model.json
	maxConfigBytes = 4 << 20  // of the list of the weights
	maxObjects     = 150_000  // of one member; a node takes about 30
	maxTokens      = 1_500_000
	maxNodes       = 20_000
	maxWeights     = 10_000
	maxName        = 1024
)

// FormatError says what is wrong with a file and where.
type FormatError = pickle.FormatError

// ErrLimit is the refusal of a file that goes beyond a maximum.
var ErrLimit = pickle.ErrLimit

// UnsupportedError is an archive that is sound but that is not read. It
// matches errors.ErrUnsupported.
type UnsupportedError struct{ What string }

// Error begins with "unsupported:".
func (e *UnsupportedError) Error() string { return "unsupported: " + e.What }

// Is reports whether target is errors.ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool { return target == errors.ErrUnsupported }

func unsupportedf(format string, args ...any) error {
	return &UnsupportedError{What: fmt.Sprintf(format, args...)}
}

// Input is an input of the program.
type Input struct {
	Name  string
	DType graph.DType
	// Shape has graph.Batch for the batch axis; it is nil where another
	// dimension is not fixed.
	Shape graph.Shape

	value string      // its name in the JSON graph
	exact graph.Shape // that of a program for a fixed number of rows, else nil
}

// Program is a decoded archive.
type Program struct {
	Version string // of torch, as the archive has it; may be empty
	Inputs  []Input
	Tensors torch.StateDict // parameters, buffers and constants that the graph uses, in its order
	// Static is the number of rows for which the program was exported, where
	// that is fixed; 0 where it is not.
	Static int64

	nodes   []nodeJSON
	tensors map[string]torch.NamedTensor // by their names in the JSON graph
	fixed   map[string]argument          // inputs that are no tensors, with their values
	outputs []argument
	outTree *tree

	mutations []mutation // next values of buffers
}

// The members of an archive: those of torch 2.8 and later, and those before.
const (
	modelMember    = "models/model.json"
	oldModelMember = "serialized_exported_program.json"
)

// Is reports whether an archive is one of torch.export: it holds a graph in
// JSON.
func Is(z *torch.Zip) bool { return z.HasRecord(modelMember) || z.HasRecord(oldModelMember) }

// Decode reads an archive of torch.export.
func Decode(z *torch.Zip) (*Program, error) {
	d := decoder{z: z, model: modelMember}
	if !z.HasRecord(modelMember) {
		d.model = oldModelMember
	}
	p, err := d.program()
	if err != nil {
		return nil, &FormatError{Format: "torch.export", Offset: -1, Path: d.at, Err: err}
	}
	return p, nil
}

// decoder is the state of one decoding.
type decoder struct {
	z  *torch.Zip
	at string // the member that is read, for messages

	model string // the member of the graph

	weights, constants *storages
}

// read reads a member as JSON.
func (d *decoder) read(name string, most int, v any) error {
	d.at = name
	b, err := d.z.Record(name)
	if err != nil {
		return err
	}
	if len(b) > most {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrLimit, len(b), most)
	}
	b = quoteNonFinite(b)
	if err := countValues(b); err != nil {
		return err
	}
	// Names that are there twice, and text that is no UTF-8, are refused.
	if name == d.model {
		if err := checkVersion(b); err != nil {
			return err
		}
	}
	return json.Unmarshal(b, v)
}

// checkVersion refuses a program of a schema before those that are read, whose
// arguments have another form: torch 2.1 writes its number, later ones an
// object.
func checkVersion(b []byte) error {
	var m struct {
		SchemaVersion jsontext.Value `json:"schema_version"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	var v struct {
		Major int64 `json:"major"`
		Minor int64 `json:"minor"`
	}
	var err error
	switch m.SchemaVersion.Kind() {
	case '{':
		err = json.Unmarshal(m.SchemaVersion, &v)
	case '0':
		err = json.Unmarshal(m.SchemaVersion, &v.Major)
	}
	if err == nil && v.Major < schemaLeast {
		return unsupportedf("schema version %d.%d of torch.export, as torch 2.1 to 2.4 write it: "+
			"export the model again with torch 2.5 or later, or to ONNX or TorchScript", v.Major, v.Minor)
	}
	return err
}

// countValues holds a member to the number of values that it may have, before
// memory is taken for them.
func countValues(b []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(b))
	objects, tokens := 0, 0
	for {
		t, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if t.Kind() == '{' {
			objects++
		}
		if tokens++; objects > maxObjects || tokens > maxTokens {
			return fmt.Errorf("%w: more than %d objects or %d values", ErrLimit, maxObjects, maxTokens)
		}
	}
}

// The versions of the schema that are read: the first of torch 2.5, the other
// of 2.8 and later, within which the schema stays compatible. The version of
// the operators is that of all of them.
const (
	schemaLeast = 7
	schemaMost  = 8
	atenMost    = 10
)

func (d *decoder) program() (*Program, error) {
	var m program
	if err := d.read(d.model, maxModelBytes, &m); err != nil {
		return nil, err
	}
	if v := m.SchemaVersion; v.Major > schemaMost {
		return nil, unsupportedf("schema version %d.%d of torch.export, %d and %d are read", v.Major, v.Minor, schemaLeast, schemaMost)
	}
	if v := m.OpsetVersion["aten"]; v > atenMost {
		return nil, unsupportedf("operators of version %d, at most %d is read", v, atenMost)
	}
	g := &m.GraphModule.Graph
	if len(g.Nodes) > maxNodes {
		return nil, fmt.Errorf("%w: %d nodes, at most %d", ErrLimit, len(g.Nodes), maxNodes)
	}
	p := &Program{
		Version: m.TorchVersion, nodes: g.Nodes,
		tensors: map[string]torch.NamedTensor{}, fixed: map[string]argument{},
	}
	var err error
	if d.weights, err = d.storages("data/weights", "model_weights_config.json", "serialized_state_dict.pt"); err != nil {
		return nil, err
	}
	if d.constants, err = d.storages("data/constants", "model_constants_config.json", "serialized_constants.pt"); err != nil {
		return nil, err
	}
	d.at = d.model
	if len(m.GraphModule.Signature.Inputs) > maxWeights+graph.MaxPorts {
		return nil, fmt.Errorf("%w: %d inputs", ErrLimit, len(m.GraphModule.Signature.Inputs))
	}
	for i, s := range m.GraphModule.Signature.Inputs {
		if err := d.input(p, g, s); err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
	}
	p.staticRows()
	for i, s := range m.GraphModule.Signature.Outputs {
		switch {
		case i >= len(g.Outputs):
			return nil, fmt.Errorf("%d outputs, the signature has %d", len(g.Outputs), len(m.GraphModule.Signature.Outputs))
		case s.Buffer != nil:
			if err := p.mutates(s.Buffer.Name, g.Outputs[i]); err != nil {
				return nil, fmt.Errorf("output %d: %w", i, err)
			}
			continue
		case s.InputMutation != nil:
			return nil, unsupportedf("user_input_mutation: forward changes its input %.80q in place; let it change a copy, as x = x.clone(), and export again", s.InputMutation.Input)
		case s.User == nil:
			return nil, unsupportedf("output %d is no result of forward: a program for training, or one that changes its inputs", i)
		}
		p.outputs = append(p.outputs, g.Outputs[i])
	}
	if len(g.Outputs) != len(p.outputs)+len(p.mutations) || len(p.outputs) == 0 || len(g.Outputs) > graph.MaxPorts {
		return nil, fmt.Errorf("%d outputs, the signature has %d", len(g.Outputs), len(p.outputs))
	}
	return p, d.trees(p, &m)
}

// input reads one input of the JSON graph: a tensor of the file, or one of
// forward's.
func (d *decoder) input(p *Program, g *graphJSON, s inputSpec) error {
	tensor := func(from *storages, arg, name string) error {
		if _, twice := p.tensors[arg]; twice || arg == "" || len(name) > maxName {
			return fmt.Errorf("the value %.80q is empty or there twice", arg)
		}
		d.at = from.folder
		t, err := from.tensor(name)
		if err != nil {
			return fmt.Errorf("%.80q: %w", name, err)
		}
		d.at = d.model
		p.tensors[arg] = torch.NamedTensor{Name: name, Tensor: t}
		p.Tensors = append(p.Tensors, p.tensors[arg])
		return nil
	}
	switch {
	case s.Parameter != nil:
		return tensor(d.weights, s.Parameter.Arg.Name, s.Parameter.Name)
	case s.Buffer != nil:
		from := d.weights
		if !from.has(s.Buffer.Name) { // buffers that are not persistent are with the constants
			from = d.constants
		}
		return tensor(from, s.Buffer.Arg.Name, s.Buffer.Name)
	case s.Constant != nil:
		return tensor(d.constants, s.Constant.Arg.Name, s.Constant.Name)
	case s.User != nil && s.User.Arg.is("as_tensor"):
		name, _ := s.User.Arg.tensorName()
		in := Input{Name: name, value: name}
		if in.Name == "" || len(in.Name) > maxName {
			return errors.New("an input without a name")
		}
		meta, ok := g.TensorValues[in.value]
		if !ok {
			return fmt.Errorf("the type of %.80q is missing", in.value)
		}
		dt, err := dtype(meta.DType)
		if err != nil {
			return err
		}
		in.DType = dt
		if in.Shape, err = symbolic(meta.Sizes); err != nil {
			return fmt.Errorf("%.80q: %w", in.Name, err)
		}
		p.Inputs = append(p.Inputs, in)
		return nil
	case s.User != nil && s.User.Arg.is("as_none"), s.ConstantInput != nil:
		return nil // the value was put into the graph when it was exported
	}
	return unsupportedf("an input that is no tensor")
}

// HasSampling reports whether the program draws random numbers: it does so
// each time that it runs.
func (p *Program) HasSampling() bool { return slices.ContainsFunc(p.nodes, draws) }

func draws(n nodeJSON) bool {
	for _, in := range n.Inputs {
		if g, ok := in.Arg.value.(graphOperand); ok && slices.ContainsFunc(g.Graph.Nodes, draws) {
			return true
		}
	}
	name := strings.TrimPrefix(n.Target, "torch.ops.aten.")
	return strings.HasPrefix(name, "rand") || strings.HasPrefix(name, "normal") || strings.HasPrefix(name, "bernoulli") || strings.HasPrefix(name, "multinomial")
}
