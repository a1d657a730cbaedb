package torch

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Signatures and fixed sizes of the structures of an archive (APPNOTE 6.3.10,
// section 4.3).
const (
	sigLocal      = "PK\x03\x04"
	sigCentral    = "PK\x01\x02"
	sigDescriptor = "PK\x07\x08"
	sigEnd        = "PK\x05\x06"
	sigEnd64      = "PK\x06\x06"
	sigLocator64  = "PK\x06\x07"

	// extraUnicodePath is the extra field with a name that some readers take
	// in place of the header's (APPNOTE 4.6.9).
	extraUnicodePath = 0x7075

	sizeLocal     = 30
	sizeCentral   = 46
	sizeEnd       = 22
	sizeEnd64     = 56
	sizeLocator64 = 20
)

// zipReader is the state of OpenZip. at and path say for an error where it is.
type zipReader struct {
	data []byte
	l    Limits
	at   int64
	path string
}

var le = binary.LittleEndian

func (r *zipReader) open() (*Zip, error) {
	n, dirAt, dirEnd, err := r.end()
	if err != nil {
		return nil, err
	}
	z := &Zip{data: r.data, byName: make(map[string]int, n)}
	all := make([]member, 0, n)
	inflated := uint64(0)
	at := dirAt
	for range n {
		m, next, err := r.central(at, dirEnd)
		if err != nil {
			return nil, err
		}
		if m.method == deflated {
			if inflated += m.size; m.size > uint64(r.l.MaxInflated) || inflated > uint64(r.l.MaxInflated) {
				return nil, fmt.Errorf("%w: compressed members inflate to more than %d bytes", ErrLimit, r.l.MaxInflated)
			}
		}
		all = append(all, m)
		at = next
	}
	r.path, r.at = "", int64(at)
	if at != dirEnd {
		return nil, fmt.Errorf("the directory has %d bytes more than its %d entries", dirEnd-at, n)
	}
	if err := r.tile(all, dirAt); err != nil {
		return nil, err
	}
	for _, m := range all {
		r.path, r.at = m.name, int64(m.header)
		if strings.HasSuffix(m.name, "/") {
			if m.size != 0 {
				return nil, errors.New("a folder with contents")
			}
			continue
		}
		if _, twice := z.byName[m.name]; twice {
			return nil, errors.New("two members of this name")
		}
		z.byName[m.name] = len(z.members)
		z.members = append(z.members, m)
	}
	z.prefix = commonFolder(z.members)
	return z, nil
}

// end reads the end of the archive: the number of entries, and where the
// directory begins and ends.
func (r *zipReader) end() (n, dirAt, dirEnd uint64, err error) {
	total := uint64(len(r.data))
	if total < sizeEnd || !IsZip(r.data) {
		return 0, 0, 0, ErrNotZip
	}
	endAt := total - sizeEnd
	r.at = int64(endAt)
	e := r.data[endAt:]
	if string(e[:4]) != sigEnd {
		return 0, 0, 0, errors.New("the archive is cut off or followed by other bytes: no end of directory in its last 22 bytes")
	}
	if le.Uint16(e[20:]) != 0 {
		return 0, 0, 0, errors.New("the end of directory announces a comment that is not there")
	}
	if le.Uint16(e[4:]) != 0 || le.Uint16(e[6:]) != 0 {
		return 0, 0, 0, errors.New("an archive of several disks")
	}
	here, n, size, dirAt := uint64(le.Uint16(e[8:])), uint64(le.Uint16(e[10:])), uint64(le.Uint32(e[12:])), uint64(le.Uint32(e[16:]))
	dirEnd = endAt
	if endAt >= sizeLocator64 && string(r.data[endAt-sizeLocator64:][:4]) == sigLocator64 {
		if here, n, size, dirAt, dirEnd, err = r.end64(endAt-sizeLocator64, here, n, size, dirAt); err != nil {
			return 0, 0, 0, err
		}
	}
	switch {
	case here != n:
		return 0, 0, 0, errors.New("an archive of several disks")
	case dirAt > dirEnd || size != dirEnd-dirAt:
		return 0, 0, 0, fmt.Errorf("the directory of %d bytes at 0x%x does not end where the archive does", size, dirAt)
	case n > uint64(r.l.MaxEntries) || n > size/sizeCentral:
		return 0, 0, 0, fmt.Errorf("%w: %d members, at most %d", ErrLimit, n, min(uint64(r.l.MaxEntries), size/sizeCentral))
	}
	return n, dirAt, dirEnd, nil
}

// end64 reads the end of a directory in its 64-bit form, and holds the fields
// of the 32-bit form that are not given away against it.
func (r *zipReader) end64(locatorAt, here, n, size, dirAt uint64) (here64, n64, size64, dirAt64, dirEnd uint64, err error) {
	l := r.data[locatorAt:]
	at := le.Uint64(l[8:])
	if le.Uint32(l[4:]) != 0 || le.Uint32(l[16:]) > 1 {
		return 0, 0, 0, 0, 0, errors.New("an archive of several disks")
	}
	if locatorAt < sizeEnd64 || at != locatorAt-sizeEnd64 || string(r.data[at:][:4]) != sigEnd64 {
		return 0, 0, 0, 0, 0, errors.New("no 64-bit end of directory where it is announced")
	}
	r.at = int64(at)
	e := r.data[at:]
	if le.Uint64(e[4:]) != sizeEnd64-12 || le.Uint32(e[16:]) != 0 || le.Uint32(e[20:]) != 0 {
		return 0, 0, 0, 0, 0, errors.New("a 64-bit end of directory with extensions")
	}
	here64, n64, size64, dirAt64 = le.Uint64(e[24:]), le.Uint64(e[32:]), le.Uint64(e[40:]), le.Uint64(e[48:])
	agree := func(short, wide, given uint64) bool { return short == wide || short == given }
	if !agree(here, here64, 0xffff) || !agree(n, n64, 0xffff) || !agree(size, size64, 0xffffffff) || !agree(dirAt, dirAt64, 0xffffffff) {
		return 0, 0, 0, 0, 0, errors.New("the two ends of the directory differ")
	}
	return here64, n64, size64, dirAt64, at, nil
}

// central reads one entry of the directory and returns where the next begins.
func (r *zipReader) central(at, end uint64) (m member, next uint64, err error) {
	r.at, r.path = int64(at), ""
	if end-at < sizeCentral || string(r.data[at:][:4]) != sigCentral {
		return m, 0, errors.New("no directory entry where one is announced")
	}
	h := r.data[at:end]
	m = member{
		flags:      le.Uint16(h[8:]),
		method:     le.Uint16(h[10:]),
		crc:        le.Uint32(h[16:]),
		compressed: uint64(le.Uint32(h[20:])),
		size:       uint64(le.Uint32(h[24:])),
		header:     uint64(le.Uint32(h[42:])),
	}
	nameLen, extraLen, commentLen := uint64(le.Uint16(h[28:])), uint64(le.Uint16(h[30:])), uint64(le.Uint16(h[32:]))
	if uint64(len(h)) < sizeCentral+nameLen+extraLen+commentLen {
		return m, 0, errors.New("a directory entry runs out of the directory")
	}
	if m.name, err = memberName(h[sizeCentral:sizeCentral+nameLen], m.flags); err != nil {
		return m, 0, err
	}
	r.path = m.name
	extra := h[sizeCentral+nameLen : sizeCentral+nameLen+extraLen]
	if m.zip64, err = wide(extra, &m.size, &m.compressed, &m.header); err != nil {
		return m, 0, err
	}
	switch {
	case m.flags&^flagsKnown != 0:
		if m.flags&(1|1<<6|1<<13) != 0 {
			return m, 0, errors.New("the member is encrypted")
		}
		return m, 0, fmt.Errorf("unknown flags %#x", m.flags&^flagsKnown)
	case m.method != stored && m.method != deflated:
		return m, 0, fmt.Errorf("compression method %d, only stored and deflated are read", m.method)
	case m.method == stored && m.compressed != m.size:
		return m, 0, fmt.Errorf("a stored member of %d bytes has size %d", m.compressed, m.size)
	case m.size > ratioFrom && m.size/uint64(r.l.MaxRatio) > m.compressed:
		return m, 0, fmt.Errorf("%w: %d bytes inflate to %d, more than %d to one", ErrLimit, m.compressed, m.size, r.l.MaxRatio)
	case le.Uint16(h[34:]) != 0:
		return m, 0, errors.New("an archive of several disks")
	}
	return m, at + sizeCentral + nameLen + extraLen + commentLen, nil
}

// wide takes from the zip64 extra field the values that do not fit in their 32
// bits. It reports whether there is such a field.
func wide(extra []byte, values ...*uint64) (found bool, err error) {
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return false, errors.New("an extra field runs out of its header")
		}
		field := extra[4 : 4+n]
		extra = extra[4+n:]
		if id == extraUnicodePath {
			return false, errors.New("an extra field gives the member another name")
		}
		if id != 1 {
			continue
		}
		if found {
			return false, errors.New("two zip64 fields")
		}
		found = true
		for _, v := range values {
			if *v != 0xffffffff {
				continue
			}
			if len(field) < 8 {
				return false, errors.New("a zip64 field is too short")
			}
			*v = le.Uint64(field)
			field = field[8:]
		}
	}
	return found, nil
}

