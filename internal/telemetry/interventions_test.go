package telemetry_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

func TestInterventions(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	names := []string{"steer", "steer"}
	for i := range 40 {
		names = append(names, fmt.Sprint("joint", i))
	}
	count := m.Interventions("m", "v1", names)
	count(0, "bound")
	count(1, "bound")
	count(1, "rate")
	count(32, "bound") // the 32nd name
	count(33, "bound")
	count(41, "bound")
	got := scrape(t, m, "")
	for _, want := range []string{
		`carla_rl_interventions_total{action="steer",kind="bound",model="m",version="v1"} 2`,
		`carla_rl_interventions_total{action="steer",kind="rate",model="m",version="v1"} 1`,
		`carla_rl_interventions_total{action="joint30",kind="bound",model="m",version="v1"} 1`,
		`carla_rl_interventions_total{action="other",kind="bound",model="m",version="v1"} 2`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
}
