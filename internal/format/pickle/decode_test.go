package pickle_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

func TestDecodeProtocols(t *testing.T) {
	const want = `{"a":[1 -1 300 70000 1099511627776 1180591620717411303424 -1180591620717411303424 1.5 true false None]` +
		` "t":(1 (2) () (1 2 3) (1 2 3 4)) "b":b"\x00\xffz" "u":"é☃\n\\x" "s":set{1} "f":frozen{2}` +
		` "od":collections.OrderedDict{"a":1}}`
	for p, in := range ofPython {
		v, err := pickle.Decode([]byte(in), options)
		if err != nil {
			t.Errorf("protocol %d: %v", p, err)
			continue
		}
		if got := show(v); got != want {
			t.Errorf("protocol %d:\ngot  %s\nwant %s", p, got, want)
		}
	}
}

func TestDecode(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		v, err := pickle.Decode([]byte(in), options)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			return
		}
		if got := show(v); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	// Numbers.
	f("I42\n.", "42")
	f("I-7\n.", "-7")
	f("I01\n.", "true")
	f("I00\n.", "false")
	f("I99999999999999999999\n.", "99999999999999999999")
	f("L12L\n.", "12")
	f("L-99999999999999999999L\n.", "-99999999999999999999")
	f("F1.5\n.", "1.5")
	f("F1e999\n.", "+Inf")
	f("F-inf\n.", "-Inf")
	f("Finf\n.", "+Inf")
	f("Fnan\n.", "NaN")
	f("J\xff\xff\xff\xff.", "-1")
	f("M\x00\x80.", "32768")
	f("\x8a\x00.", "0")
	f("\x8a\x01\xff.", "-1")
	f("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", "9223372036854775807")
	f("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", "9223372036854775808")
	f("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff.", "-1")
	f("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\xff.", "-18446744073709551616")
	f("\x8b\x02\x00\x00\x00\x00\x01.", "256")
	f("G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "1.5")

	// Texts.
	f("S'a\\'b\\n\\x41\\101\\7\\\\\\q'\n.", `"a'b\nAA\a\\\\q"`)
	f("S\"x\\t\\r\\a\\b\\f\\v\" \n.", `"x\t\r\a\b\f\v"`)
	f("S'\\400'\n.", `"\x00"`) // three octal digits wrap, as in Python's bytes
	f("T\x02\x00\x00\x00\xff\x00.", `"\xff\x00"`)
	f("U\x02ab.", `"ab"`)
	f("Va\\u00e9\\U0001F600\xe9\\n\\\n.", `"aé😀é\\n\\"`)
	f("X\x02\x00\x00\x00\xc3\xa9.", `"é"`)
	f("\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", `"a"`)
	f("B\x01\x00\x00\x00a.", `b"a"`)
	f("\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.", `b"a"`)
	f("\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", `b"a"`)

	// Containers and the stack.
	f("(K\x01K\x02t.", "(1 2)")
	f("(t.", "()")
	f("(K\x01l.", "[1]")
	f("(K\x01K\x02d.", "{1:2}")
	f("(K\x01K\x02K\x030t.", "(1 2)")    // POP
	f("K\x01((0K\x02t\x86.", "(1 (2))")  // POP of a mark
	f("K\x01(K\x02K\x031.", "1")         // POP_MARK
	f("K\x012\x86.", "(1 1)")            // DUP
	f("]K\x01a(K\x02K\x03e.", "[1 2 3]") // APPEND, APPENDS
	f("}K\x01K\x02s(K\x03K\x04u.", "{1:2 3:4}")
	f("\x8f(K\x01K\x02\x90.", "set{1 2}")
	f("(K\x01\x91.", "frozen{1}")
	f("K\x01p7\ng7\n\x86.", "(1 1)")
	f("K\x01q\x07h\x07\x86.", "(1 1)")
	f("K\x01r\x07\x00\x00\x00j\x07\x00\x00\x00\x86.", "(1 1)")
	f("\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00K\x05.", "5")

	// Keys as Python has them.
	f("}(K\x01N\x88\x85NC\x01aNNN(K\x01U\x01a\x88NtNccar\nWheel\nNG?\xf8\x00\x00\x00\x00\x00\x00NL99999999999999999999\nNu.",
		`{1:None (true):None b"a":None None:None (1 "a" true None):None <car.Wheel>:None 1.5:None 99999999999999999999:None}`)
	f("}((C\x01aG?\xf8\x00\x00\x00\x00\x00\x00ccar\nWheel\nL99999999999999999999\nttNs.", `{((b"a" 1.5 <car.Wheel> 99999999999999999999)):None}`)
	f("}ccar\nWheel\n)RNs.", `{car.Wheel():None}`)

	// Globals and what is made of them.
	f("ccar\nWheel\n.", "<car.Wheel>")
	f("\x8c\x03car\x8c\x05Wheel\x93.", "<car.Wheel>")
	f("ccar\nWheel\nK\x01\x85R}K\x01K\x02sb.", "car.Wheel(1)+{1:2}")
	f("ccar\nWheel\n)\x81.", "car.Wheel()")
	f("ccar\nWheel\n)}\x92.", "car.Wheel()**{}")
	f("(K\x01icar\nWheel\n.", "car.Wheel(1)")
	f("(ccar\nWheel\nK\x01o.", "car.Wheel(1)")
	f("ccar\nWheels\n)\x81K\x01a(K\x02e.", "car.Wheels()[1 2]")
	f("ccar\nWheels\n)\x81K\x01K\x02sK\x03K\x04s.", "car.Wheels(){1:2 3:4}")
	f("ccar\nmake\nK\x01\x85R.", `"made of int"`)
	f("Pxy\n.", `"id of str"`)
	f("K\x05Q.", `"id of int"`)

	// Calls that write down data.
	f("c_codecs\nencode\nX\x03\x00\x00\x00a\xc3\xbfX\x06\x00\x00\x00latin1\x86R.", `b"a\xff"`)
	f("ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00mNsb.", `collections.OrderedDict{}+{"m":None}`)
	f("ccollections\nOrderedDict\n)\x81.", `collections.OrderedDict{}`)
	f("ccollections\nOrderedDict\n]((K\x01K\x02l(K\x03K\x04te\x85R.", `collections.OrderedDict{1:2 3:4}`)
	f("c__builtin__\nset\n](K\x01e\x85R.", "set{1}")
	f("cbuiltins\nfrozenset\n)R.", "frozen{}")
	f("cbuiltins\nlist\n(K\x01t\x85R.", "[1]")
	f("cbuiltins\ntuple\n](K\x01e\x85R.", "(1)")
	f("cbuiltins\nbytes\n)R.", `b""`)
	f("cbuiltins\nbytearray\nX\x01\x00\x00\x00aX\x07\x00\x00\x00latin-1\x86R.", `b"a"`)
	f("cbuiltins\nbytearray\nC\x01a\x85R.", `b"a"`)
	f("ccopy_reg\n_reconstructor\n(ccar\nWheel\nc__builtin__\nobject\nNtR}K\x01K\x02sb.", "car.Wheel()+{1:2}")
}