// memberName refuses names that a careless reader could take for a path out of
// the archive, and those whose letters depend on the reader: without the flag
// for UTF-8, they are of a code page.
func memberName(b []byte, flags uint16) (string, error) {
	if len(b) == 0 || len(b) > maxName || !utf8.Valid(b) {
		return "", fmt.Errorf("a member name of %d bytes that is no UTF-8 text of 1 to %d", len(b), maxName)
	}
	name := string(b)
	if strings.ContainsAny(name, "\\\x00") {
		return "", fmt.Errorf("member name %q has a character that no archive needs", name)
	}
	if flags&flagUTF8 == 0 && strings.ContainsFunc(name, func(c rune) bool { return c >= utf8.RuneSelf }) {
		return "", fmt.Errorf("member name %q is not marked as UTF-8", name)
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("member name %q is a path out of the archive", name)
		}
	}
	return name, nil
}

// tile checks that the members follow each other without a gap or an overlap
// from the first byte to the directory, and that each one's own header agrees
// with the directory.
func (r *zipReader) tile(all []member, dirAt uint64) error {
	order := make([]*member, len(all))
	for i := range all {
		order[i] = &all[i]
	}
	slices.SortStableFunc(order, func(a, b *member) int { return cmp.Compare(a.header, b.header) })
	at := uint64(0)
	for i, m := range order {
		r.at, r.path = int64(m.header), m.name
		if m.header != at {
			return fmt.Errorf("the member begins at 0x%x and the one before it ends at 0x%x", m.header, at)
		}
		next := dirAt
		if i+1 < len(order) {
			next = order[i+1].header
		}
		if next > dirAt || next < at {
			return errors.New("the member runs into the directory")
		}
		if err := m.local(r.data[at:next], at); err != nil {
			return err
		}
		at = next
	}
	if at != dirAt {
		r.at, r.path = int64(at), ""
		return errors.New("bytes before the directory that belong to no member")
	}
	return nil
}

