package torchscript

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// value is what an expression of the code is while a method is lowered:
//
//	nil (None), bool, int64, float64, string, rows, openDim, openType,
//	*scalar, *optional, unmerged, *rangeOf,
//	*list, *tuple, *dict, *tensor, *object,
//	*function, *classDef, namespace, device, absent, uninitialized
type value any

// rows is an integer that is a multiple of the number of rows of the batch:
// what x.size(0) gives. It is 1 or more.
type rows int64

// openDim is the width of an input whose shape is not known: a comparison with
// a number tells it.
type openDim struct{ of *tensor }

// list is Python's list: shared, mutable.
type list struct {
	elems []value
	owner string // path of the attribute that it is, else empty
	key   attrKey
}

// tuple is a tuple; names are those of a named tuple's fields, else nil.
type tuple struct {
	elems []value
	names []string
}

// dict is Python's dict in the order of insertion. Keys are strings, integers,
// bools or floats.
type dict struct {
	keys []value
	vals map[value]value
	// inputs, where set, makes this the dict of inputs of that name: a key
	// that is not there yet is an input of the graph.
	inputs string
	owner  string // path of the attribute that it is, else empty
	key    attrKey
}

func newDict() *dict { return &dict{vals: map[value]value{}} }

func (d *dict) set(k, v value) {
	if _, ok := d.vals[k]; !ok {
		d.keys = append(d.keys, k)
	}
	d.vals[k] = v
}

func (d *dict) remove(k value) {
	delete(d.vals, k)
	for i := range d.keys {
		if d.keys[i] == k {
			d.keys = append(d.keys[:i:i], d.keys[i+1:]...)
			return
		}
	}
}

// object is an instance of a class of the archive: a module, mostly. Those of
// the archive are shared by all lowerings and never changed by one.
type object struct {
	class *classDef
	path  string // of a module: actor.0; empty for the root and for other objects
	names []string
	attrs map[string]value // tensors as *graph.Tensor
	made  bool             // by the code, not of the archive
}

func (o *object) set(name string, v value) {
	if _, ok := o.attrs[name]; !ok {
		o.names = append(o.names, name)
	}
	o.attrs[name] = v
}

// child returns the path of an attribute.
func (o *object) child(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// function is a function or, with a receiver, a bound method.
type function struct {
	def  *funcDef
	self value // nil for a function
}

// namespace is a dotted name that is not yet a value: torch.nn, ops.prim.
type namespace string

// device is a device, as `torch.device("cpu")` gives. Which one it names does
// not matter here.
type device string

// absent stands for an argument that a call left out.
type absent struct{}

// uninitialized is what `uninitialized(T)` gives: a value that no path reads.
type uninitialized struct{}

// kindName names the kind of v for messages.
func kindName(v value) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int64, rows, openDim, openType:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case *list:
		return "list"
	case *tuple:
		return "tuple"
	case *dict:
		return "dict"
	case *scalar:
		return v.kind()
	case *optional:
		return "optional value"
	case *rangeOf:
		return "range"
	case *tensor, *graph.Tensor:
		return "Tensor"
	case *object:
		return v.class.name
	case *function, *classDef, namespace:
		return "function or class"
	case device:
		return "device"
	case absent:
		return "nothing"
	}
	return "uninitialized value"
}

// maxFormatBytes bounds the text that the code can make of values.
const maxFormatBytes = 4096

// format prints v as Python's str does, for messages that the code makes.
func format(v value) string {
	var b strings.Builder
	formatTo(&b, v, 0)
	s := b.String()
	if len(s) > maxFormatBytes {
		s = s[:maxFormatBytes]
	}
	return s
}

func formatTo(b *strings.Builder, v value, depth int) {
	if b.Len() > maxFormatBytes || depth > 8 {
		return
	}
	items := func(open, closing string, elems []value) {
		b.WriteString(open)
		for i, e := range elems {
			if i > 0 {
				b.WriteString(", ")
			}
			formatTo(b, e, depth+1)
			if b.Len() > maxFormatBytes {
				return
			}
		}
		b.WriteString(closing)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case rows:
		b.WriteString(graph.Shape{-int(v)}.String())
	case float64:
		b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	case string:
		b.WriteString(v)
	case *list:
		items("[", "]", v.elems)
	case *tuple:
		items("(", ")", v.elems)
	default:
		fmt.Fprintf(b, "<%s>", kindName(v))
	}
}

// isNumber reports whether v is a number of Python.
func isNumber(v value) bool {
	switch v.(type) {
	case bool, int64, float64, rows:
		return true
	}
	return false
}

// toFloat returns a number as a float64; rows has none.
func toFloat(v value) (float64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// toInt returns an integer or bool as an int64; rows has none.
func toInt(v value) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}
