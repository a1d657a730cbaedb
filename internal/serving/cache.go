package serving

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// cache keeps answers that depend on the observation alone, and gives them to
// requests with the same one. What is compared is the whole of it, bit for bit,
// with the policy's number, the form and the masks: the hash only says where to
// look. Two observations of one hash are not kept beside each other, so that
// nobody can make a look-up long.
type cache struct {
	seed   uint64
	shards []shard
	uses   [cacheUses]atomic.Pointer[cacheUse]

	hits, misses, bypassed, evicted atomic.Uint64
}

const (
	cacheShards = 16
	// maxCacheKey is the number of values of an observation, all rows together,
	// beyond which it is not looked up: an image never comes twice.
	maxCacheKey = 1 << 14
	// cacheUses is for how many policies at a time it is known whether a look-up
	// pays; others learn it anew.
	cacheUses = 64
)

// shard is a part of the cache. Its entries are in the order in which they were
// last asked for.
type shard struct {
	maxEntries int
	maxBytes   int64

	mu         sync.Mutex // guards what follows
	entries    map[uint64]*cacheEntry
	head, tail *cacheEntry // asked for last, and longest ago
	bytes      int64
}

type cacheEntry struct {
	hash   uint64
	serial uint64 // of the policy
	form   cacheForm
	rows   int
	key    []float32 // inputs, then masks
	answer []float32 // actions, then extras

	prev, next *cacheEntry
}

// cacheForm is which form of the policy answered.
type cacheForm uint8

const (
	cacheDeterministic cacheForm = 1 << iota
	cacheMasked
	cacheExtras
)

// kept is what a request remembers between its look-up and its answer.
type kept struct {
	asked time.Time // when the look-up was over
	hash  uint64
	use   *cacheUse // nil where the answer is not to be kept
}

func newCache(entries int, bytes int64) *cache {
	if entries <= 0 || bytes <= 0 {
		return nil
	}
	n := min(cacheShards, entries)
	c := &cache{seed: maphash.Comparable(maphash.MakeSeed(), 0), shards: make([]shard, n)}
	for i := range c.shards {
		c.shards[i] = shard{maxEntries: entries / n, maxBytes: bytes / int64(n), entries: map[uint64]*cacheEntry{}}
	}
	return c
}

// cacheable tells whether the answer depends on the observation alone.
func cacheable(p *policy.Policy, req *Request) bool {
	c := p.Contract()
	if len(c.State) > 0 || req.Histories != nil || c.NeedsHistory() || len(req.Inputs) != len(c.Inputs) || p.Draws(req.Deterministic, req.Masks != nil) {
		return false
	}
	return req.Rows*rowFloats(c) <= maxCacheKey && req.fits(c)
}

// answer looks a request up that arrived at a time, and reports whether it has
// been answered.
func (c *cache) answer(p *policy.Policy, req *Request, start time.Time) bool {
	req.kept.asked, req.kept.use = start, nil
	u := c.use(p.Serial())
	if u.skips() {
		c.bypassed.Add(1)
		return false
	}
	if !cacheable(p, req) {
		return false
	}
	hash := c.hash(p, req)
	found := c.shard(hash).get(p, req, hash)
	now := time.Now()
	took := now.Sub(start)
	if !found {
		c.misses.Add(1)
		u.missed(took)
		req.kept = kept{asked: now, hash: hash, use: u}
		return false
	}
	c.hits.Add(1)
	u.hit(p.Pace().Expect(req.Rows), took)
	req.wait.waited, req.call.First = false, false
	req.Infer = took
	return true
}

// keep keeps the answer of a request that was looked up and not found.
func (c *cache) keep(p *policy.Policy, req *Request) {
	u := req.kept.use
	if u == nil {
		return
	}
	req.kept.use = nil
	if len(req.Interventions) > 0 { // They would have to be kept as well.
		return
	}
	began := time.Now()
	c.evicted.Add(c.shard(req.kept.hash).put(p, req, req.kept.hash))
	u.missed(time.Since(began))
}

func (c *cache) shard(hash uint64) *shard { return &c.shards[hash%uint64(len(c.shards))] }

func formOf(req *Request) (f cacheForm) {
	if req.Deterministic {
		f |= cacheDeterministic
	}
	if req.Masks != nil {
		f |= cacheMasked
	}
	if req.WantExtras {
		f |= cacheExtras
	}
	return f
}

// hash mixes all that is compared, by multiplications of 64 bits to 128 whose
// halves are folded.
func (c *cache) hash(p *policy.Policy, req *Request) uint64 {
	h := mix(c.seed^p.Serial(), uint64(formOf(req))<<32|uint64(req.Rows))
	contract := p.Contract()
	for i, x := range req.Inputs {
		h = hashFloats(h, x[:req.Rows*contract.Inputs[i].Width])
	}
	if req.Masks != nil {
		h = hashFloats(h, req.Masks[:req.Rows*contract.Masks])
	}
	return h
}

