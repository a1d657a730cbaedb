//go:build e2e

package chaos_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// The long run takes its length and its rate from the environment, as `make soak`
// sets them: SOAK=8h, and SOAK_RATE=500 where the machine has other work.
const (
	soakDefault  = 20 * time.Second
	soakCapacity = 0.5  // of what can be had, where no rate is given
	soakSame     = 0.05 // by how much memory, goroutines and descriptors may have grown
)

// footprint is what a server has taken of its machine.
type footprint struct{ memory, goroutines, descriptors float64 }

func (f footprint) String() string {
	return fmt.Sprintf("%.1f MiB, %.0f goroutines, %.0f descriptors", f.memory/(1<<20), f.goroutines, f.descriptors)
}

// grown tells what is more than before by more than a part of it.
func (f footprint) grown(before footprint, part float64) (what []string) {
	add := func(name string, was, is float64) {
		if is > was*(1+part) {
			what = append(what, fmt.Sprintf("%s grew from %.0f to %.0f", name, was, is))
		}
	}
	add("memory", before.memory, f.memory)
	add("goroutines", before.goroutines, f.goroutines)
	add("descriptors", before.descriptors, f.descriptors)
	return what
}

func (p *process) footprint() footprint {
	return footprint{p.metric("process_resident_memory_bytes"), p.metric("go_goroutines"), p.metric("process_open_fds")}
}

// rest scrapes a server without clients until it is told that what it takes is
// fine, for some time at most. Scrapes make garbage, so that the collector runs
// and gives back what nobody uses.
func (p *process) rest(most time.Duration, fine func(footprint) bool) (f footprint) {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if f = p.footprint(); time.Since(begun) > most || fine(f) {
			return f
		}
	}
}

