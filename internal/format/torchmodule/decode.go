// Package torchmodule reads whole modules as torch.save(model) writes them: a
// pickle of the objects of torch.nn that the model is made of.
//
// The archive enters; a [Module] leaves, which lowers to a graph. The objects
// are inert data: what a layer computes is known here by the name of its
// class, from an exact list. A class of a user's program has its forward in
// code that no file holds, so that it is refused by name; the few classes that
// are known otherwise are in known.go. The package imports torch, torchscript,
// pickle and graph and nothing else of this module.
package torchmodule

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The maxima of a module.
const (
	maxDepth   = 64     // of modules within modules
	maxModules = 10_000 // a shared one counted each time
)

// FormatError says what is wrong with a file and where.
type FormatError = pickle.FormatError

// UnsupportedError is a module that is sound but that cannot be served. It
// matches errors.ErrUnsupported.
type UnsupportedError struct {
	What  string
	Cause error // may be nil
}

// Error begins with "unsupported:".
func (e *UnsupportedError) Error() string { return "unsupported: " + e.What }

// Is reports whether target is errors.ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool { return target == errors.ErrUnsupported }

// Unwrap returns the cause.
func (e *UnsupportedError) Unwrap() error { return e.Cause }

// waysOut are what a user can do about a class that is not served.
const waysOut = "Either save model.state_dict() and say in the model card how the tensors are used (architecture: ...), " +
	"or export the whole network: torch.jit.trace(model, example).save(\"model.pt\"), torch.export.save, or ONNX"

// Module is one module of the file.
type Module struct {
	// Class is the name of the class with that of its Python module.
	Class string
	Path  string // actor.0; empty for the root
	// Key is where the file has the module, of which it holds a dict; empty
	// where the file is the module.
	Key string

	state    *pickle.Dict
	tensors  torch.StateDict // parameters and buffers of its own, by their short names
	children []child
	hook     *normHook // nil without one
}

// child is a module under its name.
type child struct {
	name string
	*Module
}

// Is reports whether the pickle of an archive is an instance of a class, as a
// module is, and not a container of tensors.
func Is(z *torch.Zip) bool {
	b, err := z.Record("data.pkl")
	return err == nil && len(b) > 2 && b[0] == 0x80 && isInstance(b[2:])
}

// InDict reports whether the pickle of an archive is a dict in which some value
// is an instance of a class, as a checkpoint with a whole module is.
func InDict(z *torch.Zip) bool {
	b, err := z.Record("data.pkl")
	return err == nil && len(b) > 3 && b[0] == 0x80 && b[2] == '}' && bytes.Contains(b, []byte("X\x08\x00\x00\x00_modules"))
}

// isInstance reports whether a pickle goes on with a class and the making of
// an instance without arguments: GLOBAL, a memo entry or none, EMPTY_TUPLE,
// NEWOBJ.
func isInstance(b []byte) bool {
	if len(b) == 0 || b[0] != 'c' {
		return false
	}
	for range 2 { // the lines of the name
		i := bytes.IndexByte(b[:min(len(b), 1024)], '\n')
		if i < 0 {
			return false
		}
		b = b[i+1:]
	}
	if len(b) > 2 && b[0] == 'q' {
		b = b[2:]
	} else if len(b) > 5 && b[0] == 'r' {
		b = b[5:]
	}
	return bytes.HasPrefix(b, []byte(")\x81"))
}

// Decode reads the module of an archive that torch.save wrote: the module
// itself, or the only one of a dict. A class that is not known is refused by
// name, with an *UnsupportedError where it is that of an instance.
func Decode(z *torch.Zip) (*Module, error) {
	s, err := torch.NewStorages(z, "data")
	if err != nil {
		return nil, err
	}
	b, err := z.Record("data.pkl")
	if err != nil {
		return nil, err
	}
	v, err := pickle.Decode(b, pickle.Options{Allow: globals.Allows, Persistent: s.Persistent, Construct: torch.Rebuild})
	if err != nil {
		return nil, refusal(b, &FormatError{Format: "torch module", Offset: -1, Path: "data.pkl", Err: err})
	}
	return root(v)
}

// DecodeLegacy is Decode for the container before the zip.
func DecodeLegacy(data []byte) (*Module, error) {
	v, err := torch.DecodeLegacyObject(data, globals.Allows)
	var forbidden *pickle.ForbiddenGlobalError
	if errors.As(err, &forbidden) && legacyClass(data, forbidden.Global) {
		return nil, classRefusal(forbidden, err)
	}
	if err != nil {
		return nil, err
	}
	return root(v)
}

