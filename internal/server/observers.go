package server

import (
	"maps"
	"sync"
	"sync/atomic"
)

// observerTable finds the observer of a version without a lock and without
// allocating; sync.Map would box the key on each look-up.
type observerTable struct {
	mu    sync.Mutex // held by put
	table atomic.Pointer[map[targetKey]*versionObserver]
}

func (t *observerTable) get(k targetKey) (*versionObserver, bool) {
	table := t.table.Load()
	if table == nil {
		return nil, false
	}
	o, ok := (*table)[k]
	return o, ok
}

func (t *observerTable) put(k targetKey, with *versionObserver) *versionObserver {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := map[targetKey]*versionObserver{}
	if old := t.table.Load(); old != nil {
		if o, ok := (*old)[k]; ok && o.digest == with.digest {
			return o
		}
		maps.Copy(next, *old)
	}
	next[k] = with
	t.table.Store(&next)
	return with
}
