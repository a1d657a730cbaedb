package repository

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkLook is what a look at a root costs in which nothing has changed.
func BenchmarkLook(b *testing.B) {
	for _, models := range []int{1, 1000} {
		b.Run(fmt.Sprint(models), func(b *testing.B) {
			dir := b.TempDir()
			for i := range models {
				at := filepath.Join(dir, fmt.Sprint("m", i), "v0.1.0")
				if err := os.MkdirAll(at, 0o755); err != nil {
					b.Fatal(err)
				}
				for _, name := range []string{"model.pt", "model_card.yaml"} {
					if err := os.WriteFile(filepath.Join(at, name), []byte("x"), 0o644); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				signRoot(Options{Root: dir})
			}
		})
	}
}
