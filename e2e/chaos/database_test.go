//go:build e2e && linux

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/experience/pgtest"
)

// perhaps waits for something to be so, and reports whether it came to be.
func perhaps(limit time.Duration, so func() bool) bool {
	for begun := time.Now(); time.Since(begun) < limit; time.Sleep(20 * time.Millisecond) {
		if so() {
			return true
		}
	}
	return so()
}

// inDatabase returns how often each request id has a step in the database.
func inDatabase(t *testing.T, pg *pgtest.Server, name string) map[string]int {
	t.Helper()
	rows, err := pg.Query(name, "select request_id, count(*) from carla_rl_steps group by request_id")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, r := range rows {
		if found[r[0]], err = strconv.Atoi(r[1]); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// TestDatabaseKilled (D1, PostgreSQL): a server that records into PostgreSQL is
// killed with SIGKILL at any time, in every other round with the database away, so
// that its spool is killed too. In mode durable every answered step is there, once.
func TestDatabaseKilled(t *testing.T) {
	ledger.Begin(t)
	rounds := ledger.Size(4, 60)
	draw := rand.New(rand.NewPCG(9, 2))
	pg := pgtest.Start(t)
	proxy, name := pgtest.NewProxy(t, pg.Port), pg.Database(t)
	root, spool := linearRoot(t, 1), t.TempDir()
	const clients = 4
	var ids []string
	for round := range rounds + 1 {
		away := round%2 == 1
		if away {
			proxy.Set(pgtest.Refuse)
		} else {
			proxy.Set(pgtest.None)
		}
		p := serveRoot(t, binary, root, "DATABASE_URL="+pg.URL(name, proxy.Port), "CARLA_RL_EXPERIENCE_MODE=durable", "CARLA_RL_EXPERIENCE_SPOOL_DIR="+spool,
			"CARLA_RL_EXPERIENCE_COMMIT_TIMEOUT=1m", "CARLA_RL_EXPERIENCE_MAX_BYTES=0", "CARLA_RL_REQUEST_TIMEOUT=20s")
		p.mortal = true
		p.ready(linear, `{"observations":[{"x":1}]}`)
		if round == rounds {
			proxy.Set(pgtest.None)
			if !perhaps(2*time.Minute, func() bool {
				return p.metric("carla_rl_experience_spool_steps") == 0 && p.metric("carla_rl_experience_database_away") == 0
			}) {
				t.Error("the spool is not empty")
			}
			p.stop()
			break
		}
		stop := make(chan struct{})
		time.AfterFunc(time.Duration(draw.IntN(1000))*time.Millisecond, func() { p.cmd.Process.Kill() })
		more, _ := p.clientsOf(clients, fmt.Sprint("r", round), stop)
		ids = append(ids, more...)
		p.wait()
	}
	found := inDatabase(t, pg, name)
	if gone := missing(t, ids, found); gone > 0 {
		t.Errorf("%d answered steps of %d are not there", gone, len(ids))
	}
	ledger.Add(t, ledger.Row{
		ID: "D1", Test: "kill -9 while experience is recorded, PostgreSQL, mode durable, in half of the rounds with the database away",
		Load: fmt.Sprintf("%d clients, as fast as they are answered", clients), Faults: ledger.N(rounds, "kills"), Lost: ledger.Nothing,
		Figures: []string{ledger.Thousands(int64(len(ids))) + " answered steps looked up, each there once"},
	})
}

// outageOf is how long the database is away: seconds among all other tests, and a
// minute and five in make chaos.
func outageOf(few, many time.Duration) time.Duration {
	return time.Duration(ledger.Size(int(few.Milliseconds()), int(many.Milliseconds()))) * time.Millisecond
}

// TestDatabaseAway (D5): PostgreSQL goes away in each of the ways that networks
// know, under a steady load in mode durable. Every request is answered, the spool
// takes the steps and gives them to the database when it is back, and each is
// there once.
func TestDatabaseAway(t *testing.T) {
	pg := pgtest.Start(t)
	root := linearRoot(t, 1)
	for _, fault := range []struct {
		name  string
		d     time.Duration
		begin func(proxy *pgtest.Proxy)
		end   func(proxy *pgtest.Proxy) error
	}{
		{"down", outageOf(2*time.Second, time.Minute), func(*pgtest.Proxy) { pg.Stop() }, func(*pgtest.Proxy) error { return pg.Run() }},
		{"down for longer", outageOf(0, 5*time.Minute), func(*pgtest.Proxy) { pg.Stop() }, func(*pgtest.Proxy) error { return pg.Run() }},
		{"2 s slower", outageOf(2*time.Second, time.Minute), func(p *pgtest.Proxy) { p.Delay(2 * time.Second) }, func(p *pgtest.Proxy) error { p.Delay(0); return nil }},
		{"resets", outageOf(2*time.Second, time.Minute), func(p *pgtest.Proxy) { p.Set(pgtest.Refuse) }, func(p *pgtest.Proxy) error { p.Set(pgtest.None); return nil }},
		{"half-open", outageOf(2*time.Second, time.Minute), func(p *pgtest.Proxy) { p.Set(pgtest.HalfOpen) }, func(p *pgtest.Proxy) error { p.Set(pgtest.None); return nil }},
		{"killed", outageOf(2*time.Second, 10*time.Second), func(*pgtest.Proxy) { pg.Kill() }, func(*pgtest.Proxy) error { return pg.Run() }},
	} {
		if fault.d < time.Second {
			continue // only in make chaos
		}
		t.Run(fault.name, func(t *testing.T) {
			ledger.Begin(t)
			proxy, name := pgtest.NewProxy(t, pg.Port), pg.Database(t)
			p := serveRoot(t, binary, root, "DATABASE_URL="+pg.URL(name, proxy.Port), "CARLA_RL_EXPERIENCE_SPOOL_DIR="+t.TempDir(),
				"CARLA_RL_EXPERIENCE_MAX_BYTES=0", "CARLA_RL_REQUEST_TIMEOUT=20s")
			p.ready(linear, `{"observations":[{"x":1}]}`)
			ask := p.request(linear, linearBody(1.5))
			const rate = 500
			before := p.load(ask, 4, rate, min(fault.d, 10*time.Second))
			fault.begin(proxy)
			during := p.load(ask, 4, rate, fault.d)
			if waits := p.metric("carla_rl_experience_spool_steps"); waits == 0 {
				t.Error("nothing is in the spool")
			}
			if err := fault.end(proxy); err != nil {
				t.Fatal(err)
			}
			back := time.Now()
			if !perhaps(max(2*time.Minute, 2*fault.d), func() bool {
				return p.metric("carla_rl_experience_spool_steps") == 0 && p.metric("carla_rl_experience_queued_steps") == 0 && p.metric("carla_rl_experience_database_away") == 0
			}) {
				t.Error("the spool is not empty")
			}
			drained := time.Since(back)
			if fault.d >= 30*time.Second && drained > 2*fault.d {
				t.Errorf("the spool was empty %v after an outage of %v", drained, fault.d)
			}
			after := p.load(ask, 4, rate, time.Second)
			asked := uint64(1) // by ready
			n0, p0 := count(before, 200)
			n1, p1 := count(during, 200)
			n2, _ := count(after, 200)
			asked += n0 + n1 + n2
			p.stop()
			rows, err := pg.Query(name, "select count(*), count(distinct (run, sequence)), coalesce((select sum(last - first + 1) from carla_rl_gaps), 0) from carla_rl_steps")
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{fmt.Sprint(asked), fmt.Sprint(asked), "0"}; fmt.Sprint(rows[0]) != fmt.Sprint(want) {
				t.Errorf("steps, different ones and lost ones: %v, want %v", rows[0], want)
			}
			ledger.Add(t, ledger.Row{
				ID: "D5", Test: "PostgreSQL away: " + fault.name, Load: fmt.Sprintf("%d requests/s for %v", rate, fault.d), Faults: ledger.N(1, "outage"), Lost: ledger.Nothing,
				Figures: []string{
					fmt.Sprintf("P99 %v, before %v", p1.Round(time.Microsecond), p0.Round(time.Microsecond)),
					fmt.Sprintf("spool empty %v after the end", drained.Round(10*time.Millisecond)), ledger.Thousands(int64(asked)) + " steps, each there once",
				},
			})
		})
	}
}
