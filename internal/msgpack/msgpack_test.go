package msgpack_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes that msgpack 1.2.4 of Python writes for arrays and scalars of numpy
// by the keys of openpi's client.
const (
	goldenArray  = "84 c40b5f5f6e6461727261795f5f c3 c40464617461 c408 0000803f00000040 c4056474797065 a3 3c6634 c4057368617065 91 02"
	goldenScalar = "83 c40d5f5f6e7067656e657269635f5f c3 c40464617461 cb3ff8000000000000 c4056474797065 a3 3c6634"
)

func TestGoldenArray(t *testing.T) {
	var r msgpack.Reader
	var a msgpack.Array
	r.Begin(unhex(t, goldenArray))
	if !r.IsArray() || !r.Array(&a, 0) || !r.End() {
		t.Fatal(r.Problem())
	}
	if a.DType != "float32" || !reflect.DeepEqual(a.Shape, []int{2}) || hex.EncodeToString(a.Data) != "0000803f00000040" || a.Scalar || a.Swapped {
		t.Errorf("%+v", a)
	}
	r.Begin(unhex(t, goldenScalar))
	if !r.IsArray() || !r.Array(&a, 0) || !r.End() {
		t.Fatal(r.Problem())
	}
	if !a.Scalar || a.Value != 1.5 || a.DType != "float32" {
		t.Errorf("%+v", a)
	}
}

// array is the map of an array, its keys of text.
func array(dtype string, data []byte, shape ...int) []byte {
	b := msgp.AppendMapHeader(nil, 4)
	b = msgp.AppendBool(msgp.AppendString(b, "__ndarray__"), true)
	b = msgp.AppendBytes(msgp.AppendString(b, "data"), data)
	b = msgp.AppendString(msgp.AppendString(b, "dtype"), dtype)
	b = msgp.AppendArrayHeader(msgp.AppendString(b, "shape"), uint32(len(shape)))
	for _, n := range shape {
		b = msgp.AppendInt(b, n)
	}
	return b
}

