package preprocess_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
)

// FuzzArrays: an .npz of any two arrays is refused, or lowers and runs.
func FuzzArrays(f *testing.F) {
	f.Add(npy(header("2,"), 1, 2), npy(header("2,"), 2, 4))
	f.Add([]byte("\x93NUMPY\x02\x00\x3c\x00\x00\x00{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1), }  \n\x00\x00\x00\x00\x00\x00\xf0?"), npy(header(""), 1))
	f.Add([]byte("\x93NUMPY\x01\x00\x3e\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }     \n\x80\x04K\x01."), npy(header("1,"), 1))
	found, err := filepath.Glob(filepath.Join(testdata, "*", "*.npz"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range found {
		z, err := zip.OpenReader(path)
		if err != nil {
			f.Fatal(err)
		}
		var arrays [][]byte
		for _, m := range z.File {
			r, err := m.Open()
			if err != nil {
				f.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				f.Fatal(err)
			}
			arrays = append(arrays, b)
		}
		if err := z.Close(); err != nil {
			f.Fatal(err)
		}
		if len(arrays) > 1 {
			f.Add(arrays[0], arrays[1])
		}
	}
	f.Fuzz(func(t *testing.T, mean, std []byte) {
		runs(t, npz(t, zip.Store, "mean.npy", mean, "std.npy", std))
	})
}

// FuzzJSON: any JSON is refused, or lowers and runs.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"mean":[1,2],"std":[2,4]}`, `{"mean":[1,2],"var":[2,4],"clip":5,"eps":1e-8}`, `{"mean":[[1],[2]]}`, `{"a":{"mean":[1],"std":[1]},"b":{"mean":[2],"std":[1]}}`,
		`{"mean":[1,NaN],"std":[1e999,0]}`, `{"mean":` + strings.Repeat("[", 20) + `1`} {
		f.Add([]byte(s))
	}
	found, err := filepath.Glob(filepath.Join(testdata, "*", "preprocessor*.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !preprocess.IsJSON(b) {
			b = append([]byte("{"), bytes.TrimLeft(b, "{ \t\r\n")...)
		}
		runs(t, b)
	})
}

// runs reads a file and, where it is read, runs it on a row of zeros.
func runs(t *testing.T, b []byte) {
	p, err := preprocess.Decode(b)
	if err != nil {
		if err := refused(err, ""); err != nil {
			t.Fatal(err)
		}
		return
	}
	n := p.Width()
	if n == 0 {
		n = 4
	}
	if n > 1000 || len(p.Keys()) > 0 {
		return
	}
	got, err := apply(p, [][]float64{make([]float64, n)})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Shape) != 2 || got.Shape[0] != 1 {
		t.Fatalf("shape %v", got.Shape)
	}
}
