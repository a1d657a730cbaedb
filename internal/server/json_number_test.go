package server

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// numbers are JSON numbers whose nearest float64 is easily missed.
var numbers = []string{
	"0", "-0", "0.0", "1", "-1", "25.5", "0.1", "0.30000001192092896", "1e0", "1E+2", "1e-2", "123456789012345678", "9007199254740992", "9007199254740993",
	"9007199254740993.0", "0.000001", "1e22", "1e23", "1e-22", "1e-23", "123e22", "4503599627370497.5", "8.41e21", "1.7976931348623157e308", "1e308", "1e309", "-1e309",
	"1e999", "5e-324", "2.5e-324", "2.4703282292062327208299e-324", "2.2250738585072011e-308", "1e-400", "1e-9999999999", "1e9999999999", "0e9999999999",
	"18446744073709551615", "18446744073709551616", "99999999999999999999", "0.1e1", "3.4028234663852886e38", "3.4028235677973366e38", "1.00000005960464477539",
	"100000000000000016777215", "100000000000000016777216", "-9223372036854775808",
	strings.Repeat("1", 1000), "0." + strings.Repeat("0", 1000) + "1", "1" + strings.Repeat("0", 400) + "e-400", "0." + strings.Repeat("3", 800),
}

func TestScanNumber(t *testing.T) {
	for _, text := range numbers {
		want, _ := strconv.ParseFloat(text, 64)
		for _, after := range []string{"", ",", "]", " ", "}"} {
			got, end := scanNumber([]byte(text+after), 0)
			if end != len(text) || math.Float64bits(got) != math.Float64bits(want) {
				t.Errorf("%.40q: %v to %d, want %v to %d", text+after, got, end, want, len(text))
			}
		}
	}
}

func TestScanNumberRefuses(t *testing.T) {
	for _, text := range []string{"", "-", "+1", ".5", "-.5", "1.", "1.e5", "1e", "1e+", "1e-", "--1", "NaN", "Infinity", "-Infinity", "inf", "e5", "\"1\"", "١"} {
		if v, end := scanNumber([]byte(text), 0); end >= 0 {
			t.Errorf("%q: %v to %d, want none", text, v, end)
		}
	}
	// What is a number followed by something else ends before it.
	for text, want := range map[string]int{"01": 1, "0x10": 1, "1_000": 1, "1e5e5": 3, "1.5.5": 3, "-0-": 2, "1f": 1} {
		if _, end := scanNumber([]byte(text), 0); end != want {
			t.Errorf("%q: to %d, want %d", text, end, want)
		}
	}
}

// TestScanNumberRandom compares with strconv on numbers of all sizes, in the
// forms that programs write.
func TestScanNumberRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		bits := r.Uint64()
		v := math.Float64frombits(bits)
		if bits&1 == 0 {
			v = float64(math.Float32frombits(uint32(bits >> 32)))
		}
		if v-v != 0 {
			continue
		}
		format := "eEfg"[bits>>8&3]
		precision := int(bits>>10&31) - 1
		text := strconv.FormatFloat(v, format, precision, 64)
		want, _ := strconv.ParseFloat(text, 64)
		if got, end := scanNumber([]byte(text), 0); end != len(text) || math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%q: %v to %d, want %v", text, got, end, want)
		}
	}
}

func FuzzScanNumber(f *testing.F) {
	for _, text := range numbers {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, end := scanNumber([]byte(text), 0)
		if end < 0 {
			return
		}
		want, err := strconv.ParseFloat(text[:end], 64)
		if err != nil && !math.IsInf(want, 0) {
			t.Fatalf("%q is taken, strconv says %v", text[:end], err)
		}
		if math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%q: %v, strconv says %v", text[:end], got, want)
		}
	})
}

func BenchmarkScanNumber(b *testing.B) {
	for _, text := range []string{"0.5", "25.5", "0.123456", "0.30000001192092896"} {
		b.Run(text, func(b *testing.B) {
			data := []byte(text)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				scanNumber(data, 0)
			}
		})
	}
}
