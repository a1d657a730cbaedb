package artifact_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

func TestParseCardDistribution(t *testing.T) {
	f := func(text string, want artifact.Distribution) {
		t.Helper()
		if want.Params == nil {
			want.Params = map[string]artifact.ParamSource{}
		}
		want.Line = 4
		card := parse(t, minimal+"distribution: "+text+"\n")
		if diff := cmp.Diff(&want, card.Distribution); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	type params = map[string]artifact.ParamSource
	f("Categorical", artifact.Distribution{Kind: "categorical"})
	f("{kind: gaussian, mean: mu, log_std: [0.5, -1]}", artifact.Distribution{Kind: "gaussian",
		Params: params{"mean": {Name: "mu"}, "log_std": {Constant: []float64{0.5, -1}}}})
	f("{kind: squashed_gaussian, std: 0.3, scale: {tensor: action_scale}, deterministic: mean}", artifact.Distribution{Kind: "squashed_gaussian",
		Params: params{"std": {Constant: []float64{0.3}}, "scale": {Tensor: "action_scale"}}, Deterministic: "mean"})
	f("{kind: multi_categorical, logits: [gear, lane], masks: true}", artifact.Distribution{Kind: "multi_categorical",
		Params: params{"logits": {Names: []string{"gear", "lane"}}}, Masks: true})
	f("{kind: multi_categorical, probs: {output: 1}, sizes: [3, 2]}", artifact.Distribution{Kind: "multi_categorical",
		Params: params{"probs": {Output: new(1)}}, Sizes: []int{3, 2}})
	f("{kind: beta, low: -1, high: [1, 2], alpha: {output: out, start: 0, end: 2, transform: softplus_plus_one, min: 1.5, max: .inf}}",
		artifact.Distribution{Kind: "beta", Low: []float64{-1}, High: []float64{1, 2}, Params: params{"alpha": {
			Names: []string{"out"}, Start: new(0), End: new(2), Transform: "softplus_plus_one", Min: new(1.5)}}})
}

func TestParseCardDistributionRefuses(t *testing.T) {
	f := func(text string, want string) {
		t.Helper()
		refuses(t, minimal+"distribution: "+text+"\n", want)
	}
	f("normal", "want one of gaussian")
	f("{mean: mu}", "distribution.kind: invalid card: this key is required")
	f("{kind: gauss}", "want one of gaussian")
	f("{kind: gaussian, logits: x}", "unknown key; there are: kind, deterministic, mean")
	f("{kind: gaussian, std: 1, log_std: 0}", "std and log_std say the same")
	f("{kind: categorical, deterministic: mean}", "want mode")
	f("{kind: categorical, sizes: [2]}", "unknown key")
	f("{kind: multi_categorical, sizes: []}", "want at least one number")
	f("{kind: multi_categorical, sizes: [0]}", "distribution.sizes[0]")
	f("{kind: beta, low: 0}", "low and high go together")
	f("{kind: gaussian, std: {start: 1}}", "want one of output, tensor")
	f("{kind: gaussian, std: {output: 0, tensor: x}}", "want one of output, tensor")
	f("{kind: gaussian, std: {output: -1}}", "whole number from 0")
	f("{kind: gaussian, std: {output: 0, transform: square}}", "want one of softplus")
	f("{kind: gaussian, std: {output: 0, min: 2, max: 1}}", "min is above max")
	f("{kind: gaussian, std: {output: 0, begin: 2}}", "unknown key")
}

func TestParseCardFrameStack(t *testing.T) {
	f := func(text string, want artifact.FrameStack) {
		t.Helper()
		card := parse(t, minimal+"frame_stack: "+text+"\n")
		if diff := cmp.Diff(want, card.FrameStack); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	f("4", artifact.FrameStack{Frames: 4})
	f("{frames: 2, order: normalize_then_stack, channels_order: first}", artifact.FrameStack{Frames: 2, Order: "normalize_then_stack", Channels: "first"})
	f("{frames: 2, channels_order: {camera: first, lidar: last}}", artifact.FrameStack{Frames: 2, ChannelsOf: map[string]string{"camera": "first", "lidar": "last"}})

	g := func(text, want string) {
		t.Helper()
		refuses(t, minimal+"frame_stack: "+text+"\n", want)
	}
	g("0", "whole number from 1 to 1024")
	g("[4]", "want a whole number, got a list")
	g("{order: normalize_then_stack}", "frame_stack.frames: invalid card: this key is required")
	g("{frames: 4, order: normalise}", "want one of normalize_then_stack")
	g("{frames: 4, channels_order: middle}", "want one of first, last")
	g("{frames: 4, channels_order: {camera: 1}}", "frame_stack.channels_order.camera")
	g("{frames: 4, channel_order: first}", "did you mean channels_order?")
}

// refuses looks for words of the problems of a card.
func refuses(t *testing.T, text, want string) {
	t.Helper()
	if _, _, err := artifact.ParseCard([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%q: %v, want an error with %q", strings.TrimPrefix(text, minimal), err, want)
	}
}
