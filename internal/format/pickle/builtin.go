package pickle

import (
	"fmt"
	"slices"
)

// Globals that stand for plain data. They must be on the caller's allow-list
// like all others.
var (
	orderedDict   = Global{"collections", "OrderedDict"}
	codecsEncode  = Global{"_codecs", "encode"}
	reconstructor = Global{"copyreg", "_reconstructor"}
	objectClass   = Global{"builtins", "object"}
)

// builtin turns calls that only write down data into that data: how older
// protocols write bytes, sets and plain instances, and the OrderedDict of
// state dicts. It returns false for every other call.
func (m *machine) builtin(class Global, args Tuple) (Value, bool, error) {
	switch class {
	case codecsEncode:
		b, err := m.encode(args)
		return b, true, err
	case orderedDict:
		d, err := m.orderedDict(args)
		return d, true, err
	case Global{"builtins", "set"}, Global{"builtins", "frozenset"}:
		items, err := m.iterable(class, args)
		if err == nil {
			err = hashable(items)
		}
		return &Set{Items: items, Frozen: class.Name == "frozenset"}, true, err
	case Global{"builtins", "list"}:
		items, err := m.iterable(class, args)
		return &List{Items: items}, true, err
	case Global{"builtins", "tuple"}:
		items, err := m.iterable(class, args)
		return Tuple(items), true, err
	case Global{"builtins", "bytes"}, Global{"builtins", "bytearray"}:
		if len(args) == 0 {
			return []byte{}, true, nil
		}
		if s, ok := args[0].(string); ok && len(args) == 2 {
			b, err := m.encode(Tuple{s, args[1]})
			return b, true, err
		}
		if b, ok := args[0].([]byte); ok && len(args) == 1 {
			return b, true, nil
		}
		return nil, true, fmt.Errorf("%s of a %s", class, TypeName(args[0]))
	case reconstructor:
		// Protocols 0 and 1 write an instance as (class, base, its state).
		if len(args) == 3 {
			c, ok := args[0].(Global)
			if _, none := args[2].(None); ok && none && args[1] == objectClass {
				return &Object{Class: c, Args: Tuple{}}, true, nil
			}
		}
		return nil, true, fmt.Errorf("%s of something else than a plain class", class)
	}
	return nil, false, nil
}

// encode is str.encode for the codecs in which protocols below 3 write bytes.
func (m *machine) encode(args Tuple) ([]byte, error) {
	if len(args) == 2 {
		s, ok := args[0].(string)
		codec, ok2 := args[1].(string)
		if ok && ok2 && (codec == "latin1" || codec == "latin-1" || codec == "iso-8859-1") {
			// A shared text encoded again and again would grow without end.
			if m.bytesLeft -= len(s); m.bytesLeft < 0 {
				return nil, fmt.Errorf("%w: bytes made by %s", ErrLimit, codecsEncode)
			}
			b := make([]byte, 0, len(s))
			for _, r := range s {
				if r > 0xff {
					return nil, fmt.Errorf("%s: U+%04X is not in Latin-1", codecsEncode, r)
				}
				b = append(b, byte(r))
			}
			return b, nil
		}
	}
	return nil, fmt.Errorf("%s of something else than a text in Latin-1", codecsEncode)
}

// orderedDict makes the dict of an OrderedDict, empty or of a list of pairs.
func (m *machine) orderedDict(args Tuple) (*Dict, error) {
	d := &Dict{Class: orderedDict}
	items, err := m.iterable(orderedDict, args)
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		pair, ok := Items(item)
		if !ok || len(pair) != 2 {
			return nil, fmt.Errorf("%s of something else than pairs", orderedDict)
		}
		if !d.add(pair[0], pair[1]) {
			return nil, badKey(pair[0])
		}
	}
	return d, nil
}

// iterable returns a copy of the items of the only argument, a list or a
// tuple, or nothing where there is no argument.
func (m *machine) iterable(class Global, args Tuple) ([]Value, error) {
	if len(args) == 0 {
		return nil, nil
	}
	items, ok := Items(args[0])
	if !ok || len(args) > 1 {
		return nil, fmt.Errorf("%s of something else than a list", class)
	}
	if m.workLeft -= len(items); m.workLeft < 0 {
		return nil, fmt.Errorf("%w: items copied by %s", ErrLimit, class)
	}
	return slices.Clone(items), nil
}
