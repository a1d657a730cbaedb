package export_test

import (
	"archive/zip"
	"encoding/binary"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"
)

// array is an array of an archive of NumPy.
type array struct {
	dtype, shape string
	data         []byte
}

func (a array) float32(i int) float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(a.data[4*i:]))
}

func (a array) float64(i int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(a.data[8*i:]))
}

// text is all characters, without the zeros that fill shorter ones.
func (a array) text() string {
	var b strings.Builder
	for i := 0; i+4 <= len(a.data); i += 4 {
		if r := rune(binary.LittleEndian.Uint32(a.data[i:])); r != 0 {
			b.WriteRune(r)
		}
	}
	return b.String()
}

var head = regexp.MustCompile(`^\{'descr': '([^']+)', 'fortran_order': False, 'shape': (\([^)]*\)), \} *\n$`)

func readNumPy(t *testing.T, name string) map[string]array {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	arrays := map[string]array{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) < 10 || string(b[:8]) != "\x93NUMPY\x01\x00" {
			t.Fatalf("%s: %q", f.Name, b[:min(len(b), 16)])
		}
		n := 10 + int(binary.LittleEndian.Uint16(b[8:]))
		m := head.FindStringSubmatch(string(b[10:n]))
		if m == nil || n%64 != 0 {
			t.Fatalf("%s: head %q of %d bytes", f.Name, b[10:n], n)
		}
		arrays[strings.TrimSuffix(f.Name, ".npy")] = array{m[1], m[2], b[n:]}
	}
	return arrays
}
