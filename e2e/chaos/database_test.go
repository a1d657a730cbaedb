//go:build e2e && linux

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
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

// awayMax is how much longer the P99 of /predict may be while the database is away
// than while it is there.
const awayMax = 1.1

// inTurn is a load that two servers have in turn: what a moment of the machine does
// to one of them it does to the other too.
type inTurn struct {
	t       *testing.T
	servers [2]*process
	ask     [2][]byte
	rate    float64 // requests a second
	window  time.Duration
	asked   [2]uint64
}

// p99s asks for d at least, and returns the P99 of each window of each server, from
// the planned time of a request. Which of two neighbouring windows is whose
// changes.
func (x *inTurn) p99s(d time.Duration) (of [2][]time.Duration) {
	x.t.Helper()
	for n, begun := 0, time.Now(); n%2 == 1 || time.Since(begun) < d; n++ {
		i := (n + n/2) % 2
		r := x.servers[i].load(x.ask[i], 4, x.rate, x.window)
		if err := r.Err(); err != nil {
			x.t.Error(err)
		}
		x.asked[i] += r.Answered
		of[i] = append(of[i], r.Latency.Percentile(99))
	}
	return of
}

// times is the median of the ratios of neighbouring windows.
func times(of [2][]time.Duration) float64 {
	var ratios []float64
	for i := range of[0] {
		ratios = append(ratios, float64(of[0][i])/float64(of[1][i]))
	}
	return median(ratios)
}

// TestDatabaseAway (D5): PostgreSQL goes away in each of the ways that networks
// know, under a steady load. Every request is answered, and as fast as by a server
// whose database is there; the spool takes the steps and gives them to the
// database when it is back, and each is there once.
func TestDatabaseAway(t *testing.T) {
	pg, other := pgtest.Start(t), pgtest.Start(t)
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
			long := fault.d >= 30*time.Second // so that times can be promised
			x := &inTurn{t: t, rate: 500, window: 500 * time.Millisecond}
			around := time.Second // measured before and after the outage
			if long {
				x.rate, x.window, around = 1000, 2500*time.Millisecond, 10*time.Second
			}
			var names [2]string
			var proxies [2]*pgtest.Proxy
			for i, server := range []*pgtest.Server{pg, other} {
				proxies[i], names[i] = pgtest.NewProxy(t, server.Port), server.Database(t)
				p := serveRoot(t, binary, root, "DATABASE_URL="+server.URL(names[i], proxies[i].Port), "CARLA_RL_EXPERIENCE_SPOOL_DIR="+t.TempDir(),
					"CARLA_RL_EXPERIENCE_MAX_BYTES=0", "CARLA_RL_REQUEST_TIMEOUT=20s")
				p.ready(linear, `{"observations":[{"x":1}]}`)
				x.servers[i], x.ask[i], x.asked[i] = p, p.request(linear, linearBody(1.5)), 1
			}
			p, proxy := x.servers[0], proxies[0]
			p.beside = []int{x.servers[1].cmd.Process.Pid, other.PID()}
			var figures []string
			outages := 0
			p.steady(t, func() (broken []string) {
				before := x.p99s(around)
				fault.begin(proxy)
				outages++
				during := x.p99s(fault.d)
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
				if long && drained > 2*fault.d {
					t.Errorf("the spool was empty %v after an outage of %v", drained, fault.d)
				}
				after := x.p99s(around)
				figures = []string{
					fmt.Sprintf("P99 %v, in turn with %v of a server whose database is there: %.2f times, median of %d pairs of windows of %v (before %.2f, after %.2f)",
						median(during[0]).Round(time.Microsecond), median(during[1]).Round(time.Microsecond), times(during), len(during[0]), x.window, times(before), times(after)),
					fmt.Sprintf("spool empty %v after the end", drained.Round(10*time.Millisecond)),
				}
				t.Logf("figure: %s", strings.Join(figures, "; "))
				if times(during) > awayMax && long {
					broken = append(broken, fmt.Sprintf("P99 with the database away is %.3f times that with the database there, want at most %g", times(during), awayMax))
				}
				return broken
			})
			p.stop()
			rows, err := pg.Query(names[0], "select count(*), count(distinct (run, sequence)), coalesce((select sum(last - first + 1) from carla_rl_gaps), 0) from carla_rl_steps")
			if err != nil {
				t.Fatal(err)
			}
			asked := fmt.Sprint(x.asked[0])
			if want := []string{asked, asked, "0"}; fmt.Sprint(rows[0]) != fmt.Sprint(want) {
				t.Errorf("steps, different ones and lost ones: %v, want %v", rows[0], want)
			}
			ledger.Add(t, ledger.Row{
				ID: "D5", Test: "PostgreSQL away: " + fault.name, Load: fmt.Sprintf("%.0f requests/s, on two servers in turn", x.rate),
				Faults: ledger.N(outages, "outages of %v", fault.d), Lost: ledger.Nothing,
				Figures: append(figures, ledger.Thousands(int64(x.asked[0]))+" steps, each there once"),
			})
		})
	}
}
