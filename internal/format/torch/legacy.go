package torch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// legacyMagic is the number in the first pickle of the container before the
// zip, and legacyProtocol the one in the second.
var legacyMagic, _ = new(big.Int).SetString("119547037146038801333356", 10)

const legacyProtocol = 1001

// legacyStart are the bytes of that first pickle in every protocol that torch
// has used for it, from the opcode after PROTO on.
var legacyStart = []byte("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")

// IsLegacy reports whether data begins as the container before the zip does.
func IsLegacy(data []byte) bool {
	return len(data) > 2 && data[0] == 0x80 && bytes.HasPrefix(data[2:], legacyStart)
}

// legacyReader walks the consecutive parts of a legacy file: the pickles of
// magic, protocol, system, object and keys, then the storages.
type legacyReader struct {
	data []byte
	pos  int
}

func decodeLegacy(data []byte) (*File, error) {
	r := legacyReader{data: data}
	f, err := r.file()
	if err != nil {
		return nil, &FormatError{Format: "torch", Offset: int64(r.pos), Err: err}
	}
	return f, nil
}

// next decodes the next pickle.
func (r *legacyReader) next(o pickle.Options) (pickle.Value, error) {
	v, n, err := pickle.DecodePrefix(r.data[r.pos:], o)
	if err != nil {
		return nil, err
	}
	r.pos += n
	return v, nil
}

func (r *legacyReader) file() (*File, error) {
	order, err := r.header()
	if err != nil {
		return nil, err
	}
	// The storages come behind the object that has views on them: the object
	// is read once for its ids and its length, and again with the storages.
	object := r.pos
	ids := make(map[string]storageID)
	_, err = r.next(pickle.Options{Allow: WeightGlobals.Allows, Persistent: func(id pickle.Value) (pickle.Value, error) {
		sid, err := parseStorageID(id, true)
		if err != nil {
			return nil, err
		}
		if first, ok := ids[sid.key]; ok && first != sid {
			return nil, fmt.Errorf("storage %q has two different ids", sid.key)
		}
		ids[sid.key] = sid
		return id, nil
	}})
	if err != nil {
		return nil, err
	}
	chunks, err := r.storages(ids, order)
	if err != nil {
		return nil, err
	}
	s := newStorages(func(key string) ([]byte, error) { return chunks[key], nil })
	s.order, s.legacy = order, true
	r.pos = object
	v, err := r.next(weightOptions(s))
	if err != nil {
		return nil, err
	}
	return newFile(KindLegacy, v)
}

// header reads what is before the object and returns the byte order.
func (r *legacyReader) header() (binary.ByteOrder, error) {
	magic, err := r.next(pickle.Options{})
	if err != nil {
		return nil, err
	}
	if n, ok := magic.(*big.Int); !ok || n.Cmp(legacyMagic) != 0 {
		return nil, errors.New("not the magic number of a torch file")
	}
	protocol, err := r.next(pickle.Options{})
	if err != nil {
		return nil, err
	}
	if protocol != int64(legacyProtocol) {
		return nil, fmt.Errorf("%w: protocol %v, only %d is read", ErrUnsupported, protocol, legacyProtocol)
	}
	info, err := r.next(pickle.Options{})
	if err != nil {
		return nil, err
	}
	d, ok := info.(*pickle.Dict)
	if !ok {
		return nil, fmt.Errorf("system information is a %s, a dict was wanted", pickle.TypeName(info))
	}
	switch little, _ := d.Get("little_endian"); little {
	case true:
		return binary.LittleEndian, nil
	case false:
		return binary.BigEndian, nil
	}
	return nil, errors.New("system information does not say the byte order")
}

// storages reads the list of keys and the bytes of each storage, which end
// with the file.
func (r *legacyReader) storages(ids map[string]storageID, order binary.ByteOrder) (map[string][]byte, error) {
	v, err := r.next(pickle.Options{})
	if err != nil {
		return nil, err
	}
	list, ok := v.(*pickle.List)
	if !ok {
		return nil, fmt.Errorf("storage keys are a %s, a list was wanted", pickle.TypeName(v))
	}
	chunks := make(map[string][]byte)
	for _, item := range list.Items {
		key, ok := item.(string)
		id, known := ids[key]
		if _, twice := chunks[key]; !ok || !known || twice {
			return nil, fmt.Errorf("storage key %v is not that of one storage of the object", item)
		}
		if len(r.data)-r.pos < 8 {
			return nil, fmt.Errorf("the file ends before storage %q", key)
		}
		n := order.Uint64(r.data[r.pos:])
		r.pos += 8
		item := itemSize(id.dtype)
		if n != uint64(id.len) || n > uint64(len(r.data)-r.pos)/item {
			return nil, fmt.Errorf("storage %q of %d elements, %d were wanted and %d bytes are left", key, n, id.len, len(r.data)-r.pos)
		}
		size := int(n * item)
		chunks[key] = r.data[r.pos : r.pos+size : r.pos+size]
		r.pos += size
	}
	if len(chunks) != len(ids) {
		return nil, fmt.Errorf("%d storages, %d were wanted", len(chunks), len(ids))
	}
	if r.pos != len(r.data) {
		return nil, fmt.Errorf("%d bytes after the last storage", len(r.data)-r.pos)
	}
	return chunks, nil
}
