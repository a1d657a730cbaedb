// Package torchscript reads archives of torch.jit.save: traced, scripted and
// frozen modules.
//
// What enters is a checked archive of package torch; what leaves is a graph.
// The code in the archive is parsed and run symbolically while the graph is
// built: Python numbers, lists and modules are computed, control flow on them
// is decided, and operations on tensors become nodes. Nothing of the file is
// executed as a program of the machine. The package imports torch, pickle and
// graph of this module, and nothing else of it.
package torchscript

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// maxCodeFiles bounds the code files of an archive.
const maxCodeFiles = 4096

// Module is a decoded archive. It may be lowered by several goroutines at once.
type Module struct {
	root      *object
	code      *code
	constants []value
	traced    map[string][]value // inputs of the trace by method
	tensors   []NamedTensor
	layers    []string

	version   string // of the archive
	byteorder bool   // whether the archive says its byte order, as torch 2.1 and later
}

// NamedTensor is a parameter or buffer with the path of its name.
type NamedTensor struct {
	Name   string
	Tensor *graph.Tensor
}

// code is all code of an archive by qualified name.
type code struct {
	classes map[string]*classDef
	funcs   map[string]*funcDef
	samples bool // it names a function that draws random numbers
}

// Decode reads an archive: its code, the tree of objects, constants, and the
// inputs of the trace.
func Decode(z *torch.Zip) (*Module, error) {
	m := &Module{}
	var err error
	if m.code, err = parseCode(z); err != nil {
		return nil, err
	}
	if v, err := z.Record("version"); err == nil {
		m.version = strings.TrimSpace(string(v[:min(len(v), 20)]))
	}
	m.byteorder = z.HasRecord("byteorder")

	d := &decoder{code: m.code, objects: map[*pickle.Object]*object{}}
	root, err := d.member(z, "data.pkl", "data")
	if err != nil {
		return nil, err
	}
	obj, ok := root.(*object)
	if !ok || obj.class.base == "NamedTuple" {
		return nil, &FormatError{Member: "data.pkl", Err: fmt.Errorf("holds a %s, a module was expected", kindName(root))}
	}
	m.root = obj
	m.name(obj, "", map[*object]bool{}, 0)

	if err := m.decodeConstants(z, d); err != nil {
		return nil, err
	}
	return m, m.decodeTraced(z, d)
}

func (m *Module) decodeConstants(z *torch.Zip, d *decoder) error {
	if !z.HasRecord("constants.pkl") {
		return &FormatError{Member: "constants.pkl", Err: errors.New("is missing")}
	}
	v, err := d.member(z, "constants.pkl", "constants")
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *tuple:
		m.constants = v.elems
	case *list:
		m.constants = v.elems
	default:
		return &FormatError{Member: "constants.pkl", Err: fmt.Errorf("holds a %s, a tuple was expected", kindName(v))}
	}
	return nil
}

// parseCode parses every code file of the archive.
func parseCode(z *torch.Zip) (*code, error) {
	var files []string
	stem := z.Prefix()
	if stem != "" {
		stem += "/"
	}
	for _, name := range z.Names() {
		rec, ok := strings.CutPrefix(name, stem)
		if ok && strings.HasPrefix(rec, "code/") && strings.HasSuffix(rec, ".py") {
			files = append(files, rec)
		}
	}
	if len(files) == 0 {
		return nil, &FormatError{Member: "code/", Err: errors.New("is missing: the archive holds no code")}
	}
	if len(files) > maxCodeFiles {
		return nil, &FormatError{Member: "code/", Err: limitf("more than %d files", maxCodeFiles)}
	}
	sort.Strings(files)
	c := &code{classes: map[string]*classDef{}, funcs: map[string]*funcDef{}}
	tokens, bytes := maxTokens, 0
	for _, file := range files {
		if bytes += z.Size(stem + file); bytes > maxCodeBytes {
			return nil, &FormatError{Member: "code/", Err: limitf("more than %d bytes", maxCodeBytes)}
		}
		src, err := z.Record(file)
		if err != nil {
			return nil, err
		}
		module := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(file, "code/"), ".py"), "/", ".")
		f, err := parseFile(file, module, string(src), &tokens)
		if err != nil {
			return nil, err
		}
		if err := c.add(f, module); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *code) add(f *sourceFile, module string) error {
	c.samples = c.samples || f.samples
	for _, cl := range f.classes {
		if _, dup := c.classes[cl.name]; dup {
			return &SyntaxError{Pos: cl.pos, Msg: fmt.Sprintf("class %s is defined twice", cl.name)}
		}
		c.classes[cl.name] = cl
	}
	for _, fn := range f.funcs {
		name := module + "." + fn.name
		if _, dup := c.funcs[name]; dup {
			return &SyntaxError{Pos: fn.pos, Msg: fmt.Sprintf("function %s is defined twice", name)}
		}
		c.funcs[name] = fn
	}
	return nil
}