// TestSoak (L1): good clients in every form and bad ones of every sort, at half of
// the capacity, with a reload every minute. No good request fails, each answer is
// computed by the version that it names, and at the end the server takes no more
// memory, goroutines and descriptors than after its first minutes.
//
// The start is not what the process takes before its first request: a server has
// to grow what it serves with. It is what it takes after a tenth of the time with
// the same clients and reloads, when they have gone away, measured as at the end.
func TestSoak(t *testing.T) {
	ledger.Begin(t)
	length, settle := soakDefault, 5*time.Second
	if v := os.Getenv("SOAK"); v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatalf("SOAK: %v", err)
		}
	}
	long := length >= 5*time.Minute
	if long {
		settle = time.Minute
	}
	const key = "key-of-good-clients"
	root := linearRoot(t, 3)
	// Two seconds instead of a tenth: what is shown is that nothing is lost, also
	// on a machine that is busy with something else for a moment; ten among all
	// other tests.
	timeout := "2s"
	if !long {
		timeout = "10s"
	}
	p := serveRoot(t, binary, root, "API_KEY="+key, "CARLA_RL_ADMIN_KEY="+adminKey, "CARLA_RL_POLL_INTERVAL=0", "CARLA_RL_REQUEST_TIMEOUT="+timeout, "CARLA_RL_HEADER_TIMEOUT=20s")
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c := &caller{addr: p.addr}
		status, _, _, err := c.ask("GET", "/readyz", "", nil)
		c.close()
		if err == nil && status == 200 {
			break
		}
		if time.Since(begun) > startMax {
			t.Fatalf("not ready: %d %v\n%s", status, err, p.said())
		}
	}

	rate, _ := strconv.ParseFloat(os.Getenv("SOAK_RATE"), 64)
	capacity := 0.0
	if rate == 0 {
		g, begun := p.everyone(key, 0), time.Now()
		time.Sleep(min(5*time.Second, length/10))
		capacity = float64(g.end()) / time.Since(begun).Seconds()
		rate = soakCapacity * capacity
		t.Logf("figure: capacity %.0f/s", capacity)
	}
	every := max(length/30, 2*time.Second)
	newest, changes := 3, 0
	// phase holds the traffic for a time, with reloads.
	phase := func(d time.Duration) (*good, *bad, time.Duration) {
		g, b, begun := p.everyone(key, rate), p.mischief(key), time.Now()
		admin := p.admin()
		defer admin.close()
		for time.Since(begun) < d {
			time.Sleep(min(every, time.Until(begun.Add(d))))
			newest++
			putLinear(t, root, newest)
			p.changes(admin, "reload", linearVersion(newest))
			if changes++; newest%3 == 0 { // and back again, and forth
				p.changes(admin, "rollback", linearVersion(newest-1))
				p.changes(admin, "rollback", linearVersion(newest))
				changes += 2
			}
			if err := os.RemoveAll(filepath.Join(root, linearVersion(newest-3))); err != nil {
				t.Error(err)
			}
			if t.Failed() && g.failed.Load() > 100 {
				break // There is no need to see more of it.
			}
		}
		took := time.Since(begun)
		g.end()
		b.end()
		return g, b, took
	}
	phase(max(length/10, 3*every))
	start := p.rest(settle, func(footprint) bool { return false })
	t.Logf("figure: at the start: %v", start)
	changes = 0
	g, b, took := phase(length)
	inputs := int64(0)
	for i := range b.inputs {
		inputs += b.inputs[i].Load()
	}
	same := soakSame
	if !long { // What is left of seconds is the runtime's business; what leaks shows in counts.
		same = 0.5
	}
	end := p.rest(settle+2*time.Minute, func(f footprint) bool { return len(f.grown(start, same)) == 0 })
	t.Logf("figure: at the end: %v", end)
	if what := end.grown(start, same); len(what) > 0 {
		t.Errorf("after %v: %s", length, strings.Join(what, ", "))
	}
	versions := 0
	g.versions.Range(func(any, any) bool { versions++; return true })
	answered := g.sum()
	var forms []string
	for kind, name := range kindNames {
		n := g.answered[kind].Load()
		if forms = append(forms, fmt.Sprintf("%s %s", ledger.Thousands(n), name)); n == 0 {
			t.Errorf("no good request of the form %s", name)
		}
	}
	if versions < changes/3 {
		t.Errorf("%d versions answered after %d changes", versions, changes)
	}
	if n := p.metric("carla_rl_panics_total"); n > 0 {
		t.Errorf("%v panics", n)
	}
	if n := p.metric("carla_rl_versions_in_memory"); n > 8 {
		t.Errorf("%v versions in memory", n)
	}
	t.Logf("figure: %s", b.said())
	lost := ledger.Nothing
	if g.failed.Load() > 0 {
		lost = fmt.Sprintf("%d good requests", g.failed.Load())
	}
	reached := fmt.Sprintf("%.0f requests/s for %v, %d clients", float64(answered)/took.Seconds(), length, 24)
	if capacity > 0 {
		reached += fmt.Sprintf(" (half of %.0f/s)", capacity)
	}
	ledger.Add(t, ledger.Row{
		ID: "L1", Test: "good and bad clients of every sort, a reload " + everySaid(every), Load: reached,
		Faults: ledger.N(changes, "reloads and rollbacks"), Inputs: ledger.N(int(inputs), "bad inputs"), Lost: lost,
		Figures: []string{
			fmt.Sprintf("%s good answers, each recomputed, by %d versions (%s)", ledger.Thousands(answered), versions, strings.Join(forms, ", ")),
			b.said(),
			fmt.Sprintf("at the start %v; at the end %v", start, end),
			fmt.Sprintf("%d good requests sent again, whose connection had been closed before", g.again.Load()),
		},
	})
}

func everySaid(d time.Duration) string {
	if d == time.Minute {
		return "every minute"
	}
	return fmt.Sprintf("every %v", time.Duration(math.Round(d.Seconds()))*time.Second)
}

// changes asks for a change of the version and holds it to have come.
func (p *process) changes(admin *caller, what, version string) {
	p.t.Helper()
	// The server closes a connection that was idle for a minute, maybe just now.
	admin.close()
	status, body, err := admin.act(what)
	if err != nil || status != 200 || !strings.Contains(body, `"version":"`+version+`"`) || !strings.Contains(body, `"result":"changed"`) {
		p.t.Errorf("%s to %s: %d %v %s", what, version, status, err, body)
	}
}
