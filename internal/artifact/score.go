package artifact

// The metrics of a card that Score reads, after flattening.
const (
	metricLatency    = "inference_latency_p50_ms"
	metricThroughput = "inference_throughput_obs_per_sec"
	metricMemory     = "memory_usage_mb"
)

// Score rates a version by the metrics of its card, higher being better: one
// point a millisecond below 100, one for each ten observations a second, one
// for each 100 MB below 2000. A metric that the card lacks gives nothing.
func Score(metrics map[string]float64) float64 {
	score := 0.0
	if v, ok := metrics[metricLatency]; ok {
		score += max(0, 100-v)
	}
	if v, ok := metrics[metricThroughput]; ok {
		score += v / 10
	}
	if v, ok := metrics[metricMemory]; ok {
		score += max(0, (2000-v)/100)
	}
	return score
}