// local holds the member's own header, and the sizes behind its data where it
// has them there, against the directory. b is what lies between this member
// and the next.
func (m *member) local(b []byte, at uint64) error {
	if len(b) < sizeLocal || string(b[:4]) != sigLocal {
		return errors.New("no header where the directory says one is")
	}
	nameLen, extraLen := uint64(le.Uint16(b[26:])), uint64(le.Uint16(b[28:]))
	body := sizeLocal + nameLen + extraLen
	if uint64(len(b)) < body {
		return errors.New("the header runs into the next member")
	}
	crc, compressed, size := le.Uint32(b[14:]), uint64(le.Uint32(b[18:])), uint64(le.Uint32(b[22:]))
	z64, err := wide(b[sizeLocal+nameLen:body], &size, &compressed)
	if err != nil {
		return err
	}
	if string(b[sizeLocal:sizeLocal+nameLen]) != m.name || le.Uint16(b[6:]) != m.flags || le.Uint16(b[8:]) != m.method {
		return errors.New("the member's own header differs from the directory")
	}
	given := crc == m.crc && compressed == m.compressed && size == m.size
	later := m.flags&flagDescriptor != 0 && crc == 0 && compressed == 0 && size == 0
	if !given && !later {
		return errors.New("sizes or checksum in the member's own header differ from the directory")
	}
	if uint64(len(b))-body < m.compressed {
		return errors.New("the member runs into the next one")
	}
	m.start = at + body
	rest := b[body+m.compressed:]
	if m.flags&flagDescriptor == 0 {
		if len(rest) != 0 {
			return fmt.Errorf("%d bytes behind the member that belong to none", len(rest))
		}
		return nil
	}
	return m.descriptor(rest, z64 || m.zip64)
}

// descriptor checks the checksum and sizes that follow the data.
func (m *member) descriptor(b []byte, z64 bool) error {
	if len(b) == 16 || len(b) == 24 {
		if string(b[:4]) != sigDescriptor {
			return errors.New("no signature before the sizes behind the member")
		}
		b = b[4:]
	}
	ok := false
	switch len(b) {
	case 12:
		ok = le.Uint32(b) == m.crc && uint64(le.Uint32(b[4:])) == m.compressed && uint64(le.Uint32(b[8:])) == m.size
	case 20:
		ok = z64 && le.Uint32(b) == m.crc && le.Uint64(b[4:]) == m.compressed && le.Uint64(b[12:]) == m.size
	}
	if !ok {
		return errors.New("the sizes behind the member differ from the directory")
	}
	return nil
}

// commonFolder returns the first part of the names where all share it.
func commonFolder(members []member) string {
	folder := ""
	for i := range members {
		first, _, ok := strings.Cut(members[i].name, "/")
		if !ok || (i > 0 && first != folder) {
			return ""
		}
		folder = first
	}
	return folder
}
