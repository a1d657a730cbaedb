package experience

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// sampleAll records everything.
const sampleAll = math.MaxUint64

// sampleBound is the hash below which a part of everything lies.
func sampleBound(part float64) uint64 {
	if part >= 1 {
		return sampleAll
	}
	return uint64(part * (1 << 63) * 2)
}

// sampleHash is that of a session's name, so that a session is recorded whole
// or not at all, by every process alike. Requests that carry their state in a
// token are known by the seed of their draws, and others each for itself.
func sampleHash(o *serving.Origin, req *serving.Request) uint64 {
	const (
		offset = 14695981039346656037 // FNV-1a
		prime  = 1099511628211
	)
	h := uint64(offset)
	switch {
	case o.Session != "":
		for i := range len(o.Session) {
			h = (h ^ uint64(o.Session[i])) * prime
		}
	case req.State != nil || req.Histories != nil:
		h = (h ^ req.Seed) * prime
	default:
		for _, c := range o.RequestID {
			h = (h ^ uint64(c)) * prime
		}
	}
	// Names that differ in their last letter are far from each other then.
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}