// IsLegacy reports whether a file in the container before the zip holds the
// class of a module: it has a mark of its own there.
func IsLegacy(data []byte) bool {
	return torch.IsLegacy(data) && bytes.Contains(data[:min(len(data), maxHead)], []byte(legacyMark))
}

// The mark of a class in that container, and how far from the start the first
// one is looked for.
const (
	legacyMark = "X\x06\x00\x00\x00module"
	maxHead    = 1 << 20
)

// legacyClass reports whether a global is the class of a module there.
func legacyClass(data []byte, g pickle.Global) bool {
	name := []byte("c" + g.Module + "\n" + g.Name + "\n")
	for {
		at := bytes.Index(data, []byte(legacyMark))
		if at < 0 {
			return false
		}
		data = data[at+len(legacyMark):]
		// An entry of the memo lies between the mark and the class, or none.
		if near := data[:min(len(data), 6+len(name))]; bytes.Contains(near, name) {
			return true
		}
	}
}

// root makes the module of what a file holds.
func root(v pickle.Value) (*Module, error) {
	key := ""
	if d, ok := v.(*pickle.Dict); ok {
		var err error
		if v, key, err = only(d); err != nil {
			return nil, err
		}
	}
	d := decoder{}
	m, err := d.module("", v, 0)
	if err != nil {
		return nil, &FormatError{Format: "torch module", Offset: -1, Path: d.path, Err: err}
	}
	m.Key = key
	return m, nil
}

// only returns the only module of a dict, with its key.
func only(d *pickle.Dict) (pickle.Value, string, error) {
	var found pickle.Value
	var keys []string
	for _, e := range d.Entries {
		key, ok := e.Key.(string)
		if o, isObject := e.Value.(*pickle.Object); !ok || !isObject || !hasModules(o) || len(key) > 256 {
			continue
		}
		found = e.Value
		if len(keys) < 8 {
			keys = append(keys, fmt.Sprintf("%.80q", key))
		}
	}
	switch len(keys) {
	case 0:
		return nil, "", &UnsupportedError{What: "the file is a dict without a module among its entries. " + waysOut}
	case 1:
		key := ""
		for _, e := range d.Entries {
			if e.Value == found {
				key, _ = e.Key.(string)
			}
		}
		return found, key, nil
	}
	return nil, "", &UnsupportedError{What: "the file is a dict of several modules, " + strings.Join(keys, ", ") +
		": which of them answers is not said. Save that one by itself, with torch.save(checkpoint[key], \"model.pt\")"}
}

// hasModules reports whether an object has the state of a module.
func hasModules(o *pickle.Object) bool {
	state, ok := o.State.(*pickle.Dict)
	if !ok {
		return false
	}
	_, ok = state.Get("_modules")
	return ok
}

// refusal tells a class of a user's program from other globals that are not
// on the list: it is the class of an instance.
func refusal(b []byte, err error) error {
	var at *pickle.FormatError
	var forbidden *pickle.ForbiddenGlobalError
	if !errors.As(errors.Unwrap(err), &at) || !errors.As(err, &forbidden) {
		return err
	}
	if at.Offset < 0 || at.Offset >= int64(len(b)) || !isInstance(b[at.Offset:]) {
		return err
	}
	return classRefusal(forbidden, err)
}

// classRefusal refuses a class whose forward is not known.
func classRefusal(forbidden *pickle.ForbiddenGlobalError, err error) error {
	class := forbidden.Global.String()
	if len(class) > 200 {
		class = class[:200] + "..."
	}
	return &UnsupportedError{Cause: err, What: fmt.Sprintf("the file holds a module of the class %q, whose forward is code that no file holds and that is never loaded. %s", class, waysOut)}
}

// decoder makes modules of objects.
type decoder struct {
	path  string // of the module that is read, for messages
	count int
}