// pickleGlobals are the names that the pickles of an archive may hold beside
// the classes of its own code: those of tensors, and the type tags of lists.
var pickleGlobals = func() pickle.AllowList {
	l := pickle.NewAllowList(
		"collections.OrderedDict",
		"torch._utils._rebuild_tensor",
		"torch._utils._rebuild_tensor_v2",
		"torch._utils._rebuild_parameter",
		"torch.device",
		"torch.jit._pickle.build_intlist",
		"torch.jit._pickle.build_tensorlist",
		"torch.jit._pickle.build_doublelist",
		"torch.jit._pickle.build_boollist",
		"torch.jit._pickle.restore_type_tag",
	)
	for _, s := range []string{"Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"} {
		l.Add("torch." + s + "Storage")
	}
	return l
}()

// decoder turns pickled values into those of the interpreter.
type decoder struct {
	code    *code
	objects map[*pickle.Object]*object
}

// member decodes one pickle with its storages in the folder given.
func (d *decoder) member(z *torch.Zip, name, folder string) (value, error) {
	data, err := z.Record(name)
	if err != nil {
		return nil, err
	}
	storages, err := torch.NewStorages(z, folder)
	if err != nil {
		return nil, err
	}
	v, err := pickle.Decode(data, pickle.Options{
		Allow:        d.allow,
		Construct:    torch.Rebuild,
		Persistent:   storages.Persistent,
		BareArgument: true,
	})
	var forbidden *pickle.ForbiddenGlobalError
	if errors.As(err, &forbidden) && strings.HasPrefix(forbidden.Global.Module, "__torch__.torch.classes") {
		return nil, ofLibrary(forbidden.Global.String())
	}
	if err != nil {
		return nil, fmt.Errorf("torchscript: %s: %w", name, err)
	}
	out, err := d.value(v)
	if err != nil {
		return nil, &FormatError{Member: name, Err: err}
	}
	return out, nil
}

// ofLibrary refuses an object whose class is code of the library of torch, not
// of the archive. Those of quantised layers are the common ones.
func ofLibrary(class string) error {
	if strings.Contains(class, ".quantized.") {
		return &UnsupportedError{What: fmt.Sprintf("a quantised module, whose weights are packed in a %s: save the module as it was before it was quantised, or export it to ONNX", class)}
	}
	return &UnsupportedError{What: fmt.Sprintf("a module that holds a %s, whose code is not in the file: export it to ONNX, or save it without", class)}
}

func (d *decoder) allow(g pickle.Global) bool {
	if pickleGlobals.Allows(g) {
		return true
	}
	_, ok := d.code.classes[g.String()]
	return ok && strings.HasPrefix(g.Module, "__torch__")
}

// value converts one pickled value. Its depth is bounded by the pickle machine.
func (d *decoder) value(v pickle.Value) (value, error) {
	switch v := v.(type) {
	case pickle.None:
		return nil, nil
	case bool, int64, float64, string, *graph.Tensor:
		return v, nil
	case pickle.Tuple:
		elems, err := d.values(v)
		return &tuple{elems: elems}, err
	case *pickle.List:
		elems, err := d.values(v.Items)
		return &list{elems: elems}, err
	case *pickle.Dict:
		return d.dict(v)
	case *pickle.Object:
		return d.object(v)
	}
	return nil, fmt.Errorf("holds a %s", pickle.TypeName(v))
}

