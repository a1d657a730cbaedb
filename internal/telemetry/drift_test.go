package telemetry_test

import (
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

func TestDrift(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	versions := []telemetry.Drift{
		{Model: "m", Version: "v1", Rows: 150, Features: []telemetry.FeatureDrift{
			{Feature: "speed", ZScore: -2.5, PSI: 0.5, OutOfRange: 0.25, Saturation: 0.125},
			{Feature: "pose[1]", ZScore: 0.5, PSI: 0.1, OutOfRange: 0, Saturation: math.NaN()},
		}},
		{Model: "m", Version: "v2", Rows: 3},
	}
	m.Drift(func() []telemetry.Drift { return versions })
	text := scrape(t, m, "")
	for _, want := range []string{
		`carla_rl_drift_rows{model="m",version="v1"} 150`,
		`carla_rl_drift_rows{model="m",version="v2"} 3`,
		`carla_rl_drift_z_score{feature="speed",model="m",version="v1"} -2.5`,
		`carla_rl_drift_psi{feature="speed",model="m",version="v1"} 0.5`,
		`carla_rl_drift_out_of_range_ratio{feature="speed",model="m",version="v1"} 0.25`,
		`carla_rl_drift_saturation_ratio{feature="speed",model="m",version="v1"} 0.125`,
		`carla_rl_drift_z_score{feature="pose[1]",model="m",version="v1"} 0.5`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, `carla_rl_drift_saturation_ratio{feature="pose[1]"`) {
		t.Error("a feature without bounds has a saturation")
	}
	versions = nil
	if strings.Contains(scrape(t, m, ""), "carla_rl_drift") {
		t.Error("series of a version are left that is measured no more")
	}
}
