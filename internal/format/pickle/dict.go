package pickle

import (
	"math"
	"math/big"
	"strconv"
)

// Dict is Python's dict, or the collections.OrderedDict that Class then names,
// in the order of insertion. Keys are unique.
type Dict struct {
	Entries []Entry
	Class   Global // zero for a plain dict
	State   Value  // attributes of an OrderedDict, set by BUILD; nil without them

	index map[any]int // from canonical key to entry, made when the dict grows
}

// Entry is a key and its value.
type Entry struct {
	Key, Value Value
}

// indexFrom is the number of entries from which a map is faster than a scan.
const indexFrom = 8

// Keys are compared again and again, so that long ones are refused: texts
// beyond the one, other keys beyond the other.
const (
	maxTextKeyBytes = 4 << 10
	maxKeyBytes     = 96
)

// Len returns the number of entries.
func (d *Dict) Len() int { return len(d.Entries) }

// Get returns the value under a string key.
func (d *Dict) Get(key string) (Value, bool) {
	if i, ok := d.find(key); ok {
		return d.Entries[i].Value, true
	}
	return nil, false
}

// Has reports whether there is a string key.
func (d *Dict) Has(key string) bool {
	_, ok := d.find(key)
	return ok
}

// find takes a canonical key.
func (d *Dict) find(key any) (int, bool) {
	if d.index != nil {
		i, ok := d.index[key]
		return i, ok
	}
	for i := range d.Entries {
		if b, ok := d.Entries[i].Key.([]byte); ok { // compared without a copy
			if k, ok := key.(bytesKey); ok && string(b) == string(k) {
				return i, true
			}
			continue
		}
		if k, _ := canonicalKey(d.Entries[i].Key); k == key {
			return i, true
		}
	}
	return 0, false
}

// add appends an entry. It returns false for a key that Python could not hash
// or that is there already: a pickler writes neither.
func (d *Dict) add(key, value Value) bool {
	k, ok := canonicalKey(key)
	if !ok {
		return false
	}
	if _, there := d.find(k); there {
		return false
	}
	d.Entries = append(d.Entries, Entry{Key: key, Value: value})
	switch {
	case d.index != nil:
		d.index[k] = len(d.Entries) - 1
	case len(d.Entries) == indexFrom:
		d.index = make(map[any]int, 2*indexFrom)
		for i := range d.Entries {
			k, _ := canonicalKey(d.Entries[i].Key)
			d.index[k] = i
		}
	}
	return true
}

// The canonical forms of keys whose Go values do not compare as Python's do.
type (
	bytesKey string
	bigKey   string
	tupleKey string
)

// canonicalKey maps a Python key to a comparable Go value that is equal where
// Python's keys are: 1, 1.0 and True are one key.
func canonicalKey(v Value) (any, bool) {
	switch v := v.(type) {
	case string:
		return v, len(v) <= maxTextKeyBytes
	case int64, None, Global, *Object:
		return v, true
	case bool:
		if v {
			return int64(1), true
		}
		return int64(0), true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<62 {
			return int64(v), true
		}
		return v, true
	case *big.Int:
		if v.BitLen() > 8*maxKeyBytes {
			return nil, false
		}
		return bigKey(v.Text(16)), true
	case []byte:
		if len(v) > maxKeyBytes {
			return nil, false
		}
		return bytesKey(v), true
	case Tuple:
		b, ok := appendKey(nil, v, 0)
		return tupleKey(b), ok
	}
	return nil, false
}

// appendKey writes an unambiguous text of a tuple of scalars: each part with
// its kind and length.
func appendKey(b []byte, v Value, depth int) ([]byte, bool) {
	if depth > 8 || len(b) > maxKeyBytes {
		return b, false
	}
	if t, ok := v.(Tuple); ok {
		b = append(b, '(')
		b = strconv.AppendInt(b, int64(len(t)), 10)
		b = append(b, ':')
		for _, item := range t {
			if b, ok = appendKey(b, item, depth+1); !ok {
				return b, false
			}
		}
		return b, true
	}
	k, ok := canonicalKey(v)
	if !ok {
		return b, false
	}
	var kind byte
	var s string
	switch k := k.(type) {
	case string:
		kind, s = 's', k
	case int64:
		kind, s = 'i', strconv.FormatInt(k, 10)
	case float64:
		kind, s = 'f', strconv.FormatUint(math.Float64bits(k), 16)
	case None:
		kind = 'n'
	case bigKey:
		kind, s = 'l', string(k)
	case bytesKey:
		kind, s = 'b', string(k)
	case Global:
		kind, s = 'g', k.String()
	default:
		return b, false
	}
	if len(b)+len(s) > maxKeyBytes {
		return b, false
	}
	b = append(b, kind)
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, ':')
	return append(b, s...), true
}
