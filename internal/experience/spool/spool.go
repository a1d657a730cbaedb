// Package spool is a bounded queue of records on disk, for what cannot be
// delivered now: what was put into it outlives the process and comes out in
// order.
//
// What enters and leaves are bytes, of which the package knows nothing. A record
// is delivered at least once: after a restart, those of a file that was not yet
// delivered as a whole come again, so that whoever takes them must know what it
// has. The package imports nothing of this module.
package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of a Queue.
var (
	// ErrFull says that the record has no room. It is not in the queue.
	ErrFull = errors.New("the spool is full")
	// ErrLocked says that another process has the folder.
	ErrLocked = errors.New("another process uses the spool")
	// ErrClosed says that the queue was closed.
	ErrClosed = errors.New("the spool is closed")
)

// Options of a Queue.
type Options struct {
	// Dir is the folder, which is made where it is not there. Nothing else may
	// be in it.
	Dir string
	// MaxBytes bounds what the files have together; 0 is 256 MiB.
	MaxBytes int64
	// Sync makes what was written to a file durable; nil is (*os.File).Sync.
	Sync func(*os.File) error
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// DefaultMaxBytes is what a MaxBytes of 0 stands for.
const DefaultMaxBytes = 256 << 20

// minSegment is the size at which a file is ended, unless MaxBytes asks for
// smaller ones: space comes back a file at a time.
const (
	segmentShare = 16
	minSegment   = 64 << 10
	maxSegment   = 8 << 20
)

// Record is one record of the queue.
type Record struct {
	Data  []byte
	Count int       // as given to Put
	Time  time.Time // when it was put
}

// Stats tells what is in the queue.
type Stats struct {
	Bytes   int64 // of all files, with what was delivered of the oldest one
	Records int64
	Count   int64     // the sum of the records' counts
	Oldest  time.Time // when the oldest record was put; zero where there is none
	Damaged int64     // records that did not pass their checksum when they were read, since Open
}

// Queue is a spool. It is safe for use by several goroutines, of which one at a
// time may take records out.
type Queue struct {
	o       Options
	segment int64 // size at which a file ends
	lock    *os.File

	mu       sync.Mutex // guards what follows
	segments []*segment // oldest first; the last one may be open for writing
	out      *os.File   // of the last segment, nil where none is open
	next     uint64     // number of the next segment
	closed   bool

	bytes, records, count, damaged atomic.Int64
	oldest                         atomic.Int64 // Unix nanoseconds; 0 where there is none
}

// segment is one file.
type segment struct {
	number  uint64
	size    int64 // of what is whole
	read    int64 // up to here records were delivered
	records int   // that were not
}

const (
	extension = ".spool"
	lockName  = "lock"
)

func (q *Queue) path(n uint64) string {
	return filepath.Join(q.o.Dir, fmt.Sprintf("%016x%s", n, extension))
}

// Open opens the queue in a folder and finds what is in it. What a process left
// half written when it was killed is cut off: nobody was told that it is there.
// The error is ErrLocked, wrapped, where another process has the folder.
func Open(o Options) (*Queue, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Sync == nil {
		o.Sync = (*os.File).Sync
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	q := &Queue{o: o, segment: min(maxSegment, max(minSegment, o.MaxBytes/segmentShare))}
	var err error
	if q.lock, err = lockFile(filepath.Join(o.Dir, lockName)); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Dir, err)
	}
	if err := q.find(); err != nil {
		return nil, errors.Join(err, q.lock.Close())
	}
	return q, nil
}

// find reads the folder.
func (q *Queue) find() error {
	entries, err := os.ReadDir(q.o.Dir)
	if err != nil {
		return err
	}
	var numbers []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), extension)
		if n, err := strconv.ParseUint(name, 16, 64); ok && err == nil && e.Type().IsRegular() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		s := &segment{number: n}
		q.next = n + 1
		if err := q.scan(s, i == len(numbers)-1); err != nil {
			return err
		}
		if s.records == 0 {
			if err := os.Remove(q.path(n)); err != nil {
				return err
			}
			continue
		}
		q.segments = append(q.segments, s)
		q.bytes.Add(s.size)
	}
	return q.age()
}

// scan goes through a file and counts what is whole. last tells that the file
// is the newest one, whose end may have been cut off by a kill.
func (q *Queue) scan(s *segment, last bool) error {
	r, err := openReader(q.path(s.number), 0)
	if err != nil {
		return err
	}
	defer r.close()
	for {
		h, _, err := r.next()
		if err != nil {
			return err
		}
		q.damaged.Add(int64(r.skipped))
		if h == nil {
			break
		}
		s.records++
		q.records.Add(1)
		q.count.Add(int64(h.count))
	}
	s.size = r.at
	if rest := r.size - r.at; rest > 0 {
		if !last {
			q.damaged.Add(1)
		}
		return os.Truncate(q.path(s.number), s.size)
	}
	return nil
}

