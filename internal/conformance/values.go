package conformance

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// values are the elements of a recorded tensor and its shape.
type values struct {
	shape []int
	flat  []float64
}

// read takes nested lists, in which NaN and infinities are strings, or the
// .npy file that an object names.
func read(dir string, v any) (values, error) {
	if m, ok := v.(map[string]any); ok {
		name, ok := m["npy"].(string)
		if !ok {
			return values{}, fmt.Errorf("an object that names no array")
		}
		return readNPY(filepath.Join(dir, name))
	}
	var d values
	for x := v; ; {
		l, ok := x.([]any)
		if !ok {
			break
		}
		d.shape = append(d.shape, len(l))
		if len(l) == 0 {
			break
		}
		x = l[0]
	}
	return d, d.add(v)
}

func (d *values) add(v any) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := d.add(e); err != nil {
				return err
			}
		}
	case float64:
		d.flat = append(d.flat, v)
	case bool:
		n := 0.0
		if v {
			n = 1
		}
		d.flat = append(d.flat, n)
	case string:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return err
		}
		d.flat = append(d.flat, f)
	default:
		return fmt.Errorf("a tensor with a %T in it", v)
	}
	return nil
}

// readNPY reads an array of bytes or float32 in C order.
func readNPY(path string) (values, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return values{}, err
	}
	if len(data) < 10 || len(data) < 10+int(binary.LittleEndian.Uint16(data[8:])) {
		return values{}, fmt.Errorf("%s: not an array", path)
	}
	n := 10 + int(binary.LittleEndian.Uint16(data[8:]))
	header, body := string(data[10:n]), data[n:]
	var d values
	_, dims, _ := strings.Cut(header, "'shape': (")
	dims, _, _ = strings.Cut(dims, ")")
	for s := range strings.SplitSeq(dims, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		v, err := strconv.Atoi(s)
		if err != nil {
			return values{}, fmt.Errorf("%s: %w", path, err)
		}
		d.shape = append(d.shape, v)
	}
	switch {
	case strings.Contains(header, "'descr': '|u1'"):
		for _, b := range body {
			d.flat = append(d.flat, float64(b))
		}
	case strings.Contains(header, "'descr': '<f4'"):
		for len(body) >= 4 {
			d.flat = append(d.flat, float64(math.Float32frombits(binary.LittleEndian.Uint32(body))))
			body = body[4:]
		}
	default:
		return values{}, fmt.Errorf("%s: an array of another type: %s", path, header)
	}
	return d, nil
}
