package pickle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

func (m *machine) opGlobal() error {
	g, err := m.readGlobal()
	if err != nil {
		return err
	}
	m.push(g)
	return nil
}

// readGlobal reads a name from two lines.
func (m *machine) readGlobal() (Global, error) {
	module, err := m.line()
	if err != nil {
		return Global{}, err
	}
	name, err := m.line()
	if err != nil {
		return Global{}, err
	}
	return m.global(module, name)
}

func (m *machine) opStackGlobal() error {
	name, err := m.pop()
	if err != nil {
		return err
	}
	module, err := m.pop()
	if err != nil {
		return err
	}
	ms, ok1 := module.(string)
	ns, ok2 := name.(string)
	if !ok1 || !ok2 {
		return fmt.Errorf("a global named by a %s and a %s, two strings were wanted", TypeName(module), TypeName(name))
	}
	g, err := m.global(ms, ns)
	if err != nil {
		return err
	}
	m.push(g)
	return nil
}

// global checks a name against the allow-list. Names with dots would walk
// through attributes and are refused whatever the list says.
func (m *machine) global(module, name string) (Global, error) {
	g := Global{Module: module, Name: name}
	switch module { // the names that Python 2 had for them
	case "__builtin__":
		g.Module = "builtins"
	case "copy_reg":
		g.Module = "copyreg"
	}
	if m.o.Allow == nil || strings.Contains(name, ".") || !m.o.Allow(g) {
		return Global{}, &ForbiddenGlobalError{Global: g}
	}
	return g, nil
}

func (m *machine) opReduce() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	args, ok := v.(Tuple)
	switch {
	case ok:
	case m.o.BareArgument:
		args = Tuple{v}
	default:
		return fmt.Errorf("arguments are a %s, a tuple was wanted", TypeName(v))
	}
	class, err := m.popGlobal()
	if err != nil {
		return err
	}
	if v, err = m.call(class, args); err != nil {
		return err
	}
	m.push(v)
	return nil
}

// call makes the inert result of a call.
func (m *machine) call(class Global, args Tuple) (Value, error) {
	if v, ok, err := m.builtin(class, args); ok || err != nil {
		return v, err
	}
	if m.o.Construct != nil {
		v, ok, err := m.o.Construct(class, args)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", class, err)
		}
		if ok {
			return v, nil
		}
	}
	return &Object{Class: class, Args: args}, nil
}

func (m *machine) opNewObj() error {
	args, err := m.popTuple()
	if err != nil {
		return err
	}
	class, err := m.popGlobal()
	if err != nil {
		return err
	}
	return m.pushObject(class, args)
}

// pushObject pushes a new instance. OrderedDict is a dict from the beginning.
func (m *machine) pushObject(class Global, args Tuple) error {
	if class == orderedDict && len(args) == 0 {
		m.push(&Dict{Class: class})
		return nil
	}
	m.push(&Object{Class: class, Args: args})
	return nil
}

func (m *machine) opNewObjEx() error {
	kw, err := m.pop()
	if err != nil {
		return err
	}
	kwargs, ok := kw.(*Dict)
	if !ok {
		return fmt.Errorf("keyword arguments are a %s, a dict was wanted", TypeName(kw))
	}
	args, err := m.popTuple()
	if err != nil {
		return err
	}
	class, err := m.popGlobal()
	if err != nil {
		return err
	}
	m.push(&Object{Class: class, Args: args, Kwargs: kwargs})
	return nil
}

// opInst is how protocol 0 makes an instance.
func (m *machine) opInst() error {
	class, err := m.readGlobal()
	if err != nil {
		return err
	}
	args, err := m.popMark()
	if err != nil {
		return err
	}
	return m.pushObject(class, Tuple(slices.Clone(args)))
}

// opObj is how protocol 1 makes an instance.
func (m *machine) opObj() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return errUnderflow
	}
	class, ok := items[0].(Global)
	if !ok {
		return fmt.Errorf("instance of a %s, the name of a class was wanted", TypeName(items[0]))
	}
	return m.pushObject(class, Tuple(slices.Clone(items[1:])))
}

// opBuild gives an object its state, which stays data whatever its keys are.
func (m *machine) opBuild() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	target, err := m.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *Object:
		if t.State != nil {
			return fmt.Errorf("a second state for a %s", t.Class)
		}
		t.State = state
		return m.built(t)
	case *Dict:
		if t.Class == (Global{}) || t.State != nil {
			return fmt.Errorf("state for a %s", TypeName(target))
		}
		t.State = state
	default:
		return fmt.Errorf("state for a %s", TypeName(target))
	}
	return nil
}

// built gives the caller the data that follows an object, if it wants any.
func (m *machine) built(o *Object) error {
	if m.o.Built == nil {
		return nil
	}
	n, err := m.o.Built(o, m.data[m.pos:len(m.data):len(m.data)])
	if err != nil {
		return fmt.Errorf("%s: %w", o.Class, err)
	}
	if n < 0 || n > len(m.data)-m.pos {
		return fmt.Errorf("%s: %w: %d bytes wanted, %d left", o.Class, errShort, n, len(m.data)-m.pos)
	}
	m.pos += n
	return nil
}

func (m *machine) opPersID() error {
	id, err := m.line()
	if err != nil {
		return err
	}
	return m.persistent(id)
}

func (m *machine) opBinPersID() error {
	id, err := m.pop()
	if err != nil {
		return err
	}
	return m.persistent(id)
}

func (m *machine) persistent(id Value) error {
	if m.o.Persistent == nil {
		return errors.New("a persistent id outside an archive that has them")
	}
	v, err := m.o.Persistent(id)
	if err != nil {
		return err
	}
	m.push(v)
	return nil
}
