package torchscript

import (
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// builtin is a function that the code may call and does not define. Arguments
// are bound to the names of the parameters; one that is left out is absent.
type builtin struct {
	params string // names with blanks between them
	fn     func(c *call) value
}

// The tables of built-in functions: those on Python values, tried when no
// argument is a tensor, and those on tensors.
var (
	scalarBuiltins = map[string]builtin{}
	tensorBuiltins = map[string]builtin{}
)

func register(table map[string]builtin, group map[string]builtin) {
	for name, b := range group {
		if _, dup := table[name]; dup {
			panic("torchscript: built-in " + name + " is registered twice")
		}
		table[name] = b
	}
}

func init() {
	for _, g := range []map[string]builtin{scalarMath, scalarLogic, containerBuiltins, textBuiltins, primBuiltins} {
		register(scalarBuiltins, g)
	}
	for _, g := range []map[string]builtin{
		binaryBuiltins, unaryBuiltins, mathBuiltins, activationBuiltins, linearBuiltins, convBuiltins, shapeBuiltins,
		indexBuiltins, selectBuiltins, scatterBuiltins, joinBuiltins, reduceBuiltins, normBuiltins, createBuiltins, randomBuiltins, typeBuiltins, attentionBuiltins, poolBuiltins, rnnBuiltins,
		bitBuiltins, resizeBuiltins, imageBuiltins, distanceBuiltins, lossBuiltins, statisticsBuiltins,
	} {
		register(tensorBuiltins, g)
	}
}

// maxCallArgs bounds the arguments of one call of a built-in.
const maxCallArgs = 64

// builtin calls a built-in function by its dotted name.
func (in *interp) builtin(full string, args []value, kws map[string]value) value {
	name := full
	for _, prefix := range []string{"torch.", "ops.prim.", "ops.aten.", "prim.", "aten."} {
		if rest, ok := strings.CutPrefix(full, prefix); ok {
			name = rest
			break
		}
	}
	if len(args) > maxCallArgs {
		in.limit("call of %s with %d arguments", name, len(args))
	}
	onTensors, onScalars := false, false
	for _, a := range args {
		switch a := a.(type) {
		case *tensor:
			onTensors = true
		case *scalar:
			onScalars = true
		case *list:
			in.cost(len(a.elems) / 4)
		case *tuple:
			in.cost(len(a.elems) / 4)
		case *dict:
			in.cost(len(a.keys) / 4)
		case string:
			in.cost(len(a) / 64)
		}
	}
	for _, a := range kws {
		if _, ok := a.(*tensor); ok {
			onTensors = true
		}
	}
	if onScalars && !onTensors && len(kws) == 0 {
		if v, ok := in.onScalars(name, args); ok {
			return v
		}
	}
	first, second := scalarBuiltins, tensorBuiltins
	if onTensors {
		first, second = second, first
	}
	b, ok := first[name]
	if !ok {
		if b, ok = second[name]; !ok {
			return in.inPlace(name, full, args, kws)
		}
	}
	return in.bind(name, b, args, kws)
}

func (in *interp) bind(name string, b builtin, args []value, kws map[string]value) value {
	c := &call{in: in, name: name}
	params := strings.Fields(b.params)
	if len(args) > len(params) {
		in.unsupported("torch.%s with %d arguments", name, len(args))
	}
	c.args = make([]value, len(params))
	copy(c.args, args)
	used := 0
	for i := range params {
		if i >= len(args) {
			c.args[i] = absent{}
		}
		if v, ok := kws[params[i]]; ok {
			if i < len(args) {
				in.errorf("%s got %s twice", name, params[i])
			}
			c.args[i] = v
			used++
		}
	}
	if used < len(kws) {
		for k := range kws {
			if !strings.Contains(" "+b.params+" ", " "+k+" ") && !ignoredKeyword(k) {
				in.unsupported("torch.%s with an argument %s", name, k)
			}
		}
	}
	return b.fn(c)
}

// ignoredKeyword names arguments that change where and how a result lies in
// memory, not what it is.
func ignoredKeyword(k string) bool {
	switch k {
	case "device", "layout", "pin_memory", "memory_format", "requires_grad", "generator", "non_blocking", "implicit":
		return true
	}
	return false
}

// inPlace calls a function whose name ends in an underscore: the function
// without it, whose result the first argument takes.
func (in *interp) inPlace(name, full string, args []value, kws map[string]value) value {
	base, ok := strings.CutSuffix(name, "_")
	if ok && len(args) == 2 && base == "add" { // l += items
		if _, isList := args[0].(*list); isList {
			in.bind("extend", scalarBuiltins["extend"], args, kws)
			return args[0]
		}
	}
	if ok && len(args) > 0 && !strings.HasSuffix(base, "_") {
		t, isTensor := args[0].(*tensor)
		_, known := tensorBuiltins[base]
		if isTensor && known {
			result, ok := in.builtin("torch."+base, args, kws).(*tensor)
			if !ok {
				in.unsupported("%s", full)
			}
			if t.pending || result == t {
				return result
			}
			in.assignTo(t, in.read(result))
			return t
		}
	}
	if strings.HasPrefix(full, "torch.") {
		in.unsupported("operator %s", full)
	}
	in.unsupported("function %s", full)
	return nil
}

// assignTo writes v into t, which keeps its shape and element type.
func (in *interp) assignTo(t *tensor, v *graph.Value) {
	old := in.read(t)
	v = in.expandTo(in.cast(v, old.DType), old.Shape)
	in.write(t, v)
}
