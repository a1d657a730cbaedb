package torchexport

import (
	"fmt"
	"math"

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
	Target string `json:"target"`
	Inputs []struct {
		Name string   `json:"name"`
		Arg  argument `json:"arg"`
		Kind int64    `json:"kind"` // 1 by position, 2 by name; absent in older files
	} `json:"inputs"`
	Outputs []argument `json:"outputs"`
}

// named is a tensor or an object by its name.
type named struct {
	Name string `json:"name"`
}

// argument is one of its fields.
type argument struct {
	None            jsontext.Value `json:"as_none"` // true, or an empty list in older files
	Tensor          *named         `json:"as_tensor"`
	Tensors         []named        `json:"as_tensors"`
	Int             *int64         `json:"as_int"`
	Ints            []int64        `json:"as_ints"`
	Float           *float         `json:"as_float"`
	Floats          []float        `json:"as_floats"`
	String          *string        `json:"as_string"`
	Strings         []string       `json:"as_strings"`
	Bool            *bool          `json:"as_bool"`
	Bools           []bool         `json:"as_bools"`
	SymInt          *symbol        `json:"as_sym_int"`
	SymInts         []symbol       `json:"as_sym_ints"`
	SymBool         *symbol        `json:"as_sym_bool"`
	SymFloat        *symbol        `json:"as_sym_float"`
	ScalarType      *int64         `json:"as_scalar_type"`
	MemoryFormat    *int64         `json:"as_memory_format"`
	Layout          *int64         `json:"as_layout"`
	Device          *struct{}      `json:"as_device"`
	OptionalTensor  *optional      `json:"as_optional_tensor"`
	OptionalTensors []optional     `json:"as_optional_tensors"`
	Graph           *graphOperand  `json:"as_graph"`
	Operator        *string        `json:"as_operator"`
	CustomObject    *named         `json:"as_custom_obj"`
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

// outputSpec says what an output of the graph is; those of training and of
// state are only told apart.
type outputSpec struct {
	User *struct {
		Arg argument `json:"arg"`
	} `json:"user_output"`
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
