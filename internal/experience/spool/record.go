package spool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"time"
)

// A record on disk is, the least significant byte first:
//
//	 0  4 bytes  length of the data
//	 4  4 bytes  count
//	 8  8 bytes  time, Unix nanoseconds
//	16  4 bytes  CRC-32C of the 16 bytes before and of the data
//	20           the data
const headerSize = 20

// maxRecord bounds the data of a record.
const maxRecord = 64 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type header struct {
	length, count int
	time          time.Time
	sum           uint32
}

// writeRecord writes a record in one call.
func writeRecord(w io.Writer, data []byte, count int, now time.Time) error {
	b := make([]byte, headerSize, headerSize+len(data))
	binary.LittleEndian.PutUint32(b[0:], uint32(len(data)))
	binary.LittleEndian.PutUint32(b[4:], uint32(min(max(count, 0), math.MaxInt32)))
	binary.LittleEndian.PutUint64(b[8:], uint64(now.UnixNano()))
	binary.LittleEndian.PutUint32(b[16:], crc32.Update(crc32.Checksum(b[:16], castagnoli), castagnoli, data))
	_, err := w.Write(append(b, data...))
	return err
}

// reader reads the records of one file. It passes over a record that is damaged
// where the one behind it is found by the length that it has.
type reader struct {
	f       *os.File
	buf     *bufio.Reader
	at      int64 // behind the last record that was returned
	size    int64
	skipped int // damaged records before the one that was returned last
}

func openReader(name string, at int64) (*reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.Seek(at, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &reader{f: f, buf: bufio.NewReaderSize(f, 64<<10), at: at, size: info.Size()}, nil
}

func (r *reader) close() { _ = r.f.Close() }

// next returns a record, or nil where no whole one follows.
func (r *reader) next() (*header, []byte, error) {
	r.skipped = 0
	at := r.at
	for {
		h, data, err := r.one(at)
		if err != nil || h == nil {
			return nil, nil, err
		}
		at += int64(headerSize + h.length)
		if data != nil {
			r.at = at
			return h, data, nil
		}
		r.skipped++
	}
}

// one reads the record at an offset, with nil for data that do not pass their
// checksum.
func (r *reader) one(at int64) (*header, []byte, error) {
	var b [headerSize]byte
	if at+headerSize > r.size {
		return nil, nil, nil
	}
	if _, err := io.ReadFull(r.buf, b[:]); err != nil {
		return nil, nil, cut(err)
	}
	h := &header{
		length: int(binary.LittleEndian.Uint32(b[0:])),
		count:  int(binary.LittleEndian.Uint32(b[4:]) & math.MaxInt32),
		time:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))),
		sum:    binary.LittleEndian.Uint32(b[16:]),
	}
	if h.length > maxRecord || at+int64(headerSize+h.length) > r.size {
		return nil, nil, nil
	}
	data := make([]byte, h.length)
	if _, err := io.ReadFull(r.buf, data); err != nil {
		return nil, nil, cut(err)
	}
	if crc32.Update(crc32.Checksum(b[:16], castagnoli), castagnoli, data) != h.sum {
		return h, nil, nil
	}
	return h, data, nil
}

// cut is the error of a read that found the end of the file: none.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
