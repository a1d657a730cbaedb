package safetensors_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/safetensors"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// build makes a file of a header and the bytes behind it.
func build(header string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), body...)
}

func floats(v ...float32) []byte {
	var b []byte
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

const oneTensor = `{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`

// TestDecodeTypes reads an element of every type.
func TestDecodeTypes(t *testing.T) {
	f := func(dtype string, body []byte, dt graph.DType, want ...float64) {
		t.Helper()
		header := fmt.Sprintf(`{"t":{"dtype":%q,"shape":[%d],"data_offsets":[0,%d]}}`, dtype, len(want), len(body))
		file, err := safetensors.Decode(build(header, body))
		if err != nil {
			t.Fatalf("%s: %v", dtype, err)
		}
		got := file.Tensors.Get("t")
		if got.DType != dt || got.Len() != len(want) {
			t.Fatalf("%s: %v with %d elements", dtype, got.DType, got.Len())
		}
		for i, w := range want {
			if got.At(i) != w {
				t.Errorf("%s: element %d is %v, want %v", dtype, i, got.At(i), w)
			}
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", dtype, err)
		}
	}
	f("F32", floats(1.5, -2), graph.Float32, 1.5, -2)
	f("F64", binary.LittleEndian.AppendUint64(nil, math.Float64bits(0.1)), graph.Float64, 0.1)
	f("F16", []byte{0x00, 0x3c, 0x00, 0xc1, 0x01, 0x00, 0x00, 0x7c}, graph.Float16, 1, -2.5, 0x1p-24, math.Inf(1))
	f("BF16", []byte{0x80, 0x3f, 0x20, 0xc0}, graph.BFloat16, 1, -2.5)
	f("I64", []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, graph.Int64, -2)
	f("I32", []byte{0xfe, 0xff, 0xff, 0xff}, graph.Int32, -2)
	f("I16", []byte{0xfe, 0xff}, graph.Int16, -2)
	f("I8", []byte{0xfe, 3}, graph.Int8, -2, 3)
	f("U8", []byte{0xfe, 3}, graph.Uint8, 254, 3)
	f("BOOL", []byte{0, 1, 2}, graph.Bool, 0, 1, 1)
}

// TestDecodeOrder gives tensors in the order of their bytes, whatever the
// order of the header, with scalars, empty tensors and metadata.
func TestDecodeOrder(t *testing.T) {
	header := `{"b":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]},"__metadata__":{"format":"pt"},` +
		`"empty":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]},"a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}}   `
	file, err := safetensors.Decode(build(header, floats(1, 2, float32(math.NaN()))))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range file.Tensors {
		names = append(names, x.Name+x.Tensor.Shape.String())
	}
	if got := strings.Join(names, " "); got != "a[] empty[0,3] b[1,2]" {
		t.Errorf("tensors are %s", got)
	}
	if file.Metadata["format"] != "pt" || !slices.Equal(file.NonFinite, []string{"b"}) {
		t.Errorf("metadata %v, not finite %v", file.Metadata, file.NonFinite)
	}
}

// refused are files and what their refusal says.
var refused = []struct {
	name string
	data []byte
	want string
}{
	{"nothing", nil, "0 bytes"},
	{"short length", []byte{1, 2, 3}, "3 bytes"},
	{"header length 2^62", append(binary.LittleEndian.AppendUint64(nil, 1<<62), "{}"...), "limit exceeded"},
	{"header beyond the file", append(binary.LittleEndian.AppendUint64(nil, 1000), "{}"...), "2 are there"},
	{"no object", build(`[]`, nil), "not a JSON object"},
	{"empty", build(`{}`, nil), "holds no tensors"},
	{"broken JSON", build(`{"w":`, nil), "header"},
	{"two objects", build(oneTensor+`{}`, floats(1, 2)), "after the end of the object"},
	{"name twice", build(oneTensor[:len(oneTensor)-1]+","+oneTensor[1:], floats(1, 2)), "duplicate"},
	{"key twice", build(`{"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, floats(1, 2)), "duplicate"},
	{"no UTF-8", build("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", floats(1, 2)), "UTF-8"},
	{"long name", build(`{"`+strings.Repeat("x", 2000)+`":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, floats(1, 2)), "limit exceeded"},
	{"unknown key", build(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"stride":[1]}}`, floats(1, 2)), "unknown key"},
	{"no dtype", build(`{"w":{"shape":[2],"data_offsets":[0,8]}}`, floats(1, 2)), "is missing"},
	{"unknown dtype", build(`{"w":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}`, floats(1, 2)), "unsupported"},
	{"metadata no strings", build(`{"__metadata__":{"n":1}}`, nil), "a string was wanted"},
	{"negative size", build(`{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, floats(1, 2)), "no natural number"},
	{"fraction", build(`{"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}`, floats(1, 2)), "no natural number"},
	{"end before beginning", build(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, floats(1, 2)), "data_offsets"},
	{"three offsets", build(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}`, floats(1, 2)), "more than 2"},
	{"wrong size", build(`{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, floats(1, 2)), "takes 12"},
	{"overflow", build(`{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, nil), "limit exceeded"},
	{"many dimensions", build(`{"w":{"dtype":"F32","shape":[1`+strings.Repeat(",1", 64)+`],"data_offsets":[0,4]}}`, floats(1)), "limit exceeded"},
	{"beyond the end", build(oneTensor, floats(1)), "of 4 that are there"},
	{"trailing bytes", build(oneTensor, floats(1, 2, 3)), "after the last tensor"},
	{"hole", build(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, floats(1, 2, 3)), "belong to no tensor"},
	{"hole at the start", build(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, floats(1, 2)), "belong to no tensor"},
	{"overlap", build(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, floats(1, 2, 3)), "overlap"},
	{"deep", build(strings.Repeat(`{"a":`, 20000), nil), "header"},
}

// TestDecodeRefuses names what is wrong with each file.
func TestDecodeRefuses(t *testing.T) {
	for _, c := range refused {
		_, err := safetensors.Decode(c.data)
		var fe *safetensors.FormatError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// corpus returns the folder of the large corpus.
func corpus(t testing.TB, what string) string {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Logf("CARLA_RL_CORPUS is not set: %s were not run", what)
	}
	return root
}

// TestCorpus holds each file against the state_dict of the same network.
func TestCorpus(t *testing.T) {
	paths, err := filepath.Glob("../../../testdata/modules/*/*/model.safetensors")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	if root := corpus(t, "22 files"); root != "" {
		more, err := filepath.Glob(filepath.Join(root, "torch", "*", "model.safetensors"))
		if err != nil || len(more) == 0 {
			t.Fatalf("no corpus: %v", err)
		}
		paths = append(paths, more...)
	}
	for _, path := range paths {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !safetensors.Is(data) {
				t.Error("Is says no")
			}
			got, err := safetensors.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			data, err = os.ReadFile(filepath.Join(filepath.Dir(path), "state_dict.pth"))
			if err != nil {
				t.Fatal(err)
			}
			f, err := torch.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			want, err := f.StateDict()
			if err != nil {
				t.Fatal(err)
			}
			// The format keeps no tensor twice, so that tied weights may lack
			// one of their names.
			if len(got.Tensors) > len(want) || len(got.Tensors) == 0 {
				t.Errorf("%d tensors, the state_dict has %d", len(got.Tensors), len(want))
			}
			for _, x := range got.Tensors {
				if w := want.Get(x.Name); w == nil || w.Digest() != x.Tensor.Digest() {
					t.Errorf("%s differs from that of the state_dict", x.Name)
				}
			}
		})
	}
}

// TestHostile refuses the hostile files of the large corpus.
func TestHostile(t *testing.T) {
	root := corpus(t, "4 hostile files")
	if root == "" {
		return
	}
	paths, err := filepath.Glob(filepath.Join(root, "hostile", "safetensors", "*"))
	if err != nil || len(paths) < 4 {
		t.Fatalf("no hostile files: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var fe *safetensors.FormatError
		if _, err := safetensors.Decode(data); !errors.As(err, &fe) {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}

// FuzzDecode asserts that any bytes are refused with a FormatError, or give
// tensors that a graph takes.
func FuzzDecode(f *testing.F) {
	f.Add(build(oneTensor, floats(1, 2)))
	for _, c := range refused {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := safetensors.Decode(data)
		if err != nil {
			var fe *safetensors.FormatError
			if !errors.As(err, &fe) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		total := 0
		for _, x := range file.Tensors {
			total += x.Tensor.Len()
			if len(x.Tensor.Shape) > graph.MaxRank {
				continue
			}
			if err := x.Tensor.Check(); err != nil {
				t.Fatalf("%s: %v", x.Name, err)
			}
		}
		if total > len(data) {
			t.Fatalf("%d elements of %d bytes", total, len(data))
		}
	})
}
