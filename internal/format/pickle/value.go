// Package pickle reads Python pickles with a machine that cannot execute
// anything: bytes enter, inert data leaves.
//
// The machine is symbolic. A global is a name, compared with the exact
// allow-list that the caller gives for the role of the file; a call is an
// [Object] that records the name and the arguments; an object's state is data.
// No name is ever looked up in anything that could run. Every size is checked
// against the bytes that are there before memory is taken, and the number of
// opcodes, memo entries, nested levels and values has a named maximum.
//
// The package imports nothing of this module.
package pickle

import (
	"fmt"
	"math/big"
)

// Value is one of
//
//	None, bool, int64, *big.Int (beyond 64 bits), float64, string, []byte,
//	Tuple, *List, *Dict, *Set, Global, *Object
//
// or what Options.Persistent or Options.Construct returned. Byte slices may
// share memory with the input: neither may be changed.
type Value any

// None is Python's None.
type None struct{}

// Tuple is Python's tuple.
type Tuple []Value

// List is Python's list.
type List struct {
	Items []Value
}

// Set is Python's set or frozenset.
type Set struct {
	Items  []Value
	Frozen bool
}

// Global is the name of a class or function. It is a name and nothing else.
type Global struct {
	Module, Name string
}

// String returns module.name.
func (g Global) String() string { return g.Module + "." + g.Name }

// Object is an instance that was not made: the class or function that Python
// would have called, what it would have been called with, and the state it
// would have been given.
type Object struct {
	Class  Global
	Args   Tuple
	Kwargs *Dict // nil without keyword arguments
	State  Value // of BUILD; nil without one
	Items  []Value
	Dict   *Dict // entries set by SETITEM on a subclass of dict; nil without them
}

// Attr returns an attribute of the object: the entry of that name in its
// state, where the state is a dict or the pair (dict, slots) of a class with
// slots.
func (o *Object) Attr(name string) (Value, bool) {
	switch s := o.State.(type) {
	case *Dict:
		return s.Get(name)
	case Tuple:
		for _, part := range s {
			if d, ok := part.(*Dict); ok {
				if v, ok := d.Get(name); ok {
					return v, true
				}
			}
		}
	}
	return nil, false
}

// Int returns v as an integer. A bool is not an integer here.
func Int(v Value) (int64, bool) {
	n, ok := v.(int64)
	return n, ok
}

// Float returns a Python int or float as a float64.
func Float(v Value) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	}
	return 0, false
}

// Items returns the items of a list or a tuple.
func Items(v Value) ([]Value, bool) {
	switch s := v.(type) {
	case Tuple:
		return s, true
	case *List:
		return s.Items, true
	}
	return nil, false
}

// TypeName names the Python type of v for messages.
func TypeName(v Value) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case None:
		return "None"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case []byte:
		return "bytes"
	case Tuple:
		return "tuple"
	case *List:
		return "list"
	case *Dict:
		return "dict"
	case *Set:
		return "set"
	case Global:
		return "global " + v.String()
	case *Object:
		return v.Class.String()
	}
	return fmt.Sprintf("%T", v)
}
