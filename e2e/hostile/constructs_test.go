//go:build e2e

package hostile_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// construct is a known attack on a format: files of a folder, the first of which
// is the model, and a word that its refusal has.
type construct struct {
	name, says string
	files      []file
	// links are made beside them: the name, and what it leads to.
	links [][2]string
	hard  bool // links are other names of the file
	inert bool // it may be read, since what is hostile in it never is
	// spaces follow the model: no test process shall hold that many, since what it
	// holds counts as the memory of the processes that it starts.
	spaces int
}

type file struct {
	name string
	data []byte
}

// Protocol buffers, as far as ONNX needs them here.

func varint(n int, v uint64) []byte { return binary.AppendUvarint(protoKey(n, 0), v) }

func field(n int, parts ...[]byte) []byte {
	b := bytes.Join(parts, nil)
	return append(binary.AppendUvarint(protoKey(n, 2), uint64(len(b))), b...)
}

func protoKey(n, wire int) []byte { return binary.AppendUvarint(nil, uint64(n<<3|wire)) }

func text(n int, s string) []byte { return field(n, []byte(s)) }

// model is an ONNX model of opset 18 of the parts of a graph, from x [N,4] to y.
func model(parts ...[]byte) []byte {
	port := func(n int, name string) []byte {
		shape := field(2, field(1, text(2, "N")), field(1, varint(1, 4)))
		return field(n, text(1, name), field(2, field(1, append(varint(1, 1), shape...))))
	}
	graph := bytes.Join(append(parts, text(2, "g"), port(11, "x"), port(12, "y")), nil)
	return bytes.Join([][]byte{varint(1, 9), text(2, "test"), field(7, graph), field(8, text(1, ""), varint(2, 18))}, nil)
}

func node(op string, in, out []string, more ...[]byte) []byte {
	var b [][]byte
	for _, s := range in {
		b = append(b, text(1, s))
	}
	for _, s := range out {
		b = append(b, text(2, s))
	}
	return field(1, append(append(b, text(4, op)), more...)...)
}

// tensor is a tensor of float32 of an initializer (5), an attribute (5) or so.
func tensor(n int, name string, dims []uint64, more ...[]byte) []byte {
	var b [][]byte
	for _, d := range dims {
		b = append(b, varint(1, d))
	}
	return field(n, append(append(b, varint(2, 1), text(8, name)), more...)...)
}

// outside says that a tensor lies in another file.
func outside(location string, more ...string) []byte {
	b := [][]byte{field(13, text(1, "location"), text(2, location)), varint(14, 1)}
	for i := 0; i < len(more); i += 2 {
		b = append(b, field(13, text(1, more[i]), text(2, more[i+1])))
	}
	return bytes.Join(b, nil)
}

var add = node("Add", []string{"x", "w"}, []string{"y"})

func external(location string, more ...string) []file {
	return []file{{"model.onnx", model(tensor(5, "w", []uint64{4}, outside(location, more...)), add)}, {"w.bin", make([]byte, 16)}}
}

func onnxOf(parts ...[]byte) []file { return []file{{"model.onnx", model(parts...)}} }

// scriptOf is a TorchScript archive with the body of a class.
func scriptOf(body string) []file {
	code := "class M(Module):\n" + strings.ReplaceAll("\n"+body, "\n", "\n  ")[1:] + "\n"
	return []file{{"model.pt", pack("a/data.pkl", "\x80\x02c__torch__.m\nM\n)\x81}b.", "a/constants.pkl", "\x80\x02).", "a/code/__torch__/m.py", code, "a/version", "3\n")}}
}

func forward(lines string) []file {
	return scriptOf("def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n  " + strings.ReplaceAll(lines, "\n", "\n  "))
}

func safetensors(header string, body int) []file {
	b := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	return []file{{"model.safetensors", append(b, make([]byte, body)...)}}
}

