package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// primBuiltins are what the compiler adds to the code, and questions about
// the world outside, which have one answer here.
var primBuiltins = map[string]builtin{
	"RaiseException":                      {"msg class", raise},
	"warn":                                {"msg stacklevel category", func(*call) value { return nil }},
	"is_grad_enabled":                     {"", func(*call) value { return false }},
	"set_grad_enabled":                    {"mode", func(*call) value { return nil }},
	"is_autocast_enabled":                 {"device", func(*call) value { return false }},
	"is_autocast_cpu_enabled":             {"", func(*call) value { return false }},
	"is_scripting":                        {"", func(*call) value { return true }},
	"is_tracing":                          {"", func(*call) value { return false }},
	"get_autocast_dtype":                  {"device", func(*call) value { return int64(15) }},
	"has_torch_function":                  {"a", func(*call) value { return false }},
	"device":                              {"name index", func(c *call) value { return device(format(c.args[0])) }},
	"get_default_dtype":                   {"", func(*call) value { return int64(6) }},
	"_unwrap_optional":                    {"a", unwrapped},
	"unwrap_optional":                     {"a", unwrapped},
	"unchecked_unwrap_optional":           {"a", unwrapped},
	"unchecked_cast":                      {"a", unwrapped},
	"type":                                {"a index", func(c *call) value { return "cpu" }},
	"_get_tracing_state":                  {"", func(*call) value { return false }},
	"is_available":                        {"", func(*call) value { return false }},
	"ops.profiler._record_function_enter": {"name args", func(*call) value { return nil }},
	"ops.profiler._record_function_enter_new": {"name args", func(*call) value { return nil }},
	"ops.profiler._record_function_exit":      {"handle", func(*call) value { return nil }},
	"manual_seed":                             {"seed", func(*call) value { return nil }},
	"_assert":                                 {"cond msg", assertTrue},
	"IfThenElse":                              {"cond a b", ifThenElse},
	"backends.cudnn.is_available":             {"", func(*call) value { return false }},
}

// typeBuiltins are questions about a tensor, and conversions of its type.
var typeBuiltins = map[string]builtin{
	"dim":               {"x", rankOf},
	"ndimension":        {"x", rankOf},
	"size":              {"x dim", size},
	"sym_size":          {"x dim", size},
	"numel":             {"x", numel},
	"to_mkldnn":         {"x dtype", packedForProcessor},
	"dtype":             {"x", elementType},
	"is_nested":         {"x", func(*call) value { return false }},
	"is_sparse":         {"x", func(*call) value { return false }},
	"is_cuda":           {"x", func(*call) value { return false }},
	"is_cpu":            {"x", func(*call) value { return true }},
	"is_mkldnn":         {"x", func(*call) value { return false }},
	"is_quantized":      {"x", func(*call) value { return false }},
	"requires_grad":     {"x", func(*call) value { return false }},
	"layout":            {"x", func(*call) value { return int64(0) }},
	"is_contiguous":     {"x memory_format", func(*call) value { return true }},
	"is_complex":        {"x", func(*call) value { return false }},
	"is_floating_point": {"x", isFloating},
	"item":              {"x", func(c *call) value { return c.in.numberIn(c.handle(0)) }},
	"data":              {"x", func(c *call) value { return c.handle(0) }},
	"int":               {"x", func(c *call) value { return c.in.toIntValue(c.args[0]) }},
	"float":             {"x", toFloat32},
	"bool":              {"x", toBool},
	"IntImplicit":       {"x", func(c *call) value { return c.in.toIntValue(c.args[0]) }},
	"FloatImplicit":     {"x", func(c *call) value { return c.in.toFloatValue(c.args[0]) }},
	"ScalarImplicit":    {"x", func(c *call) value { return c.in.numberIn(c.handle(0)) }},
	"device":            {"x", func(*call) value { return device("cpu") }},
	"len":               {"x", func(c *call) value { return c.in.sizeOf(c.handle(0), 0) }},
	"tolist":            {"x", toList},

	"to":                             {"x a b c d e dtype other copy", toAny},
	"type_as":                        {"x other", func(c *call) value { return c.in.convert(c.handle(0), c.in.dtypeOf(c.handle(1))) }},
	"_to_copy":                       {"x dtype layout device pin_memory non_blocking memory_format", func(c *call) value { return c.in.convert(c.handle(0), c.dtype(1, c.in.dtypeOf(c.handle(0)))) }},
	"double":                         {"x", func(c *call) value { return c.in.convert(c.handle(0), graph.Float64) }},
	"half":                           {"x", func(c *call) value { return c.in.convert(c.handle(0), graph.Float16) }},
	"bfloat16":                       {"x", func(c *call) value { return c.in.convert(c.handle(0), graph.BFloat16) }},
	"long":                           {"x", func(c *call) value { return c.in.convert(c.handle(0), graph.Int64) }},
	"cpu":                            {"x", func(c *call) value { return c.handle(0) }},
	"cuda":                           {"x", func(c *call) value { return c.handle(0) }},
	"detach":                         {"x", func(c *call) value { return c.handle(0) }},
	"alias":                          {"x", func(c *call) value { return c.handle(0) }},
	"_autocast_to_reduced_precision": {"x a b c d", func(c *call) value { return c.handle(0) }},
	"_autocast_to_full_precision":    {"x a b", func(c *call) value { return c.handle(0) }},

	"__is__":    {"a b", isSame},
	"__isnot__": {"a b", isNotSame},
	"__not__":   {"a", notOf},
	"append":    {"list item", listAppend},
	"insert":    {"list index item", listInsert},
	"_set_item": {"container key item", func(c *call) value { c.in.setItem(c.args[0], c.args[1], c.args[2]); return nil }},
	"get":       {"dict key default", dictGet},
}

