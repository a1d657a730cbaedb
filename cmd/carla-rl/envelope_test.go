package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// enveloped writes a policy for which zeros are unlike the training, and
// without a fallback.
func enveloped(t *testing.T) string {
	t.Helper()
	weights, err := os.ReadFile(filepath.Join("..", "..", "testdata", "modules", "2.8.0", "seq_mlp", "state_dict.pth"))
	if err != nil {
		t.Fatal(err)
	}
	const card = `
model_name: weights
version: v0.1.0
model_type: pytorch
model_filename: model.pth
observation: [{name: obs, shape: [5]}]
action: [{name: a, low: -1, high: 1}, {name: b, low: -1, high: 1}, {name: c, low: -1, high: 1}]
architecture: [{linear: 0}, tanh, {linear: 2}, relu, {linear: 4}]
envelope:
  max_zscore: 5
  statistics: {obs: {mean: 9, std: 1}}
`
	dir := t.TempDir()
	for name, data := range map[string][]byte{"model.pth": weights, "model_card.yaml": []byte(card)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestWarmupOfWhatIsUnlikeTheTraining: zeros are no request of a client.
func TestWarmupOfWhatIsUnlikeTheTraining(t *testing.T) {
	repo, err := repository.Open(t.Context(), repository.Options{Root: enveloped(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	if err := repo.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := &backend{repo: repo, service: serving.New(serving.Options{Lanes: 1, MaxQueue: 1})}
	if err := b.Readiness(); err != nil {
		t.Fatal(err)
	}
	target, err := b.Resolve("", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Act(t.Context(), &target, &serving.Request{Rows: 1, Inputs: [][]float32{make([]float32, 5)}, Deterministic: true}); err == nil {
		t.Error("zeros are like the training")
	}
	if err := b.Warmup(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestConvertTellsOfTheEnvelope: an ONNX file has none.
func TestConvertTellsOfTheEnvelope(t *testing.T) {
	var out bytes.Buffer
	c := convertCmd{In: enveloped(t), Out: filepath.Join(t.TempDir(), "out.onnx"), Seed: 1}
	if err := c.Run(stdio{out: &out}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "The envelope of the card is not in the file") {
		t.Errorf("convert does not say it: %s", out.String())
	}
}

// TestShapeWithoutANameIsOfOneInput: of several it is none's.
func TestShapeWithoutANameIsOfOneInput(t *testing.T) {
	shapes, err := parseShapes([]string{"4"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shapes.forInputs([]format.InputDescription{{Name: "a"}, {Name: "b"}}); err == nil || !strings.Contains(err.Error(), "several inputs: say NAME=N,... for each of a, b") {
		t.Errorf("%v", err)
	}
	if got, err := shapes.forInputs([]format.InputDescription{{Name: "a"}}); err != nil || !slices.Equal(got["a"], []int{-1, 4}) {
		t.Errorf("%v, %v", got, err)
	}
}
