package telemetry

import "github.com/prometheus/client_golang/prometheus"

// LockedMemory tells how to read how many bytes of policies are locked, and how
// often the system refused to lock more.
func (m *Metrics) LockedMemory(bytes, failures func() int64) {
	m.gauge("carla_rl_memory_locked_bytes", "Memory of policies that is locked, in whole pages.", func() int { return int(bytes()) })
	_ = m.registry.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "carla_rl_memory_lock_failures_total", Help: "Times that the system refused to lock memory of a policy, which then lies in ordinary memory.",
	}, func() float64 { return float64(failures()) }))
}
