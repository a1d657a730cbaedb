package pickle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Decode reads one pickle that fills data wholly. The result has no cycles and
// stays within the limits. Errors are *FormatError.
func Decode(data []byte, o Options) (Value, error) {
	v, n, err := DecodePrefix(data, o)
	if err != nil {
		return nil, err
	}
	if n != len(data) {
		return nil, &FormatError{Format: "pickle", Offset: int64(n), Err: fmt.Errorf("%d bytes after the end of the pickle", len(data)-n)}
	}
	return v, nil
}

// DecodePrefix reads the pickle at the start of data and returns also the
// number of bytes it takes, for containers that hold several in a row.
func DecodePrefix(data []byte, o Options) (Value, int, error) {
	l := o.Limits.withDefaults()
	m := machine{data: data, o: o, l: l, bytesLeft: 2*len(data) + 4096, workLeft: l.MaxOps}
	v, err := m.run()
	if err != nil {
		return nil, 0, err
	}
	return v, m.pos, nil
}

// machine is the state of one decoding.
type machine struct {
	data []byte
	pos  int
	o    Options
	l    Limits

	stack []Value
	marks []int // stack heights at MARK
	memo  map[int]Value

	bytesLeft int // bytes that calls which are data may still make
	workLeft  int // items that such calls may still copy
}

// Errors of the machine itself.
var (
	errShort     = errors.New("the pickle ends in the middle of an opcode")
	errUnderflow = errors.New("stack underflow")
	errNoMark    = errors.New("no mark on the stack")
)

// run interprets opcodes until STOP.
func (m *machine) run() (Value, error) {
	fail := func(at int, name string, err error) error {
		if name != "" {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return &FormatError{Format: "pickle", Offset: int64(at), Err: err}
	}
	if len(m.data) > m.l.MaxBytes {
		return nil, fail(0, "", fmt.Errorf("%w: %d bytes, at most %d", ErrLimit, len(m.data), m.l.MaxBytes))
	}
	for ops := 0; ; ops++ {
		at := m.pos
		if at >= len(m.data) {
			return nil, fail(at, "", errors.New("the pickle ends without STOP"))
		}
		if ops >= m.l.MaxOps {
			return nil, fail(at, "", fmt.Errorf("%w: more than %d opcodes", ErrLimit, m.l.MaxOps))
		}
		code := m.data[at]
		m.pos++
		if code == opStop {
			v, err := m.stop()
			if err != nil {
				return nil, fail(at, "STOP", err)
			}
			return v, nil
		}
		op := &opcodes[code]
		if op.do == nil {
			return nil, fail(at, "", fmt.Errorf("unknown opcode 0x%02x", code))
		}
		if err := op.do(m); err != nil {
			return nil, fail(at, op.name, err)
		}
	}
}

// stop returns the result, of which there must be exactly one.
func (m *machine) stop() (Value, error) {
	if len(m.marks) != 0 || len(m.stack) != 1 {
		return nil, fmt.Errorf("%d values and %d marks on the stack, one value was wanted", len(m.stack), len(m.marks))
	}
	v := m.stack[0]
	if err := check(v, m.l); err != nil {
		return nil, err
	}
	return v, nil
}

// bytes takes the next n bytes of the input.
func (m *machine) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.pos) {
		return nil, fmt.Errorf("%w: %d bytes wanted, %d left", errShort, n, len(m.data)-m.pos)
	}
	b := m.data[m.pos : m.pos+int(n) : m.pos+int(n)]
	m.pos += int(n)
	return b, nil
}

// line takes the next line of the input, without its end.
func (m *machine) line() (string, error) {
	const longest = 64 << 10
	rest := m.data[m.pos:]
	if len(rest) > longest {
		rest = rest[:longest]
	}
	n := bytes.IndexByte(rest, '\n')
	if n < 0 {
		return "", fmt.Errorf("%w: no end of line within %d bytes", errShort, len(rest))
	}
	m.pos += n + 1
	return string(rest[:n]), nil
}

func (m *machine) uint8() (uint64, error) {
	b, err := m.bytes(1)
	if err != nil {
		return 0, err
	}
	return uint64(b[0]), nil
}

func (m *machine) uint16() (uint64, error) {
	b, err := m.bytes(2)
	if err != nil {
		return 0, err
	}
	return uint64(binary.LittleEndian.Uint16(b)), nil
}

func (m *machine) uint32() (uint64, error) {
	b, err := m.bytes(4)
	if err != nil {
		return 0, err
	}
	return uint64(binary.LittleEndian.Uint32(b)), nil
}

func (m *machine) uint64() (uint64, error) {
	b, err := m.bytes(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (m *machine) push(v Value) { m.stack = append(m.stack, v) }

// floor is the height of the stack below which an opcode may not reach.
func (m *machine) floor() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

// pop takes the topmost value.
func (m *machine) pop() (Value, error) {
	n := len(m.stack) - 1
	if n < m.floor() {
		return nil, errUnderflow
	}
	v := m.stack[n]
	m.stack[n] = nil
	m.stack = m.stack[:n]
	return v, nil
}

// top returns the topmost value and leaves it.
func (m *machine) top() (Value, error) {
	n := len(m.stack) - 1
	if n < m.floor() {
		return nil, errUnderflow
	}
	return m.stack[n], nil
}

// popMark takes the values above the topmost mark, and the mark. The slice is
// valid until the next push.
func (m *machine) popMark() ([]Value, error) {
	n := len(m.marks) - 1
	if n < 0 {
		return nil, errNoMark
	}
	h := m.marks[n]
	m.marks = m.marks[:n]
	items := m.stack[h:]
	m.stack = m.stack[:h]
	return items, nil
}

// popTuple takes the topmost value, which must be a tuple.
func (m *machine) popTuple() (Tuple, error) {
	v, err := m.pop()
	if err != nil {
		return nil, err
	}
	t, ok := v.(Tuple)
	if !ok {
		return nil, fmt.Errorf("arguments are a %s, a tuple was wanted", TypeName(v))
	}
	return t, nil
}

// popGlobal takes the topmost value, which must be the name of a class or
// function.
func (m *machine) popGlobal() (Global, error) {
	v, err := m.pop()
	if err != nil {
		return Global{}, err
	}
	g, ok := v.(Global)
	if !ok {
		return Global{}, fmt.Errorf("call of a %s, the name of a class was wanted", TypeName(v))
	}
	return g, nil
}
