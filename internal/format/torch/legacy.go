package torch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// legacyProtocol is the number in the second pickle of the container before
// the zip.
const legacyProtocol = 1001

// legacyStart is the first pickle of that container from the opcode after
// PROTO on: the number 119547037146038801333356. From protocol 4 on there is a
// frame around it.
const (
	legacyStart = "\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
	legacyFrame = "\x95\x0d\x00\x00\x00\x00\x00\x00\x00"
)

// IsLegacy reports whether data begins as the container before the zip does.
func IsLegacy(data []byte) bool { return legacyHead(data) > 0 }

// legacyHead returns the length of the first pickle, 0 where it is another.
func legacyHead(data []byte) int {
	if len(data) < 2 || data[0] != 0x80 {
		return 0
	}
	for _, head := range []string{legacyStart, legacyFrame + legacyStart} {
		if bytes.HasPrefix(data[2:], []byte(head)) {
			return 2 + len(head)
		}
	}
	return 0
}

// legacyReader walks the consecutive parts of a legacy file: the pickles of
// magic, protocol, system, object and keys, then the storages.
type legacyReader struct {
	data    []byte
	pos     int
	allow   func(pickle.Global) bool
	modules bool // classes of modules may have persistent ids
}

func decodeLegacy(data []byte) (*File, error) {
	r := legacyReader{data: data, allow: WeightGlobals.Allows}
	v, err := r.object()
	if err == nil {
		var f *File
		if f, err = newFile(KindLegacy, v); err == nil {
			return f, nil
		}
	}
	return nil, &FormatError{Format: "torch", Offset: int64(r.pos), Err: err}
}

// DecodeLegacyObject reads what a file of the container before the zip holds,
// with the globals that allow has. The classes of modules, which that container
// keeps with their source text, are left as globals.
func DecodeLegacyObject(data []byte, allow func(pickle.Global) bool) (pickle.Value, error) {
	if !IsLegacy(data) {
		return nil, &FormatError{Format: "torch", Offset: 0, Err: errors.New("no file of torch before 1.6")}
	}
	r := legacyReader{data: data, allow: allow, modules: true}
	v, err := r.object()
	if err != nil {
		return nil, &FormatError{Format: "torch", Offset: int64(r.pos), Err: err}
	}
	return v, nil
}

// moduleClass reads the persistent id of a class, ("module", class, name of the
// source file, source text), of which the text is left out.
func moduleClass(id pickle.Value) (pickle.Global, bool) {
	t, ok := id.(pickle.Tuple)
	if !ok || len(t) != 4 || t[0] != "module" {
		return pickle.Global{}, false
	}
	class, ok := t[1].(pickle.Global)
	return class, ok
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

func (r *legacyReader) object() (pickle.Value, error) {
	order, err := r.header()
	if err != nil {
		return nil, err
	}
	// The storages come behind the object that has views on them: the object
	// is read once for its ids and its length, and again with the storages.
	object := r.pos
	ids := make(map[string]storageID)
	_, err = r.next(pickle.Options{Allow: r.allow, Persistent: func(id pickle.Value) (pickle.Value, error) {
		if class, ok := moduleClass(id); ok && r.modules {
			return class, nil
		}
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
	return r.next(pickle.Options{Allow: r.allow, Construct: Rebuild, Persistent: func(id pickle.Value) (pickle.Value, error) {
		if class, ok := moduleClass(id); ok && r.modules {
			return class, nil
		}
		return s.Persistent(id)
	}})
}

// header reads what is before the object and returns the byte order.
func (r *legacyReader) header() (binary.ByteOrder, error) {
	r.pos = legacyHead(r.data)
	protocol, err := r.next(pickle.Options{})
	if err != nil {
		return nil, err
	}
	if protocol != int64(legacyProtocol) {
		n, _ := pickle.Int(protocol)
		return nil, fmt.Errorf("%w: protocol %d, only %d is read", ErrUnsupported, n, legacyProtocol)
	}
	info, err := r.next(pickle.Options{})
	if err != nil {
		return nil, err
	}
	d, ok := info.(*pickle.Dict)
	if !ok {
		return nil, fmt.Errorf("system information is a %s, a dict was wanted", pickle.TypeName(info))
	}
	little, _ := d.Get("little_endian")
	switch little {
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
			return nil, fmt.Errorf("a storage key, a %s, is not that of one storage of the object", pickle.TypeName(item))
		}
		if len(r.data)-r.pos < 8 {
			return nil, fmt.Errorf("the file ends before storage %q", key)
		}
		n := order.Uint64(r.data[r.pos:])
		r.pos += 8
		size := itemSize(id.dtype)
		if n != uint64(id.len) || n > uint64(len(r.data)-r.pos)/size {
			return nil, fmt.Errorf("storage %q of %d elements, %d were wanted and %d bytes are left", key, n, id.len, len(r.data)-r.pos)
		}
		end := r.pos + int(n*size)
		chunks[key] = r.data[r.pos:end:end]
		r.pos = end
	}
	if len(chunks) != len(ids) {
		return nil, fmt.Errorf("%d storages, %d were wanted", len(chunks), len(ids))
	}
	if r.pos != len(r.data) {
		return nil, fmt.Errorf("%d bytes after the last storage", len(r.data)-r.pos)
	}
	return chunks, nil
}
