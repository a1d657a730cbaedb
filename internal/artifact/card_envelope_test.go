package artifact_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

func TestParseCardEnvelope(t *testing.T) {
	card := parse(t, minimal+`
envelope:
  limits:
    steer: {low: -0.8, high: 0.8, rate: 2, jerk: 40}
    throttle: {rate: 1}
  max_zscore: 6
  max_distance: 5
  statistics:
    speed: {mean: 40, std: 12}
    sensors: {mean: [[0.5, 0.25], [1, 2]], std: [1, 1, 1, 1]}
  covariance: [[2, 0.5], [0.5, 1]]
fallback: Brake
`)
	want := &artifact.Envelope{
		Limits: []artifact.EnvelopeLimit{
			{Action: "steer", Low: new(-0.8), High: new(0.8), Rate: 2, Jerk: 40, Line: 7},
			{Action: "throttle", Rate: 1, Line: 8},
		},
		MaxZScore: 6, MaxDistance: 5,
		Statistics: []artifact.FeatureStatistics{
			{Feature: "speed", Mean: []float64{40}, Std: []float64{12}, Line: 12},
			{Feature: "sensors", Mean: []float64{0.5, 0.25, 1, 2}, Std: []float64{1, 1, 1, 1}, Line: 13},
		},
		Covariance: []float64{2, 0.5, 0.5, 1},
	}
	if diff := cmp.Diff(want, card.Envelope); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&artifact.Fallback{Word: "brake", Line: 15}, card.Fallback); diff != "" {
		t.Error(diff)
	}

	f := func(text string, want any) {
		t.Helper()
		card := parse(t, minimal+"envelope: {}\nfallback: "+text+"\n")
		if diff := cmp.Diff(want, card.Fallback.Values); diff != "" || card.Envelope == nil {
			t.Error(diff)
		}
	}
	f("{throttle: 0, steer: [1, 2]}", map[string]any{"throttle": 0.0, "steer": []float64{1, 2}})
	f("[0, 1.5]", []float64{0, 1.5})
	f("2", 2.0)
	if card := parse(t, minimal+"fallback: error\n"); card.Envelope != nil {
		t.Error("an envelope that nobody wrote")
	}
}

func TestParseCardEnvelopeRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, _, err := artifact.ParseCard([]byte(minimal + text + "\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	f("envelope: yes", "want a mapping")
	f("envelope: {limit: {}}", "did you mean limits")
	f("envelope: {max: 1}", "unknown key; there are: limits, max_zscore")
	f("envelope: {limits: [1]}", "want a mapping")
	f("envelope: {limits: {steer: {rate: 0}}}", "envelope.limits.steer.rate: invalid card: want a number above 0")
	f("envelope: {limits: {steer: {rate: fast}}}", "want a number")
	f("envelope: {limits: {steer: {speed: 1}}}", "unknown key")
	f("envelope: {max_zscore: -1}", "want a number above 0")
	f("envelope: {max_distance: .inf}", "want a finite number")
	f("envelope: {statistics: {speed: {mean: 1}}}", "envelope.statistics.speed.std")
	f("envelope: {statistics: {speed: {mean: 1, std: 2, var: 4}}}", "unknown key")
	f("envelope: {covariance: [[1, 0], [1]]}", "not of the same length")
	f("fallback: brake", "the card has no envelope")
	f("fallback: [0, 1]", "the card has no envelope")
	f("envelope: {}\nfallback: coast", "want one of error, hold, decay, brake")
	f("envelope: {}\nfallback: {throttle: full}", "want a number")
}
