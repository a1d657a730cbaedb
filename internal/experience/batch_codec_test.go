package experience

import (
	"reflect"
	"testing"
	"time"
)

// fill gives every field of a value something that is not its zero.
func fill(v reflect.Value, n *int) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(int64(*n), int64(*n)).UTC()))
	case v.CanInt():
		v.SetInt(int64(*n))
	case v.CanUint():
		v.SetUint(uint64(*n))
	case v.CanFloat():
		v.SetFloat(float64(*n) / 4)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.String:
		v.SetString(string(rune('a' + *n%26)))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case v.Kind() == reflect.Struct:
		for _, f := range v.Fields() {
			fill(f, n)
		}
	case v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes([]byte(`{"a":1}`))
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	}
}

// TestBatchCodecKeepsEveryField fills every field there is, so that one that is
// added later is not forgotten.
func TestBatchCodecKeepsEveryField(t *testing.T) {
	var b Batch
	n := 0
	for _, part := range []any{&b.Layouts, &b.Steps, &b.Gaps, &b.Outcomes} {
		fill(reflect.ValueOf(part).Elem(), &n)
	}
	b.Steps = append(b.Steps, b.Steps[0], Step{}) // strings of the step before, and none
	data, err := appendBatch(nil, &b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Steps {
		if len(b.Steps[i].Interventions) == 0 {
			b.Steps[i].Interventions = nil
		}
	}
	if !reflect.DeepEqual(*got, b) {
		t.Errorf("got  %+v\nwant %+v", *got, b)
	}
	for i := range data {
		if _, err := decodeBatch(data[:i]); err == nil {
			t.Fatalf("cut at %d of %d it is still a batch", i, len(data))
		}
	}
}

// FuzzDecodeBatch holds that bytes are an error, or a batch that is written as
// the same.
func FuzzDecodeBatch(f *testing.F) {
	var b Batch
	n := 0
	fill(reflect.ValueOf(&b.Steps).Elem(), &n)
	fill(reflect.ValueOf(&b.Outcomes).Elem(), &n)
	data, err := appendBatch(nil, &b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{batchFormat, 2, '[', ']', 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := decodeBatch(data)
		if err != nil {
			return
		}
		again, err := appendBatch(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeBatch(again); err != nil {
			t.Fatal(err)
		}
	})
}
