package serving_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// BenchmarkCrowd is one request of 64 clients that ask again as soon as they are
// answered, on one lane: what joining those that wait gives and takes.
func BenchmarkCrowd(b *testing.B) {
	for _, kind := range []struct{ name, path string }{
		{"ppo", filePPO}, {"lstm", fileRecurrentPPO}, {"images", "../format/sb3/testdata/ppo_images/model.zip"},
	} {
		for _, rows := range []int{1, 4, 16, 32, 128} {
			b.Run(fmt.Sprintf("%s/batch=%d", kind.name, rows), func(b *testing.B) {
				const clients = 64
				p := open(b, kind.path, "", 1, policy.Options{})
				s := serving.New(serving.Options{Lanes: 1, MaxQueue: 1024, MaxBatch: rows})
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for client := range clients {
					wg.Go(func() {
						req := &serving.Request{Deterministic: true}
						observe(req, p.Contract(), 1, client)
						req.Begin(p.Contract())
						for range b.N / clients {
							if err := s.Act(b.Context(), p, req); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// BenchmarkCacheHit is an answer that was kept.
func BenchmarkCacheHit(b *testing.B) {
	p := open(b, filePPO, "", 1, policy.Options{})
	s := serving.New(serving.Options{CacheEntries: 1000, CacheBytes: 1 << 20})
	req := &serving.Request{Deterministic: true}
	observe(req, p.Contract(), 1, 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Act(b.Context(), p, req); err != nil {
			b.Fatal(err)
		}
	}
	st := s.Stats()
	b.ReportMetric(float64(st.Hits)/float64(st.Hits+st.Misses+st.Bypassed), "hits/op")
}

// BenchmarkCacheBypassed is a request whose observations do not recur, beside a
// cache that has found that out, and without one.
func BenchmarkCacheBypassed(b *testing.B) {
	for _, entries := range []int{0, 1000} {
		b.Run(fmt.Sprint("entries=", entries), func(b *testing.B) {
			p := open(b, filePPO, "", 1, policy.Options{})
			s := serving.New(serving.Options{CacheEntries: entries, CacheBytes: 1 << 20})
			req := &serving.Request{Deterministic: true}
			observe(req, p.Contract(), 1, 1)
			n := float32(0)
			b.ReportAllocs()
			for b.Loop() {
				n++
				req.Inputs[0][0] = n
				if err := s.Act(b.Context(), p, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
