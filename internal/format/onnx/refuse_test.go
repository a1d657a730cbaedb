package onnx_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
)

// TestHostile opens the hostile files of the corpus: each is refused within a
// second and 64 MiB, and says why.
func TestHostile(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 8 hostile files were not run")
		return
	}
	says := map[string]string{
		"onnx/truncated.onnx":              "bytes",
		"onnx/varint_len_huge.onnx":        "bytes",
		"onnx/external_data_absolute.onnx": "external data",
		"onnx/external_data_missing.onnx":  "external data",
		"onnx/tensor_dims_huge.onnx":       "dimensions",
		"onnx/graph_cycle.onnx":            "cycle",
		"onnx/unknown_op_domain.onnx":      "domain",
		"onnx/infinite_loop.onnx":          "limit exceeded",
	}
	data, err := os.ReadFile(filepath.Join(root, "hostile", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Items []struct{ Path, Expect, Must string }
	}
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, it := range index.Items {
		if !strings.HasPrefix(it.Path, "onnx/") {
			continue
		}
		ran++
		t.Run(it.Path, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			err := open(filepath.Join(root, "hostile", it.Path))
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("it allocated %d bytes", used)
			}
			if err == nil || !strings.Contains(err.Error(), says[it.Path]) {
				t.Errorf("%v; it must: %s", err, it.Must)
			}
			t.Log(err)
		})
	}
	if ran == 0 {
		t.Error("no hostile files were found")
	}
}

// open decodes and lowers a file.
func open(path string) error {
	m, err := decode(path)
	if err != nil {
		return err
	}
	_, err = m.Lower(onnx.Options{})
	return err
}

// The parts of a model, as protocol buffers have them.
func num(field int, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field)<<3), n)
}

func msg(field int, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field)<<3|2), uint64(len(body))), body...)
}

func str(field int, s string) []byte { return msg(field, []byte(s)) }

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// port is an input or output x of [batch, 2] floats.
func port(field int, name string) []byte {
	dims := msg(2, msg(1, str(2, "batch")), msg(1, num(1, 2)))
	return msg(field, str(1, name), msg(2, msg(1, num(1, 1), dims)))
}

// model is a file with the graph of the parts, from x to y.
func model(opset uint64, parts ...[]byte) []byte {
	body := append(parts, port(11, "x"), port(12, "y"))
	return join(num(1, 8), str(2, "test"), msg(7, body...), msg(8, num(2, opset)))
}

func nodeOf(op string, in, out []string, more ...[]byte) []byte {
	var parts [][]byte
	for _, s := range in {
		parts = append(parts, str(1, s))
	}
	for _, s := range out {
		parts = append(parts, str(2, s))
	}
	return msg(1, append(append(parts, str(4, op)), more...)...)
}

// weights is an initializer w of [2] floats.
func weights(more ...[]byte) []byte {
	return msg(5, join(num(1, 2), num(2, 1), str(8, "w")), join(more...))
}

// outside says that a tensor is in another file.
func outside(location string, more ...[]byte) []byte {
	return join(num(14, 1), msg(13, str(1, "location"), str(2, location)), join(more...))
}

func lower(data []byte, files map[string][]byte) error {
	m, err := onnx.Decode(data, func(name string) ([]byte, error) {
		if b, ok := files[name]; ok {
			return b, nil
		}
		return nil, fmt.Errorf("%s: %w", name, os.ErrNotExist)
	})
	if err == nil {
		_, err = m.Lower(onnx.Options{})
	}
	return err
}

var add = nodeOf("Add", []string{"x", "w"}, []string{"y"})

