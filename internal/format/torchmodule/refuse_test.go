package torchmodule_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchmodule"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// archive makes a torch.save archive of a pickle and storages.
func archive(t testing.TB, data []byte, storages map[string][]byte) *torch.Zip {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	add := func(name string, data []byte) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: "m/" + name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	add("data.pkl", data)
	for key, s := range storages {
		add("data/"+key, s)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := torch.OpenZip(b.Bytes(), torch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// raw is a piece of a pickle.
type raw string

// literal writes a value as opcodes.
func literal(v any) string {
	switch v := v.(type) {
	case raw:
		return string(v)
	case nil:
		return "N"
	case bool:
		if v {
			return "\x88"
		}
		return "\x89"
	case int:
		return fmt.Sprintf("I%d\n", v)
	case float64:
		return fmt.Sprintf("F%v\n", v)
	case string:
		return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(v)))) + v
	case []any: // pairs of a dict
		var b strings.Builder
		b.WriteString("}(")
		for _, e := range v {
			b.WriteString(literal(e))
		}
		return b.String() + "u"
	}
	panic(fmt.Sprintf("%T", v))
}

// tuple writes a tuple.
func tuple(v ...any) raw {
	s := "("
	for _, e := range v {
		s += literal(e)
	}
	return raw(s + "t")
}

// module writes an instance of a class: its parameters, modules and attributes
// as pairs.
func module(class string, parameters, modules []any, attrs ...any) raw {
	i := strings.LastIndexByte(class, '.')
	state := append([]any{"_parameters", parameters, "_buffers", []any{}, "_modules", modules}, attrs...)
	return raw("c" + class[:i] + "\n" + class[i+1:] + "\n)\x81" + literal(state) + "b")
}

func pickled(v raw) []byte { return []byte("\x80\x02" + string(v) + ".") }

// zeros writes a parameter of float32 zeros; all lie in the storage "0" of so
// many elements.
func zeros(of int, shape ...int) raw {
	size, stride, n := []any{}, []any{}, 1
	for range shape {
		stride = append(stride, 0)
	}
	for i := len(shape) - 1; i >= 0; i-- {
		stride[i] = n
		n *= shape[i]
	}
	for _, d := range shape {
		size = append(size, d)
	}
	id := tuple("storage", raw("ctorch\nFloatStorage\n"), "0", "cpu", of)
	return raw("ctorch._utils\n_rebuild_tensor_v2\n" +
		string(tuple(id+"Q", 0, tuple(size...), tuple(stride...), false, raw("ccollections\nOrderedDict\n)R"))) + "R")
}

const storage = 64

func linearOf(out, in int) raw {
	return module("torch.nn.modules.linear.Linear", []any{"weight", zeros(storage, out, in), "bias", nil}, []any{})
}

func sequentialOf(layers ...raw) raw {
	var children []any
	for i, l := range layers {
		children = append(children, fmt.Sprint(i), l)
	}
	return module("torch.nn.modules.container.Sequential", []any{}, children)
}

func decodeModule(t *testing.T, v raw) (*torchmodule.Module, error) {
	t.Helper()
	return torchmodule.Decode(archive(t, pickled(v), map[string][]byte{"0": make([]byte, 4*storage)}))
}

// TestDecodeRefuses names what is wrong and in which module.
func TestDecodeRefuses(t *testing.T) {
	f := func(v raw, want ...string) {
		t.Helper()
		_, err := decodeModule(t, v)
		if err == nil {
			t.Errorf("no error, want %q", want)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want %q", err, w)
			}
		}
	}
	f(raw("N"), "a None, a module was wanted")
	f(raw("ctorch.nn.modules.linear\nLinear\n)\x81"), "a dict was wanted")
	f(raw("ctorch.nn.modules.linear\nLinear\n)\x81}b"), "_parameters is a nothing")
	f(sequentialOf(linearOf(2, 3), "N", "K\x05"), "2", "a int, a module was wanted")
	f(sequentialOf(module("torch.nn.modules.linear.Linear", []any{"weight", 3}, []any{})), "torch module: 0", "weight is a int")
	f(sequentialOf(module("torch.nn.modules.linear.Linear", []any{3, nil}, []any{})), "a key of _parameters")
	f(module("torch.nn.modules.container.Sequential", []any{}, []any{"", linearOf(2, 3)}), "under a key")
	f(module("torch.nn.modules.container.Sequential", []any{}, []any{}, "_forward_hooks", []any{1, 2}), "called with forward")
	f(module("torch.nn.modules.container.Sequential", []any{}, []any{}, "_forward_pre_hooks", 3), "_forward_pre_hooks is a int")
	deep := linearOf(2, 3)
	for range 70 {
		deep = sequentialOf(deep)
	}
	f(deep, "limit exceeded")
	shared := sequentialOf(linearOf(2, 3))
	for range 20 { // 2^20 modules, in a few hundred bytes
		shared = raw("("+string(shared)+"q\x001") + module("torch.nn.modules.container.Sequential", []any{}, []any{"a", raw("h\x00"), "b", raw("h\x00")})
	}
	f(shared, "limit exceeded")
}