func (d *decoder) values(items []pickle.Value) ([]value, error) {
	out := make([]value, len(items))
	for i, it := range items {
		v, err := d.value(it)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (d *decoder) dict(p *pickle.Dict) (value, error) {
	out := newDict()
	for _, e := range p.Entries {
		k, err := d.value(e.Key)
		if err != nil {
			return nil, err
		}
		switch k.(type) {
		case bool, int64, float64, string:
		default:
			return nil, fmt.Errorf("a dict with a %s as key", kindName(k))
		}
		v, err := d.value(e.Value)
		if err != nil {
			return nil, err
		}
		out.set(k, v)
	}
	return out, nil
}

func (d *decoder) object(p *pickle.Object) (value, error) {
	if o, ok := d.objects[p]; ok {
		return o, nil
	}
	name := p.Class.String()
	switch {
	case strings.HasPrefix(name, "torch.jit._pickle."):
		if len(p.Args) == 0 {
			return nil, fmt.Errorf("%s without a value", name)
		}
		return d.value(p.Args[0])
	case name == "torch.device":
		if len(p.Args) > 0 {
			if s, ok := p.Args[0].(string); ok {
				return device(s), nil
			}
		}
		return device("cpu"), nil
	}
	class, ok := d.code.classes[name]
	if !ok {
		return nil, fmt.Errorf("an object of class %s", name)
	}
	o := &object{class: class, attrs: map[string]value{}}
	if class.base == "Enum" && len(p.Args) == 1 { // a member is its value
		return d.value(p.Args[0])
	}
	if class.base == "NamedTuple" {
		return d.namedTuple(class, p)
	}
	d.objects[p] = o
	switch state := p.State.(type) {
	case nil:
	case *pickle.Dict:
		for _, e := range state.Entries {
			key, ok := e.Key.(string)
			if !ok {
				return nil, fmt.Errorf("an attribute of %s named by a %s", name, pickle.TypeName(e.Key))
			}
			v, err := d.value(e.Value)
			if err != nil {
				return nil, err
			}
			o.set(key, v)
		}
	default:
		return nil, fmt.Errorf("the state of %s is a %s, a dict was expected", name, pickle.TypeName(state))
	}
	return o, nil
}

func (d *decoder) namedTuple(class *classDef, p *pickle.Object) (value, error) {
	elems, err := d.values(p.Args)
	if err != nil {
		return nil, err
	}
	t := &tuple{elems: elems}
	if len(class.fields) != len(elems) {
		return nil, fmt.Errorf("%s has %d fields, %d are given", class.name, len(class.fields), len(elems))
	}
	for _, f := range class.fields {
		t.names = append(t.names, f.name)
	}
	return t, nil
}

// name gives every module its path and lists tensors and layers.
func (m *Module) name(o *object, path string, seen map[*object]bool, depth int) {
	if seen[o] || depth > maxCallDepth {
		return
	}
	seen[o] = true
	o.path = path
	leaf := true
	for _, n := range o.names {
		switch v := o.attrs[n].(type) {
		case *graph.Tensor:
			m.tensors = append(m.tensors, NamedTensor{o.child(n), v})
		case *object:
			leaf = false
			m.name(v, o.child(n), seen, depth+1)
		}
	}
	if leaf && path != "" {
		m.layers = append(m.layers, layerLine(o))
	}
}

// layerLine describes a module without submodules: `network.0: Linear 64x5`.
func layerLine(o *object) string {
	class := o.class.name[strings.LastIndexByte(o.class.name, '.')+1:]
	line := o.path + ": " + class
	if w, ok := o.attrs["weight"].(*graph.Tensor); ok {
		dims := make([]string, len(w.Shape))
		for i, d := range w.Shape {
			dims[i] = fmt.Sprint(d)
		}
		line += " " + strings.Join(dims, "x")
	}
	return line
}