// Put adds a record, which is durable when Put returns. count is what Stats adds
// up. A record whose Put failed otherwise than with ErrFull is not counted, and
// is gone unless the disk that failed brings it back.
func (q *Queue) Put(data []byte, count int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := int64(headerSize + len(data))
	switch {
	case q.closed:
		return ErrClosed
	case len(data) > maxRecord:
		return fmt.Errorf("%w: a record of %d bytes, of at most %d", ErrFull, len(data), maxRecord)
	case q.bytes.Load()+size > q.o.MaxBytes:
		return fmt.Errorf("%w: it has %d bytes of %d, and the record has %d", ErrFull, q.bytes.Load(), q.o.MaxBytes, size)
	}
	if q.out != nil && q.last().size+size > q.segment {
		if err := q.seal(); err != nil {
			return err
		}
	}
	if q.out == nil {
		if err := q.begin(); err != nil {
			return err
		}
	}
	s := q.last()
	now := q.o.Now()
	err := writeRecord(q.out, data, count, now)
	if err == nil {
		err = q.o.Sync(q.out)
	}
	if err != nil {
		// A file that could not be written or synced is written no more: what
		// the disk has of it is not known. What was synced before stays.
		_ = q.out.Truncate(s.size)
		return errors.Join(err, q.seal())
	}
	s.size += size
	s.records++
	q.bytes.Add(size)
	q.records.Add(1)
	q.count.Add(int64(count))
	q.oldest.CompareAndSwap(0, now.UnixNano())
	return nil
}

func (q *Queue) last() *segment { return q.segments[len(q.segments)-1] }

// begin begins a file.
func (q *Queue) begin() error {
	f, err := os.OpenFile(q.path(q.next), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		q.next++ // one that could not be made durable in its folder
	}
	if err != nil {
		return err
	}
	if err := syncDir(q.o.Dir); err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	q.out = f
	q.segments = append(q.segments, &segment{number: q.next})
	q.next++
	return nil
}

// seal ends the file that is written.
func (q *Queue) seal() error {
	if q.out == nil {
		return nil
	}
	err := q.out.Close()
	q.out = nil
	if s := q.last(); s.records == 0 {
		return errors.Join(err, q.remove(len(q.segments)-1))
	}
	return err
}

// remove takes the file of a segment away.
func (q *Queue) remove(i int) error {
	s := q.segments[i]
	q.bytes.Add(-s.size)
	q.segments = slices.Delete(q.segments, i, i+1)
	return os.Remove(q.path(s.number))
}

// Peek returns the oldest records: at least one where there is any, and as many
// more of the oldest file as have up to maxBytes together.
func (q *Queue) Peek(maxBytes int) ([]Record, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, ErrClosed
	}
	for len(q.segments) > 0 {
		list, err := q.peek(q.segments[0], maxBytes)
		if err != nil || len(list) > 0 {
			return list, err
		}
		// It was damaged since it was found.
		lost := q.segments[0].records
		q.records.Add(-int64(lost))
		q.damaged.Add(int64(lost))
		if err := q.discard(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (q *Queue) peek(s *segment, maxBytes int) (list []Record, err error) {
	r, err := openReader(q.path(s.number), s.read)
	if err != nil {
		return nil, err
	}
	defer r.close()
	for total := 0; len(list) < s.records; {
		h, data, err := r.next()
		if err != nil {
			return nil, err
		}
		if h == nil {
			break
		}
		if total += len(data); total > maxBytes && len(list) > 0 {
			break
		}
		list = append(list, Record{Data: data, Count: h.count, Time: h.time})
	}
	return list, nil
}

// discard takes the oldest file away, whatever is in it.
func (q *Queue) discard() error {
	if len(q.segments) == 1 && q.out != nil {
		err := q.out.Close()
		if q.out = nil; err != nil {
			return err
		}
	}
	return q.remove(0)
}

// Drop takes the n oldest records out, which Peek returned. A file whose last
// record is taken out goes.
func (q *Queue) Drop(n int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	for n > 0 && len(q.segments) > 0 {
		s := q.segments[0]
		took, err := q.skip(s, n)
		if err != nil {
			return err
		}
		n -= took
		if s.records == 0 {
			if err := q.discard(); err != nil {
				return err
			}
		} else if took == 0 {
			return fmt.Errorf("%s: fewer records than were counted", filepath.Base(q.path(s.number)))
		}
	}
	return q.age()
}

// skip moves on past up to n records of a segment.
func (q *Queue) skip(s *segment, n int) (took int, err error) {
	r, err := openReader(q.path(s.number), s.read)
	if err != nil {
		return 0, err
	}
	defer r.close()
	for took < n && s.records > 0 {
		h, _, err := r.next()
		if err != nil || h == nil {
			return took, err
		}
		took++
		s.read = r.at
		s.records--
		q.records.Add(-1)
		q.count.Add(-int64(h.count))
	}
	return took, nil
}

// age finds when the oldest record was put.
func (q *Queue) age() error {
	if len(q.segments) == 0 {
		q.oldest.Store(0)
		return nil
	}
	s := q.segments[0]
	r, err := openReader(q.path(s.number), s.read)
	if err != nil {
		return err
	}
	defer r.close()
	h, _, err := r.next()
	if h != nil {
		q.oldest.Store(h.time.UnixNano())
	}
	return err
}

// Stats tells what is in the queue. It waits for nothing.
func (q *Queue) Stats() Stats {
	s := Stats{Bytes: q.bytes.Load(), Records: q.records.Load(), Count: q.count.Load(), Damaged: q.damaged.Load()}
	if ns := q.oldest.Load(); ns != 0 && s.Records > 0 {
		s.Oldest = time.Unix(0, ns)
	}
	return s
}

// Close ends the use of the queue, whose records stay.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	err := q.seal()
	q.closed = true
	return errors.Join(err, q.lock.Close())
}