func raise(c *call) value {
	c.in.raise(format(c.args[0]))
	return nil
}

func assertTrue(c *call) value {
	known, data := c.in.cond(c.args[0], c.in.pos, "assert")
	if data != nil {
		c.in.raiseWhen(c.in.add(graph.OpNot, nil, data))
	} else if !known {
		c.in.raise("assertion failed: " + format(c.args[1]))
	}
	return nil
}

func ifThenElse(c *call) value {
	known, data := c.in.cond(c.args[0], c.in.pos, "if")
	a, b := func() value { return c.args[1] }, func() value { return c.args[2] }
	return c.in.either(&frame{vars: map[string]value{}}, known, data, a, b)
}

// dtypes are torch's numbers of element types.
var dtypes = map[int64]graph.DType{
	0: graph.Uint8, 1: graph.Int8, 2: graph.Int16, 3: graph.Int32, 4: graph.Int64,
	5: graph.Float16, 6: graph.Float32, 7: graph.Float64, 11: graph.Bool, 15: graph.BFloat16,
}

func dtypeCode(dt graph.DType) value {
	for n, d := range dtypes {
		if d == dt {
			return n
		}
	}
	return nil
}

// dtype returns an argument that names an element type; def where it is left
// out or None.
func (c *call) dtype(i int, def graph.DType) graph.DType {
	if !c.has(i) {
		return def
	}
	n, ok := closed(c.args[i]).(int64)
	if !ok {
		c.wrong(i, "an element type")
	}
	dt, ok := dtypes[n]
	if !ok {
		c.in.unsupported("element type %d of torch", n)
	}
	return dt
}

// dtypeOf returns the element type of t. A pending input is taken for a
// float32, as every observation is.
func (in *interp) dtypeOf(t *tensor) graph.DType {
	if t.pending {
		if t.slot.dtype != graph.Invalid && !t.cast {
			return t.slot.dtype
		}
		return graph.Float32
	}
	if _, ok := t.num.(rows); ok {
		return graph.Int64
	}
	return in.read(t).DType
}

// convert is x.to(dtype): x itself where it has that type.
func (in *interp) convert(t *tensor, dt graph.DType) value {
	if t.pending {
		out := *t
		out.cast = true
		out.memory = &memory{}
		return &out
	}
	if _, ok := t.num.(rows); ok {
		return t
	}
	if v := in.read(t); v.DType != dt {
		return newTensor(in.cast(v, dt))
	}
	return t
}

// toAny is torch.to in its overloads: (dtype), (device, dtype), (other).
func toAny(c *call) value {
	t := c.handle(0)
	for i := 1; i < len(c.args); i++ {
		switch v := closed(c.args[i]).(type) {
		case int64:
			dt, ok := dtypes[v]
			if !ok {
				c.in.unsupported("element type %d of torch", v)
			}
			return c.in.convert(t, dt)
		case *tensor:
			return c.in.convert(t, c.in.dtypeOf(v))
		case bool: // the flags that follow the type
			return t
		}
	}
	return t
}