// A shared value is shared in the result.
func TestDecodeShares(t *testing.T) {
	v, err := pickle.Decode([]byte("]q\x00h\x00K\x01a\x86."), options)
	if err != nil {
		t.Fatal(err)
	}
	pair := v.(pickle.Tuple)
	if pair[0] != pair[1] {
		t.Error("two lists, one was wanted")
	}
}

func TestDecodePrefix(t *testing.T) {
	in := []byte("K\x01.K\x02.")
	v, n, err := pickle.DecodePrefix(in, options)
	if err != nil || v != int64(1) || n != 3 {
		t.Fatalf("got %v, %d, %v", v, n, err)
	}
	v, n, err = pickle.DecodePrefix(in[n:], options)
	if err != nil || v != int64(2) || n != 3 {
		t.Fatalf("got %v, %d, %v", v, n, err)
	}
}

func TestDictOfManyKeys(t *testing.T) {
	var in strings.Builder
	in.WriteString("}(")
	for i := range 100 {
		in.WriteString("K" + string(rune(i)) + "N")
	}
	in.WriteString("X\x01\x00\x00\x00aK\x07u.")
	v, err := pickle.Decode([]byte(in.String()), options)
	if err != nil {
		t.Fatal(err)
	}
	d := v.(*pickle.Dict)
	if d.Len() != 101 || !d.Has("a") || d.Has("b") {
		t.Errorf("%d entries, a %v, b %v", d.Len(), d.Has("a"), d.Has("b"))
	}
	if v, ok := d.Get("a"); !ok || v != int64(7) {
		t.Errorf("got %v, %v", v, ok)
	}
}

func TestAttr(t *testing.T) {
	f := func(in, name, want string) {
		t.Helper()
		v, err := pickle.Decode([]byte(in), options)
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		got := "absent"
		if a, ok := v.(*pickle.Object).Attr(name); ok {
			got = show(a)
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("ccar\nWheel\n)\x81}U\x01aK\x01sb.", "a", "1")
	f("ccar\nWheel\n)\x81}U\x01aK\x01sb.", "b", "absent")
	f("ccar\nWheel\n)\x81N}U\x01aK\x01s\x86b.", "a", "1")
	f("ccar\nWheel\n)\x81N}U\x01aK\x01s\x86b.", "b", "absent")
	f("ccar\nWheel\n)\x81K\x01b.", "a", "absent")
	f("ccar\nWheel\n)\x81.", "a", "absent")
}

func TestTypeName(t *testing.T) {
	f := func(v pickle.Value, want string) {
		t.Helper()
		if got := pickle.TypeName(v); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(nil, "nothing")
	f(pickle.None{}, "None")
	f(true, "bool")
	f(int64(1), "int")
	f(1.5, "float")
	f("", "str")
	f([]byte{}, "bytes")
	f(pickle.Tuple{}, "tuple")
	f(&pickle.List{}, "list")
	f(&pickle.Dict{}, "dict")
	f(&pickle.Set{}, "set")
	f(pickle.Global{Module: "a.b", Name: "c"}, "global a.b.c")
	f(&pickle.Object{Class: pickle.Global{Module: "a", Name: "b"}}, "a.b")
	f(struct{}{}, "struct {}")
}

func TestItemsAndNumbers(t *testing.T) {
	if _, ok := pickle.Items(int64(1)); ok {
		t.Error("items of an int")
	}
	if n, ok := pickle.Int(int64(4)); !ok || n != 4 {
		t.Errorf("got %d, %v", n, ok)
	}
	if _, ok := pickle.Float("1"); ok {
		t.Error("a text as a number")
	}
}
