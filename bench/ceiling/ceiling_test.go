package ceiling_test

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/bench/ceiling"
)

// Every loop ends, and says what it did. Sizes that are no multiple of a loop's
// step are read without what is over.
func TestLoops(t *testing.T) {
	for _, l := range ceiling.FMA() {
		l.Run()
		if l.Work <= 0 {
			t.Errorf("%s does no work", l.Name)
		}
	}
	for _, size := range []int{1, 511, 512, 1 << 10, 2 << 10, 2<<10 + 1, 17_408 * 3, 1 << 20} {
		loops := ceiling.Read(size)
		if size < 512 && len(loops) > 0 {
			t.Errorf("%d loops read %d bytes", len(loops), size)
		}
		for _, l := range loops {
			l.Run()
			if l.Work <= float64(size-2048) || int(l.Work)%512 != 0 {
				t.Errorf("%s: %v bytes of a set of %d", l.Name, l.Work, size)
			}
		}
	}
}

func BenchmarkFMA(b *testing.B) {
	for _, l := range ceiling.FMA() {
		b.Run(l.Name, func(b *testing.B) {
			for b.Loop() {
				l.Run()
			}
			b.ReportMetric(l.Work*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOPS")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{16 << 10, 286 << 10, 1312 << 10, 6 << 20} {
		for _, l := range ceiling.Read(size) {
			b.Run(l.Name, func(b *testing.B) {
				b.SetBytes(int64(l.Work))
				for b.Loop() {
					l.Run()
				}
			})
		}
	}
}