func TestToJSON(t *testing.T) {
	f := func(name string, text []byte, want string) {
		t.Helper()
		var c msgpack.ToJSON
		got, ok := c.Append(nil, text)
		if !ok {
			problem, at := c.Problem()
			t.Errorf("%s: %s at byte %d", name, problem, at)
		} else if string(got) != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	f("nil", []byte{0xc0}, "null")
	f("true", []byte{0xc3}, "true")
	f("positive fixint", []byte{0x7f}, "127")
	f("negative fixint", []byte{0xe0}, "-32")
	f("uint64", unhex(t, "cf ffffffffffffffff"), "18446744073709551615")
	f("int64", unhex(t, "d3 8000000000000000"), "-9.223372036854776e+18")
	f("float32", unhex(t, "ca 3fc00000"), "1.5")
	f("float64", unhex(t, "cb 3fb999999999999a"), "0.1")
	f("NaN", unhex(t, "cb 7ff8000000000001"), "null")
	f("infinity", unhex(t, "ca 7f800000"), "1e999")
	f("minus infinity", unhex(t, "ca ff800000"), "-1e999")
	f("a string", msgp.AppendString(nil, "a\"\\\x01\u00e4\u2028"), "\"a\\\"\\\\\\u0001\u00e4\u2028\"")
	f("bytes", msgp.AppendBytes(nil, []byte{1, 2, 3}), `"AQID"`)
	f("a list", unhex(t, "93 01 c2 a161"), `[1,false,"a"]`)
	f("a map with a key of bytes", unhex(t, "81 c40161 01"), `{"a":1}`)
	f("twice one key", unhex(t, "82 a161 01 a161 02"), `{"a":1,"a":2}`)
	f("an array", unhex(t, goldenArray), `{"base64":"AACAPwAAAEA=","dtype":"float32","shape":[2]}`)
	f("an array with keys of text", array("<f4", unhex(t, "0000803f00000040"), 2), `{"base64":"AACAPwAAAEA=","dtype":"float32","shape":[2]}`)
	f("a big-endian array", array(">f4", unhex(t, "3f80000040000000"), 2), `{"base64":"AACAPwAAAEA=","dtype":"float32","shape":[2]}`)
	f("a scalar", unhex(t, goldenScalar), "1.5")
	f("an array without dimensions", array("<f8", unhex(t, "000000000000f83f")), "1.5")
	f("an array of text", array("<U2", make([]byte, 8), 1), `{"base64":"AAAAAAAAAAA=","dtype":"<U2","shape":[1]}`)
	f("an array of objects", array("|O", make([]byte, 8), 1), `{"base64":"AAAAAAAAAAA=","dtype":"|O","shape":[1]}`)
	for dtype, data := range map[string]string{
		"<f2": "003e", "<f4": "0000c03f", ">f4": "3fc00000", "<f8": "000000000000f83f",
	} {
		f(dtype, array(dtype, unhex(t, data)), "1.5")
	}
	for dtype, data := range map[string]string{
		"|i1": "02", "<i2": "0200", "<i4": "02000000", "<i8": "0200000000000000", "|u1": "02", "<u2": "0200", ">u2": "0002",
		"<u4": "02000000", "<u8": "0200000000000000", ">i8": "0000000000000002", "=i4": "02000000",
	} {
		f(dtype, array(dtype, unhex(t, data)), "2")
	}
	f("a name of numpy", array("float64", unhex(t, "000000000000f83f")), "1.5")
	f("a type without its bytes", array("float64", nil), `{"base64":"","dtype":"float64","shape":[]}`)
	f("|b1", array("|b1", []byte{1}), "1")
}

func TestRefuses(t *testing.T) {
	f := func(name string, text []byte, problem string) {
		t.Helper()
		var c msgpack.ToJSON
		if got, ok := c.Append(nil, text); ok {
			t.Errorf("%s was read as %s", name, got)
		} else if why, at := c.Problem(); !strings.Contains(why, problem) || at > len(text) {
			t.Errorf("%s: %q at byte %d, want %q", name, why, at, problem)
		}
	}
	f("nothing", nil, "ends")
	f("the byte that is never used", []byte{0xc1}, "begins no value")
	f("an extension", unhex(t, "d4 01 00"), "begins no value")
	f("a time", unhex(t, "d6 ff 00000000"), "begins no value")
	f("two values", unhex(t, "01 02"), "the end")
	f("half a number", unhex(t, "cb 3fb9"), "ends")
	f("half a string", unhex(t, "a5 61"), "ends")
	f("a string that is not UTF-8", unhex(t, "a1 ff"), "UTF-8")
	f("an array that claims 2^32 elements", unhex(t, "dd ffffffff 01"), "claims")
	f("a map that claims 2^32 members", unhex(t, "df ffffffff a161 01"), "claims")
	f("bytes that claim 2^32", unhex(t, "c6 ffffffff 01"), "ends")
	f("a number as a key", unhex(t, "81 01 01"), "key")
	f("nested 10,000 deep", bytes.Repeat([]byte{0x91}, 10_000), "deep")
	f("maps nested 10,000 deep", bytes.Repeat(unhex(t, "81 a161"), 10_000), "deep")
	f("an array of numpy without data", unhex(t, "83 c40b5f5f6e6461727261795f5f c3 c4056474797065 a33c6634 c4057368617065 9102"), "data")
	f("an array of numpy with a member of another name", unhex(t, strings.Replace(goldenArray, "c40464617461", "c40464617462", 1)), "data, dtype and shape")
	f("an array of numpy that says one thing twice", unhex(t, strings.Replace(goldenArray, "c4057368617065 91 02", "c40464617461 c400", 1)), "twice")
	f("an array of numpy that says it is none", unhex(t, strings.Replace(goldenArray, "c3", "c2", 1)), "true")
	f("a shape of fractions", unhex(t, strings.Replace(goldenArray, "91 02", "91 ca3f800000", 1)), "no size")
	f("a negative shape", unhex(t, strings.Replace(goldenArray, "91 02", "91 ff", 1)), "no size")
	f("too many dimensions", array("<f4", nil, make([]int, 17)...), "dimensions")
}

// TestFromJSON compares with reading the JSON and the MessagePack by other
// readers.
func TestFromJSON(t *testing.T) {
	long := make([]int, 20)
	many, _ := json.Marshal(map[string]any{"list": long, "big": make([]int, 70_000)})
	for _, text := range []string{
		`null`, `true`, `false`, `0`, `-1`, `1.5`, `0.1`, `-0.0`, `1e3`, `18446744073709551615`, `-9223372036854775808`, `""`, `"a"`,
		`"a\"\\\/\b\f\n\r\tä\u00e4\ud83d\ude00"`, `[]`, `{}`, `[[],{}]`, `{"a":{"b":[1,2.5,"c",null]}}`,
		"{\"actions\" : [ {\"throttle\":0.7,\"brake\":0.0} ] ,\n\t\"version\":\"v0.1.0\"}", string(many),
	} {
		got := msgpack.AppendFromJSON([]byte("before"), []byte(text))
		v, rest, err := msgp.ReadIntfBytes(got[len("before"):])
		if err != nil || len(rest) > 0 || !bytes.HasPrefix(got, []byte("before")) {
			t.Fatalf("%.40s: %v, %d bytes more", text, err, len(rest))
		}
		var want any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if got := floats(v); !reflect.DeepEqual(got, want) {
			t.Errorf("%.60s became %.80v, want %.80v", text, got, want)
		}
	}
	short := msgpack.AppendFromJSON(nil, []byte(`{"a":[1,2]}`))
	if hex.EncodeToString(short) != "81a161920102" {
		t.Errorf("short heads: %x", short)
	}
}

// floats makes float64 of every number, as JSON's reader does.
func floats(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case map[string]any:
		for k := range v {
			v[k] = floats(v[k])
		}
	case []any:
		if v == nil {
			return []any{}
		}
		for i := range v {
			v[i] = floats(v[i])
		}
	}
	return v
}

