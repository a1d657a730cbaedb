package torchscript

import (
	"errors"
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// decodeTraced reads the shapes of the example inputs that a trace keeps.
// Their data is not read: torch since 2.1 writes empty storages for them.
func (m *Module) decodeTraced(z *torch.Zip, d *decoder) error {
	const member = "traced_inputs.pkl"
	if !z.HasRecord(member) {
		return nil
	}
	data, err := z.Record(member)
	if err != nil {
		return err
	}
	p, err := pickle.Decode(data, pickle.Options{Allow: d.allow, Construct: exampleTensor, Persistent: exampleStorage})
	if err != nil {
		return fmt.Errorf("torchscript: %s: %w", member, err)
	}
	v, err := d.value(p)
	if err != nil {
		return &FormatError{Member: member, Err: err}
	}
	byMethod, ok := v.(*dict)
	if !ok {
		return &FormatError{Member: member, Err: fmt.Errorf("holds a %s, a dict was expected", kindName(v))}
	}
	m.traced = map[string][]value{}
	for _, k := range byMethod.keys {
		name, isString := k.(string)
		inputs, isList := byMethod.vals[k].(*list)
		if isString && isList {
			m.traced[name] = inputs.elems
		}
	}
	return nil
}

// exampleType is the storage of an example: its element type.
type exampleType graph.DType

// storageTypes are the element types of storages, by the name of their class.
var storageTypes = map[string]graph.DType{
	"Float": graph.Float32, "Double": graph.Float64, "Half": graph.Float16, "BFloat16": graph.BFloat16,
	"Long": graph.Int64, "Int": graph.Int32, "Short": graph.Int16, "Char": graph.Int8, "Byte": graph.Uint8, "Bool": graph.Bool,
}

// exampleStorage reads the persistent id of a storage, without its data.
func exampleStorage(id pickle.Value) (pickle.Value, error) {
	t, ok := id.(pickle.Tuple)
	if !ok || len(t) != 5 {
		return nil, errors.New("a persistent id that is no storage")
	}
	class, ok := t[1].(pickle.Global)
	dt, known := storageTypes[strings.TrimSuffix(class.Name, "Storage")]
	if !ok || !known || class.Module != "torch" {
		return nil, fmt.Errorf("storage class %v", t[1])
	}
	return exampleType(dt), nil
}

// exampleTensor makes a tensor of a shape and without data.
func exampleTensor(class pickle.Global, args pickle.Tuple) (pickle.Value, bool, error) {
	if class.Module != "torch._utils" {
		return nil, false, nil
	}
	if len(args) < 4 {
		return nil, true, fmt.Errorf("%s with %d arguments", class, len(args))
	}
	dt, ok := args[0].(exampleType)
	size, isTuple := pickle.Items(args[2])
	if !ok || !isTuple || len(size) > graph.MaxRank {
		return nil, true, fmt.Errorf("%s of something that is no tensor", class)
	}
	t := &graph.Tensor{DType: graph.DType(dt), Shape: graph.Shape{}}
	for _, v := range size {
		n, ok := pickle.Int(v)
		if !ok || n < 0 || n > graph.MaxRowElements {
			return nil, true, fmt.Errorf("%s with a size of %v", class, v)
		}
		t.Shape = append(t.Shape, int(n))
	}
	return t, true, t.Shape.Check()
}
