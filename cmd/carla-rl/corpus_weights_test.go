package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// weightsWithACard are files of weights alone, with what a card says of them.
var weightsWithACard = map[string]string{
	"torch/carla_mlp":  "[{linear: network.0}, relu, {linear: network.2}, relu, {linear: network.4}, tanh]",
	"torch/act_method": "[{linear: fc}, relu, {linear: mu}, tanh]",
	"torch/multi_input": "{inputs: {image: [1, 7, 7], vec: [3]}, layers: [{conv: img, stride: 2, from: image}, relu, {flatten: , as: a}, " +
		"{linear: vec, from: vec}, {tanh: , as: b}, {concat: [a, b]}, {linear: out}]}",
	"torch/nature_cnn_uint8": "{inputs: {x: {shape: [4, 84, 84], dtype: uint8}}, layers: [{cast: {dtype: f32}}, {div: 255.0}, {conv: cnn.0, stride: 4}, relu, " +
		"{conv: cnn.2, stride: 2}, relu, {conv: cnn.4}, relu, flatten, {linear: linear}]}",
	"other_libs/sample_factory": "{layers: [{normalize: {mean: obs_normalizer.running_mean_std.running_mean_std.obs.running_mean, " +
		"var: obs_normalizer.running_mean_std.running_mean_std.obs.running_var, eps: 1.0e-5, clip: 5}}, " +
		"{linear: encoder.encoders.obs.mlp_head.0}, elu, {linear: encoder.encoders.obs.mlp_head.2}, {elu: , as: h}, " +
		"{linear: action_parameterization.distribution_linear, as: logits}, {linear: critic_linear, from: h, as: value}], outputs: [logits, value]}",
}

// TestCorpusWeightsWithACard asks artifacts of files of weights, whose card has
// the architecture.
func TestCorpusWeightsWithACard(t *testing.T) {
	dir, ok := corpusDir(t, len(weightsWithACard))
	if !ok {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(weightsWithACard)) {
		folder := filepath.Join(dir, filepath.FromSlash(name))
		var c networkCase
		readCases(t, folder, &c)
		if c.Atol == 0 {
			c.Atol = 1e-5
		}
		c.Steps = c.Batches
		for i := range c.Steps {
			for input, v := range c.Steps[i].Inputs {
				c.Steps[i].Inputs[input] = withArrays(t, folder, v)
			}
		}
		for _, form := range []string{"state", "state_legacy", "ckpt", "safetensors", "model"} {
			if c.Files[form] == "" {
				continue
			}
			t.Run(name+"/"+form, func(t *testing.T) {
				data, err := os.ReadFile(filepath.Join(folder, c.Files[form]))
				if err != nil {
					t.Fatal(err)
				}
				artifact := t.TempDir()
				card := fmt.Sprintf("model_name: m\nversion: v0.1.0\nmodel_type: pytorch\nmodel_filename: model.pth\narchitecture: %s\n", weightsWithACard[name])
				write(t, filepath.Join(artifact, "model_card.yaml"), []byte(card))
				write(t, filepath.Join(artifact, "model.pth"), data)
				for _, engine := range testEngines() {
					if err := c.check(t, "--model", artifact, "--engine", engine); err != nil {
						t.Errorf("%s: %v", engine, err)
					}
				}
			})
		}
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
