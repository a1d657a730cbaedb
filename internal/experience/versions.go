package experience

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// versionTable finds what the recorder knows of an opened policy, without a
// lock and without allocating once it is there.
type versionTable struct {
	latest atomic.Pointer[versionEntry]
	table  atomic.Pointer[map[uint64]*versionEntry]

	mu   sync.Mutex // guards list, and who adds to table
	list []*version
}

// versionEntry is a policy that was opened; several may be of one version,
// which was loaded again.
type versionEntry struct {
	serial uint64
	*version
}

func (t *versionTable) of(p *policy.Policy, o *serving.Origin) *version {
	serial := p.Serial()
	if e := t.latest.Load(); e != nil && e.serial == serial {
		return e.version
	}
	if table := t.table.Load(); table != nil {
		if e := (*table)[serial]; e != nil {
			t.latest.Store(e)
			return e.version
		}
	}
	return t.add(p, o)
}

// mostOpened is for how many opened policies it is known which version they
// are; beyond it that is found out anew.
const mostOpened = 1024

func (t *versionTable) add(p *policy.Policy, o *serving.Origin) *version {
	t.mu.Lock()
	defer t.mu.Unlock()
	var v *version
	for _, known := range t.list {
		if l := &known.layout; l.Model == o.Model && l.Version == o.Version && l.Digest == o.Digest {
			v = known
			break
		}
	}
	if v == nil {
		v = newVersion(len(t.list), p, o)
		t.list = append(t.list, v)
	}
	next := map[uint64]*versionEntry{}
	if old := t.table.Load(); old != nil && len(*old) < mostOpened {
		maps.Copy(next, *old)
	}
	next[p.Serial()] = &versionEntry{p.Serial(), v}
	t.table.Store(&next)
	return v
}

// at returns the version of a record.
func (t *versionTable) at(index uint32) *version {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list[index]
}
