package torch_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// show writes the tensors of a file, one a line.
func show(s torch.StateDict) string {
	var lines []string
	for _, n := range s {
		var values []float64
		for i := range n.Tensor.Len() {
			values = append(values, n.Tensor.At(i))
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %v", n.Name, n.Tensor.DType, n.Tensor.Shape, values))
	}
	return strings.Join(lines, "\n")
}

func stateDict(t *testing.T, b []byte) (*torch.File, torch.StateDict) {
	t.Helper()
	f, err := torch.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.StateDict()
	if err != nil {
		t.Fatal(err)
	}
	return f, s
}

func TestStateDict(t *testing.T) {
	f := func(name string, b []byte, want string) {
		t.Helper()
		_, s := stateDict(t, b)
		if got := show(s); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
	const w, v = "w f32 [2,3] [1 2 3 4 5 6]", "w f32 [3,2] [1 4 2 5 3 6]"
	f("plain", saved(dict("w", floats("0").String()), six).b, w)
	transposed := view{"FloatStorage", "0", 6, 0, shape(3, 2), shape(1, 3)}
	f("transposed", saved(dict("w", transposed.String()), six).b, v)
	row := view{"FloatStorage", "0", 6, 3, shape(3), shape(1)}
	f("with an offset", saved(dict("w", row.String()), six).b, "w f32 [3] [4 5 6]")
	spread := view{"FloatStorage", "0", 6, 5, shape(2, 2), shape(0, 0)}
	f("expanded", saved(dict("w", spread.String()), six).b, "w f32 [2,2] [6 6 6 6]")
	scalar := view{"FloatStorage", "0", 6, 1, shape(), shape()}
	f("scalar", saved(dict("w", scalar.String()), six).b, "w f32 [] [2]")
	empty := view{"FloatStorage", "0", 6, 0, shape(0, 3), shape(3, 1)}
	f("empty", saved(dict("w", empty.String()), six).b, "w f32 [0,3] []")
	f("size as an object", saved(dict("w", strings.Replace(floats("0").String(), shape(2, 3), "ctorch\nSize\n("+shape(2, 3)+"tR", 1)), six).b, w)
	f("parameter", saved(dict("w", "ctorch._utils\n_rebuild_parameter\n("+floats("0").String()+"I01\nccollections\nOrderedDict\n)RtR"), six).b, w)
	f("plain dict", saved("}"+text("w")+floats("0").String()+"s", six).b, w)
	f("with other values", saved(dict("n", "K\x01", "w", floats("0").String(), "name", text("x")), six).b, w)
	f("checkpoint", saved(dict("epoch", "K\x05", "model_state_dict", dict("w", floats("0").String()), "optimizer_state_dict", dict("state", floats("1").String())), six, six).b, w)
	f("checkpoint in a checkpoint", saved(dict("model", dict("state_dict", dict("w", floats("0").String()))), six).b, w)
	f("a tensor beside model", saved(dict("model", dict("w", floats("0").String()), "b", floats("1").String()), six, six).b, "model.w f32 [2,3] [1 2 3 4 5 6]\nb f32 [2,3] [1 2 3 4 5 6]")
	f("model without tensors", saved(dict("model", dict("n", "K\x01"), "actor", dict("w", floats("0").String())), six).b, "actor.w f32 [2,3] [1 2 3 4 5 6]")
	f("tuple of dicts", saved("("+dict("w", floats("0").String())+dict("w", floats("0").String())+"t", six).b, "0."+w+"\n1."+w)
	f("list in a dict", saved(dict("l", "]"+floats("0").String()+"a"), six).b, "l.0 f32 [2,3] [1 2 3 4 5 6]")
	f("number as a key", saved("}K\x07"+floats("0").String()+"s", six).b, "7 f32 [2,3] [1 2 3 4 5 6]")
	f("bool as a key", saved("}\x88"+floats("0").String()+"s", six).b, "bool f32 [2,3] [1 2 3 4 5 6]")
	f("one tensor", saved(floats("0").String(), six).b, " f32 [2,3] [1 2 3 4 5 6]")
}

func TestTensorTypes(t *testing.T) {
	f := func(class string, data, want string) {
		t.Helper()
		n := int64(2)
		v := view{class, "0", n, 0, shape(n), shape(1)}
		_, s := stateDict(t, saved(dict("w", v.String()), []byte(data)).b)
		if got := show(s); got != "w "+want {
			t.Errorf("%s: got %s, want %s", class, got, want)
		}
	}
	f("FloatStorage", "\x00\x00\x80\x3f\x00\x00\x00\xc0", "f32 [2] [1 -2]")
	f("DoubleStorage", "\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x00\xc0", "f64 [2] [1 -2]")
	f("HalfStorage", "\x00\x3c\x00\xc0", "f16 [2] [1 -2]")
	f("HalfStorage", "\x01\x00\x01\x80", "f16 [2] [5.960464477539063e-08 -5.960464477539063e-08]")
	f("HalfStorage", "\x00\x7c\x01\xfc", "f16 [2] [+Inf NaN]")
	f("BFloat16Storage", "\x80\x3f\x00\xc0", "bf16 [2] [1 -2]")
	f("LongStorage", "\x01\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff", "i64 [2] [1 -2]")
	f("IntStorage", "\x01\x00\x00\x00\xfe\xff\xff\xff", "i32 [2] [1 -2]")
	f("ShortStorage", "\x01\x00\xfe\xff", "i16 [2] [1 -2]")
	f("CharStorage", "\x01\xfe", "i8 [2] [1 -2]")
	f("ByteStorage", "\x01\xfe", "u8 [2] [1 254]")
	f("BoolStorage", "\x00\x07", "bool [2] [0 1]")
}

func TestBigEndian(t *testing.T) {
	v := view{"FloatStorage", "0", 1, 0, shape(1), shape(1)}
	a := build(
		member{name: "archive/data.pkl", data: []byte(dict("w", v.String()) + ".")},
		member{name: "archive/byteorder", data: []byte("big")},
		member{name: "archive/data/0", data: []byte("\x3f\x80\x00\x00")},
	)
	if _, s := stateDict(t, a.b); show(s) != "w f32 [1] [1]" {
		t.Errorf("got %s", show(s))
	}
}

// Two tensors that are the same view of a storage are one tensor, and other
// views of it are not.
func TestTiedWeights(t *testing.T) {
	row := view{"FloatStorage", "0", 6, 3, shape(3), shape(1)}
	_, s := stateDict(t, saved(dict("a", floats("0").String(), "b", floats("0").String(), "c", row.String()), six).b)
	if s.Get("a") != s.Get("b") {
		t.Error("tied weights became two tensors")
	}
	if c := s.Get("c"); c == nil || c == s.Get("a") || c.At(0) != 4 {
		t.Error("another view is the same tensor")
	}
	if s.Get("d") != nil {
		t.Error("a tensor that is not there")
	}
}

func TestNonFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	d := view{"DoubleStorage", "2", 1, 0, shape(1), shape(1)}
	f, _ := stateDict(t, saved(dict(
		"good", floats("1").String(), "model", dict("nan", floats("0").String(), "again", floats("0").String()), "inf", d.String(),
	), float32s(1, 2, nan, inf, 5, 6), six, []byte("\x00\x00\x00\x00\x00\x00\xf0\x7f")).b)
	if got := fmt.Sprint(f.NonFinite); got != "[model.nan model.again inf]" {
		t.Errorf("got %s", got)
	}
	if f, _ := stateDict(t, saved(dict("w", floats("0").String()), six).b); f.NonFinite != nil {
		t.Errorf("got %s", f.NonFinite)
	}
}

func TestKinds(t *testing.T) {
	f, _ := stateDict(t, saved(dict("w", floats("0").String()), six).b)
	if f.Kind != torch.KindZip {
		t.Errorf("got %s", f.Kind)
	}
	script := openZip(t, build(member{name: "m/data.pkl"}, member{name: "m/constants.pkl"}, member{name: "m/code/x.py"}).b)
	if !torch.IsTorchScript(script) || !torch.IsTorchZip(script) {
		t.Error("TorchScript was not seen")
	}
	if z := openZip(t, build(member{name: "data"}, member{name: "policy.pth"}).b); torch.IsTorchScript(z) || torch.IsTorchZip(z) {
		t.Error("an archive of another kind was taken for torch's")
	}
}

// The values of a pickle that stand beside tensors stay what they are.
func TestOtherValues(t *testing.T) {
	f, err := torch.Decode(saved(dict("n", "K\x01"), nil).b)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Value.(*pickle.Dict).Get("n"); n != int64(1) {
		t.Errorf("got %v", n)
	}
	if _, err := f.StateDict(); err == nil || !strings.Contains(err.Error(), "holds no tensors") {
		t.Errorf("got %v", err)
	}
}

// hostileStates are state dicts that must be refused. Each is one step from
// the first case of TestStateDict.
var hostileStates = []struct {
	name, object, want string
}{
	{"system", "cposix\nsystem\n(" + text("touch /tmp/pwned-t") + "tR", `"posix.system"`},
	{"module class", "ctorch.nn.modules.container\nSequential\n)\x81", `"torch.nn.modules.container.Sequential"`},
	{"unknown storage class", dict("w", view{"EvilStorage", "0", 6, 0, shape(2, 3), shape(3, 1)}.String()), `"torch.EvilStorage"`},
	{"type as a storage class", dict("w", view{"float32", "0", 6, 0, shape(2, 3), shape(3, 1)}.String()), "unsupported: storage class torch.float32"},
	{"offset", dict("w", view{"FloatStorage", "0", 6, 1, shape(2, 3), shape(3, 1)}.String()), "reaches element 6 of a storage of 6"},
	{"negative offset", dict("w", view{"FloatStorage", "0", 6, -1, shape(2, 3), shape(3, 1)}.String()), "negative storage offset"},
	{"huge offset", dict("w", view{"FloatStorage", "0", 6, math.MaxInt64, shape(2, 3), shape(3, 1)}.String()), "overflow"},
	{"huge offset of a scalar", dict("w", view{"FloatStorage", "0", 6, math.MaxInt64, shape(), shape()}.String()), "reaches element"},
	{"stride", dict("w", view{"FloatStorage", "0", 6, 0, shape(2, 3), shape(100, 1)}.String()), "reaches element 102"},
	{"huge stride", dict("w", view{"FloatStorage", "0", 6, 0, shape(2, 3), shape(math.MaxInt64, math.MaxInt64)}.String()), "overflow"},
	{"negative size", dict("w", view{"FloatStorage", "0", 6, 0, shape(-2, 3), shape(3, 1)}.String()), "negative size"},
	{"negative stride", dict("w", view{"FloatStorage", "0", 6, 0, shape(2, 3), shape(-3, 1)}.String()), "negative size or stride"},
	{"2^62 elements of stride 0", dict("w", view{"FloatStorage", "0", 6, 0, shape(1<<31, 1<<31), shape(0, 0)}.String()), "more than the file can fill"},
	{"product of the sizes", dict("w", view{"FloatStorage", "0", 6, 0, shape(1<<33, 1<<33), shape(0, 0)}.String()), "overflows"},
	{"rank", dict("w", view{"FloatStorage", "0", 6, 0, shape(2, 3), shape(3)}.String()), "2 sizes and 1 strides"},
	{"65 dimensions", dict("w", view{"FloatStorage", "0", 6, 0, shape(make([]int64, 65)...), shape(make([]int64, 65)...)}.String()), "at most 64 integers"},
	{"elements", dict("w", view{"FloatStorage", "0", 7, 0, shape(2, 3), shape(3, 1)}.String()), "has 24 bytes, 7 elements of f32 were wanted"},
	{"huge elements", dict("w", view{"FloatStorage", "0", math.MaxInt64, 0, shape(2, 3), shape(3, 1)}.String()), "were wanted"},
	{"negative elements", dict("w", view{"FloatStorage", "0", -6, 0, shape(2, 3), shape(3, 1)}.String()), "parts of other types"},
	{"two types of a storage", dict("w", floats("0").String(), "v", view{"IntStorage", "0", 6, 0, shape(2), shape(1)}.String()), "is 6 i32 here and 6 f32 elsewhere"},
	{"no such storage", dict("w", floats("7").String()), "archive/data/7: no such member"},
	{"storage out of the archive", dict("w", floats("../../etc/passwd").String()), "is no member name"},
	{"storage without a name", dict("w", floats("").String()), "is no member name"},
	{"id of a number", "K\x01Q", "a persistent id that is not that of a storage"},
	{"id of something else", "(" + text("module") + "NNNNtQ", "a persistent id that is not that of a storage"},
	{"id of a view", "(" + text("storage") + "NNNNNtQ", "a persistent id that is not that of a storage"},
	{"id of nothings", "(" + text("storage") + "NNNNtQ", "parts of other types"},
	{"tensor on a number", "ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00(t(ttR", "a tensor on a int"},
	{"tensor of nothing", "ctorch._utils\n_rebuild_tensor_v2\n)R", "0 arguments, at least 4"},
	{"offset that is a text", strings.Replace(floats("0").String(), "QL0L\n", "Q"+text("a"), 1), "a storage offset that is a str"},
	{"sizes that are a number", strings.Replace(floats("0").String(), shape(2, 3), "K\x01", 1), "size: a int"},
	{"strides that are texts", strings.Replace(floats("0").String(), shape(3, 1), "("+text("a")+"t", 1), "stride: a str"},
	{"parameter of nothing", "ctorch._utils\n_rebuild_parameter\n)R", "a parameter without a tensor"},
	{"parameter of a number", "ctorch._utils\n_rebuild_parameter\n(K\x01tR", "a parameter without a tensor"},
	{"entry of a tensor", floats("0").String() + "K\x01K\x02s", "entry of a *graph.Tensor"},
	{"state of a tensor", floats("0").String() + "}b", "state for a *graph.Tensor"},
	{"name of 10 kB", strings.Repeat("}"+text(strings.Repeat("n", 500)), 20) + floats("0").String() + strings.Repeat("s", 20), "a name of more than 1024 bytes"},
	{"name of 1 kB in a list", "}" + text(strings.Repeat("n", 1023)) + "]" + floats("0").String() + "as", "a name of more than 1024 bytes"},
	{"views without end", "(" + views() + "t", "more than the file can fill"},
}

// views makes many different views that each repeat the storage.
func views() string {
	var b strings.Builder
	for i := range 100 {
		b.WriteString(view{"FloatStorage", "0", 6, 0, shape(int64(1000+i), 6), shape(0, 1)}.String())
	}
	return b.String()
}

func TestDecodeHostile(t *testing.T) {
	for _, c := range hostileStates {
		t.Run(c.name, func(t *testing.T) {
			b := saved(c.object, six).b
			guarded(t, func() error {
				_, err := torch.Decode(b)
				return refused(err, c.want)
			})
		})
	}
}

func TestDecodeHostileArchive(t *testing.T) {
	f := func(name, want string, b []byte) {
		t.Run(name, func(t *testing.T) {
			guarded(t, func() error {
				_, err := torch.Decode(b)
				return refused(err, want)
			})
		})
	}
	f("nothing", "neither a zip archive nor", nil)
	f("pickle", "neither a zip archive nor", []byte("\x80\x02}."))
	f("cut off", "cut off", saved(dict("w", floats("0").String()), six).b[:300])
	f("no data.pkl", "not written by torch.save", build(member{name: "m/data", data: nil}).b)
	f("TorchScript", "the archive is TorchScript", build(member{name: "m/data.pkl"}, member{name: "m/constants.pkl"}).b)
	f("byte order", "neither little nor big", build(member{name: "m/data.pkl"}, member{name: "m/byteorder", data: []byte("middle")}).b)
	a := build(member{name: "m/data.pkl"}, member{name: "m/byteorder", data: []byte("little")})
	a.b[a.body[1]] = 'L'
	f("changed byte order", "checksum", a.b)
	a = saved(dict("w", floats("0").String()), six)
	a.b[a.body[0]+10]++
	f("changed pickle", "checksum", a.b)
	a = saved(dict("w", floats("0").String()), six)
	a.b[a.body[2]+3]++
	f("changed storage", "checksum", a.b)
}

// Names that are equal once they are joined are refused.
func TestSameNames(t *testing.T) {
	b := saved(dict("a", dict("b", floats("0").String()), "a.b", floats("0").String()), six).b
	f, err := torch.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.StateDict(); err == nil || !strings.Contains(err.Error(), "two tensors of this name") {
		t.Errorf("got %v", err)
	}
}

func TestErrors(t *testing.T) {
	_, err := torch.Decode(saved("cposix\nsystem\n", nil).b)
	if !errors.Is(err, pickle.ErrForbiddenGlobal) {
		t.Errorf("got %v", err)
	}
	_, err = torch.Decode(saved(dict("w", view{"FloatStorage", "0", 6, 0, shape(1<<31, 1<<31), shape(0, 0)}.String()), six).b)
	if !errors.Is(err, torch.ErrLimit) {
		t.Errorf("got %v", err)
	}
	_, err = torch.Decode(build(member{name: "m/data.pkl"}, member{name: "m/constants.pkl"}).b)
	if !errors.Is(err, torch.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

func TestLegacy(t *testing.T) {
	object := dict("w", floats("k").pickled("N"))
	data := append(le.AppendUint64(nil, 6), six...)
	f, s := stateDict(t, legacy(object, "]"+text("k")+"a", data))
	if f.Kind != torch.KindLegacy || show(s) != "w f32 [2,3] [1 2 3 4 5 6]" {
		t.Errorf("%s: %s", f.Kind, show(s))
	}
	framed := strings.Replace(string(legacy(object, "]"+text("k")+"a", data)), "\x80\x02\x8a", "\x80\x04\x95\x0d\x00\x00\x00\x00\x00\x00\x00\x8a", 1)
	if _, s := stateDict(t, []byte(framed)); show(s) != "w f32 [2,3] [1 2 3 4 5 6]" {
		t.Errorf("protocol 4: %s", show(s))
	}
	big := legacy(dict("w", view{"FloatStorage", "k", 1, 0, shape(1), shape(1)}.pickled("N")), "]"+text("k")+"a", []byte("\x00\x00\x00\x00\x00\x00\x00\x01\x3f\x80\x00\x00"))
	if _, s := stateDict(t, []byte(strings.Replace(string(big), "\x88u.", "\x89u.", 1))); show(s) != "w f32 [1] [1]" {
		t.Errorf("big-endian: %s", show(s))
	}
}

func TestLegacyHostile(t *testing.T) {
	object := dict("w", floats("k").pickled("N"))
	keys := "]" + text("k") + "a"
	data := append(le.AppendUint64(nil, 6), six...)
	f := func(name, want string, b []byte) {
		t.Run(name, func(t *testing.T) {
			guarded(t, func() error {
				_, err := torch.Decode(b)
				return refused(err, want)
			})
		})
	}
	edit := func(from, to string) []byte {
		return []byte(strings.Replace(string(legacy(object, keys, data)), from, to, 1))
	}
	f("system in the object", `"posix.system"`, legacy("cposix\nsystem\n(tR", keys, data))
	f("global in the keys", "not on the allow list", legacy(object, "cposix\nsystem\n", data))
	f("only the magic number", "ends without STOP", legacy(object, keys, data)[:15])
	f("no system information", "ends without STOP", legacy(object, keys, data)[:21])
	f("protocol", "unsupported: protocol 1002", edit("M\xe9\x03.", "M\xea\x03."))
	f("protocol that is no number", "unsupported: protocol 0", edit("M\xe9\x03.", "N."))
	f("system information that is a list", "system information is a list", edit("}("+text("protocol_version")+"M\xe9\x03"+text("little_endian")+"\x88u.", "]."))
	f("no byte order", "does not say the byte order", edit("\x88u.", "Nu."))
	f("keys that are a dict", "storage keys are a dict", legacy(object, "}", data))
	f("keys cut off", "ends without STOP", legacy(object, keys)[:len(legacy(object, keys))-1])
	f("key that is a number", "a storage key, a int", legacy(object, "]K\x01a", data))
	f("unknown key", "a storage key, a str", legacy(object, "]"+text("x")+"a", data))
	f("key twice", "a storage key, a str", legacy(object, "]("+text("k")+text("k")+"e", data, data))
	f("no keys", "0 storages, 1 were wanted", legacy(object, "]"))
	f("no storage", "the file ends before storage", legacy(object, keys))
	f("storage cut off", "6 were wanted and 20 bytes are left", legacy(object, keys, data[:28]))
	f("other count", "of 7 elements, 6 were wanted", legacy(object, keys, append(le.AppendUint64(nil, 7), six...)))
	f("huge count", "elements", legacy(dict("w", view{"FloatStorage", "k", math.MaxInt64, 0, shape(1), shape(1)}.pickled("N")), keys, append(le.AppendUint64(nil, math.MaxInt64), six...)))
	f("bytes behind", "3 bytes after the last storage", legacy(object, keys, data, []byte("end")))
	f("view of another storage", "is a view of another storage", legacy(dict("w", floats("k").pickled("("+text("k")+"K\x00K\x01t")), keys, data))
	f("id without a view", "a persistent id that is not", legacy(dict("w", floats("k").pickled("")), keys, data))
	f("two ids of a storage", "two different ids", legacy(dict("w", floats("k").pickled("N"), "v", view{"IntStorage", "k", 6, 0, shape(1), shape(1)}.pickled("N")), keys, data))
	f("tensor beyond its storage", "reaches element", legacy(dict("w", view{"FloatStorage", "k", 6, 1, shape(6), shape(1)}.pickled("N")), keys, data))
	f("long names", "a name of more than", legacy(strings.Repeat("}"+text(strings.Repeat("n", 500)), 5)+floats("k").pickled("N")+strings.Repeat("s", 5), keys, data))
	if torch.IsLegacy([]byte("\x80\x02}.")) || torch.IsLegacy(nil) {
		t.Error("a pickle was taken for a legacy file")
	}
	if torch.IsLegacy(saved("N").b) {
		t.Error("a zip was taken for a legacy file")
	}
}

// A storage that is not named in an archive of another type is not reached by
// a direct call either.
func TestStoragesPersistent(t *testing.T) {
	z := openZip(t, build(member{name: "m/data.pkl"}, member{name: "m/constants/0", data: six}).b)
	s, err := torch.NewStorages(z, "constants")
	if err != nil {
		t.Fatal(err)
	}
	class := pickle.Global{Module: "torch", Name: "FloatStorage"}
	v, err := s.Persistent(pickle.Tuple{"storage", class, "0", "cpu", int64(6)})
	if err != nil {
		t.Fatal(err)
	}
	st := v.(*torch.Storage)
	if st.Len != 6 || st.DType != graph.Float32 || st.Key != "0" {
		t.Errorf("got %+v", st)
	}
	if _, err := st.Tensor(0, make([]int64, 65), make([]int64, 65)); !errors.Is(err, torch.ErrLimit) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Persistent(pickle.Tuple{"storage", pickle.Global{Module: "car", Name: "FloatStorage"}, "0", "cpu", int64(6)}); !errors.Is(err, torch.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if _, ok, err := torch.Rebuild(pickle.Global{Module: "torch._utils", Name: "other"}, nil); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if _, ok, err := torch.Rebuild(class, nil); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}
