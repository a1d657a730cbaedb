package torch

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// Kind is the container of a file.
type Kind string

// The containers that torch.save has written.
const (
	KindZip    Kind = "zip"
	KindLegacy Kind = "legacy" // torch before 1.6, or _use_new_zipfile_serialization=False
)

// File is a decoded torch.save file. Tensors appear in Value as *graph.Tensor.
type File struct {
	Kind  Kind
	Value pickle.Value
	// NonFinite names the tensors that hold a NaN or an infinity, by their
	// whole path in Value.
	NonFinite []string
}

// Decode reads a file that torch.save wrote, in either container. Errors are
// *FormatError.
func Decode(data []byte) (*File, error) {
	switch {
	case IsZip(data):
		z, err := OpenZip(data, Limits{})
		if err != nil {
			return nil, err
		}
		return DecodeZip(z)
	case IsLegacy(data):
		return decodeLegacy(data)
	}
	return nil, &FormatError{Format: "torch", Offset: 0, Err: errors.New("neither a zip archive nor a file of torch before 1.6")}
}

// IsTorchScript reports whether an archive holds code beside its weights.
func IsTorchScript(z *Zip) bool { return z.HasRecord("constants.pkl") }

// IsTorchZip reports whether an archive is one that torch.save or torch.jit
// wrote.
func IsTorchZip(z *Zip) bool { return z.HasRecord("data.pkl") }

// DecodeZip reads an archive that torch.save wrote.
func DecodeZip(z *Zip) (*File, error) {
	fail := func(path string, err error) (*File, error) {
		return nil, &FormatError{Format: "torch", Offset: -1, Path: path, Err: err}
	}
	if !IsTorchZip(z) {
		return fail("data.pkl", errors.New("the archive has no such member: not written by torch.save"))
	}
	if IsTorchScript(z) {
		return fail("constants.pkl", fmt.Errorf("%w here: the archive is TorchScript", ErrUnsupported))
	}
	s, err := NewStorages(z, "data")
	if err != nil {
		return nil, err
	}
	b, err := z.Record("data.pkl")
	if err != nil {
		return nil, err
	}
	v, err := pickle.Decode(b, weightOptions(s))
	if err != nil {
		return fail("data.pkl", err)
	}
	return newFile(KindZip, v)
}

// weightOptions are those of a pickle of weights on storages.
func weightOptions(s *Storages) pickle.Options {
	return pickle.Options{Allow: WeightGlobals.Allows, Persistent: s.Persistent, Construct: Rebuild}
}

// newFile checks the names of the tensors and whether their values are finite.
func newFile(k Kind, v pickle.Value) (*File, error) {
	all, err := tensors(v)
	if err != nil {
		return nil, &FormatError{Format: "torch", Offset: -1, Err: err}
	}
	return &File{Kind: k, Value: v, NonFinite: NonFinite(all)}, nil
}
