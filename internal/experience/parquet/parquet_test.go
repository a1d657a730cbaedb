package parquet_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/experience/parquet"
)

func TestTry(t *testing.T) {
	var b bytes.Buffer
	w, err := parquet.NewWriter(&b, []parquet.Column{{Name: "b", Kind: parquet.Bool}, {Name: "i", Kind: parquet.Int64}, {Name: "u", Kind: parquet.Uint64}, {Name: "f", Kind: parquet.Float32, Optional: true},
		{Name: "d", Kind: parquet.Float64}, {Name: "s.x", Kind: parquet.String}, {Name: "j", Kind: parquet.String, Optional: true}, {Name: "t", Kind: parquet.Time}, {Name: "l", Kind: parquet.Float32, List: true}, {Name: "k", Kind: parquet.Int64, List: true}}, parquet.Meta{Key: "a", Value: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 70000 {
		w.Bool(0, i%3 == 0)
		w.Int(1, int64(-i))
		w.Int(2, -1)
		if i%5 == 0 {
			w.Null(3)
		} else {
			w.Float(3, float64(i))
		}
		w.Float(4, 0.5)
		w.Text(5, "süß")
		if i%2 == 0 {
			w.Null(6)
		} else {
			w.Text(6, "{}")
		}
		w.Int(7, 1_795_000_000_000_001)
		w.Floats(8, make([]float32, i%4))
		w.Floats(9, []float32{float32(i), 2})
		if err := w.EndRow(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), os.WriteFile("/tmp/try.parquet", b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}
