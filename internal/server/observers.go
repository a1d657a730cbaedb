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

func (t *observerTable) put(k targetKey, o *versionObserver) *versionObserver {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := map[targetKey]*versionObserver{}
	if old := t.table.Load(); old != nil {
		if o, ok := (*old)[k]; ok {
			return o
		}
		maps.Copy(next, *old)
	}
	next[k] = o
	t.table.Store(&next)
	return o
}
