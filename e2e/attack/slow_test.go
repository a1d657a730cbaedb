//go:build e2e

package attack_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// crowd is many connections that each do the same slow thing again and again.
type crowd struct {
	mu       sync.Mutex // guards what follows
	ended    int        // connections that the server has closed
	longest  time.Duration
	late     time.Duration // that the machine woke this process at the most
	refused  int           // that it closed at once, without having read anything slow
	failures []error
}

// hold keeps n connections for a time, each of which says first and then one more
// piece of rest every so often; one that is closed is opened anew. life is how
// long the server may keep one.
func (p *process) hold(n int, d time.Duration, first string, rest string, every time.Duration) *crowd {
	c := &crowd{}
	end := time.Now().Add(d)
	stop := make(chan struct{})
	late := lateness(stop)
	defer func() { close(stop); c.late = <-late }()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			// Not all at once: a flood of handshakes is another attack.
			time.Sleep(time.Duration(i) * min(d/4, 5*time.Second) / time.Duration(n))
			for time.Now().Before(end) {
				c.one(p, end, first, rest, every)
			}
		})
	}
	wg.Wait()
	return c
}

func (c *crowd) one(p *process, end time.Time, first, rest string, every time.Duration) {
	conn, err := p.dial()
	if err != nil {
		c.fail(fmt.Errorf("dial: %w", err))
		time.Sleep(time.Second)
		return
	}
	defer conn.Close()
	begun := time.Now()
	if _, err := io.WriteString(conn, first); err != nil {
		c.closed(begun)
		return
	}
	closed := make(chan time.Time, 1)
	go func() {
		_, _ = io.Copy(io.Discard, conn) // an answer, and the end
		closed <- time.Now()
	}()
	for i := 0; ; i++ {
		select {
		case at := <-closed:
			c.closedAt(begun, at)
			return
		case <-time.After(every):
		}
		_, _ = conn.Write([]byte{rest[i%len(rest)]}) // its error is seen by the reader
		if time.Now().After(end.Add(time.Minute)) {
			c.fail(fmt.Errorf("a connection is open still after %v", time.Since(begun)))
			return
		}
	}
}

func (c *crowd) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, err)
}

func (c *crowd) closed(begun time.Time) { c.closedAt(begun, time.Now()) }

func (c *crowd) closedAt(begun, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended++
	c.longest = max(c.longest, at.Sub(begun))
	if at.Sub(begun) < 200*time.Millisecond {
		c.refused++
	}
}

// lateness watches how late the machine wakes a process that sleeps: what is
// slow on it is not the server's fault alone. It tells when stop is closed.
func lateness(stop <-chan struct{}) <-chan time.Duration {
	out := make(chan time.Duration, 1)
	go func() {
		var worst time.Duration
		for {
			begun := time.Now()
			select {
			case <-stop:
				out <- worst
				return
			case <-time.After(50 * time.Millisecond):
				worst = max(worst, time.Since(begun)-50*time.Millisecond)
			}
		}
	}()
	return out
}

// slack is what a machine may be late by: much, where the test runs among others.
func slack() time.Duration {
	if full() {
		return 2 * time.Second
	}
	return 20 * time.Second
}

