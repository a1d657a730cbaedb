package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Why sessions end, tokens are refused and requests are not started: each is
// counted from 0 on, or its first one would be no increase.
var (
	sessionEnds     = []string{"closed", "expired", "shutdown"}
	tokenRefusals   = []string{"malformed", "size", "unauthentic", "expired", "model", "version", "rows"}
	deadlineReasons = []string{"passed", "queue", "slow", "late"}
)

// sessions count what becomes of sessions, tokens and deadlines.
type sessions struct {
	opened   prometheus.Counter
	ended    *prometheus.CounterVec
	refused  *prometheus.CounterVec
	deadline *prometheus.CounterVec
}

func (s *sessions) init(m *Metrics) {
	s.opened = prometheus.NewCounter(prometheus.CounterOpts{Name: "carla_rl_sessions_opened_total", Help: "Sessions that were opened."})
	m.registry.MustRegister(s.opened)
	s.ended = counters(m, "carla_rl_sessions_ended_total", "Sessions that ended, by why.", "reason")
	s.refused = counters(m, "carla_rl_session_tokens_refused_total", "States carried by clients that were refused, by why.", "reason")
	s.deadline = counters(m, "carla_rl_deadline_refusals_total", "Requests that were not started because of their deadline, by why, and those that ran and were too late.", "reason")
	for v, reasons := range map[*prometheus.CounterVec][]string{s.ended: sessionEnds, s.refused: tokenRefusals, s.deadline: deadlineReasons} {
		for _, reason := range reasons {
			v.WithLabelValues(reason)
		}
	}
}

// SessionOpened counts a session.
func (m *Metrics) SessionOpened() { m.sessions.opened.Inc() }

// SessionEnded counts the end of a session.
func (m *Metrics) SessionEnded(reason string) { m.sessions.ended.WithLabelValues(reason).Inc() }

// TokenRefused counts a state that a client carried and that was refused.
func (m *Metrics) TokenRefused(reason string) { m.sessions.refused.WithLabelValues(reason).Inc() }

// DeadlineRefused counts a request that was not started because of its deadline.
func (m *Metrics) DeadlineRefused(reason string) { m.sessions.deadline.WithLabelValues(reason).Inc() }

// Sessions tells how to read the number of open sessions, the memory of their
// states, and the number of those that stay on a version of before.
func (m *Metrics) Sessions(open func() int, bytes func() int64, draining func() int) {
	m.gauge("carla_rl_sessions", "Open sessions.", open)
	m.gauge("carla_rl_session_bytes", "Memory of the states of all sessions.", func() int { return int(bytes()) })
	m.gauge("carla_rl_sessions_draining", "Open sessions on a version that does not answer for their model any more.", draining)
}
