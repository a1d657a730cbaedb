//go:build e2e

package hostile_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// named walks a pickle as an unpickler does and returns the globals that it
// resolves before it stops or fails, as "module name". It is a twin of nothing
// in the product: it keeps only texts, marks and the memo.
func named(b []byte) []string {
	w := walker{b: b, memo: map[uint64]any{}}
	w.run()
	return w.names
}

type mark struct{}

// opcodes returns where each opcode of a pickle begins, STOP included.
func opcodes(b []byte) []int {
	w := walker{b: b, memo: map[uint64]any{}}
	var at []int
	for {
		at = append(at, len(b)-len(w.b))
		if !w.step() {
			return at
		}
	}
}

type walker struct {
	b     []byte
	stack []any // a string, a mark, or nil for anything else
	memo  map[uint64]any
	names []string
}

func (w *walker) take(n uint64) ([]byte, bool) {
	if n > uint64(len(w.b)) {
		return nil, false
	}
	out := w.b[:n]
	w.b = w.b[n:]
	return out, true
}

func (w *walker) line() (string, bool) {
	i := bytes.IndexByte(w.b, '\n')
	if i < 0 {
		return "", false
	}
	s := string(w.b[:i])
	w.b = w.b[i+1:]
	return s, true
}

// number takes an unsigned number of n bytes.
func (w *walker) number(n uint64) (uint64, bool) {
	b, ok := w.take(n)
	if !ok {
		return 0, false
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), true
}

func (w *walker) push(v any) { w.stack = append(w.stack, v) }

func (w *walker) pop(n int) bool {
	if len(w.stack) < n {
		return false
	}
	w.stack = w.stack[:len(w.stack)-n]
	return true
}

// unmark takes all down to the topmost mark.
func (w *walker) unmark() bool {
	for i, v := range slices.Backward(w.stack) {
		if _, ok := v.(mark); ok {
			w.stack = w.stack[:i]
			return true
		}
	}
	return false
}

func (w *walker) run() {
	for w.step() {
	}
}

func (w *walker) step() bool {
	code, ok := w.take(1)
	if !ok {
		return false
	}
	// sized opcodes that push no text: the bytes of their lengths.
	switch c := code[0]; c {
	case '.':
		return false
	case '(':
		w.push(mark{})
	case '0':
		return w.pop(1)
	case '1':
		return w.unmark()
	case '2':
		if len(w.stack) == 0 {
			return false
		}
		w.push(w.stack[len(w.stack)-1])
	case 'N', ')', ']', '}', 0x88, 0x89, 0x8f, 0x97:
		w.push(nil)
	case 0x98:
	case 'K', 0x82:
		w.push(nil)
		_, ok = w.take(1)
	case 'M', 0x83:
		w.push(nil)
		_, ok = w.take(2)
	case 'J', 0x84:
		w.push(nil)
		_, ok = w.take(4)
	case 'G':
		w.push(nil)
		_, ok = w.take(8)
	case 'I', 'L', 'F', 'P':
		w.push(nil)
		_, ok = w.line()
	case 'S':
		var s string
		if s, ok = w.line(); ok {
			s = strings.TrimSpace(s)
			if t, err := strconv.Unquote(s); err == nil {
				s = t
			} else if len(s) > 1 {
				s = s[1 : len(s)-1]
			}
			w.push(s)
		}
	case 'V':
		var s string
		if s, ok = w.line(); ok {
			w.push(s)
		}
	case 'C', 'U', 0x8a:
		ok = w.sized(1, c == 'U')
	case 'B', 'T', 0x8b:
		ok = w.sized(4, c == 'T')
	case 0x8e, 0x96:
		ok = w.sized(8, false)
	case 0x8c:
		ok = w.sized(1, true)
	case 'X':
		ok = w.sized(4, true)
	case 0x8d:
		ok = w.sized(8, true)
	case 0x80:
		_, ok = w.take(1)
	case 0x95:
		_, ok = w.take(8)
	case 'q', 'h':
		var n uint64
		n, ok = w.number(1)
		ok = ok && w.memory(c == 'q', n)
	case 'r', 'j':
		var n uint64
		n, ok = w.number(4)
		ok = ok && w.memory(c == 'r', n)
	case 'p', 'g':
		s, found := w.line()
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
		ok = found && err == nil && w.memory(c == 'p', n)
	case 0x94:
		ok = w.memory(true, uint64(len(w.memo)))
	case 't', 'l', 'd', 0x91, 'o':
		ok = w.unmark()
		w.push(nil)
	case 'e', 'u', 0x90:
		ok = w.unmark()
	case 0x85:
		ok = w.pop(1)
		w.push(nil)
	case 0x86, 'R', 0x81:
		ok = w.pop(2)
		w.push(nil)
	case 0x87, 0x92:
		ok = w.pop(3)
		w.push(nil)
	case 'a', 'b':
		ok = w.pop(1)
	case 's':
		ok = w.pop(2)
	case 'Q':
		ok = w.pop(1)
		w.push(nil)
	case 'c', 'i':
		module, ok1 := w.line()
		name, ok2 := w.line()
		if !ok1 || !ok2 {
			return false
		}
		w.names = append(w.names, module+" "+name)
		if c == 'i' {
			ok = w.unmark()
		}
		w.push(nil)
	case 0x93:
		if len(w.stack) < 2 {
			return false
		}
		module, ok1 := w.stack[len(w.stack)-2].(string)
		name, ok2 := w.stack[len(w.stack)-1].(string)
		if !ok1 || !ok2 {
			return false
		}
		w.names = append(w.names, module+" "+name)
		w.pop(2)
		w.push(nil)
	default:
		return false
	}
	return ok
}

// sized takes a length of n bytes and what it counts.
func (w *walker) sized(n uint64, text bool) bool {
	size, ok := w.number(n)
	if !ok {
		return false
	}
	b, ok := w.take(size)
	switch {
	case !ok:
		return false
	case text:
		w.push(string(b))
	default:
		w.push(nil)
	}
	return true
}

// memory stores the topmost value or gets a stored one.
func (w *walker) memory(store bool, n uint64) bool {
	if !store {
		v, ok := w.memo[n]
		w.push(v)
		return ok
	}
	if len(w.stack) == 0 {
		return false
	}
	w.memo[n] = w.stack[len(w.stack)-1]
	return true
}