func TestExternal(t *testing.T) {
	files := map[string][]byte{"policy.onnx.data": make([]byte, 16)}
	for name, w := range map[string][]byte{
		"whole":  outside("policy.onnx.data", msg(13, str(1, "length"), str(2, "8"))),
		"offset": outside("policy.onnx.data", msg(13, str(1, "offset"), str(2, "8")), msg(13, str(1, "length"), str(2, "8"))),
		"dot":    outside("./policy.onnx.data", msg(13, str(1, "offset"), str(2, "4"))),
	} {
		t.Run(name, func(t *testing.T) {
			if err := lower(model(18, weights(w), add), files); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefusals holds each refusal to its words, and to its kind.
func TestRefusals(t *testing.T) {
	entry := func(key, value string) []byte { return msg(13, str(1, key), str(2, value)) }
	relu := nodeOf("Relu", []string{"x"}, []string{"y"})
	raw := msg(9, make([]byte, 8))
	files := map[string][]byte{"d": make([]byte, 16)}
	for name, c := range map[string]struct {
		data        []byte
		says        string
		unsupported bool
	}{
		"absolute":       {model(18, weights(outside("/etc/passwd")), add), `initializer["w"]`, false},
		"parent":         {model(18, weights(outside("../d")), add), "without a folder", false},
		"two dots":       {model(18, weights(outside("..")), add), "without a folder", false},
		"folder":         {model(18, weights(outside("a/d")), add), "without a folder", false},
		"backslash":      {model(18, weights(outside(`..\d`)), add), "without a folder", false},
		"no file":        {model(18, weights(outside("e")), add), "file does not exist", false},
		"offset":         {model(18, weights(outside("d", entry("offset", "17"))), add), "offset 17", false},
		"length":         {model(18, weights(outside("d", entry("offset", "12"))), add), "8 bytes from 12", false},
		"other length":   {model(18, weights(outside("d", entry("length", "4"))), add), "4 bytes for", false},
		"negative":       {model(18, weights(outside("d", entry("offset", "-1"))), add), "offset is", false},
		"short data":     {model(18, weights(msg(9, make([]byte, 4))), add), "4 bytes for", false},
		"dimensions":     {model(18, msg(5, num(1, 1<<40), num(1, 1<<40), num(2, 1), str(8, "w")), add), "limit", false},
		"twice":          {model(18, weights(raw), relu, relu), "made twice", false},
		"cycle":          {model(18, nodeOf("Relu", []string{"z"}, []string{"y"}), nodeOf("Relu", []string{"y"}, []string{"z"})), "cycle", false},
		"old opset":      {model(6, relu), "operator set 6", true},
		"new opset":      {model(26, relu), "operator set 26", true},
		"operator":       {model(18, nodeOf("Det", []string{"x"}, []string{"y"})), "operator Det of operator set 18", true},
		"domain":         {model(18, nodeOf("Relu", []string{"x"}, []string{"y"}, str(7, "com.example"))), "domain com.example", true},
		"two attributes": {model(18, nodeOf("Elu", []string{"x"}, []string{"y"}, msg(5, str(1, "alpha")), msg(5, str(1, "alpha")))), "there twice", false},
		"attribute":      {model(18, nodeOf("Elu", []string{"x"}, []string{"y"}, msg(5, str(1, "alpha"), num(2, 1)))), `graph.node[0].attribute["alpha"]: at byte 0x`, false},
		"text":           {model(18, msg(5, num(1, 2), num(2, 8), str(8, "w")), add), "string", true},
		"no graph":       {join(num(1, 8), str(2, "x"), msg(8, num(2, 18))), "no graph", false},
		"operand":        {model(18, nodeOf("Add", []string{"x"}, []string{"y"})), "operand 2 is missing", false},
		"rows":           {model(18, nodeOf("ReduceSum", []string{"x"}, []string{"y"})), "rows of the batch would be mixed", true},
		"group":          {join(num(1, 8), []byte{0x13}), "wire type", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := lower(c.data, files)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want a refusal for %q", err, c.says)
			}
			if errors.Is(err, errors.ErrUnsupported) != c.unsupported {
				t.Errorf("%v: unsupported is %t", err, !c.unsupported)
			}
		})
	}
}

// FuzzDecode: any bytes are refused with an error, or make a graph that
// verifies.
func FuzzDecode(f *testing.F) {
	f.Add(model(18, weights(msg(9, make([]byte, 8))), add))
	f.Add(model(11, nodeOf("Relu", []string{"x"}, []string{"y"})))
	seeds, _ := filepath.Glob("testdata/*.onnx")
	for _, s := range seeds {
		data, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := onnx.Decode(data, nil)
		if err != nil {
			return
		}
		g, err := m.Lower(onnx.Options{})
		if err != nil {
			return
		}
		if err := g.Verify(); err != nil {
			t.Error(err)
		}
	})
}
