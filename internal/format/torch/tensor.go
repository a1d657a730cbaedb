package torch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// ErrUnsupported is the refusal of a valid file with something in it that is
// not read.
var ErrUnsupported = errors.New("unsupported")

// maxRank bounds the number of dimensions of a tensor, as torch itself does.
const maxRank = 64

// storageTypes are the classes of storages, with the type of an element.
var storageTypes = map[string]graph.DType{
	"FloatStorage":    graph.Float32,
	"DoubleStorage":   graph.Float64,
	"HalfStorage":     graph.Float16,
	"BFloat16Storage": graph.BFloat16,
	"LongStorage":     graph.Int64,
	"IntStorage":      graph.Int32,
	"ShortStorage":    graph.Int16,
	"CharStorage":     graph.Int8,
	"ByteStorage":     graph.Uint8,
	"BoolStorage":     graph.Bool,
}

// itemSize returns the number of bytes of an element.
func itemSize(dt graph.DType) uint64 {
	switch dt {
	case graph.Float64, graph.Int64:
		return 8
	case graph.Float32, graph.Int32:
		return 4
	case graph.Float16, graph.BFloat16, graph.Int16:
		return 2
	}
	return 1
}

// Storage is a flat run of elements of one type, on which tensors are views.
type Storage struct {
	Key   string
	DType graph.DType
	Len   int // elements

	data  []byte
	order binary.ByteOrder
	set   *Storages
	views map[string]*graph.Tensor // made already, by their geometry
}

// Tensor returns the view of a storage with an offset, sizes and strides in
// elements, copied into row-major order. The same view twice is the same
// tensor, so that tied weights stay tied.
func (s *Storage) Tensor(offset int64, size, stride []int64) (*graph.Tensor, error) {
	n, err := s.elements(offset, size, stride)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprint(offset, size, stride)
	if t, ok := s.views[key]; ok {
		return t, nil
	}
	// A view of stride 0 repeats its elements: what one file may unfold to is
	// bounded by what it holds.
	if s.set.elementsLeft -= n; s.set.elementsLeft < 0 {
		return nil, fmt.Errorf("%w: tensors of %d elements more than the file can fill", ErrLimit, -s.set.elementsLeft)
	}
	shape := make(graph.Shape, len(size))
	for i, d := range size {
		shape[i] = int(d)
	}
	t := &graph.Tensor{DType: s.DType, Shape: shape}
	s.fill(t, int(n), int(offset), size, stride)
	if s.views == nil {
		s.views = make(map[string]*graph.Tensor)
	}
	s.views[key] = t
	return t, nil
}

// elements returns the number of elements of a view after checking that each
// of them lies within the storage.
func (s *Storage) elements(offset int64, size, stride []int64) (int64, error) {
	if len(size) != len(stride) {
		return 0, fmt.Errorf("a tensor of %d sizes and %d strides", len(size), len(stride))
	}
	if len(size) > maxRank {
		return 0, fmt.Errorf("%w: a tensor of %d dimensions, at most %d", ErrLimit, len(size), maxRank)
	}
	if offset < 0 {
		return 0, fmt.Errorf("negative storage offset %d", offset)
	}
	n := int64(1)
	for i, d := range size {
		if d < 0 || stride[i] < 0 {
			return 0, fmt.Errorf("negative size or stride in %v, %v", size, stride)
		}
		if d != 0 && n > math.MaxInt64/d {
			return 0, fmt.Errorf("%w: the product of the sizes %v overflows", ErrLimit, size)
		}
		n *= d
	}
	if n == 0 {
		return 0, nil
	}
	last := offset
	for i, d := range size {
		if d > 1 && stride[i] > (math.MaxInt64-last)/(d-1) {
			return 0, fmt.Errorf("sizes %v and strides %v overflow", size, stride)
		}
		last += (d - 1) * stride[i]
	}
	if last >= int64(s.Len) {
		return 0, fmt.Errorf("a tensor of sizes %v, strides %v and offset %d reaches element %d of a storage of %d", size, stride, offset, last, s.Len)
	}
	return n, nil
}

// fill copies n elements of a view into a tensor.
func (s *Storage) fill(t *graph.Tensor, n, offset int, size, stride []int64) {
	switch t.DType {
	case graph.Float32:
		t.F32 = make([]float32, n)
		if n > 0 && s.order == binary.LittleEndian && contiguous(size, stride) {
			// Nearly every weight is so, and this is most of what loading takes.
			from := s.data[4*offset:][:4*n]
			for i := range t.F32 {
				t.F32[i] = math.Float32frombits(binary.LittleEndian.Uint32(from[4*i:]))
			}
			return
		}
		s.each(n, offset, size, stride, func(i, at int) { t.F32[i] = math.Float32frombits(s.order.Uint32(s.data[4*at:])) })
	case graph.Float16, graph.BFloat16:
		t.F32 = make([]float32, n)
		s.each(n, offset, size, stride, func(i, at int) { t.F32[i] = graph.WidenHalf(t.DType, s.order.Uint16(s.data[2*at:])) })
	case graph.Float64:
		t.F64 = make([]float64, n)
		s.each(n, offset, size, stride, func(i, at int) { t.F64[i] = math.Float64frombits(s.order.Uint64(s.data[8*at:])) })
	default:
		t.I64 = make([]int64, n)
		s.each(n, offset, size, stride, func(i, at int) { t.I64[i] = graph.IntegerAt(t.DType, s.order, s.data, at) })
	}
}