// TestUserClass names the class, wherever it is.
func TestUserClass(t *testing.T) {
	user := module("my.models.Policy", []any{}, []any{"net", linearOf(2, 3)})
	for _, v := range []raw{user, sequentialOf(linearOf(2, 3), user)} {
		_, err := decodeModule(t, v)
		checkRefused(t, err, `"my.models.Policy"`)
	}
	_, err := decodeModule(t, raw("cposix\nsystem\n"+string(tuple("true"))+"R"))
	if !errors.Is(err, pickle.ErrForbiddenGlobal) || errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "posix.system") {
		t.Errorf("%v", err)
	}
}

// TestLowerRefuses names the layer and what does not fit.
func TestLowerRefuses(t *testing.T) {
	f := func(v raw, want ...string) {
		t.Helper()
		m, err := decodeModule(t, v)
		if err != nil {
			t.Errorf("decode: %v", err)
			return
		}
		_, err = m.Lower(torchmodule.Options{})
		if err == nil {
			t.Errorf("no error, want %q", want)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want %q", err, w)
			}
		}
	}
	list := module("torch.nn.modules.container.ModuleList", []any{}, []any{"0", linearOf(2, 3)})
	f(list, "unsupported:", "ModuleList has no forward of its own", "architecture:")
	f(sequentialOf(linearOf(2, 3), list), "unsupported:", "1 (ModuleList)")
	f(sequentialOf(linearOf(2, 3), linearOf(4, 5)), "1 (Linear)", "[B,2]", "[4,5] takes 5 features")
	f(sequentialOf(module("torch.nn.modules.linear.Linear", []any{}, []any{})), "weight is missing")
	f(sequentialOf(linearOf(2, 3), module("torch.nn.modules.activation.ELU", []any{}, []any{})), "1 (ELU)", "alpha is missing")
	f(sequentialOf(linearOf(2, 3), module("torch.nn.modules.activation.ELU", []any{}, []any{}, "alpha", "x")), "alpha is a str")
	f(sequentialOf(linearOf(2, 3), module("torch.nn.modules.activation.Softmax", []any{}, []any{}, "dim", nil)), "dim is a None")
	f(sequentialOf(linearOf(2, 3), module("torch.nn.modules.pooling.MaxPool2d", []any{}, []any{}, "return_indices", true)), "return_indices")
	f(sequentialOf(module("torch.nn.modules.activation.ReLU", []any{}, []any{})), "shape of input")
	f(module("scripts.create_example_artifacts.ExampleCarlaModel", []any{}, []any{"net", linearOf(2, 3)}), "unsupported:", `one submodule "network"`)
	f(module("__main__.ExampleCarlaModel", []any{"w", zeros(storage, 2)}, []any{"network", linearOf(2, 3)}), "unsupported:")
}

// TestKnownClass calls the one submodule of the ancestor's class.
func TestKnownClass(t *testing.T) {
	m, err := decodeModule(t, module("__main__.ExampleCarlaModel", []any{}, []any{"network", sequentialOf(linearOf(2, 3))}))
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.Lower(torchmodule.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if g.Inputs[0].Name != "x" || g.Inputs[0].Shape.String() != "[B,3]" || g.Outputs[0].Value.Shape.String() != "[B,2]" {
		t.Errorf("%s", g)
	}
	if m.Tensors()[0].Name != "network.0.weight" {
		t.Errorf("tensors are %v", m.Tensors())
	}
}

// FuzzDecode asserts that any pickle is refused, or gives a module that is
// refused or lowers to a graph that verifies.
func FuzzDecode(f *testing.F) {
	paths, err := filepath.Glob("../../../testdata/modules/2.15.0/*/module.pth")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		z, err := torch.OpenZip(data, torch.Limits{})
		if err != nil {
			f.Fatal(err)
		}
		b, err := z.Record("data.pkl")
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Add(pickled(sequentialOf(linearOf(2, 3), linearOf(3, 2))))
	f.Add(pickled(module("my.Policy", []any{}, []any{})))
	storages := map[string][]byte{"0": make([]byte, 4*storage), "1": make([]byte, 32)}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := torchmodule.Decode(archive(t, data, storages))
		if err != nil {
			return
		}
		g, err := m.Lower(torchmodule.Options{InputShapes: map[string][]int{"input": {graph.Batch, 3}}})
		if err != nil {
			return
		}
		if err := g.Verify(); err != nil {
			t.Fatal(err)
		}
	})
}
