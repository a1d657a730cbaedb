package telemetry_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

func TestSessions(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	m.Sessions(func() int { return 3 }, func() int64 { return 4096 }, func() int { return 2 })
	m.SessionOpened()
	m.SessionEnded("expired")
	m.TokenRefused("rows")
	m.DeadlineRefused("slow")
	got := scrape(t, m, "")
	for _, want := range []string{
		"carla_rl_sessions 3",
		"carla_rl_session_bytes 4096",
		"carla_rl_sessions_draining 2",
		"carla_rl_sessions_opened_total 1",
		`carla_rl_sessions_ended_total{reason="expired"} 1`,
		`carla_rl_sessions_ended_total{reason="closed"} 0`,
		`carla_rl_session_tokens_refused_total{reason="rows"} 1`,
		`carla_rl_session_tokens_refused_total{reason="unauthentic"} 0`,
		`carla_rl_deadline_refusals_total{reason="slow"} 1`,
		`carla_rl_deadline_refusals_total{reason="queue"} 0`,
	} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
