package preprocess

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// wrapperClass is what joblib pickles for an array. The raw data of the array
// follow the BUILD opcode of the wrapper.
var wrapperClass = pickle.Global{Module: "joblib.numpy_pickle", Name: "NumpyArrayWrapper"}

// Maxima of a joblib file.
const (
	maxInflated = pickle.DefaultMaxBytes
	maxRatio    = 100     // inflated to compressed size beyond inflateFrom
	inflateFrom = 1 << 20 // bytes
	maxNested   = 16      // arrays of objects, each of which is a pickle of its own
	maxObjects  = 50_000  // values in one of them
)

// isZlib and isGzip tell what joblib.dump has compressed.
func isZlib(data []byte) bool {
	return len(data) > 2 && data[0] == 0x78 && (uint(data[0])<<8|uint(data[1]))%31 == 0
}

func isGzip(data []byte) bool { return bytes.HasPrefix(data, []byte("\x1f\x8b")) }

func isBzip2(data []byte) bool { return bytes.HasPrefix(data, []byte("BZh")) }

// compressions are the beginnings of what joblib.dump compresses in ways that
// are not read.
var compressions = []struct{ magic, name string }{
	{"\xfd7zXZ", "xz"}, {"\x5d\x00\x00", "lzma"}, {"\x04\x22\x4d\x18", "lz4"}, {"ZF", "joblib before 0.10"},
}

// IsCompressed reports whether data begin as a file does that joblib.dump has
// compressed. Decode reads it, or says by name which compression it does not.
func IsCompressed(data []byte) bool {
	return isZlib(data) || isGzip(data) || isBzip2(data) || compression(data) != ""
}

func compression(data []byte) string {
	for _, c := range compressions {
		if bytes.HasPrefix(data, []byte(c.magic)) {
			return c.name
		}
	}
	return ""
}

// inflate undoes the compression of joblib.dump. Other data pass.
func inflate(data []byte) ([]byte, error) {
	var r io.Reader
	var err error
	in := bytes.NewReader(data)
	switch {
	case isZlib(data):
		r, err = zlib.NewReader(in)
	case isGzip(data):
		r, err = gzip.NewReader(in)
	case isBzip2(data):
		r = bzip2.NewReader(in)
	default:
		if name := compression(data); name != "" {
			return nil, fmt.Errorf("%w: compression of %s; known are zlib, gzip and bz2: save with joblib.dump(..., compress=3)", ErrUnsupported, name)
		}
		return data, nil
	}
	if err != nil {
		return nil, fmt.Errorf("joblib: %w", err)
	}
	limit := min(maxInflated, max(inflateFrom, maxRatio*len(data)))
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("joblib: %w", err)
	case len(out) > limit:
		return nil, fmt.Errorf("joblib: %w: %d bytes inflate to more than %d", pickle.ErrLimit, len(data), limit)
	case in.Len() > 0:
		return nil, fmt.Errorf("joblib: %d bytes after the compressed data", in.Len())
	}
	return out, nil
}

// joblibArrays reads the arrays of one joblib file.
type joblibArrays struct {
	nested int
}

// read turns a wrapper into the array that follows it, in the form that pickle
// has for it, and returns the number of bytes that the array takes.
func (j *joblibArrays) read(o *pickle.Object, rest []byte) (int, error) {
	if o.Class != wrapperClass {
		return 0, nil
	}
	subclass, _ := o.Attr("subclass")
	if subclass != (pickle.Global{Module: "numpy", Name: "ndarray"}) {
		return 0, errors.New("an array of another class than ndarray")
	}
	dtype, _ := o.Attr("dtype")
	descr := ""
	if d, ok := dtype.(*pickle.Object); ok && len(d.Args) > 0 {
		descr, _ = d.Args[0].(string)
	}
	if descr == "O8" || descr == "O" {
		return j.objects(o, rest)
	}
	pad := 0
	if v, ok := o.Attr("numpy_array_alignment_bytes"); ok && v != (pickle.None{}) {
		if len(rest) == 0 || 1+int(rest[0]) > len(rest) {
			return 0, errors.New("the padding of an array goes beyond the file")
		}
		pad = 1 + int(rest[0])
	}
	shape, _ := o.Attr("shape")
	order, _ := o.Attr("order")
	n, err := arrayBytes(shape, descr, len(rest)-pad)
	if err != nil {
		return 0, err
	}
	*o = pickle.Object{
		Class: pickle.Global{Module: "numpy._core.numeric", Name: "_frombuffer"},
		Args:  pickle.Tuple{rest[pad : pad+n : pad+n], dtype, shape, order},
	}
	return pad + n, nil
}

// arrayBytes returns the size of the data of an array, of which there are at
// most left.
func arrayBytes(shape pickle.Value, descr string, left int) (int, error) {
	dims, ok := shape.(pickle.Tuple)
	if !ok {
		return 0, fmt.Errorf("a shape that is a %s", pickle.TypeName(shape))
	}
	n := 0
	if len(descr) > 1 {
		n, _ = strconv.Atoi(descr[1:])
	}
	switch {
	case n < 1 || n > 1<<16:
		return 0, fmt.Errorf("%w: array of type %.32q", ErrUnsupported, descr)
	case bytes.IndexByte([]byte("fiubcSU"), descr[0]) < 0:
		return 0, fmt.Errorf("%w: array of type %.32q", ErrUnsupported, descr)
	case descr[0] == 'U':
		n *= 4
	}
	for _, v := range dims {
		d, ok := pickle.Int(v)
		if !ok || d < 0 || d > int64(left) || d > 0 && n > left/int(d) {
			return 0, fmt.Errorf("an array that is larger than the %d bytes left", left)
		}
		n *= int(d)
	}
	if n > left {
		return 0, fmt.Errorf("an array of %d bytes, %d are left", n, left)
	}
	return n, nil
}

// objects reads an array of objects, which is a pickle of its own.
func (j *joblibArrays) objects(o *pickle.Object, rest []byte) (int, error) {
	if j.nested++; j.nested > maxNested {
		return 0, fmt.Errorf("%w: more than %d arrays of objects", pickle.ErrLimit, maxNested)
	}
	v, n, err := pickle.DecodePrefix(rest, pickle.Options{Allow: globals.Allows, Limits: pickle.Limits{MaxNodes: maxObjects}})
	if err != nil {
		return 0, err
	}
	inner, ok := v.(*pickle.Object)
	if !ok || !pickle.IsArray(v) {
		return 0, fmt.Errorf("an array of objects that is a %s", pickle.TypeName(v))
	}
	*o = *inner
	return n, nil
}
