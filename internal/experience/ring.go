package experience

import (
	"sync/atomic"
	"unsafe"
)

// ring is the bounded way from requests to the writer: records of any size, in
// memory that is made once. Many goroutines put, one takes, nobody waits.
//
// A record begins with a word of 8 bytes, its size and its state, and is a
// multiple of 8 bytes long. Whoever puts one moves the tail on, fills the
// memory before it, and then sets the word. What is given back is zeroed, so
// that a word is 0 until its record is whole.
type ring struct {
	mem  []byte
	mask uint64

	_    [64]byte
	tail atomic.Uint64 // up to which memory was given out
	_    [56]byte
	head atomic.Uint64 // up to which memory was given back
	_    [56]byte
	next uint64 // the taker's: up to which records were taken
}

const (
	wordWhole   = 1
	wordPadding = 2
	wordSize    = 2 // the bits before the size

	// minRing is the smallest ring.
	minRing = 64 << 10
)

// newRing makes one of at least size bytes.
func newRing(size int) *ring {
	n := minRing
	for n < size {
		n *= 2
	}
	words := make([]uint64, n/8)
	return &ring{mem: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), n), mask: uint64(n - 1)}
}

// most is the size of the largest record: a ring has room for several.
func (r *ring) most() int { return len(r.mem) / 4 }

// used is how many bytes are given out.
func (r *ring) used() int { return int(r.tail.Load() - r.head.Load()) }

func (r *ring) word(pos uint64) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&r.mem[pos&r.mask]))
}

// reserve gives memory for a record of n bytes, a multiple of 8, its word among
// them. It reports false where there is none.
func (r *ring) reserve(n int) (record []byte, pos uint64, ok bool) {
	size := uint64(len(r.mem))
	for {
		tail := r.tail.Load()
		padding := uint64(0)
		if rest := size - tail&r.mask; rest < uint64(n) {
			padding = rest
		}
		end := tail + padding + uint64(n)
		if end-r.head.Load() > size {
			return nil, 0, false
		}
		if !r.tail.CompareAndSwap(tail, end) {
			continue
		}
		if padding > 0 {
			r.word(tail).Store(padding<<wordSize | wordWhole | wordPadding)
		}
		pos = tail + padding
		return r.mem[pos&r.mask:][:n:n], pos, true
	}
}

// commit makes a record whole.
func (r *ring) commit(pos uint64, n int) { r.word(pos).Store(uint64(n)<<wordSize | wordWhole) }

// take returns the next record, nil where it is not whole yet. It is valid
// until free.
func (r *ring) take() []byte {
	for {
		if r.next == r.tail.Load() {
			return nil
		}
		w := r.word(r.next).Load()
		if w&wordWhole == 0 {
			return nil
		}
		n := w >> wordSize
		at := r.next & r.mask
		r.next += n
		if w&wordPadding == 0 {
			return r.mem[at:][:n:n]
		}
	}
}

// free gives back all records that were taken.
func (r *ring) free() {
	head, size := r.head.Load(), uint64(len(r.mem))
	for head != r.next {
		at := head & r.mask
		n := min(r.next-head, size-at)
		clear(r.mem[at:][:n])
		head += n
	}
	r.head.Store(head)
}