// constructs are those that reliability lists by name. Those of pickles and zip
// archives are made by the million elsewhere.
func constructs() []construct {
	loop := func(op string, count uint64) []file {
		body := field(6, text(2, "b"), node("Relu", []string{"s"}, []string{"s2"}), field(11, text(1, "i")), field(11, text(1, "c")), field(11, text(1, "s")), node("Identity", []string{"c"}, []string{"c2"}), field(12, text(1, "c2")), field(12, text(1, "s2")))
		trip := field(5, varint(2, 7), text(8, "n"), field(9, binary.LittleEndian.AppendUint64(nil, count)))
		return onnxOf(trip, node(op, []string{"n", "", "x"}, []string{"y"}, field(5, text(1, "body"), body, varint(20, 5))))
	}
	header := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[%s]}}`
	return []construct{
		{name: "external data in the folder above", says: "without a folder", files: external("../w.bin")},
		{name: "external data by a way around", says: "without a folder", files: external("a/../../w.bin")},
		{name: "external data of the machine", says: `initializer["w"]`, files: external("/etc/passwd")},
		{name: "external data behind a link", says: "leads out", files: external("secret"), links: [][2]string{{"secret", "/etc/passwd"}}},
		{name: "external data behind a link to a folder", says: "without a folder", files: external("etc/passwd"), links: [][2]string{{"etc", "/etc"}}},
		{name: "external data that is a device", says: "w", files: external("zero"), links: [][2]string{{"zero", "/dev/zero"}}},
		{name: "external data of another size by a hard link", says: "bytes", files: external("other", "length", "99"), links: [][2]string{{"other", "model.onnx"}}, hard: true},
		{name: "external data from 2^63 on", says: "offset", files: external("w.bin", "offset", "9223372036854775808")},
		{name: "external data before the file", says: "offset", files: external("w.bin", "offset", "-16")},
		{name: "2^62 bytes of external data", says: "bytes", files: external("w.bin", "length", "4611686018427387904")},
		{name: "external data by hex", says: "offset", files: external("w.bin", "offset", "0x0")},
		{name: "sparse initializer", says: "sparse", files: onnxOf(field(15, tensor(1, "w", []uint64{1}, field(9, make([]byte, 4))), field(2, varint(1, 1), varint(2, 7), field(9, make([]byte, 8))), varint(3, 1<<40)), add)},
		{name: "sparse constant", says: "Constant", files: onnxOf(node("Constant", nil, []string{"w"}, field(5, text(1, "sparse_value"), field(22, tensor(1, "v", []uint64{1}, field(9, make([]byte, 4))), varint(3, 1<<40)), varint(20, 11))), add)},
		{name: "cycle", says: "cycle", files: onnxOf(node("Relu", []string{"z"}, []string{"y"}), node("Relu", []string{"y"}, []string{"z"}))},
		{name: "function that calls itself", says: "", files: []file{{"model.onnx", append(model(node("F", []string{"x"}, []string{"y"}, text(7, "d"))), bytes.Join([][]byte{
			field(8, text(1, "d"), varint(2, 1)),
			field(25, text(1, "F"), text(4, "a"), text(5, "b"), node("F", []string{"a"}, []string{"b"}, text(7, "d")), field(9, text(1, "d"), varint(2, 1)), text(10, "d")),
		}, nil)...)}}},
		{name: "Loop of 2^62 turns", says: "", files: loop("Loop", 1<<62)},
		{name: "Loop of -1 turns", says: "", files: loop("Loop", 1<<64-1), inert: true},
		{name: "dimension of 2^63", says: "dimension", files: onnxOf(tensor(5, "w", []uint64{1 << 63}, field(9, make([]byte, 16))), add)},
		{name: "dimension of -4", says: "dimension", files: onnxOf(tensor(5, "w", []uint64{1<<64 - 4}, field(9, make([]byte, 16))), add)},
		{name: "dimensions whose product overflows", says: "", files: onnxOf(tensor(5, "w", []uint64{1 << 32, 1 << 32, 4}, field(9, make([]byte, 16))), add)},
		{name: "shape of 10^12 from a constant", says: "", files: onnxOf(field(5, varint(1, 1), varint(2, 7), text(8, "s"), field(9, binary.LittleEndian.AppendUint64(nil, 1e12))), node("ConstantOfShape", []string{"s"}, []string{"w"}), add)},
		{name: "graphs inside graphs", says: "", files: []file{{"model.onnx", nested(200)}}},

		{name: "endless loop", says: "", files: forward("n = 0\nwhile True:\n  n = torch.add(n, 1)\nreturn x")},
		{name: "endless loop around tensors", says: "", files: forward("y = x\nwhile bool(torch.gt(torch.sum(y), -1.)):\n  y = torch.mul(y, y)\nreturn y"), inert: true},
		{name: "10^12 turns", says: "", files: forward("n = 0\nfor i in range(1000000000000):\n  n = torch.add(n, i)\nreturn torch.mul(x, n)")},
		{name: "method that calls itself", says: "", files: scriptOf("def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n  return (self).forward(x, )")},
		{name: "methods that call each other", says: "", files: scriptOf("def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n  return (self).g(x, )\ndef g(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n  return (self).forward(x, )")},
		{name: "10^12 elements", says: "", files: forward("return torch.add(x, torch.sum(torch.zeros([1000000, 1000000])))")},
		{name: "10^12 elements, expanded and made real", says: "", files: forward("y = torch.contiguous(torch.expand(torch.ones([1]), [1000000, 1000000]))\nreturn torch.add(x, torch.sum(y))")},
		{name: "list that grows", says: "", files: forward("l = [0]\nfor i in range(60):\n  l = torch.add(l, l)\nreturn torch.mul(x, torch.len(l))")},
		{name: "text that grows", says: "", files: forward("s = \"a\"\nfor i in range(60):\n  s = torch.add(s, s)\nreturn torch.mul(x, torch.len(s))")},
		{name: "2^62 in a shift", says: "", files: forward("return torch.mul(x, torch.__lshift__(1, 4611686018427387904))")},
		{name: "operator of a library", says: "", files: forward("return ops.os.system(\"id\")")},
		{name: "operator that reads a file", says: "", files: forward("return torch.from_file(\"/etc/passwd\", False, 4)")},
		{name: "operator that writes a file", says: "", files: forward("_0 = torch.save(x, \"/tmp/pwned-script\")\nreturn x")},
		{name: "code nested 10,000 deep", says: "", files: forward("return " + strings.Repeat("torch.neg(", 10_000) + "x" + strings.Repeat(")", 10_000))},

		{name: "header of 100 MB", says: "limit", files: []file{{"model.safetensors", append(binary.LittleEndian.AppendUint64(nil, 100<<20), '{')}}, spaces: 100<<20 - 1},
		{name: "header of 2^63", says: "", files: []file{{"model.safetensors", append(binary.LittleEndian.AppendUint64(nil, 1<<63), '{')}}},
		{name: "tensors that overlap", says: "overlap", files: safetensors(fmt.Sprintf(header, "4,12"), 12)},
		{name: "hole between tensors", says: "no tensor", files: safetensors(fmt.Sprintf(header, "12,20"), 20)},
		{name: "tensor before the first", says: "natural", files: safetensors(fmt.Sprintf(header, "-8,0"), 8)},
		{name: "name twice", says: "duplicate", files: safetensors(strings.Replace(fmt.Sprintf(header, "8,16"), `"b"`, `"a"`, 1), 16)},
		{name: "bytes behind the last tensor", says: "after the last", files: safetensors(fmt.Sprintf(header, "8,16"), 99)},
	}
}

// nested is a model with graphs inside each other.
func nested(depth int) []byte {
	g := node("Identity", []string{"x"}, []string{"y"})
	for range depth {
		inner := field(6, text(2, "b"), g, field(12, text(1, "y")))
		g = node("If", []string{"x"}, []string{"y"}, field(5, text(1, "then_branch"), inner, varint(20, 5)))
	}
	return model(g)
}

// write puts the files of a construct into a folder and returns the model's path.
func (c *construct) write(t *testing.T, dir string) string {
	t.Helper()
	for _, f := range c.files {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c.spaces > 0 {
		f, err := os.OpenFile(filepath.Join(dir, c.files[0].name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		chunk := bytes.Repeat([]byte(" "), 1<<16)
		for left := c.spaces; left > 0; left -= len(chunk) {
			if _, err := f.Write(chunk[:min(left, len(chunk))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range c.links {
		name := filepath.Join(dir, l[0])
		var err error
		if c.hard {
			err = os.Link(filepath.Join(dir, l[1]), name)
		} else {
			err = os.Symlink(l[1], name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, c.files[0].name)
}
