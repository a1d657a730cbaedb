package torchexport

import (
	"fmt"
	"math"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// program is models/model.json, of which everything else is left out.
type program struct {
	GraphModule struct {
		Graph           graphJSON     `json:"graph"`
		Signature       signatureJSON `json:"signature"`
		ModuleCallGraph []struct {
			FQN       string `json:"fqn"`
			Signature *struct {
				InSpec          string   `json:"in_spec"`
				OutSpec         string   `json:"out_spec"`
				ForwardArgNames []string `json:"forward_arg_names"`
			} `json:"signature"`
		} `json:"module_call_graph"`
	} `json:"graph_module"`
	OpsetVersion  map[string]int64 `json:"opset_version"`
	SchemaVersion struct {
		Major int64 `json:"major"`
		Minor int64 `json:"minor"`
	} `json:"schema_version"`
	TorchVersion string `json:"torch_version"`
}

type graphJSON struct {
	Inputs       []argument            `json:"inputs"`
	Outputs      []argument            `json:"outputs"`
	Nodes        []nodeJSON            `json:"nodes"`
	TensorValues map[string]tensorMeta `json:"tensor_values"`
}

type nodeJSON struct {
	Target  string      `json:"target"`
	Inputs  []nodeInput `json:"inputs"`
	Outputs []argument  `json:"outputs"`
}

// nodeInput is one operand of a node.
type nodeInput struct {
	Name string   `json:"name"`
	Arg  argument `json:"arg"`
	Kind int64    `json:"kind"` // 1 by position, 2 by name; absent in older files
}

// named is a tensor or an object by its name.
type named struct {
	Name string `json:"name"`
}

// argument is a value of one of many kinds. It is kept as the one that it is:
// a struct with a field for each would make a large thing of an empty object.
type argument struct {
	kind  string // as_tensor
	value any    // nil for the kinds whose value does not matter
}

// is reports whether the argument is of a kind.
func (a argument) is(kind string) bool { return a.kind == kind }

// tensorName returns the name of a tensor, false for another kind.
func (a argument) tensorName() (string, bool) {
	n, ok := a.value.(named)
	return n.Name, ok && a.kind == "as_tensor"
}

// UnmarshalJSONFrom reads an object of one member.
func (a *argument) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	if t.Kind() != '{' {
		return fmt.Errorf("%.40s, an object was wanted", t.String())
	}
	for d.PeekKind() == '"' {
		if t, err = d.ReadToken(); err != nil {
			return err
		}
		if a.kind != "" {
			return fmt.Errorf("an argument of two kinds, %.40q and %.40q", a.kind, t.String())
		}
		a.kind = t.String()
		if err := a.read(d); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// read reads the value of the kind.
func (a *argument) read(d *jsontext.Decoder) (err error) {
	switch a.kind {
	case "as_tensor":
		a.value, err = readAs[named](d)
	case "as_tensors":
		a.value, err = readAs[[]named](d)
	case "as_int", "as_scalar_type":
		a.value, err = readAs[int64](d)
	case "as_ints":
		a.value, err = readAs[[]int64](d)
	case "as_float":
		a.value, err = readAs[float](d)
	case "as_floats":
		a.value, err = readAs[[]float](d)
	case "as_string":
		a.value, err = readAs[string](d)
	case "as_bool":
		a.value, err = readAs[bool](d)
	case "as_bools":
		a.value, err = readAs[[]bool](d)
	case "as_sym_int", "as_sym_bool", "as_sym_float":
		a.value, err = readAs[symbol](d)
	case "as_sym_ints":
		a.value, err = readAs[[]symbol](d)
	case "as_optional_tensor":
		a.value, err = readAs[optional](d)
	case "as_optional_tensors":
		a.value, err = readAs[[]optional](d)
	case "as_graph":
		a.value, err = readAs[graphOperand](d)
	default:
		err = d.SkipValue()
	}
	return err
}

func readAs[T any](d *jsontext.Decoder) (T, error) {
	var v T
	err := json.UnmarshalDecode(d, &v)
	return v, err
}

// graphOperand is a graph within a graph, as the operators of control flow
// have.
type graphOperand struct {
	Name  string    `json:"name"`
	Graph graphJSON `json:"graph"`
}

// optional is a tensor or None.
type optional struct {
	Tensor *named `json:"as_tensor"`
}

// symbol is a number, or the name of a value that is one.
type symbol struct {
	Name  *string `json:"as_name"`
	Int   *int64  `json:"as_int"`
	Bool  *bool   `json:"as_bool"`
	Float *float  `json:"as_float"`
}

// tensorMeta is the type and shape of a tensor.
type tensorMeta struct {
	DType         int64       `json:"dtype"`
	Sizes         []dimension `json:"sizes"`
	Strides       []dimension `json:"strides"`
	StorageOffset dimension   `json:"storage_offset"`
	Layout        int64       `json:"layout"`
}

// dimension is a number or an expression of symbols.
type dimension struct {
	Int  *int64 `json:"as_int"`
	Expr *struct {
		Text string `json:"expr_str"`
	} `json:"as_expr"`
}

type signatureJSON struct {
	Inputs  []inputSpec  `json:"input_specs"`
	Outputs []outputSpec `json:"output_specs"`
}

// inputSpec says what an input of the graph is: one of its fields.
type inputSpec struct {
	User *struct {
		Arg argument `json:"arg"`
	} `json:"user_input"`
	Parameter *struct {
		Arg  named  `json:"arg"`
		Name string `json:"parameter_name"`
	} `json:"parameter"`
	Buffer *struct {
		Arg  named  `json:"arg"`
		Name string `json:"buffer_name"`
	} `json:"buffer"`
	Constant *struct {
		Arg  named  `json:"arg"`
		Name string `json:"tensor_constant_name"`
	} `json:"tensor_constant"`
	ConstantInput *struct {
		Name string `json:"name"`
	} `json:"constant_input"`
}

// outputSpec says what an output of the graph is; those of training are only
// told apart.
type outputSpec struct {
	User *struct {
		Arg argument `json:"arg"`
	} `json:"user_output"`
	Buffer *struct {
		Arg  named  `json:"arg"`
		Name string `json:"buffer_name"`
	} `json:"buffer_mutation"`
	InputMutation *struct {
		Input string `json:"user_input_name"`
	} `json:"user_input_mutation"`
}

// weightsJSON is data/weights/model_weights_config.json, and that of the
// constants.
type weightsJSON struct {
	Config map[string]weightJSON `json:"config"`
}

type weightJSON struct {
	PathName  string     `json:"path_name"`
	UsePickle bool       `json:"use_pickle"`
	Meta      tensorMeta `json:"tensor_meta"`
}

// float is a number, in which NaN and infinities are texts.
type float float64

// UnmarshalJSONFrom reads a number or one of three texts.
func (f *float) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	switch t.Kind() {
	case '0':
		x, err := t.Float()
		*f = float(x)
		return err
	case '"':
		switch t.String() {
		case "NaN":
			*f = float(math.NaN())
			return nil
		case "Infinity":
			*f = float(math.Inf(1))
			return nil
		case "-Infinity":
			*f = float(math.Inf(-1))
			return nil
		}
	}
	return fmt.Errorf("%.40s, a number was wanted", t.String())
}
