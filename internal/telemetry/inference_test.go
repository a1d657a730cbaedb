package telemetry_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// TestInferenceTwin counts the same requests with the library's histograms, in
// many goroutines, and compares what a scrape says.
func TestInferenceTwin(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	seconds := []float64{1e-6, 2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1, 2, 5}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	duration := histogram("carla_rl_inference_duration_seconds", "Time that a policy took for the rows of one request.", seconds, "model", "version")
	batch := histogram("carla_rl_batch_size", "Observations in one request.", prometheus.ExponentialBuckets(1, 2, 11), "model", "version")
	stage := histogram("carla_rl_stage_duration_seconds", "Time that an answered request spent in each stage: decode, queue, policy, encode.", seconds, "model", "stage")
	queue := histogram("carla_rl_queue_seconds", "Time that a request waited for a lane.", seconds)

	// Whole microseconds have sums that are the same in every order, and lie on
	// bounds.
	edges := []int{0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 16, 20, 21, 32, 50, 64, 100, 128, 1000, 1024, 5_000_000, 5_000_001, 8_388_608, 1 << 40}
	var group sync.WaitGroup
	for shard := range uint32(4) {
		group.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(shard)))
			draw := func() time.Duration {
				if r.IntN(2) == 0 {
					return time.Duration(edges[r.IntN(len(edges)-1)]) * time.Microsecond
				}
				return time.Duration(1<<r.IntN(23)) * time.Microsecond
			}
			for range 2000 {
				model, version := fmt.Sprint("m", r.IntN(2)), fmt.Sprint("v", r.IntN(2))
				rows := 1 + r.IntN(1100)
				decode, queued, took, encode := draw(), draw(), draw(), draw()
				m.Inference(model, version)(shard, rows, rows%2 == 0, false, decode, queued, took, encode)
				m.Inference(model, version)(shard, rows, false, true, decode, queued, took, encode)
				duration.WithLabelValues(model, version).Observe(took.Seconds())
				batch.WithLabelValues(model, version).Observe(float64(rows))
				queue.WithLabelValues().Observe(queued.Seconds())
				stage.WithLabelValues(model, "decode").Observe(decode.Seconds())
				stage.WithLabelValues(model, "queue").Observe(queued.Seconds())
				stage.WithLabelValues(model, "policy").Observe(took.Seconds())
				stage.WithLabelValues(model, "encode").Observe(encode.Seconds())
			}
		})
	}
	group.Wait()
	registry := prometheus.NewRegistry()
	registry.MustRegister(duration, batch, stage, queue)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	want, got := samples(t, w.Body.String()), samples(t, scrape(t, m, ""))
	for name, v := range want {
		if g, ok := got[name]; !ok || math.Abs(g-v) > 1e-9*v {
			t.Errorf("%s is %v (%v), want %v", name, g, ok, v)
		}
	}
	if len(want) < 4*20 {
		t.Errorf("%d samples were compared", len(want))
	}
	for _, status := range []string{"success", "error"} {
		n, all := got[`carla_rl_inference_requests_total{model="m0",status="`+status+`",version="v1"}`], want[`carla_rl_batch_size_count{model="m0",version="v1"}`]
		if n != all || n == 0 {
			t.Errorf("%v requests are counted as %s, want %v", n, status, all)
		}
	}
}

// samples returns the samples of a scrape by name and labels.
func samples(t *testing.T, text string) map[string]float64 {
	t.Helper()
	list := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || name == "#" {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		list[name] = v
	}
	return list
}
