// Package ceiling measures what one core of this machine can do at most:
// multiply-adds a second from registers, and bytes a second read from a working
// set of a given size. A kernel's distance from the hardware is its share of
// these, measured in the same run, because a shared machine changes its pace.
//
// The loops are assembly that does nothing else. Each has several forms, of
// which the fastest counts: which one that is differs between processors. The
// package imports none of ours.
package ceiling

import "unsafe"

// Loop is one form of a measurement. Run does its work once.
type Loop struct {
	Name string
	// Work is what one Run does: floating-point operations, a multiply-add
	// being two, or bytes.
	Work float64
	Run  func()
}

// fmaRounds makes a run of a few microseconds.
const fmaRounds = 2000

// FMA returns the loops of multiply-adds in float32 on independent registers;
// none where this machine has no assembly for it.
func FMA() []Loop {
	var all []Loop
	for _, f := range fmaForms() {
		all = append(all, Loop{f.name, float64(fmaRounds * f.operations), func() { f.run(fmaRounds) }})
	}
	return all
}

// fmaForm is a loop that does operations in each of its rounds.
type fmaForm struct {
	name       string
	operations int
	run        func(rounds int)
}

// readStep is what the reading loops take at once.
const readStep = 512

// Read returns the loops that read a working set of size bytes, rounded down to
// their step, again and again. There are none for a smaller set, or where this
// machine has no assembly for it.
func Read(size int) []Loop {
	var all []Loop
	for _, f := range readForms() {
		n := size - size%f.multiple
		if n == 0 {
			continue
		}
		buffer := aligned(n)
		// A set of a few kilobytes is read often enough that the call is no
		// part of the time.
		times := max(1, 64<<10/n)
		all = append(all, Loop{f.name, float64(n * times), func() {
			for range times {
				f.run(&buffer[0], n)
			}
		}})
	}
	return all
}

// readForm is a loop over memory whose size is a multiple of multiple.
type readForm struct {
	name     string
	multiple int
	run      func(p *byte, n int)
}

// aligned returns memory that begins at a page, written once so that each of
// its pages is one of its own.
func aligned(size int) []byte {
	const page = 4096
	b := make([]byte, size+page)
	off := 0
	if r := int(uintptr(unsafe.Pointer(&b[0])) % page); r != 0 {
		off = page - r
	}
	b = b[off : off+size]
	for i := range b {
		b[i] = 1
	}
	return b
}
