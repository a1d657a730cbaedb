package repository

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"runtime/metrics"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Limit names what bounds a load.
type Limit string

// The bounds of a load.
const (
	LimitTime   Limit = "load_time"   // Options.LoadTimeout
	LimitMemory Limit = "load_memory" // Options.MaxLoadMemory, and the memory of the process
	LimitFile   Limit = "file_size"   // Options.Limits
	LimitGraph  Limit = "graph_size"  // policy.Options.MaxNodes
	LimitReader Limit = "reader"      // the maxima of the readers and of the plan, which no option changes
)

// Limits are all of them.
func Limits() []Limit { return []Limit{LimitTime, LimitMemory, LimitFile, LimitGraph, LimitReader} }

// limitError is a refusal for a bound of the repository itself.
type limitError struct {
	error
	limit Limit
}

// Unwrap returns the reason.
func (e *limitError) Unwrap() error { return e.error }

// limitOf tells which bound a version was refused for.
func limitOf(err error) Limit {
	if own, ok := errors.AsType[*limitError](err); ok {
		return own.limit
	}
	switch {
	case errors.Is(err, artifact.ErrLimit):
		return LimitFile
	case errors.Is(err, policy.ErrNodes):
		return LimitGraph
	case policy.IsLimit(err):
		return LimitReader
	}
	return ""
}

// loadFactor is the memory that a load takes at its peak, in sizes of its files:
// the bytes, the tensors decoded of them, and those that are packed for the CPU
// beside what the packing needs.
const loadFactor = 4

// affordable refuses a load that there is no room for. Running out of memory
// would end the process, and with it the versions that serve.
func (r *Repository) affordable(files []artifact.Member) error {
	size := int64(0)
	for _, m := range files {
		size += m.Size
	}
	need := size * loadFactor
	if most := r.o.MaxLoadMemory; most > 0 {
		if need > most {
			return &limitError{fmt.Errorf("loading %d bytes of files takes about %d bytes of memory, and %d are allowed (model.max_load_memory)", size, need, most), LimitMemory}
		}
		return nil
	}
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return nil
	}
	if used := liveMemory(); need > limit-used {
		return &passingError{&limitError{fmt.Errorf("loading %d bytes of files takes about %d bytes of memory, and %d of %d are in use", size, need, used, limit), LimitMemory}}
	}
	return nil
}

// liveMemory is what cannot be given back: the heap as the last collection left
// it, and stacks.
func liveMemory() int64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	var n int64
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			n += int64(s.Value.Uint64())
		}
	}
	return n
}
