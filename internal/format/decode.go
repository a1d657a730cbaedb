package format

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/safetensors"
	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchexport"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchmodule"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
)

// Decode reads a model file. The name is for messages only: what the file is,
// its content tells. Data is not copied and must not change while the network
// is in use.
//
// The error wraps [ErrFormat] for bytes that are no model file, and
// [ErrUnsupported] for a format that this release does not read.
func Decode(name string, data []byte) (Network, error) { return DecodeBeside(name, data, nil) }

// DecodeBeside is Decode for a file that may keep tensors in files beside it,
// as ONNX does. The function gets a plain name without separators and must
// stay within the artifact.
func DecodeBeside(name string, data []byte, beside func(name string) ([]byte, error)) (Network, error) {
	n, err := decode(data, beside)
	if err != nil {
		if name == "" {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

func decode(data []byte, beside func(name string) ([]byte, error)) (Network, error) {
	switch {
	case len(data) == 0:
		return nil, fmt.Errorf("%w: it has no bytes", ErrFormat)
	case torch.IsZip(data):
		return decodeZip(data)
	case torchmodule.IsLegacy(data):
		m, err := torchmodule.DecodeLegacy(data)
		if err != nil {
			return nil, err
		}
		return &moduleNetwork{m}, nil
	case torch.IsLegacy(data):
		return decodeWeights(func() (*torch.File, error) { return torch.Decode(data) })
	case safetensors.Is(data):
		return safetensorsWeights(data)
	case onnx.Is(data):
		return decodeONNX(data, beside)
	case bytes.HasPrefix(data, []byte("version https://git-lfs")):
		return nil, fmt.Errorf("%w: it is a Git LFS pointer; fetch the file itself with `git lfs pull`", ErrFormat)
	case data[0] == 0x80 || bytes.HasPrefix(data, []byte("(d")) || bytes.HasPrefix(data, []byte("ccopy_reg")):
		return nil, fmt.Errorf("%w: it is a pickle; a model is saved with torch.jit.save or torch.save", ErrFormat)
	}
	return nil, fmt.Errorf("%w: it begins with %s, which no known format does", ErrFormat, hexPrefix(data))
}

// unsupportedError is a refusal that matches ErrUnsupported and whose message
// is complete.
type unsupportedError struct{ msg string }

func (e *unsupportedError) Error() string        { return e.msg }
func (e *unsupportedError) Is(target error) bool { return target == ErrUnsupported }

// decodeZip tells the kinds of zip archives apart by their members.
func decodeZip(data []byte) (Network, error) {
	z, err := torch.OpenZip(data, torch.Limits{})
	if err != nil {
		return nil, err
	}
	switch {
	case torchexport.Is(z):
		p, err := torchexport.Decode(z)
		if err != nil {
			return nil, err
		}
		return &programNetwork{p}, nil
	case slices.ContainsFunc(z.Names(), func(name string) bool { return strings.Contains(name, "/aotinductor/") }):
		return nil, &unsupportedError{"unsupported: a package of AOTInductor, which holds machine code and no graph: " +
			"write the program that it was compiled of with torch.export.save, or export the model to ONNX or TorchScript"}
	case z.HasRecord("archive_format") && !torch.IsTorchZip(z):
		return nil, &unsupportedError{"unsupported: a package of torch.export without a program of one model in it: write it with torch.export.save"}
	case sb3.Is(z):
		p, err := sb3.Decode(z)
		if err != nil {
			return nil, err
		}
		return newAgent(p), nil
	case !torch.IsTorchZip(z):
		return nil, fmt.Errorf("%w: it is a zip archive without data.pkl, which torch.save and torch.jit.save write", ErrFormat)
	case torch.IsTorchScript(z):
		m, err := torchscript.Decode(z)
		if err != nil {
			return nil, err
		}
		return &scriptNetwork{m}, nil
	}
	for _, name := range z.Names() {
		if strings.Contains(name, "/code/") {
			return nil, &torch.FormatError{Format: "torchscript", Offset: -1, Path: "constants.pkl", Err: errors.New("is missing, though the archive holds code")}
		}
	}
	if torchmodule.Is(z) || torchmodule.InDict(z) {
		m, err := torchmodule.Decode(z)
		if err != nil {
			return nil, err
		}
		return &moduleNetwork{m}, nil
	}
	return decodeWeights(func() (*torch.File, error) { return torch.DecodeZip(z) })
}

func decodeWeights(read func() (*torch.File, error)) (Network, error) {
	f, err := read()
	if errors.Is(err, pickle.ErrForbiddenGlobal) {
		return nil, fmt.Errorf("%w (a file of torch.save(model) names the classes of its program, which are never loaded: "+
			"save torch.jit.script(model), torch.jit.trace(model, example) or model.state_dict() instead)", err)
	}
	if err != nil {
		return nil, err
	}
	return torchWeights(f)
}

func hexPrefix(data []byte) string { return fmt.Sprintf("% x", data[:min(len(data), 8)]) }