func TestFromJSONTakesAnything(t *testing.T) {
	for _, text := range []string{"", "{", "[", `{"a"`, `"`, `"\`, `"\u`, `"\u12`, "[1 2", "}", "]", "nul", "x", "[x]", `{"a":x}`, "\xff"} {
		msgpack.AppendFromJSON(nil, []byte(text)) // it must end, and not panic
	}
}

func TestLittle(t *testing.T) {
	var r msgpack.Reader
	var a msgpack.Array
	r.Begin(array(">f4", unhex(t, "3f80000040000000"), 2))
	if !r.Array(&a, 0) {
		t.Fatal(r.Problem())
	}
	given := bytes.Clone(a.Data)
	if got := a.Little(nil); hex.EncodeToString(got) != "0000803f00000040" || !bytes.Equal(a.Data, given) {
		t.Errorf("%x of %x", got, a.Data)
	}
}

// FuzzReader reads anything to its end or to a problem, and makes JSON of what
// is good.
func FuzzReader(f *testing.F) {
	for _, s := range []string{goldenArray, goldenScalar, "93 01 c2 a161", "dd ffffffff", "cb 7ff8000000000001"} {
		f.Add(unhex(f, s))
	}
	f.Add(array(">f8", make([]byte, 16), 2))
	f.Add(array("float64", nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r msgpack.Reader
		r.Begin(text)
		skipped := r.Skip(0) && r.End()
		var c msgpack.ToJSON
		got, ok := c.Append(nil, text)
		if ok && !skipped {
			t.Fatalf("read as %s, skipped as broken", got)
		}
		if !ok {
			if problem, at := c.Problem(); problem == "" || at > len(text) {
				t.Fatalf("no problem: %q at %d", problem, at)
			}
			return
		}
		if !json.Valid(got) {
			t.Fatalf("no JSON: %s", got)
		}
		back := msgpack.AppendFromJSON(nil, got)
		r.Begin(back)
		if !r.Skip(0) || !r.End() {
			t.Fatalf("%s became %x", got, back)
		}
	})
}

func TestNumbers(t *testing.T) {
	for _, v := range []float64{0, 1, -1, 127, 128, -32, -33, 255, 256, 65535, 65536, 1 << 31, 1 << 32, math.MaxInt64, -1 << 63, 1 << 63, 0.1} {
		texts := [][]byte{msgp.AppendFloat64(nil, v)}
		if v == math.Trunc(v) && v >= 0 && v < 1<<63 {
			texts = append(texts, msgp.AppendUint64(nil, uint64(v)), msgp.AppendInt64(nil, int64(v)))
		}
		for _, text := range texts {
			var r msgpack.Reader
			r.Begin(text)
			if got, ok := r.Number(); !ok || got != v || !r.End() {
				t.Errorf("%x is %v, want %v", text, got, v)
			}
		}
	}
}