func (d *decoder) module(path string, v pickle.Value, depth int) (*Module, error) {
	d.path = path
	if d.count++; d.count > maxModules || depth > maxDepth {
		return nil, fmt.Errorf("%w: more than %d modules, or deeper than %d", pickle.ErrLimit, maxModules, maxDepth)
	}
	o, ok := v.(*pickle.Object)
	if !ok {
		return nil, fmt.Errorf("a %s, a module was wanted", pickle.TypeName(v))
	}
	state, ok := o.State.(*pickle.Dict)
	if !ok || len(o.Args) != 0 {
		return nil, fmt.Errorf("%s: its state is a %s, a dict was wanted", o.Class, pickle.TypeName(o.State))
	}
	m := &Module{Class: o.Class.String(), Path: path, state: state}
	for _, kind := range []string{"_parameters", "_buffers"} {
		if err := m.ownTensors(kind); err != nil {
			return nil, err
		}
	}
	if err := m.hooks(); err != nil {
		return nil, err
	}
	children, err := m.dict("_modules")
	if err != nil {
		return nil, err
	}
	for _, e := range children.Entries {
		name, ok := e.Key.(string)
		if !ok || name == "" || len(name) > 256 {
			return nil, fmt.Errorf("a module under a key that is a %s", pickle.TypeName(e.Key))
		}
		if _, none := e.Value.(pickle.None); none {
			continue
		}
		below, err := d.module(join(path, name), e.Value, depth+1)
		if err != nil {
			return nil, err
		}
		m.children = append(m.children, child{name, below})
	}
	return m, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// dict returns a dict of the state that every module has.
func (m *Module) dict(name string) (*pickle.Dict, error) {
	v, ok := m.state.Get(name)
	d, isDict := v.(*pickle.Dict)
	if !ok || !isDict {
		return nil, fmt.Errorf("%s: %s is a %s, a dict was wanted", m.Class, name, pickle.TypeName(v))
	}
	return d, nil
}

func (m *Module) ownTensors(kind string) error {
	d, err := m.dict(kind)
	if err != nil {
		return err
	}
	for _, e := range d.Entries {
		name, ok := e.Key.(string)
		if !ok || name == "" || len(name) > 256 {
			return fmt.Errorf("%s: a key of %s that is a %s", m.Class, kind, pickle.TypeName(e.Key))
		}
		switch t := e.Value.(type) {
		case pickle.None: // a bias that is left out
		case *graph.Tensor:
			m.tensors = append(m.tensors, torch.NamedTensor{Name: name, Tensor: t})
		default:
			return fmt.Errorf("%s: %s is a %s, a tensor was wanted", m.Class, name, pickle.TypeName(e.Value))
		}
	}
	return nil
}

// normHook is the hook of torch.nn.utils.weight_norm, which puts a weight
// together of its direction and its length, or of spectral_norm, which divides
// it by its largest singular value.
type normHook struct {
	name     string
	dim      int64
	spectral bool
}

// hooks refuses functions that are called before or after forward, but for
// those that are known.
func (m *Module) hooks() error {
	for _, name := range []string{"_forward_hooks", "_forward_pre_hooks"} {
		v, ok := m.state.Get(name)
		if !ok {
			continue
		}
		d, ok := v.(*pickle.Dict)
		if !ok {
			return fmt.Errorf("%s: %s is a %s, a dict was wanted", m.Class, name, pickle.TypeName(v))
		}
		for _, e := range d.Entries {
			o, ok := e.Value.(*pickle.Object)
			if !ok || o.Class != weightNormClass && o.Class != spectralNormClass || m.hook != nil {
				return fmt.Errorf("%w: %s has a function that is called with forward, a %s", torch.ErrUnsupported, m.Class, pickle.TypeName(e.Value))
			}
			h := normHook{spectral: o.Class == spectralNormClass}
			n, _ := o.Attr("name")
			h.name, _ = n.(string)
			n, _ = o.Attr("dim")
			h.dim, ok = pickle.Int(n)
			if _, none := n.(pickle.None); none && !h.spectral {
				h.dim, ok = -1, true
			}
			if h.name != "weight" || !ok {
				return fmt.Errorf("%w: a norm of %.40q", torch.ErrUnsupported, h.name)
			}
			m.hook = &h
		}
	}
	return nil
}

// Tensors returns the parameters and buffers of the module and of those in
// it, under the names of a state_dict.
func (m *Module) Tensors() torch.StateDict {
	var all torch.StateDict
	m.walk(func(m *Module) {
		for _, t := range m.tensors {
			all = append(all, torch.NamedTensor{Name: join(m.Path, t.Name), Tensor: t.Tensor})
		}
	})
	return all
}

// Layers returns one line for each module that holds no others: its path, its
// class and its weight's shape.
func (m *Module) Layers() []string {
	var lines []string
	m.walk(func(m *Module) {
		if len(m.children) > 0 {
			return
		}
		line := m.shortClass()
		if m.Path != "" {
			line = m.Path + ": " + line
		}
		if w := m.tensors.Get("weight"); w != nil {
			line += " " + w.Shape.String()
		}
		lines = append(lines, line)
	})
	return lines
}

func (m *Module) walk(f func(*Module)) {
	f(m)
	for _, c := range m.children {
		c.walk(f)
	}
}
