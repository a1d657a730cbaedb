package torch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Storages gives the storages of one file to the persistent ids of its
// pickles. Several pickles of one archive share one Storages.
type Storages struct {
	read   func(key string) ([]byte, error)
	byKey  map[string]*Storage
	order  binary.ByteOrder
	legacy bool

	elementsLeft int64 // what tensors may still unfold to
}

// NewStorages returns the storages of an archive that lie in a folder below
// its prefix: "data", and "constants" in TorchScript. They are in the byte
// order that the archive names.
func NewStorages(z *Zip, folder string) (*Storages, error) {
	s := newStorages(func(key string) ([]byte, error) {
		if key == "" || strings.ContainsAny(key, "/\\") {
			return nil, fmt.Errorf("storage key %.80q is no member name", key)
		}
		return z.Record(folder + "/" + key)
	})
	if !z.HasRecord("byteorder") {
		return s, nil // written before torch 2.1, which meant little-endian
	}
	b, err := z.Record("byteorder")
	if err != nil {
		return nil, err
	}
	switch string(b) {
	case "little":
	case "big":
		s.order = binary.BigEndian
	default:
		return nil, &FormatError{Format: "torch", Offset: -1, Path: "byteorder", Err: fmt.Errorf("%.20q is neither little nor big", b)}
	}
	return s, nil
}

// slack is what small files may unfold to beyond what they hold.
const slack = 64 << 10

func newStorages(read func(string) ([]byte, error)) *Storages {
	return &Storages{read: read, byKey: make(map[string]*Storage), order: binary.LittleEndian, elementsLeft: slack}
}

// Persistent is a pickle.Options.Persistent: it reads the id of a storage,
// ("storage", class, key, device, elements).
func (s *Storages) Persistent(id pickle.Value) (pickle.Value, error) {
	sid, err := parseStorageID(id, s.legacy)
	if err != nil {
		return nil, err
	}
	return s.storage(sid)
}

// storageID is what the persistent id of a storage says.
type storageID struct {
	key   string
	dtype graph.DType
	len   int64
}

// parseStorageID reads a persistent id. In legacy files it has a sixth part,
// the view that torch before 0.4 made of a larger storage.
func parseStorageID(id pickle.Value, legacy bool) (storageID, error) {
	t, ok := id.(pickle.Tuple)
	parts := 5
	if legacy {
		parts = 6
	}
	if !ok || len(t) != parts || t[0] != "storage" {
		return storageID{}, errors.New("a persistent id that is not that of a storage")
	}
	class, ok1 := t[1].(pickle.Global)
	key, ok2 := t[2].(string)
	n, ok3 := pickle.Int(t[4])
	if !ok1 || !ok2 || !ok3 || n < 0 {
		return storageID{}, errors.New("a persistent id of a storage with parts of other types")
	}
	if legacy && t[5] != (pickle.None{}) {
		return storageID{}, fmt.Errorf("%w: storage %q is a view of another storage", ErrUnsupported, key)
	}
	dt, ok := storageTypes[class.Name]
	if !ok || class.Module != "torch" && class.Module != "torch.cuda" {
		return storageID{}, fmt.Errorf("%w: storage class %s", ErrUnsupported, class)
	}
	return storageID{key: key, dtype: dt, len: n}, nil
}

// storage returns the storage of a key, whose bytes must be just those of so
// many elements.
func (s *Storages) storage(id storageID) (*Storage, error) {
	key, dt, n := id.key, id.dtype, id.len
	if st, ok := s.byKey[key]; ok {
		if st.DType != dt || int64(st.Len) != n {
			return nil, fmt.Errorf("storage %q is %d %s here and %d %s elsewhere", key, n, dt, st.Len, st.DType)
		}
		return st, nil
	}
	b, err := s.read(key)
	if err != nil {
		return nil, err
	}
	item := itemSize(dt)
	if uint64(len(b))%item != 0 || uint64(len(b))/item != uint64(n) {
		return nil, fmt.Errorf("storage %q has %d bytes, %d elements of %s were wanted", key, len(b), n, dt)
	}
	st := &Storage{Key: key, DType: dt, Len: int(n), data: b, order: s.order, set: s}
	s.byKey[key] = st
	s.elementsLeft += 4 * n
	return st, nil
}
