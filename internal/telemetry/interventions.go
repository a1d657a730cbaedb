package telemetry

// Interventions returns the counter of what the envelope of one version
// changed. names has the action of each value of a row; the values of an action
// share their counts, and actions beyond the first 32 are other.
func (m *Metrics) Interventions(model, version string, names []string) func(value int, kind string) {
	labels := make([]string, len(names))
	seen := map[string]bool{}
	for i, name := range names {
		if !seen[name] && len(seen) >= maxActionNames {
			name = otherActions
		} else {
			seen[name] = true
		}
		labels[i] = name
	}
	return func(value int, kind string) {
		m.interventions.WithLabelValues(model, version, labels[value], kind).Inc()
	}
}
