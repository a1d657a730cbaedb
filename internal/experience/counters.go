package experience

import (
	"sync/atomic"
	"unsafe"
)

// counters is what a run has taken and lost. A store may keep them where they
// outlive the process, so that the next one knows what it did not write.
type counters struct {
	magic  [8]byte
	run    [64]byte // its name, and zeros behind it
	failed atomic.Uint64
	_      [48]byte
	taken  atomic.Uint64 // steps that were put into the buffer
	_      [56]byte
	lost   [lostKinds]atomic.Uint64
}

// The kinds of loss that a recorder counts.
const (
	lostFull = iota
	lostTooLong
	lostFailed
	lostKinds
)

var lostNames = [lostKinds]string{LostFull, LostTooLong, LostFailed}

var countersMagic = [8]byte{'c', 'R', 'L', 'r', 'u', 'n', '1', '\n'}

const countersSize = int(unsafe.Sizeof(counters{}))

// begin makes them those of a run.
func (c *counters) begin(run string) {
	c.magic = [8]byte{}
	clear(c.run[:])
	copy(c.run[:], run)
	c.failed.Store(0)
	c.taken.Store(0)
	for i := range c.lost {
		c.lost[i].Store(0)
	}
	c.magic = countersMagic
}

// name is the run's.
func (c *counters) name() string {
	n := 0
	for n < len(c.run) && c.run[n] != 0 {
		n++
	}
	return string(c.run[:n])
}

// total is how many steps the run had.
func (c *counters) total() uint64 {
	n := c.taken.Load()
	for i := range c.lost {
		n += c.lost[i].Load()
	}
	return n
}
