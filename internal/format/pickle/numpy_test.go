package pickle_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

const (
	float64s  = "cnumpy\ndtype\n(U\x02f8I00\nI01\ntR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
	float64sB = "cnumpy\ndtype\n(U\x02f8I00\nI01\ntR(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
	newArray  = "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
	newArray2 = "cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
)

// doubles returns the pickled bytes of float64 values.
func doubles(order binary.AppendByteOrder, values ...float64) string {
	var b []byte
	for _, v := range values {
		b = order.AppendUint64(b, math.Float64bits(v))
	}
	return "C" + string(rune(len(b))) + string(b)
}

func showArray(a *pickle.Array) string { return fmt.Sprintf("%c %v %v", a.Kind, a.Shape, a.Values) }

func decodeArray(t *testing.T, in string) (*pickle.Array, error) {
	t.Helper()
	v, err := pickle.Decode([]byte(in), options)
	if err != nil {
		t.Fatalf("%q: %v", in, err)
	}
	return pickle.Numbers(v)
}

func TestNumpyArray(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		a, err := decodeArray(t, in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			return
		}
		if got := showArray(a); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	le := binary.LittleEndian
	f(newArray+"(K\x01K\x02\x85"+float64s+"I00\n"+doubles(le, 1, 2.5)+"tb.", "f [2] [1 2.5]")
	f(newArray2+"(K\x01K\x02\x85"+float64s+"I00\n"+doubles(le, 1, 2.5)+"tb.", "f [2] [1 2.5]")
	f(newArray+"(K\x02\x85"+float64s+"I00\n"+doubles(le, 1, 2.5)+"tb.", "f [2] [1 2.5]") // state without a version
	f(newArray+"(K\x01K\x02\x85"+float64sB+"I00\n"+doubles(binary.BigEndian, 1, 2.5)+"tb.", "f [2] [1 2.5]")
	f(newArray+"(K\x01(K\x02K\x03t"+float64s+"I00\n"+doubles(le, 1, 2, 3, 4, 5, 6)+"tb.", "f [2 3] [1 2 3 4 5 6]")
	f(newArray+"(K\x01(K\x02K\x03t"+float64s+"I01\n"+doubles(le, 1, 4, 2, 5, 3, 6)+"tb.", "f [2 3] [1 2 3 4 5 6]")
	f(newArray+"(K\x01K\x01\x85"+float64s+"I00\nU\x08\x00\x00\x00\x00\x00\x00\xf0?tb.", "f [1] [1]") // of Python 2
	f(newArray+"(K\x01K\x00\x85"+float64s+"I00\nC\x00tb.", "f [0] []")
	f("cnumpy._core.multiarray\nscalar\n("+float64s+doubles(le, 7)+"tR.", "f [] [7]")
	f("cnumpy._core.numeric\n_frombuffer\n(C\x02\x01\x00cnumpy\ndtype\nU\x02b1\x85RK\x02\x85U\x01CtR.", "b [2] [1 0]")
	f("cnumpy.core.numeric\n_frombuffer\n(C\x02\x01\xffcnumpy\ndtype\nU\x02i1\x85RK\x02\x85U\x01FtR.", "i [2] [1 -1]")
	f("(K\x01K\x02t.", "f [2] [1 2]")
	f("((K\x01K\x02t(K\x03K\x04tt.", "f [2 2] [1 2 3 4]")
	f("(t.", "f [0] []")
	f("K\x05.", "f [] [5]")
}