// contiguous tells whether the elements of a view lie one after another in
// row-major order.
func contiguous(size, stride []int64) bool {
	next := int64(1)
	for i, n := range slices.Backward(size) {
		if n != 1 && stride[i] != next {
			return false
		}
		next *= n
	}
	return true
}

// each calls f with the number of an element in row-major order and its
// position in the storage.
func (s *Storage) each(n, offset int, size, stride []int64, f func(i, at int)) {
	index := make([]int64, len(size))
	at := int64(offset)
	for i := range n {
		f(i, int(at))
		for d := len(size) - 1; d >= 0; d-- {
			at += stride[d]
			if index[d]++; index[d] < size[d] {
				break
			}
			at -= size[d] * stride[d]
			index[d] = 0
		}
	}
}

// NonFinite returns the names of the tensors that hold a NaN or an infinity.
// Such weights load, for inspection; a policy made of them must be refused or
// warned about.
func NonFinite(tensors []NamedTensor) []string {
	var names []string
	known := make(map[*graph.Tensor]bool, len(tensors))
	for _, t := range tensors {
		ok, seen := known[t.Tensor]
		if !seen {
			ok = finite(t.Tensor)
			known[t.Tensor] = ok
		}
		if !ok {
			names = append(names, t.Name)
		}
	}
	return names
}

func finite(t *graph.Tensor) bool {
	for _, v := range t.F32 {
		if v-v != 0 {
			return false
		}
	}
	for _, v := range t.F64 {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// Rebuild is a pickle.Options.Construct that makes tensors of the calls by
// which torch writes them.
func Rebuild(class pickle.Global, args pickle.Tuple) (pickle.Value, bool, error) {
	switch class.Module {
	case "torch._tensor":
		t, err := rebuildWithState(class, args)
		return t, true, err
	case "torch._utils":
	default:
		return nil, false, nil
	}
	switch class.Name {
	case "_rebuild_tensor", "_rebuild_tensor_v2":
		t, err := rebuildTensor(args)
		return t, true, err
	case "_rebuild_parameter", "_rebuild_parameter_with_state":
		if len(args) > 0 {
			if t, ok := args[0].(*graph.Tensor); ok {
				return t, true, nil
			}
		}
		return nil, true, errors.New("a parameter without a tensor")
	}
	return nil, false, nil
}

// rebuildWithState reads (function, type, arguments, attributes): a tensor that
// has attributes of its own, which are left out.
func rebuildWithState(class pickle.Global, args pickle.Tuple) (*graph.Tensor, error) {
	if class.Name != "_rebuild_from_type_v2" || len(args) != 4 {
		return nil, fmt.Errorf("%s with %d arguments", class, len(args))
	}
	inner, ok := args[0].(pickle.Global)
	given, isTuple := args[2].(pickle.Tuple)
	if !ok || !isTuple || inner.Module != "torch._utils" || inner.Name != "_rebuild_tensor_v2" {
		return nil, fmt.Errorf("%w: a tensor that is made by %s", ErrUnsupported, pickle.TypeName(args[0]))
	}
	return rebuildTensor(given)
}

// rebuildTensor reads (storage, offset, size, stride, ...); what follows
// belongs to training.
func rebuildTensor(args pickle.Tuple) (*graph.Tensor, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("%d arguments, at least 4 were wanted", len(args))
	}
	s, ok := args[0].(*Storage)
	if !ok {
		return nil, fmt.Errorf("a tensor on a %s, a storage was wanted", pickle.TypeName(args[0]))
	}
	offset, ok := pickle.Int(args[1])
	if !ok {
		return nil, fmt.Errorf("a storage offset that is a %s", pickle.TypeName(args[1]))
	}
	size, err := ints(args[2])
	if err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	stride, err := ints(args[3])
	if err != nil {
		return nil, fmt.Errorf("stride: %w", err)
	}
	return s.Tensor(offset, size, stride)
}

// ints reads a tuple of integers, or the torch.Size of one.
func ints(v pickle.Value) ([]int64, error) {
	if o, ok := v.(*pickle.Object); ok && len(o.Args) == 1 {
		v = o.Args[0]
	}
	items, ok := pickle.Items(v)
	if !ok || len(items) > maxRank {
		return nil, fmt.Errorf("a %s, a tuple of at most %d integers was wanted", pickle.TypeName(v), maxRank)
	}
	out := make([]int64, len(items))
	for i, item := range items {
		if out[i], ok = pickle.Int(item); !ok {
			return nil, fmt.Errorf("a %s, an integer was wanted", pickle.TypeName(item))
		}
	}
	return out, nil
}
