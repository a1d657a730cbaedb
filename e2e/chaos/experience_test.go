//go:build e2e && linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// clientsOf asks with so many clients at once until stop is closed or a request
// is not answered with 200, and returns the ids of requests that were. An answer
// that is refused as the experience log is out is counted and asked again.
func (p *process) clientsOf(clients int, name string, stop <-chan struct{}) (ids []string, refused int) {
	var mu sync.Mutex // guards ids and refused
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			c := &caller{addr: p.addr}
			defer c.close()
			body := []byte(linearBody(1.5))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("%s-%d-%d", name, i, n)
				c.headers = "X-Request-ID: " + id + "\r\n"
				status, _, _, err := c.ask("POST", "/predict", "application/json", body)
				if err != nil {
					return // It was killed.
				}
				mu.Lock()
				switch status {
				case 200:
					ids = append(ids, id)
				case 503:
					refused++
				default:
					p.t.Errorf("request %s: status %d", id, status)
				}
				mu.Unlock()
				if status == 503 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return ids, refused
}

// openLog opens a log to be read.
func openLog(t *testing.T, path string) experience.Store {
	t.Helper()
	s, err := experience.Open(t.Context(), path, experience.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// runOf returns what is kept of the run whose steps have ids of a name, and how
// often each of them is there.
func runOf(t *testing.T, s experience.Store, run string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for st, err := range s.Read(t.Context(), experience.Query{Run: run}) {
		if err != nil {
			t.Fatal(err)
		}
		found[st.RequestID]++
	}
	return found
}

// newestRun is the run that began last.
func newestRun(t *testing.T, s experience.Store, back int) experience.RunStats {
	t.Helper()
	st, err := s.Stats(t.Context())
	if err != nil || len(st.Runs) <= back {
		t.Fatalf("%+v, %v", st, err)
	}
	return st.Runs[len(st.Runs)-1-back]
}

// missing counts the ids that are not there; one that is there twice is a fault.
func missing(t *testing.T, ids []string, found map[string]int) (n int) {
	t.Helper()
	for _, id := range ids {
		switch found[id] {
		case 0:
			n++
		case 1:
		default:
			t.Errorf("step %s is there %d times", id, found[id])
		}
	}
	return n
}

// TestExperienceKilled (D1): a server that records is killed with SIGKILL at any
// time while clients are answered. In mode durable every answered step is there,
// once; in mode buffered the gap record has the number of those that are not.
func TestExperienceKilled(t *testing.T) {
	ledger.Begin(t)
	rounds := ledger.Size(4, 200)
	draw := rand.New(rand.NewPCG(9, 1))
	root := linearRoot(t, 1)
	path := filepath.Join(t.TempDir(), "experience.db")
	const clients = 4
	var answered, lost, kept int
	var slowest time.Duration
	check := func(ids []string, mode string) {
		// What was killed is the run before the one under way.
		s := openLog(t, path)
		defer s.Close()
		run := newestRun(t, s, 1)
		found := runOf(t, s, run.Run)
		gone := missing(t, ids, found)
		if mode == "durable" && gone > 0 {
			t.Fatalf("durable: %d answered steps of %d are not there", gone, len(ids))
		}
		if uint64(gone) > run.Lost {
			t.Fatalf("%s: %d answered steps are not there, and the gap says %d", mode, gone, run.Lost)
		}
		// One more than was counted here: the request that waited for it to be ready.
		total := uint64(len(found)) + run.Lost
		if total != run.Highest || total < uint64(len(ids))+1 || total > uint64(len(ids))+1+clients {
			t.Fatalf("%s: %d steps and %d lost of %d; %d were answered", mode, len(found), run.Lost, run.Highest, len(ids)+1)
		}
		answered, lost, kept = answered+len(ids), lost+int(run.Lost), kept+len(found)
	}
	modes := []string{"durable", "buffered"}
	var ids []string
	for round := range rounds + 1 {
		mode := modes[round%2]
		begun := time.Now()
		p := serveRoot(t, binary, root, "DATABASE_URL=sqlite://"+path, "CARLA_RL_EXPERIENCE_MODE="+mode,
			"CARLA_RL_EXPERIENCE_COMMIT_TIMEOUT=1m", "CARLA_RL_EXPERIENCE_MAX_BYTES=0", "CARLA_RL_REQUEST_TIMEOUT=20s")
		p.mortal = true
		p.ready(linear, `{"observations":[{"x":1}]}`)
		slowest = max(slowest, time.Since(begun))
		if round > 0 {
			check(ids, modes[(round-1)%2])
		}
		if round == rounds {
			p.stop()
			break
		}
		stop := make(chan struct{})
		time.AfterFunc(time.Duration(draw.IntN(1000))*time.Millisecond, func() { p.cmd.Process.Kill() })
		ids, _ = p.clientsOf(clients, fmt.Sprint("r", round), stop)
		p.wait()
	}
	s := openLog(t, path)
	if err := s.(interface{ Check(context.Context) error }).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if run := newestRun(t, s, 0); !run.Ended || run.Lost > 0 {
		t.Errorf("the run that was stopped as it should be: %+v", run)
	}
	ledger.Add(t, ledger.Row{
		ID: "D1", Test: "kill -9 while experience is recorded, SQLite, half of the rounds in each mode",
		Load: fmt.Sprintf("%d clients, as fast as they are answered", clients), Faults: ledger.N(rounds, "kills"), Lost: "nothing in mode durable; in mode buffered what its gap records say, to the step",
		Figures: []string{
			ledger.Thousands(int64(answered)) + " answered steps looked up", fmt.Sprintf("%s kept, %s in gap records", ledger.Thousands(int64(kept)), ledger.Thousands(int64(lost))),
			fmt.Sprintf("slowest start to the first answer %v", slowest.Round(time.Millisecond)), "integrity_check ok",
		},
	})
}

// TestExperienceFullDisk (D4): the volume of the log is full for a while. Every
// request is answered, what has no room is counted exactly, and when there is
// room again the log goes on by itself. A server does not start on a full
// volume, and says why.
func TestExperienceFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount a volume of its own")
	}
	ledger.Begin(t)
	volume := t.TempDir()
	mount(t, volume, "size=16m")
	root := linearRoot(t, 1)
	filler := filepath.Join(volume, "filler")
	fill(t, filler, 14<<20)
	path := filepath.Join(volume, "experience.db")
	env := []string{"DATABASE_URL=sqlite://" + path, "CARLA_RL_EXPERIENCE_BUFFER=1MiB", "CARLA_RL_REQUEST_TIMEOUT=20s"}
	p := serveRoot(t, binary, root, env...)
	p.ready(linear, `{"observations":[{"x":1}]}`)
	stop := make(chan struct{})
	type told struct {
		ids     []string
		refused int
	}
	done := make(chan told)
	go func() {
		ids, refused := p.clientsOf(4, "full", stop)
		done <- told{ids, refused}
	}()
	state := func(want string) {
		t.Helper()
		for begun := time.Now(); p.metric("carla_rl_experience_state", `state="`+want+`"`) != 1; time.Sleep(20 * time.Millisecond) {
			if time.Since(begun) > startMax {
				t.Fatalf("the log is not %s:\n%s", want, p.said())
			}
		}
	}
	state("retrying")
	full := time.Duration(ledger.Size(2, 120)) * time.Second
	time.Sleep(full) // What is tested is that it stays so for so long.
	for begun := time.Now(); p.metric("carla_rl_experience_lost_steps_total") == 0; time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > startMax {
			t.Fatal("nothing is lost: the buffer is never full")
		}
	}
	// While it is full, another server cannot begin a log there.
	if said := cannotStart(t, root, "DATABASE_URL=sqlite://"+filepath.Join(volume, "other.db")); said == "" {
		t.Error("a server started on a full volume")
	} else {
		t.Logf("on a full volume: %s", said)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	state("ok")
	close(stop)
	all := <-done
	if all.refused > 0 {
		t.Errorf("%d requests were refused by on_failure serve", all.refused)
	}
	p.stop()
	s := openLog(t, path)
	run := newestRun(t, s, 0)
	found := runOf(t, s, run.Run)
	gone := missing(t, all.ids, found)
	if !run.Ended || uint64(len(found))+run.Lost != uint64(len(all.ids))+1 || uint64(gone) != run.Lost {
		t.Errorf("%d answered, %d kept, %d not there; %+v", len(all.ids)+1, len(found), gone, run)
	}
	if err := s.(interface{ Check(context.Context) error }).Check(t.Context()); err != nil {
		t.Error(err)
	}
	ledger.Add(t, ledger.Row{
		ID: "D4", Test: fmt.Sprintf("the volume of the experience log full for %v, then freed", full), Load: "4 clients, as fast as they are answered",
		Faults: ledger.N(1, "full volume of 16 MiB"), Lost: fmt.Sprintf("no request; %s steps, all of them in gap records", ledger.Thousands(int64(run.Lost))),
		Figures: []string{ledger.Thousands(int64(len(all.ids))) + " requests, all answered with 200", "it was written again by itself", "a start on the full volume says that no room is left"},
	})
}