func TestNumpyArrayFails(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		a, err := decodeArray(t, in)
		if err == nil {
			t.Errorf("%q: got %s", in, showArray(a))
			return
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, want %q in it", in, err, want)
		}
	}
	one := doubles(binary.LittleEndian, 1)
	f("N.", "a None, numbers were wanted")
	f("ccar\nWheel\n)R.", "a car.Wheel, numbers were wanted")
	f("(U\x01at.", "item 0: a str")
	f("((K\x01tK\x02t.", "item 1 has another shape than the first")
	f("((K\x01t(K\x02K\x03tt.", "item 1 has another shape than the first")
	f(strings.Repeat("(", 10)+strings.Repeat("t", 10)+".", "nested deeper than 8 lists")
	f(newArray+".", "an array whose state is not")
	f(newArray+"(K\x01tb.", "an array whose state is not")
	f("cnumpy.core.multiarray\n_reconstruct\n(ccar\nWheel\n(K\x00tC\x01btR.", "another class than ndarray")
	f("cnumpy.core.multiarray\n_reconstruct\n)R.", "another class than ndarray")
	f(newArray+"(K\x01K\x01\x85"+float64s+"N"+one+"tb.", "an array whose order is a None")
	f(newArray+"(K\x01K\x01"+float64s+"I00\n"+one+"tb.", "a shape that is a int")
	f(newArray+"(K\x01J\xff\xff\xff\xff\x85"+float64s+"I00\n"+one+"tb.", "not a tuple of sizes")
	f(newArray+"(K\x01U\x01a\x85"+float64s+"I00\n"+one+"tb.", "not a tuple of sizes")
	f(newArray+"(K\x01("+strings.Repeat("K\x01", 65)+"t"+float64s+"I00\n"+one+"tb.", "not a tuple of sizes")
	f(newArray+"(K\x01K\x02\x85"+float64s+"I00\n"+one+"tb.", "8 bytes are not an array of shape [2] of <f8")
	f(newArray+"(K\x01K\x09\x85"+float64s+"I00\n"+one+"tb.", "8 bytes are not an array")
	f(newArray+"(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"+float64s+"I00\n"+one+"tb.", "8 bytes are not an array")
	f(newArray+"(K\x01K\x00\x85"+float64s+"I00\n"+one+"tb.", "8 bytes are not an array")
	f(newArray+"(K\x01K\x01\x85"+float64s+"I00\n]tb.", "array data in a list")
	f(newArray+"(K\x01K\x01\x85NI00\n"+one+"tb.", "a type that is a None")
	f(newArray+"(K\x01K\x01\x85cnumpy\ndtype\nK\x01\x85RI00\n"+one+"tb.", "a type named by a int")
	f(newArray+"(K\x01K\x01\x85cnumpy\ndtype\nU\x02O8\x85RI00\n"+one+"tb.", `type "O8" is not read`)
	f(newArray+"(K\x01K\x01\x85cnumpy\ndtype\nU\x00\x85RI00\n"+one+"tb.", `type "" is not read`)
	f(newArray+"(K\x01K\x01\x85cnumpy\ndtype\nU\x02f8\x85RNbI00\n"+one+"tb.", "a type whose state is not")
	f(newArray+"(K\x01K\x01\x85cnumpy\ndtype\nU\x02f8\x85R(K\x03K\x04NNNtbI00\n"+one+"tb.", "a type whose byte order is no text")
	f(newArray+"(K\x01K\x01\x85cnumpy\ndtype\nU\x02V8\x85R(K\x03U\x01|N(U\x01at}tbI00\n"+one+"tb.", "structured type")
	f("cnumpy.core.numeric\n_frombuffer\n)R.", "an array that is not (bytes, dtype, shape, order)")
	f("cnumpy.core.numeric\n_frombuffer\n(C\x00NNU\x01AtR.", "an array that is not (bytes, dtype, shape, order)")
	f("cnumpy.core.multiarray\nscalar\n)R.", "a scalar that is not (dtype, bytes)")
	if _, err := pickle.NumpyArray(int64(1)); err == nil {
		t.Error("an int as an array")
	}
	if _, err := pickle.NumpyArray(&pickle.Object{}); err == nil {
		t.Error("an object as an array")
	}
}

func TestArrayOf(t *testing.T) {
	f := func(descr, data, want string) {
		t.Helper()
		a, err := pickle.ArrayOf(descr, []int{1}, false, []byte(data))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(a.Values[0])
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", descr, got, want)
		}
	}
	f("<f4", "\x00\x00\xc0\x3f", "1.5")
	f(">f4", "\x3f\xc0\x00\x00", "1.5")
	f("=f4", "\x00\x00\xc0\x3f", "1.5")
	f("<f2", "\x00\x3e", "1.5")
	f("<f2", "\x00\xc2", "-3")
	f("<f2", "\x00\x7c", "+Inf")
	f("<f2", "\x00\xfc", "-Inf")
	f("<f2", "\x01\x7c", "NaN")
	f("<f2", "\x01\x00", "5.960464477539063e-08")
	f("<i8", "\xff\xff\xff\xff\xff\xff\xff\xff", "-1")
	f("<i8", "\x01\x00\x00\x00\x00\x00\x20\x00", "beyond 2^53")
	f("<u8", "\xff\xff\xff\xff\xff\xff\xff\xff", "beyond 2^53")
	f("<u8", "\x01\x00\x00\x00\x00\x00\x00\x00", "1")
	f("<i4", "\xfe\xff\xff\xff", "-2")
	f("<u4", "\xff\xff\xff\xff", "4.294967295e+09")
	f("<i2", "\xfe\xff", "-2")
	f("<u2", "\xfe\xff", "65534")
	f("|u1", "\xff", "255")
	f("|b1", "\x01", "1")
	f("<c8", "\x00\x00\x00\x00\x00\x00\x00\x00", `type "<c8" is not read`)
	if _, err := pickle.ArrayOf("<f8", []int{-1}, false, nil); err == nil {
		t.Error("a negative size")
	}
}

func TestNumber(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		v, err := pickle.Decode([]byte(in), options)
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		got := "none"
		if n, ok := pickle.Number(v); ok {
			got = fmt.Sprint(n)
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("K\x05.", "5")
	f("G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "1.5")
	f("\x88.", "none")
	f("cnumpy._core.multiarray\nscalar\n("+float64s+doubles(binary.LittleEndian, 7)+"tR.", "7")
	f("cnumpy._core.multiarray\nscalar\n("+float64s+"NtR.", "none")
	f(newArray+"(K\x01K\x00\x85"+float64s+"I00\nC\x00tb.", "none")
}

func TestNumbersLimit(t *testing.T) {
	_, err := decodeArray(t, strings.Repeat("(", 10)+strings.Repeat("t", 10)+".")
	if !errors.Is(err, pickle.ErrLimit) {
		t.Errorf("got %v", err)
	}
}
