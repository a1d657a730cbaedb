package telemetry_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// TestSaturationCountsValuesByName holds that the values of one action share
// its counts, and that what has no bound is not counted.
func TestSaturationCountsValuesByName(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	inf := math.Inf(1)
	act := m.Saturation("arm", "v1",
		[]string{"joints", "joints", "grip", "free"},
		[]float64{-1, -2, 0, -inf}, []float64{1, 1, inf, inf})
	act([]float32{-1, -1, 0, 9})
	act([]float32{1, 1, 5, -9, 0, -2, -0.5, 0})
	act([]float32{1, 2, 3}) // no whole row
	body := scrape(t, m, "")
	has(t, body,
		`carla_rl_action_values_total{action="joints",model="arm",version="v1"} 6`,
		`carla_rl_action_saturated_total{action="joints",bound="low",model="arm",version="v1"} 2`,
		`carla_rl_action_saturated_total{action="joints",bound="high",model="arm",version="v1"} 2`,
		`carla_rl_action_bound{action="joints",bound="high",model="arm",version="v1"} 1`,
		`carla_rl_action_values_total{action="grip",model="arm",version="v1"} 3`,
		`carla_rl_action_saturated_total{action="grip",bound="low",model="arm",version="v1"} 2`,
		`carla_rl_action_saturated_total{action="grip",bound="high",model="arm",version="v1"} 0`,
	)
	for _, not := range []string{`action="free"`, `carla_rl_action_bound{action="joints",bound="low"`, `carla_rl_action_bound{action="grip",bound="high"`} {
		if strings.Contains(body, not) {
			t.Errorf("there is %s", not)
		}
	}
}

// TestSaturationIsOneAVersion holds that a version asked for twice is one.
func TestSaturationIsOneAVersion(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	for range 2 {
		m.Saturation("m", "v1", []string{"a"}, []float64{0}, []float64{1})([]float32{1})
	}
	m.Saturation("m", "v2", []string{"a"}, []float64{0}, []float64{1})([]float32{0.5})
	has(t, scrape(t, m, ""),
		`carla_rl_action_saturated_total{action="a",bound="high",model="m",version="v1"} 2`,
		`carla_rl_action_saturated_total{action="a",bound="high",model="m",version="v2"} 0`,
	)
}

// TestSaturationBoundsItsSeries holds that a card with very many actions makes
// no more than a few series.
func TestSaturationBoundsItsSeries(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	var names []string
	var low, high []float64
	var row []float32
	for i := range 1000 {
		names, low, high, row = append(names, fmt.Sprintf("a%d", i)), append(low, -1), append(high, 1), append(row, 1)
	}
	m.Saturation("m", "v", names, low, high)(row)
	body := scrape(t, m, "")
	if got := strings.Count(body, "carla_rl_action_values_total{"); got != 33 {
		t.Errorf("%d actions have a series, want 32 and the rest", got)
	}
	has(t, body, `carla_rl_action_saturated_total{action="other",bound="high",model="m",version="v"} 968`)
}
