//go:build e2e

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// TestKilled (A3): a server is killed with SIGKILL at any time while it starts,
// loads, verifies, warms, swaps and rolls back, and while versions are copied
// into its root in pieces. It starts again with the newest version whose files
// are whole, every time, and nothing of the root was changed by it.
func TestKilled(t *testing.T) {
	ledger.Begin(t)
	rounds := ledger.Size(3, 50)
	draw := rand.New(rand.NewPCG(3, 3))
	root := linearRoot(t, 2)
	newest := 2
	var answered, starting, torn int64
	var slowest time.Duration
	for round := range rounds {
		begun := time.Now()
		p := serveRoot(t, binary, root, "CARLA_RL_ADMIN_KEY="+adminKey, "CARLA_RL_POLL_INTERVAL=5ms", "CARLA_RL_REQUEST_TIMEOUT=20s")
		p.mortal = true
		// One in five is killed before it is ready.
		if round%5 == 4 {
			time.Sleep(time.Duration(draw.IntN(40)) * time.Millisecond)
			p.kill()
			starting++
			continue
		}
		p.ready(linear, `{"observations":[{"x":1}]}`)
		slowest = max(slowest, time.Since(begun))
		if version := p.answers(); version != linearVersion(newest) {
			t.Fatalf("round %d: %s answers after the restart, want %s", round, version, linearVersion(newest))
		}
		// Clients, an admin, and somebody who copies versions in, until it dies.
		dead := make(chan struct{})
		var mu sync.Mutex // guards answered
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				c := &caller{addr: p.addr}
				defer c.close()
				for {
					x := float32(i) + 0.5
					status, _, body, err := c.ask("POST", "/predict", "application/json", []byte(linearBody(x)))
					select {
					case <-dead: // What was cut off may be anything.
						return
					default:
					}
					if err != nil || status != 200 {
						select {
						case <-dead:
							return
						case <-time.After(time.Second): // the death may be told later than it is seen
						}
						select {
						case <-dead:
						default:
							t.Errorf("round %d: a good request: %d %v %s", round, status, err, body)
						}
						return
					}
					if _, err := checkLinear(body, []float32{x}); err != nil {
						t.Errorf("round %d: %v", round, err)
						return
					}
					mu.Lock()
					answered++
					mu.Unlock()
				}
			})
		}
		all.Go(func() {
			c := p.admin()
			defer c.close()
			for n := 0; ; n++ {
				select {
				case <-dead:
					return
				default:
				}
				_, _, _ = c.act([]string{"reload", "rollback"}[n%2]) // what comes of it depends on when it dies
			}
		})
		newest++
		whole := draw.IntN(2) == 0 // else the copy is cut off by the same accident
		all.Go(func() { copyInPieces(t, root, newest, whole, time.Duration(draw.IntN(30))*time.Millisecond) })
		time.Sleep(time.Duration(draw.IntN(300)) * time.Millisecond)
		close(dead)
		p.kill()
		all.Wait()
		if !whole {
			torn++
			// It is still there at the next start, which must do without it; then
			// somebody cleans up.
			p := serveRoot(t, binary, root, "CARLA_RL_POLL_INTERVAL=0", "CARLA_RL_REQUEST_TIMEOUT=20s")
			p.ready(linear, `{"observations":[{"x":1}]}`)
			if version := p.answers(); version != linearVersion(newest-1) {
				t.Fatalf("round %d: %s answers beside a torn version, want %s", round, version, linearVersion(newest-1))
			}
			p.mortal = true
			p.kill()
			if err := os.RemoveAll(filepath.Join(root, linearVersion(newest))); err != nil {
				t.Fatal(err)
			}
			newest--
		}
		if old := newest - 4; old > 0 {
			if err := os.RemoveAll(filepath.Join(root, linearVersion(old))); err != nil {
				t.Fatal(err)
			}
		}
		untouched(t, root)
	}
	ledger.Add(t, ledger.Row{
		ID: "A3", Test: "kill -9 while it starts, loads, verifies, swaps and rolls back, and while versions are copied in",
		Load: "4 clients, an admin and a copy under way each time", Faults: ledger.N(rounds, "kills, %d of them before it was ready; %d versions torn", starting, torn), Lost: ledger.Nothing,
		Figures: []string{"the newest whole version answered after every start", fmt.Sprintf("slowest start to the first answer %v", slowest.Round(time.Millisecond)), ledger.Thousands(answered) + " answers recomputed"},
	})
}

// copyInPieces copies a version into the root as a slow tool does, the card
// first. Where it is not whole it ends in the middle of the weights.
func copyInPieces(t *testing.T, root string, n int, whole bool, pause time.Duration) {
	dir := filepath.Join(root, linearVersion(n))
	model := linearModel(n)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Error(err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "model_card.yaml"), linearCard(n), 0o644); err != nil {
		t.Error(err)
		return
	}
	time.Sleep(pause)
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), model[:len(model)-5], 0o644); err != nil {
		t.Error(err)
		return
	}
	if !whole {
		return
	}
	time.Sleep(pause)
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), model, 0o644); err != nil {
		t.Error(err)
	}
}

// untouched holds the root to what was put there.
func untouched(t *testing.T, root string) {
	t.Helper()
	versions, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		factor, err := factorOf(v.Name())
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][]byte{"model.safetensors": linearModel(int(factor)), "model_card.yaml": linearCard(int(factor))} {
			got, err := os.ReadFile(filepath.Join(root, v.Name(), name))
			if err != nil || string(got) != string(want) {
				t.Errorf("%s/%s is not what was put there: %v", v.Name(), name, err)
			}
		}
		files, err := os.ReadDir(filepath.Join(root, v.Name()))
		if err != nil || len(files) != 2 {
			t.Errorf("%d files in %s: %v", len(files), v.Name(), err)
		}
	}
}
