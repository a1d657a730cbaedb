// Package safetensors reads the safetensors format: a JSON header of names,
// types, shapes and byte ranges, and the bytes of the tensors.
//
// Bytes enter; the tensors leave in the order of their bytes, as a
// torch.StateDict. The checks are those of the format's own reader: no holes,
// no overlaps, no name twice, sizes multiplied with overflow checks, and
// nothing allocated for a length that is only claimed. The package imports
// torch, pickle and graph and nothing else of this module.
package safetensors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The maxima of a file. The reference reader takes a header of 100 MB; ten
// thousand tensors take less than 2 MiB.
const (
	maxHeaderBytes = 16 << 20
	maxTensors     = 100_000
	maxName        = 1024 // bytes
	maxRank        = 64   // as torch
)

// FormatError says what is wrong with a file and where.
type FormatError = pickle.FormatError

// ErrLimit is the refusal of a file that goes beyond a maximum.
var ErrLimit = pickle.ErrLimit

// ErrUnsupported is the refusal of a valid file with a type of element that
// is not read, as the eight-bit floats.
var ErrUnsupported = torch.ErrUnsupported

// File is a decoded file.
type File struct {
	Tensors  torch.StateDict   // in the order of their bytes
	Metadata map[string]string // of __metadata__; nil without it
	// NonFinite names the tensors that hold a NaN or an infinity.
	NonFinite []string
}

// Is reports whether data begins as the format demands: the length of a
// header, and an opening brace.
func Is(data []byte) bool {
	if len(data) < 10 || data[8] != '{' {
		return false
	}
	n := binary.LittleEndian.Uint64(data)
	return n >= 2 && n <= 100<<20
}

// Decode reads a file. Errors are *FormatError.
func Decode(data []byte) (*File, error) {
	d := decoder{data: data, at: -1}
	f, err := d.file()
	if err != nil {
		return nil, &FormatError{Format: "safetensors", Offset: d.at, Path: d.path, Err: err}
	}
	return f, nil
}

// decoder is the state of one decoding. Position and name are those of what is
// looked at, for messages.
type decoder struct {
	data []byte
	at   int64
	path string
}

// entry is one tensor of the header.
type entry struct {
	name       string
	dtype      string
	shape      []uint64
	begin, end uint64 // within the bytes behind the header

	hasType, hasShape, hasRange bool
}

func (d *decoder) file() (*File, error) {
	header, body, err := d.split()
	if err != nil {
		return nil, err
	}
	entries, meta, err := d.header(header)
	if err != nil {
		return nil, err
	}
	d.at = -1
	// A tensor of no elements begins and ends where another begins, and comes
	// before it.
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	f := &File{Metadata: meta, Tensors: make(torch.StateDict, 0, len(entries))}
	var at uint64
	for i := range entries {
		e := &entries[i]
		d.path = e.name
		switch {
		case e.begin < at:
			return nil, fmt.Errorf("bytes %d to %d overlap those of another tensor, which end at %d", e.begin, e.end, at)
		case e.begin > at:
			return nil, fmt.Errorf("the bytes %d to %d belong to no tensor", at, e.begin)
		case e.end > uint64(len(body)):
			return nil, fmt.Errorf("the bytes end at %d of %d that are there", e.end, len(body))
		}
		t, err := e.tensor(body[e.begin:e.end])
		if err != nil {
			return nil, err
		}
		f.Tensors = append(f.Tensors, torch.NamedTensor{Name: e.name, Tensor: t})
		at = e.end
	}
	d.path = ""
	if at != uint64(len(body)) {
		return nil, fmt.Errorf("%d bytes after the last tensor", uint64(len(body))-at)
	}
	if len(entries) == 0 {
		return nil, errors.New("the file holds no tensors")
	}
	f.NonFinite = torch.NonFinite(f.Tensors)
	return f, nil
}

// split returns the header and the bytes behind it.
func (d *decoder) split() (header, body []byte, err error) {
	d.at = 0
	if len(d.data) < 8 {
		return nil, nil, fmt.Errorf("%d bytes, the length of the header alone takes 8", len(d.data))
	}
	n := binary.LittleEndian.Uint64(d.data)
	rest := d.data[8:]
	switch {
	case n > maxHeaderBytes:
		return nil, nil, fmt.Errorf("%w: a header of %d bytes, at most %d", ErrLimit, n, maxHeaderBytes)
	case n > uint64(len(rest)):
		return nil, nil, fmt.Errorf("a header of %d bytes, %d are there", n, len(rest))
	case n < 2 || rest[0] != '{':
		d.at = 8
		return nil, nil, errors.New("the header is not a JSON object")
	}
	return rest[:n], rest[n:], nil
}

// tensor checks that the bytes are those of the type and shape, and reads
// them.
func (e *entry) tensor(b []byte) (*graph.Tensor, error) {
	dt, ok := dtypes[e.dtype]
	if !ok {
		return nil, fmt.Errorf("%w: elements of type %.16q", ErrUnsupported, e.dtype)
	}
	n := uint64(1)
	shape := make(graph.Shape, len(e.shape))
	for i, dim := range e.shape {
		if dim != 0 && n > graph.MaxRowElements/dim {
			return nil, fmt.Errorf("%w: shape %v has more than %d elements", ErrLimit, e.shape, graph.MaxRowElements)
		}
		n *= dim
		shape[i] = int(dim)
	}
	if want := n * uint64(dt.Bytes()); want != uint64(len(b)) {
		return nil, fmt.Errorf("%d bytes, shape %v of %s takes %d", len(b), e.shape, e.dtype, want)
	}
	t := &graph.Tensor{DType: dt, Shape: shape}
	t.Fill(b, int(n))
	return t, nil
}
