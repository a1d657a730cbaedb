//go:build e2e

package chaos_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/onnxmodel"
	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// reloadSlack is how much the 99th percentile may grow while versions load.
const reloadSlack = 1.2

// reloadRate is the load beside which versions load, in requests a second: far
// from what a core can do, so that what is measured is what a load takes away.
const reloadRate = 2000

// slowVariants are so many that the next one is never in memory.
const slowVariants = 5

// slowModels writes models of tens of MiB, to read, verify, compile and warm,
// which differ in their bytes.
func slowModels(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i := range slowVariants {
		m := onnxmodel.New(fmt.Sprint("slow", i))
		x, in := m.Input("obs", onnxmodel.Float, onnxmodel.Batch, 8), 8
		for i := range 9 {
			x = m.Node("Tanh", nil, m.Dense(x, fmt.Sprint("layer", i), in, 1024))
			in = 1024
		}
		m.Output(m.Dense(x, "out", in, 4), onnxmodel.Float)
		names = append(names, filepath.Join(dir, fmt.Sprint(i)))
		if err := os.WriteFile(names[i], m.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// putSlow replaces the slow policy by another.
func putSlow(t *testing.T, root, name string) {
	at := filepath.Join(root, slow, "v1.0.0", "model.onnx")
	if err := os.Link(name, at+".part"); err != nil {
		t.Error(err)
	}
	if err := os.Rename(at+".part", at); err != nil {
		t.Error(err)
	}
}

// reloadPairs are how often the load is held without reloads and then with them:
// what else the machine does changes from one moment to the next, for both.
const reloadPairs = 10

// TestReloadsBesideLoad (A1): the latency of one policy while another, of tens of
// MiB, is replaced and rolled back all the time, against that of the moments
// before and after without. No request fails, and versions of before leave memory.
func TestReloadsBesideLoad(t *testing.T) {
	ledger.Begin(t)
	p := serve(t, "CARLA_RL_ADMIN_KEY="+adminKey, "CARLA_RL_POLL_INTERVAL=0")
	models := slowModels(t)
	ask := p.request(small, `{"observations":`+observations(1)+`}`)
	p.load(ask, 16, reloadRate, 2*time.Second)
	n, acts := 0, 0
	// churn replaces the slow policy and rolls it back until it is told to stop.
	churn := func(stop <-chan struct{}) {
		c := p.admin()
		defer c.close()
		act := func(what string) string {
			status, _, body, err := c.ask("POST", "/admin/"+what, "application/json", []byte(`{"model":"`+slow+`"}`))
			if err != nil || status != 200 {
				t.Errorf("%s: %d %v %s", what, status, err, body)
			}
			return string(body)
		}
		for {
			select {
			case <-stop:
				return
			default:
			}
			putSlow(t, p.root, models[n%len(models)])
			n++
			if said := act("reload"); !strings.Contains(said, `"result":"changed"`) {
				t.Errorf("reload: %s", said)
				return
			}
			act("rollback")
			acts += 2
		}
	}
	part := func(with bool) time.Duration {
		stop := make(chan struct{})
		var all sync.WaitGroup
		if with {
			all.Go(func() { churn(stop) })
		}
		r := p.load(ask, 16, reloadRate, *duration/reloadPairs)
		close(stop)
		all.Wait()
		if err := r.Err(); err != nil {
			t.Errorf("with reloads %v: %v", with, err)
		}
		return r.Service.Percentile(99)
	}
	var figures []string
	p.steady(t, func() (broken []string) {
		acts = 0
		var without, with, ratios []float64
		for i := range reloadPairs {
			var a, b time.Duration
			if i%2 == 0 {
				a, b = part(false), part(true)
			} else {
				b, a = part(true), part(false)
			}
			without, with, ratios = append(without, ms(a)), append(with, ms(b)), append(ratios, float64(b)/float64(a))
		}
		ratio := median(ratios)
		t.Logf("figure: %d reloads and rollbacks of a policy of 38 MB; P99 in ms before %.3f, beside %.3f; medians %.3f and %.3f, of the pairs %.2f times",
			acts, without, with, median(without), median(with), ratio)
		figures = []string{fmt.Sprintf("P99 %.3f ms without, %.3f ms beside: %.2f times, the median of %d pairs", median(without), median(with), ratio, reloadPairs)}
		if ratio > reloadSlack {
			broken = append(broken, fmt.Sprintf("P99 beside reloads is %.2f times that without, want at most %.1f", ratio, reloadSlack))
		}
		return broken
	})
	memory := p.fewVersions(5)
	ledger.Add(t, ledger.Row{
		ID: "A1", Test: "one policy is asked while another, of 38 MB, is reloaded and rolled back all the time", Load: fmt.Sprintf("%d requests/s for %v", reloadRate, *duration),
		Faults: ledger.N(acts, "reloads and rollbacks"), Lost: ledger.Nothing, Figures: append(figures, fmt.Sprintf("%.0f versions in memory afterwards", memory)),
	})
}

func median[T float64 | time.Duration](x []T) T {
	x = slices.Sorted(slices.Values(x))
	if len(x)%2 == 1 {
		return x[len(x)/2]
	}
	return (x[len(x)/2-1] + x[len(x)/2]) / 2
}
