package pickle

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

func (m *machine) opMark() error {
	m.marks = append(m.marks, len(m.stack))
	return nil
}

// opPop drops the topmost value, or the mark where that is topmost.
func (m *machine) opPop() error {
	if n := len(m.marks); n > 0 && m.marks[n-1] == len(m.stack) {
		m.marks = m.marks[:n-1]
		return nil
	}
	_, err := m.pop()
	return err
}

func (m *machine) opPopMark() error {
	_, err := m.popMark()
	return err
}

func (m *machine) opDup() error {
	v, err := m.top()
	if err != nil {
		return err
	}
	m.push(v)
	return nil
}

func (m *machine) opTuple() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	m.push(Tuple(slices.Clone(items)))
	return nil
}

func tuple(n int) func(*machine) error {
	return func(m *machine) error {
		h := len(m.stack) - n
		if h < m.floor() {
			return errUnderflow
		}
		t := Tuple(slices.Clone(m.stack[h:]))
		m.stack = append(m.stack[:h], t)
		return nil
	}
}

func (m *machine) opList() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	m.push(&List{Items: slices.Clone(items)})
	return nil
}

func (m *machine) opDict() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	d := &Dict{}
	if err := setItems(d, items); err != nil {
		return err
	}
	m.push(d)
	return nil
}

func (m *machine) opFrozenSet() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	if err := hashable(items); err != nil {
		return err
	}
	m.push(&Set{Items: slices.Clone(items), Frozen: true})
	return nil
}

func (m *machine) opAppend() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	return m.extend(v)
}

func (m *machine) opAppends() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.extend(items...)
}

// extend appends to the list, or to the object of a subclass of list, that is
// topmost.
func (m *machine) extend(items ...Value) error {
	target, err := m.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *List:
		t.Items = append(t.Items, items...)
	case *Object:
		t.Items = append(t.Items, items...)
	default:
		return fmt.Errorf("append to a %s", TypeName(target))
	}
	return nil
}

func (m *machine) opSetItem() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	k, err := m.pop()
	if err != nil {
		return err
	}
	return m.update(k, v)
}

func (m *machine) opSetItems() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.update(items...)
}

// update sets entries of the dict, or of the object of a subclass of dict,
// that is topmost.
func (m *machine) update(items ...Value) error {
	target, err := m.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *Dict:
		return setItems(t, items)
	case *Object:
		if t.Dict == nil {
			t.Dict = &Dict{}
		}
		return setItems(t.Dict, items)
	}
	return fmt.Errorf("entry of a %s", TypeName(target))
}

// setItems adds keys and values in turn.
func setItems(d *Dict, items []Value) error {
	if len(items)%2 != 0 {
		return errors.New("a key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		if !d.add(items[i], items[i+1]) {
			return badKey(items[i])
		}
	}
	return nil
}

// badKey says why a key was refused.
func badKey(k Value) error {
	if _, ok := canonicalKey(k); !ok {
		return fmt.Errorf("a %s as a key, or one that is too long", TypeName(k))
	}
	if s, ok := k.(string); ok {
		return fmt.Errorf("key %s twice", quote(s))
	}
	return fmt.Errorf("a key of type %s twice", TypeName(k))
}

func (m *machine) opAddItems() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	target, err := m.top()
	if err != nil {
		return err
	}
	s, ok := target.(*Set)
	if !ok || s.Frozen {
		return fmt.Errorf("item of a %s, a set was wanted", TypeName(target))
	}
	if err := hashable(items); err != nil {
		return err
	}
	s.Items = append(s.Items, items...)
	return nil
}

// hashable refuses items that no set can hold.
func hashable(items []Value) error {
	for _, v := range items {
		if _, ok := canonicalKey(v); !ok {
			return fmt.Errorf("a %s in a set", TypeName(v))
		}
	}
	return nil
}

// memoIndex reads the index of GET and PUT.
func (m *machine) memoIndex() (uint64, error) {
	s, err := m.line()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s is not the number of a memo entry", quote(s))
	}
	return n, nil
}

func (m *machine) opGet() error { return memoGet((*machine).memoIndex)(m) }

func (m *machine) opPut() error { return memoPut((*machine).memoIndex)(m) }

func memoGet(index func(*machine) (uint64, error)) func(*machine) error {
	return func(m *machine) error {
		n, err := index(m)
		if err != nil {
			return err
		}
		v, ok := m.memo[int(n)]
		if !ok {
			return fmt.Errorf("memo entry %d was never stored", n)
		}
		m.push(v)
		return nil
	}
}

func memoPut(index func(*machine) (uint64, error)) func(*machine) error {
	return func(m *machine) error {
		n, err := index(m)
		if err != nil {
			return err
		}
		return m.store(int(n))
	}
}

func (m *machine) opMemoize() error { return m.store(len(m.memo)) }

// store remembers the topmost value.
func (m *machine) store(n int) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if m.memo == nil {
		m.memo = make(map[int]Value)
	}
	if len(m.memo) >= m.l.MaxMemo || n > math.MaxInt32 {
		return fmt.Errorf("%w: memo entry %d, at most %d entries", ErrLimit, n, m.l.MaxMemo)
	}
	m.memo[n] = v
	return nil
}
