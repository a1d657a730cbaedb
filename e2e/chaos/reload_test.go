//go:build e2e

package chaos_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/onnxmodel"
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

// TestReloadsBesideLoad (A1): the latency of one policy while another, of tens of
// MiB, is replaced and rolled back all the time. No request fails, and versions
// of before leave memory.
func TestReloadsBesideLoad(t *testing.T) {
	p := serve(t, "CARLA_RL_ADMIN_KEY=chaos-admin-key", "CARLA_RL_POLL_INTERVAL=0")
	root, models := p.root, slowModels(t)
	ask := p.request(small, `{"observations":`+observations(1)+`}`)
	p.load(ask, 16, reloadRate, 2*time.Second)
	quiet := p.load(ask, 16, reloadRate, *duration)
	if err := quiet.Err(); err != nil {
		t.Errorf("before: %v", err)
	}
	act := func(what string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.addr+"/admin/"+what, strings.NewReader(`{"model":"`+slow+`"}`))
		if err != nil {
			t.Error(err)
			return ""
		}
		req.Header.Set("X-API-Key", "chaos-admin-key")
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		var b strings.Builder
		if _, err := fmt.Fprintf(&b, "%d ", resp.StatusCode); err != nil || resp.Write(&b) != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", what, b.String())
		}
		return b.String()
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	acts := 0
	churn.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			putSlow(t, root, models[n%len(models)])
			if said := act("reload"); !strings.Contains(said, `"result":"changed"`) {
				t.Errorf("reload: %s", said)
				return
			}
			act("rollback")
			acts += 2
		}
	})
	busy := p.load(ask, 16, reloadRate, *duration)
	close(stop)
	churn.Wait()
	if err := busy.Err(); err != nil {
		t.Errorf("beside reloads: %v", err)
	}
	before, beside := quiet.Service.Percentile(99), busy.Service.Percentile(99)
	t.Logf("figure: %d reloads and rollbacks of a policy of 38 MB; P50 %v before, %v beside; P99 %v before, %v beside (%.2f times)",
		acts, quiet.Service.Percentile(50), busy.Service.Percentile(50), before, beside, float64(beside)/float64(before))
	if float64(beside) > reloadSlack*float64(before) {
		t.Errorf("P99 %v beside reloads, %v before: want at most %.1f times", beside, before, reloadSlack)
	}
	for begun := time.Now(); p.metric("carla_rl_versions_in_memory") > 5; time.Sleep(100 * time.Millisecond) {
		if time.Since(begun) > 3*time.Minute { // the collector runs every two minutes at least
			t.Fatalf("%v versions are in memory, want 5", p.metric("carla_rl_versions_in_memory"))
		}
	}
}