// TestSlowHeaders, TestSlowBodies and TestSlowReaders (H4): thousands of
// connections of clients who are slow on purpose, each of them closed in its
// time, while others are answered as ever.
func TestSlowHeaders(t *testing.T) {
	slow(t, "slow headers, a byte a second", "GET /livez HTTP/1.1\r\nHost: a\r\n"+keyField, "X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 5*time.Second, ledger.Size(100, 3000))
}

// TestSlowRequestLines says less than a line.
func TestSlowRequestLines(t *testing.T) {
	slow(t, "slow request lines, a byte a second", "P", "OST /predict HTTP/1.1", 5*time.Second, ledger.Size(100, 3000))
}

// TestSlowBodies is of bodies that fit the buffer that every connection has,
// and that therefore have the time of a header.
func TestSlowBodies(t *testing.T) {
	head := "POST /predict HTTP/1.1\r\nHost: a\r\n" + keyField + "Content-Type: application/json\r\nContent-Length: 30000\r\n\r\n"
	slow(t, "slow bodies of 30 kB, a byte a second", head, goodBody, 5*time.Second, ledger.Size(100, 3000))
}

// TestSlowLargeBodies is of bodies that need memory of their own: half of what
// there is goes to one address, and the rest is refused at once.
func TestSlowLargeBodies(t *testing.T) {
	head := "POST /predict HTTP/1.1\r\nHost: a\r\n" + keyField + "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
	slow(t, "slow bodies of 60 kB, a byte a second", head, goodBody, 30*time.Second, ledger.Size(50, 3000))
}

func slow(t *testing.T, what, first, rest string, limit time.Duration, n int) {
	t.Helper()
	ledger.Begin(t)
	env := []string{}
	if !full() {
		env = append(env, "CARLA_RL_HEADER_TIMEOUT=1s", "CARLA_RL_BODY_TIMEOUT=2s")
		limit = min(limit, 2*time.Second)
	}
	p := serve(t, env...)
	var c *crowd
	g := p.beside(func() {
		c = p.hold(n, held(), strings.ReplaceAll(first, "Host: a", "Host: "+p.addr), rest, time.Second)
	})
	if c.longest > limit+slack()+2*c.late {
		t.Errorf("a connection was kept for %v, want %v at most; the machine was late by %v", c.longest, limit, c.late)
	}
	for _, err := range c.failures[:min(len(c.failures), 3)] {
		t.Errorf("%d failures: %v", len(c.failures), err)
	}
	p.settles(4)
	ledger.Add(t, ledger.Row{
		ID: "H4", Test: what, Load: g.String(), Inputs: ledger.N(c.ended, "connections, %d at a time, closed by the server", n), Lost: lost(g),
		Figures: []string{fmt.Sprintf("closed after %v at most (limit %v, the machine late by %v)", c.longest.Round(10*time.Millisecond), limit, c.late.Round(10*time.Millisecond)), g.figure(), fmt.Sprintf("peak %.0f MiB", p.peak())},
	})
}

func lost(g *good) string {
	if g.failed == 0 {
		return ledger.Nothing
	}
	return fmt.Sprintf("%d good requests", g.failed)
}

// TestSlowReaders asks for much and reads next to nothing. When a client is given
// up is looked at where the server counts its connections: what the system has
// taken for it, it reads for a long time yet.
func TestSlowReaders(t *testing.T) {
	ledger.Begin(t)
	p := serve(t)
	n := ledger.Size(20, 300)
	ask := strings.Repeat(string(p.request("GET", "/docs/docs.js", "")), 2000)
	before := p.rss()
	var longest time.Duration
	ended := 0
	end := time.Now().Add(held())
	g := p.beside(func() {
		for time.Now().Before(end) {
			longest = max(longest, p.unread(n, ask))
			ended += n
		}
	})
	limit := 3*time.Second + time.Duration(n)*20*time.Millisecond // for a write, behind what the system's buffers take
	if longest > limit+slack() {
		t.Errorf("clients that do not read were kept for %v", longest)
	}
	p.settles(4)
	ledger.Add(t, ledger.Row{
		ID: "H4", Test: "slow readers, a byte a second", Load: g.String(), Inputs: ledger.N(ended, "connections, %d at a time, cut off", n), Lost: lost(g),
		Figures: []string{fmt.Sprintf("all cut off %v after the first one came", longest.Round(10*time.Millisecond)), g.figure(), fmt.Sprintf("memory %.0f MiB before, %.0f MiB at the most", before, p.peak())},
	})
}

// unread makes connections that ask and read a byte a second, and returns how long
// it took until the server had given up all of them.
func (p *process) unread(n int, ask string) time.Duration {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	begun := time.Now()
	for range n {
		c, err := p.dial()
		if err != nil {
			p.t.Error(err)
			break
		}
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		wg.Go(func() {
			defer c.Close()
			one := make([]byte, 1)
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
					_ = c.SetReadDeadline(time.Now().Add(time.Second))
					_, _ = c.Read(one)
				}
			}
		})
		wg.Go(func() { _, _ = io.WriteString(c, ask) }) // until the server reads no more, and then until it closes
	}
	p.settles(4)
	took := time.Since(begun)
	close(stop)
	wg.Wait()
	return took
}
