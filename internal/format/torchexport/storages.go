package torchexport

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// storages are the tensors of one folder: members with a list of their types,
// or one file of torch.save.
type storages struct {
	folder string
	config map[string]weightJSON
	z      *torch.Zip
	set    *torch.Storages
	saved  *pickle.Dict // of torch.save
}

// storages opens a folder in the form of torch 2.9 and later, in that of 2.8,
// or as the member it was before.
func (d *decoder) storages(folder, config, old string) (*storages, error) {
	s := &storages{folder: folder, z: d.z}
	if !d.z.HasRecord(folder + "/" + config) {
		for _, name := range []string{folder + "/model.pt", old} {
			if d.z.HasRecord(name) {
				d.at = name
				s.folder = name
				return s, s.open(name)
			}
		}
		return s, nil
	}
	var c weightsJSON
	if err := d.read(folder+"/"+config, maxConfigBytes, &c); err != nil {
		return nil, err
	}
	if len(c.Config) > maxWeights {
		return nil, fmt.Errorf("%w: %d tensors, at most %d", ErrLimit, len(c.Config), maxWeights)
	}
	s.config = c.Config
	var err error
	s.set, err = torch.NewStorages(d.z, folder)
	if err != nil {
		return nil, err
	}
	// A member that is missing is an error even where the graph does not use
	// it.
	for _, name := range slices.Sorted(maps.Keys(s.config)) {
		if w := s.config[name]; !d.z.HasRecord(folder + "/" + w.PathName) {
			return nil, fmt.Errorf("the member %.80q of %.80q is missing", w.PathName, name)
		}
	}
	return s, nil
}

// open reads a member that torch.save wrote: a dict of tensors.
func (s *storages) open(name string) error {
	b, err := s.z.Record(name)
	if err != nil {
		return err
	}
	f, err := torch.Decode(b)
	if err != nil {
		return err
	}
	d, ok := f.Value.(*pickle.Dict)
	if !ok {
		return fmt.Errorf("a %s, a dict was wanted", pickle.TypeName(f.Value))
	}
	s.saved = d
	return nil
}

func (s *storages) has(name string) bool {
	_, ok := s.config[name]
	return ok || s.saved != nil && s.saved.Has(name)
}

// storageClasses are the classes of storages of torch by element type, by
// which package torch names them.
var storageClasses = map[graph.DType]string{
	graph.Float32: "FloatStorage", graph.Float64: "DoubleStorage", graph.Float16: "HalfStorage", graph.BFloat16: "BFloat16Storage",
	graph.Int64: "LongStorage", graph.Int32: "IntStorage", graph.Int16: "ShortStorage", graph.Int8: "CharStorage", graph.Uint8: "ByteStorage",
	graph.Bool: "BoolStorage",
}

// tensor returns a tensor of the folder: a view of the storage that its member
// is.
func (s *storages) tensor(name string) (*graph.Tensor, error) {
	if s.saved != nil {
		v, _ := s.saved.Get(name)
		t, ok := v.(*graph.Tensor)
		if !ok {
			return nil, fmt.Errorf("a %s, a tensor was wanted", pickle.TypeName(v))
		}
		return t, nil
	}
	w, ok := s.config[name]
	if !ok {
		return nil, errors.New("there is no such tensor")
	}
	if w.UsePickle {
		return s.pickled(w)
	}
	dt, err := dtype(w.Meta.DType)
	if err != nil {
		return nil, err
	}
	if w.Meta.Layout != stridedLayout {
		return nil, unsupportedf("layout %d", w.Meta.Layout)
	}
	size, err := numbers(w.Meta.Sizes)
	if err != nil {
		return nil, err
	}
	stride, err := numbers(w.Meta.Strides)
	if err != nil {
		return nil, err
	}
	offset, err := numbers([]dimension{w.Meta.StorageOffset})
	if err != nil {
		return nil, err
	}
	b, err := s.z.Record(s.folder + "/" + w.PathName)
	if err != nil {
		return nil, err
	}
	v, err := s.set.Persistent(pickle.Tuple{
		"storage", pickle.Global{Module: "torch", Name: storageClasses[dt]}, w.PathName, "cpu", int64(len(b) / dt.Bytes()),
	})
	if err != nil {
		return nil, err
	}
	storage, ok := v.(*torch.Storage)
	if !ok {
		return nil, fmt.Errorf("a %s, a storage was wanted", pickle.TypeName(v))
	}
	return storage.Tensor(offset[0], size, stride)
}

// pickled reads a member that torch.save wrote: one tensor and nothing else.
func (s *storages) pickled(w weightJSON) (*graph.Tensor, error) {
	b, err := s.z.Record(s.folder + "/" + w.PathName)
	if err != nil {
		return nil, err
	}
	f, err := torch.Decode(b)
	if err != nil {
		return nil, err
	}
	t, ok := f.Value.(*graph.Tensor)
	if !ok {
		return nil, unsupportedf("a constant that is a %s", pickle.TypeName(f.Value))
	}
	return t, nil
}
