// Package torch reads what torch.save writes: the hardened zip archive, the
// storages in it as tensors, and the state dicts made of them, in the zip form
// and in the form before it.
//
// Bytes enter; pickled values with *graph.Tensor in them leave. Nothing is
// executed and nothing is unpacked to disk. Package torchscript reads its
// archives through OpenZip and Storages. The package imports pickle and graph
// and nothing else of this module.
package torch

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// FormatError says what is wrong with a file and where.
type FormatError = pickle.FormatError

// ErrLimit is the refusal of a file that goes beyond a maximum.
var ErrLimit = pickle.ErrLimit

// ErrNotZip is the refusal of bytes that are no zip archive.
var ErrNotZip = errors.New("not a zip archive")

// Limits are the maxima of one archive. A zero field means the default.
type Limits struct {
	MaxEntries  int // members
	MaxInflated int // bytes of all compressed members together, inflated
	MaxRatio    int // inflated to compressed size of a member beyond 64 KiB
}

// The default maxima. torch and stable-baselines3 store their tensors without
// compression: what is deflated is code of a few kilobytes.
const (
	DefaultMaxEntries  = 10_000
	DefaultMaxInflated = 48 << 20
	DefaultMaxRatio    = 100

	ratioFrom = 64 << 10 // smaller members may have any ratio
	maxName   = 1024
)

func (l Limits) withDefaults() Limits {
	if l.MaxEntries <= 0 {
		l.MaxEntries = DefaultMaxEntries
	}
	if l.MaxInflated <= 0 {
		l.MaxInflated = DefaultMaxInflated
	}
	if l.MaxRatio <= 0 {
		l.MaxRatio = DefaultMaxRatio
	}
	return l
}

// Zip is an archive whose directory was held against its bytes: every byte of
// the file belongs to exactly one member, one header or the directory, and
// both headers of a member say the same.
type Zip struct {
	data    []byte
	members []member
	byName  map[string]int
	prefix  string
}

// member is one entry of the archive.
type member struct {
	name             string
	method           uint16
	flags            uint16
	crc              uint32
	compressed, size uint64
	header, start    uint64 // offsets of the local header and of the data
	zip64            bool   // the sizes behind the data, where there are any, have 8 bytes
}

// Compression methods, and the flags that say nothing about how to read.
const (
	stored   = 0
	deflated = 8

	flagDescriptor = 1 << 3
	flagUTF8       = 1 << 11
	flagsKnown     = flagDescriptor | flagUTF8 | 1<<1 | 1<<2 // the last are deflate levels
)

// IsZip reports whether data begins as a zip archive does.
func IsZip(data []byte) bool {
	return len(data) >= 4 && (string(data[:4]) == sigLocal || string(data[:4]) == sigEnd)
}

// OpenZip checks the whole structure of an archive. Data is not copied and
// must not change.
func OpenZip(data []byte, l Limits) (*Zip, error) {
	r := zipReader{data: data, l: l.withDefaults()}
	z, err := r.open()
	if err != nil {
		return nil, &FormatError{Format: "zip", Offset: r.at, Path: r.path, Err: err}
	}
	return z, nil
}

// Names returns the names of the members in the order of the directory.
func (z *Zip) Names() []string {
	names := make([]string, len(z.members))
	for i := range z.members {
		names[i] = z.members[i].name
	}
	return names
}

// Prefix returns the folder in which all members lie, without the slash: the
// stem of a torch archive. It is empty where there is no such folder.
func (z *Zip) Prefix() string { return z.prefix }

// Has reports whether there is a member of that name.
func (z *Zip) Has(name string) bool {
	_, ok := z.byName[name]
	return ok
}

// Size returns the size of a member, 0 where there is none.
func (z *Zip) Size(name string) int {
	i, ok := z.byName[name]
	if !ok {
		return 0
	}
	return int(z.members[i].size)
}

// Read returns the contents of a member after comparing its checksum. The
// bytes may be those of the archive itself and must not be changed.
func (z *Zip) Read(name string) ([]byte, error) {
	i, ok := z.byName[name]
	if !ok {
		return nil, &FormatError{Format: "zip", Offset: -1, Path: name, Err: errors.New("no such member")}
	}
	m := &z.members[i]
	b, err := m.read(z.data)
	if err == nil && crc32.ChecksumIEEE(b) != m.crc {
		err = fmt.Errorf("checksum is %08x, the directory says %08x", crc32.ChecksumIEEE(b), m.crc)
	}
	if err != nil {
		return nil, &FormatError{Format: "zip", Offset: int64(m.start), Path: name, Err: err}
	}
	return b, nil
}

// Record returns a member by its name below the prefix.
func (z *Zip) Record(name string) ([]byte, error) { return z.Read(z.record(name)) }

// HasRecord reports whether there is a member of that name below the prefix.
func (z *Zip) HasRecord(name string) bool { return z.Has(z.record(name)) }

func (z *Zip) record(name string) string {
	if z.prefix == "" {
		return name
	}
	return z.prefix + "/" + name
}

func (m *member) read(data []byte) ([]byte, error) {
	raw := data[m.start : m.start+m.compressed : m.start+m.compressed]
	if m.method == stored {
		return raw, nil
	}
	// The size is no mere claim here: OpenZip bounded it by the bytes present.
	out := make([]byte, m.size)
	src := bytes.NewReader(raw)
	f := flate.NewReader(src)
	if _, err := io.ReadFull(f, out); err != nil {
		return nil, fmt.Errorf("inflate: %w", err)
	}
	var more [1]byte
	if n, err := f.Read(more[:]); n != 0 || err != io.EOF {
		return nil, fmt.Errorf("inflate: more than the %d bytes of the directory", m.size)
	}
	if src.Len() != 0 {
		return nil, fmt.Errorf("inflate: %d bytes after the end of the data", src.Len())
	}
	return out, nil
}
