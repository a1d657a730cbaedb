//go:build unix

package repository_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// BenchmarkReloadOfNothing reads every file of many models of which none has
// changed.
func BenchmarkReloadOfNothing(b *testing.B) {
	for _, models := range []int{1, 1000} {
		b.Run(fmt.Sprint(models), func(b *testing.B) {
			dir := b.TempDir()
			for i := range models {
				putLinear(b, filepath.Join(dir, fmt.Sprintf("m%04d", i), "v0.1.0"), "v0.1.0", 1)
			}
			r, err := repository.Open(b.Context(), repository.Options{Root: dir, Open: real, MaxModels: 1024})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			if err := r.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if p, err := r.Reload(b.Context(), ""); err != nil || p.Failed() {
					b.Fatal(err)
				}
			}
		})
	}
}