func hashFloats(h uint64, x []float32) uint64 {
	for len(x) >= 2 {
		h = mix(h, uint64(math.Float32bits(x[0]))|uint64(math.Float32bits(x[1]))<<32)
		x = x[2:]
	}
	if len(x) > 0 {
		h = mix(h, uint64(math.Float32bits(x[0]))|1<<63)
	}
	return h
}

func mix(h, x uint64) uint64 {
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, x^0xd6e8feb86659fd93)
	return hi ^ lo
}

// get gives a request the answer that is kept for it.
func (s *shard) get(p *policy.Policy, req *Request, hash uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[hash]
	if e == nil || !e.is(p, req) {
		return false
	}
	s.unlink(e)
	s.link(e)
	c := p.Contract()
	n := req.Rows * c.ActionWidth()
	req.Actions = append(req.Actions[:0], e.answer[:n]...)
	req.Extras, req.Interventions = req.Extras[:0], req.Interventions[:0]
	if req.WantExtras {
		req.wantExtras(c)
		rest := e.answer[n:]
		for i := range req.Extras {
			rest = rest[copy(req.Extras[i], rest):]
		}
	}
	return true
}

// is tells whether the entry is the answer to a request.
func (e *cacheEntry) is(p *policy.Policy, req *Request) bool {
	if e.serial != p.Serial() || e.form != formOf(req) || e.rows != req.Rows {
		return false
	}
	c, key := p.Contract(), e.key
	for i, x := range req.Inputs {
		n := req.Rows * c.Inputs[i].Width
		if !sameBits(key[:n], x[:n]) {
			return false
		}
		key = key[n:]
	}
	return req.Masks == nil || sameBits(key, req.Masks[:len(key)])
}

func sameBits(a, b []float32) bool {
	for i, v := range a {
		if math.Float32bits(v) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

// put keeps the answer of a request, and returns how many others it gave up for
// it. The memory of the last of those is used again.
func (s *shard) put(p *policy.Policy, req *Request, hash uint64) (evicted uint64) {
	c := p.Contract()
	size := int64(req.Rows*(rowFloats(c)+c.ActionWidth()))*4 + cacheEntryBytes
	if req.WantExtras {
		for i := range c.Extras {
			size += int64(req.Rows*c.Extras[i].Width) * 4
		}
	}
	if size > s.maxBytes {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[hash]
	if e != nil { // Of another observation, or of a request beside this one.
		s.remove(e)
	}
	for len(s.entries) >= s.maxEntries || s.bytes+size > s.maxBytes {
		e = s.tail
		s.remove(e)
		evicted++
	}
	if e == nil {
		e = &cacheEntry{}
	}
	e.hash, e.serial, e.form, e.rows = hash, p.Serial(), formOf(req), req.Rows
	e.key, e.answer = roomFor(e.key, req.Rows*rowFloats(c)), roomFor(e.answer, int(size-cacheEntryBytes)/4-req.Rows*rowFloats(c))
	for i, x := range req.Inputs {
		e.key = append(e.key, x[:req.Rows*c.Inputs[i].Width]...)
	}
	if req.Masks != nil {
		e.key = append(e.key, req.Masks[:req.Rows*c.Masks]...)
	}
	e.answer = append(e.answer, req.Actions...)
	if req.WantExtras {
		for _, x := range req.Extras {
			e.answer = append(e.answer, x...)
		}
	}
	s.entries[hash] = e
	s.bytes += e.bytes()
	s.link(e)
	for s.bytes > s.maxBytes && s.tail != e { // The memory that it took over was larger.
		s.remove(s.tail)
		evicted++
	}
	return evicted
}

// roomFor returns x without a length, or other memory where x has less room
// than n values or far more.
func roomFor(x []float32, n int) []float32 {
	if cap(x) < n || cap(x) > 2*n {
		return make([]float32, 0, n)
	}
	return x[:0]
}

// cacheEntryBytes is what an entry takes beside its numbers.
const cacheEntryBytes = 160

func (e *cacheEntry) bytes() int64 { return int64(cap(e.key)+cap(e.answer))*4 + cacheEntryBytes }

func (s *shard) remove(e *cacheEntry) {
	delete(s.entries, e.hash)
	s.bytes -= e.bytes()
	s.unlink(e)
}

// link makes e the one that was asked for last.
func (s *shard) link(e *cacheEntry) {
	e.prev, e.next = nil, s.head
	if s.head != nil {
		s.head.prev = e
	} else {
		s.tail = e
	}
	s.head = e
}

func (s *shard) unlink(e *cacheEntry) {
	if e.prev == nil {
		s.head = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		s.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

func (c *cache) count(st *Stats) {
	st.Hits, st.Misses, st.Bypassed, st.Evicted = c.hits.Load(), c.misses.Load(), c.bypassed.Load(), c.evicted.Load()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Kept += len(s.entries)
		st.KeptBytes += s.bytes
		s.mu.Unlock()
	}
}
