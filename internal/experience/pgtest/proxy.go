//go:build unix

package pgtest

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Fault is what a Proxy does to its connections.
type Fault int

// Faults.
const (
	None     Fault = iota
	Refuse         // connections are reset as they come, and those there are too
	HalfOpen       // nothing passes any more, and nobody is told
)

// Proxy stands between a client and a server.
type Proxy struct {
	Port int

	ln     net.Listener
	to     string
	mu     sync.Mutex // guards what follows
	fault  Fault
	delay  time.Duration
	pairs  map[*pair]bool
	closed bool
	wait   sync.WaitGroup
}

type pair struct{ client, server net.Conn }

// NewProxy starts a proxy before a port of this machine, which ends with the
// test.
func NewProxy(t testing.TB, port int) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Port: ln.Addr().(*net.TCPAddr).Port, ln: ln, to: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), pairs: map[*pair]bool{}}
	p.wait.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.ln.Close()
	p.Reset()
	p.wait.Wait()
}

// Set has the proxy do something from now on. What was held up by HalfOpen is
// cut off when the fault changes, as a way that is gone for good.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	before := p.fault
	p.fault = f
	p.mu.Unlock()
	if f == Refuse || before == HalfOpen {
		p.Reset()
	}
}

// Delay holds up what passes in each direction for d.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Reset cuts every connection off, with a reset.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		for _, conn := range []net.Conn{c.client, c.server} {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		}
	}
}

func (p *Proxy) state() (Fault, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault, p.delay
}

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if f, _ := p.state(); f == Refuse {
			_ = client.(*net.TCPConn).SetLinger(0)
			_ = client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.(*net.TCPConn).SetLinger(0)
			_ = client.Close()
			continue
		}
		c := &pair{client, server}
		p.mu.Lock()
		p.pairs[c] = true
		gone := p.closed
		p.mu.Unlock()
		if gone {
			p.Reset()
		}
		var both sync.WaitGroup
		both.Add(2)
		go p.pass(&both, server, client)
		go p.pass(&both, client, server)
		p.wait.Go(func() {
			both.Wait()
			_ = client.Close()
			_ = server.Close()
			p.mu.Lock()
			delete(p.pairs, c)
			p.mu.Unlock()
		})
	}
}

// pass copies from one to the other until one of them ends.
func (p *Proxy) pass(both *sync.WaitGroup, to, from net.Conn) {
	defer both.Done()
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			f, delay := p.state()
			if f == HalfOpen {
				_, _ = io.Copy(io.Discard, from) // until the connection is cut
				return
			}
			if delay > 0 {
				time.Sleep(delay)
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