// toFloat32 is float(x) of a number of the code, and x.float().
func toFloat32(c *call) value { return c.in.toFloatValue(c.args[0]) }

// unwrapped is an optional value that the code knows to be there.
func unwrapped(c *call) value {
	if o, ok := c.args[0].(*optional); ok {
		return o.v
	}
	return c.args[0]
}

// toBool is bool(x), and x.bool() of a tensor.
func toBool(c *call) value {
	known, data := c.in.cond(c.args[0], c.in.pos, "if")
	if data != nil {
		return &scalar{data}
	}
	return known
}

// rankOf returns the number of dimensions. A pending input is taken for a
// flat row; if that turns out wrong, its shape must be given.
func rankOf(c *call) value {
	t := c.handle(0)
	if t.pending {
		t.slot.ranked = t.slot.ranked || t.lifted == 0
		return int64(len(c.in.pendingShape(t)))
	}
	if t.num != nil {
		return int64(0)
	}
	return int64(len(c.in.read(t).Shape))
}

func size(c *call) value {
	t := c.handle(0)
	if c.has(1) {
		return c.in.sizeOf(t, c.int(1, 0))
	}
	out := &list{}
	if t.num != nil {
		return out
	}
	if t.pending {
		out.elems = c.in.pendingShape(t)
		return out
	}
	for _, d := range c.in.read(t).Shape {
		out.elems = append(out.elems, dimValue(d))
	}
	return out
}

// sizeOf returns one dimension of a tensor. Those of a pending input are known
// as far as it is a flat row.
func (in *interp) sizeOf(t *tensor, dim int) value {
	if t.pending {
		shape := in.pendingShape(t)
		return shape[in.axis(dim, len(shape))]
	}
	v := in.read(t)
	return dimValue(v.Shape[in.axisOf(v, dim)])
}

// pendingShape is the shape of a pending input as far as it is a flat row. If
// that turns out wrong, the shape must be given.
func (in *interp) pendingShape(t *tensor) []value {
	t.slot.flat = true
	switch t.lifted {
	case 1:
		return []value{int64(1), rows(1), openDim{t}}
	case 2:
		return []value{rows(1), int64(1), openDim{t}}
	}
	return []value{rows(1), openDim{t}}
}

func (in *interp) axisOf(v *graph.Value, dim int) int {
	if len(v.Shape) == 0 {
		in.errorf("dimension %d of a tensor without dimensions", dim)
	}
	return in.axis(dim, len(v.Shape))
}

func dimValue(d int) value {
	if d < 0 {
		return rows(-d)
	}
	return int64(d)
}

func numel(c *call) value {
	s := c.value(0).Shape
	if s.Fixed() {
		return int64(s.RowElements())
	}
	return rows(s.RowElements())
}

// toList is x.tolist() of a constant.
func toList(c *call) value {
	t := c.in.folded(c.value(0))
	if t == nil || len(t.Shape) > 1 {
		c.in.unsupported("a list of the data of a tensor")
	}
	c.in.listLen(t.Len())
	c.in.cost(t.Len())
	out := &list{}
	for i := range t.Len() {
		switch {
		case t.DType == graph.Bool:
			out.elems = append(out.elems, t.I64[i] != 0)
		case t.I64 != nil:
			out.elems = append(out.elems, t.I64[i])
		default:
			out.elems = append(out.elems, t.At(i))
		}
	}
	if len(t.Shape) == 0 {
		return out.elems[0]
	}
	return out
}

// tensorAttr reads an attribute of a tensor.
func (in *interp) tensorAttr(t *tensor, name string) value {
	switch name {
	case "T", "mT":
		return in.builtin("torch.t", []value{t}, nil)
	case "data":
		return t
	case "shape":
		return in.builtin("torch.size", []value{t}, nil)
	case "ndim":
		return in.builtin("torch.dim", []value{t}, nil)
	case "dtype", "device", "requires_grad", "is_cuda", "layout":
		return in.builtin("ops.prim."+name, []value{t}, nil)
	}
	in.unsupported("attribute %s of a tensor", name)
	return nil
}

// packedForProcessor refuses what torch.jit.optimize_for_inference writes of
// convolutions: their weights are left out of the file.
func packedForProcessor(c *call) value {
	c.in.unsupported("a module that torch.jit.optimize_for_inference has packed for one processor: the file does not hold the weights (save the module before that, or after torch.jit.freeze)")
	return nil
}
