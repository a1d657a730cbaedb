package envelope_test

import (
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
)

// TestHistoriesAreCarried takes a stream apart and puts it together elsewhere.
func TestHistoriesAreCarried(t *testing.T) {
	h := envelope.NewHistory(2)
	if _, _, ok := h.Actions(); ok || h.Width() != 2 {
		t.Error("a new history has actions")
	}
	e := make1(t, envelope.Spec{ControlHz: 10, Limits: []envelope.Limit{{Low: -9, High: 9, Rate: 10}, {Low: -9, High: 9, Rate: 10}}})
	e.Apply(0, []float32{1, 2}, h, nil)
	e.Apply(0, []float32{1.5, 1}, h, nil)
	last, before, ok := h.Actions()
	if !ok || !slices.Equal(last, []float32{1.5, 1}) || !slices.Equal(before, []float32{1, 2}) {
		t.Fatalf("the last actions are %v and %v, %v", last, before, ok)
	}
	restored, copied := envelope.NewHistory(2), envelope.NewHistory(2)
	restored.Restore(last, before)
	copied.Copy(h)
	for _, other := range []*envelope.History{restored, copied} {
		if last, before, ok := other.Actions(); !ok || !slices.Equal(last, []float32{1.5, 1}) || !slices.Equal(before, []float32{1, 2}) {
			t.Errorf("carried: %v and %v, %v", last, before, ok)
		}
	}
	// They are streams of their own.
	e.Apply(0, []float32{0.5, 0}, h, nil)
	if last, _, _ := copied.Actions(); !slices.Equal(last, []float32{1.5, 1}) {
		t.Errorf("the copy went on with the other: %v", last)
	}
	h.Reset()
	if copied.Copy(h); copied.Begun() {
		t.Error("the copy of a history without actions has some")
	}
}
