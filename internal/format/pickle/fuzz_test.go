package pickle_test

import (
	"errors"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// FuzzDecode asserts that any bytes are refused with a FormatError or give a
// value that can be walked: without cycles and within the limits.
func FuzzDecode(f *testing.F) {
	for _, in := range ofPython {
		f.Add([]byte(in))
	}
	for _, c := range hostile {
		if len(c.in) < 4096 {
			f.Add([]byte(c.in))
		}
	}
	f.Add([]byte(newArray + "(K\x01K\x02\x85" + float64s + "I00\n" + "C\x10\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x04@tb."))
	o := options
	o.Limits = pickle.Limits{MaxOps: 2000, MaxMemo: 500, MaxDepth: 30, MaxNodes: 3000}
	f.Fuzz(func(t *testing.T, in []byte) {
		v, n, err := pickle.DecodePrefix(in, o)
		if err != nil {
			var fe *pickle.FormatError
			if !errors.As(err, &fe) || fe.Offset < 0 || fe.Offset > int64(len(in)) {
				t.Fatalf("%T at %v", err, err)
			}
			return
		}
		if n < 1 || n > len(in) || in[n-1] != '.' {
			t.Fatalf("%d of %d bytes", n, len(in))
		}
		nodes := 0
		walk(t, v, 0, &nodes)
		_ = show(v)
		if a, err := pickle.Numbers(v); err == nil {
			size := 1
			for _, d := range a.Shape {
				size *= d
			}
			if size != len(a.Values) {
				t.Fatalf("an array of shape %v with %d values", a.Shape, len(a.Values))
			}
		}
	})
}

// walk fails when a value is deeper or larger than FuzzDecode's limits, or is
// of no known type.
func walk(t *testing.T, v pickle.Value, depth int, nodes *int) {
	if *nodes++; *nodes > 3000 || depth > 30 {
		t.Fatalf("%d values at depth %d", *nodes, depth)
	}
	items, ok := pickle.Items(v)
	if !ok && pickle.TypeName(v) == "nothing" {
		t.Fatal("a value that is nothing")
	}
	switch v := v.(type) {
	case *pickle.Set:
		items = v.Items
	case *pickle.Dict:
		for _, e := range v.Entries {
			items = append(items, e.Key, e.Value)
		}
		if v.State != nil {
			items = append(items, v.State)
		}
	case *pickle.Object:
		items = append([]pickle.Value{v.Args}, v.Items...)
		if v.State != nil {
			items = append(items, v.State)
		}
		if v.Kwargs != nil {
			items = append(items, v.Kwargs)
		}
		if v.Dict != nil {
			items = append(items, v.Dict)
		}
	}
	for _, item := range items {
		walk(t, item, depth+1, nodes)
	}
}
