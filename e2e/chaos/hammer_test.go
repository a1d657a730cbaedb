//go:build e2e

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

const adminKey = "chaos-admin-key"

// goodMin is how many good requests a second must have been answered before,
// while and after something was done to a server: what is done to one that has
// no clients shows nothing. Among all other tests, on machines that may be busy, it
// is one.
var goodMin = func() float64 {
	if os.Getenv(ledger.EnvFactor) == "" {
		return 1
	}
	return 100
}()

// traffic is good clients, each of which asks again once it has its answer, and
// holds it to the version that it names.
type traffic struct {
	t        *testing.T
	stop     chan struct{}
	clients  sync.WaitGroup
	answered atomic.Int64
	versions sync.Map // that answered
}

// goodTraffic begins it. Nothing may fail.
func (p *process) goodTraffic(clients int) *traffic {
	g := &traffic{t: p.t, stop: make(chan struct{})}
	for i := range clients {
		g.clients.Go(func() {
			c := &caller{addr: p.addr}
			defer c.close()
			draw := rand.New(rand.NewPCG(uint64(i), 1))
			for {
				select {
				case <-g.stop:
					return
				default:
				}
				rows := make([]float32, 1+draw.IntN(4))
				for i := range rows {
					rows[i] = draw.Float32()*20 - 10
				}
				status, _, body, err := c.ask("POST", "/predict", "application/json", []byte(linearBody(rows...)))
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d: %s", status, body)
				}
				var version string
				if err == nil {
					version, err = checkLinear(body, rows)
				}
				if err != nil {
					p.t.Errorf("a good request: %v", err)
					return
				}
				g.versions.Store(version, true)
				g.answered.Add(1)
			}
		})
	}
	return g
}

// during runs f and holds that the traffic went on meanwhile, at goodMin a second
// on average. Nothing is asked of a rate in less than a second.
func (g *traffic) during(what string, f func()) (answered int64, took time.Duration) {
	g.t.Helper()
	begun, before := time.Now(), g.answered.Load()
	f()
	took, answered = time.Since(begun), g.answered.Load()-before
	if took > time.Second && float64(answered) < goodMin*took.Seconds() {
		g.t.Errorf("%s: %d good answers in %v are too few to show anything", what, answered, took)
	}
	return answered, took
}

// end stops the clients and returns how many requests were answered, by how many
// versions.
func (g *traffic) end() (answered int64, versions int) {
	close(g.stop)
	g.clients.Wait()
	g.versions.Range(func(any, any) bool { versions++; return true })
	return g.answered.Load(), versions
}

// act asks for a reload or a rollback.
func (c *caller) act(what string) (status int, body string, err error) {
	status, _, b, err := c.ask("POST", "/admin/"+what, "application/json", []byte(`{"model":"`+linear+`"}`))
	return status, string(b), err
}

func (p *process) admin() *caller {
	return &caller{addr: p.addr, headers: "X-API-Key: " + adminKey + "\r\n"}
}

// TestReloadsByMany (A1): many threads reload and roll back one model while
// versions come and go and clients ask. The server is built with the race
// detector. No request fails, no answer is of two versions, and versions of
// before leave memory.
func TestReloadsByMany(t *testing.T) {
	ledger.Begin(t)
	threads, each := 32, ledger.Size(2, 64)
	root := linearRoot(t, 2)
	p := serveRoot(t, raceBinary, root, "CARLA_RL_ADMIN_KEY="+adminKey, "CARLA_RL_POLL_INTERVAL=0", "CARLA_RL_REQUEST_TIMEOUT=20s")
	p.ready(linear, `{"observations":[{"x":1}]}`)
	g := p.goodTraffic(8)
	g.during("before", func() { time.Sleep(time.Second) })

	// Somebody puts a new version beside the others all the time, and takes the
	// oldest away.
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	published := 2
	publisher.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			published++
			putLinear(t, root, published)
			if old := published - 6; old > 0 {
				if err := os.RemoveAll(filepath.Join(root, linearVersion(old))); err != nil {
					t.Error(err)
				}
			}
		}
	})
	var changed, unchanged, without atomic.Int64
	answered, took := g.during("while versions are reloaded", func() {
		var all sync.WaitGroup
		for i := range threads {
			all.Go(func() {
				c := p.admin()
				defer c.close()
				for n := range each {
					what := "reload"
					if (i+n)%2 == 1 {
						what = "rollback"
					}
					status, body, err := c.act(what)
					switch {
					case err != nil:
						t.Errorf("%s: %v", what, err)
					case status == 409 && what == "rollback" && strings.Contains(body, "NO_PREVIOUS_VERSION"):
						without.Add(1)
					case status != 200:
						t.Errorf("%s: %d %s", what, status, body)
					case strings.Contains(body, `"result":"changed"`):
						changed.Add(1)
					default:
						unchanged.Add(1)
					}
				}
			})
		}
		all.Wait()
	})
	close(stop)
	publisher.Wait()
	g.during("after", func() { time.Sleep(time.Second) })
	total, versions := g.end()
	if changed.Load() == 0 || versions < 2 {
		t.Errorf("%d acts changed the version, and %d versions answered", changed.Load(), versions)
	}
	memory := p.fewVersions(7)
	if text := p.everything(); strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") {
		t.Errorf("the server said:\n%s", text)
	}
	ledger.Add(t, ledger.Row{
		ID: "A1", Test: fmt.Sprintf("%d threads reload and roll back one model, %d times each, in a build with the race detector", threads, each),
		Load: fmt.Sprintf("%.0f requests/s of 8 clients, each answer recomputed", float64(answered)/took.Seconds()), Faults: ledger.N(threads*each, "reloads and rollbacks, %d versions put in and taken away", published),
		Lost: ledger.Nothing,
		Figures: []string{
			fmt.Sprintf("%s answers by %d versions, none of two", ledger.Thousands(total), versions),
			fmt.Sprintf("%s acts changed the version", ledger.Thousands(changed.Load())),
			fmt.Sprintf("%.0f versions in memory afterwards", memory), "0 data races",
		},
	})
}

// fewVersions waits until no more than so many versions are in memory.
func (p *process) fewVersions(most float64) float64 {
	p.t.Helper()
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		n := p.metric("carla_rl_versions_in_memory")
		if n <= most {
			return n
		}
		if time.Since(begun) > 5*time.Minute { // the collector runs every two minutes at least
			p.t.Errorf("%v versions are in memory, want %v at most", n, most)
			return n
		}
	}
}
