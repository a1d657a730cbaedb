package server

import (
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// gatedListener accepts connections within the server's limits and puts a gate
// before each. Unlike fasthttp it survives what the system says of single
// connections: a process that is out of file descriptors serves on when it has
// some again.
type gatedListener struct {
	net.Listener
	s      *Server
	limit  *connLimit
	admin  bool // for the routes of admins
	closed atomic.Bool
}

// Close closes the listener. A second call does nothing.
func (l *gatedListener) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	return l.Listener.Close()
}

func (l *gatedListener) Accept() (net.Conn, error) {
	const longest = time.Second
	wait := 5 * time.Millisecond
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			var errno syscall.Errno
			if !errors.As(err, &errno) {
				return nil, err // closed
			}
			l.s.log.Warn("a connection could not be accepted", "error", err, "retry_in", wait)
			time.Sleep(wait)
			wait = min(2*wait, longest)
			continue
		}
		wait = 5 * time.Millisecond
		addr := connAddr(c)
		if f := l.limit.acquire(addr); f != nil {
			l.s.refuse(c, f)
			continue
		}
		g := newGatedConn(c, addr, l.s)
		if l.admin {
			g.admin, g.limit, g.hot = true, l.limit, false
		}
		return g, nil
	}
}

// refuse ends a connection that is not to be served, while nothing else is
// accepted: it must not wait for the client. The answer fits the empty buffer
// of a plain socket. Over TLS it would take a handshake first, and so there is
// none.
func (s *Server) refuse(c net.Conn, f *fault) {
	s.reject.count(f)
	if secure, ok := c.(interface{ NetConn() net.Conn }); ok {
		_ = secure.NetConn().Close()
		return
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = c.Write(appendRefusal(nil, f, time.Now()))
	_ = c.Close()
}

// connLimit counts open connections.
type connLimit struct {
	max, maxPerAddr int
	total           atomic.Int64

	mu      sync.Mutex // guards perAddr
	perAddr map[netip.Addr]int
}

func (l *connLimit) init(total, perAddr int) {
	l.max, l.maxPerAddr = total, perAddr
	l.perAddr = map[netip.Addr]int{}
}

func (l *connLimit) open() int { return int(l.total.Load()) }

// acquire counts a connection, or returns the fault that refuses it.
func (l *connLimit) acquire(addr netip.Addr) *fault {
	if l.total.Add(1) > int64(l.max) {
		l.total.Add(-1)
		return faultConnections
	}
	if l.maxPerAddr <= 0 || !addr.IsValid() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perAddr[addr] >= l.maxPerAddr {
		l.total.Add(-1)
		return faultAddress
	}
	l.perAddr[addr]++
	return nil
}

func (l *connLimit) release(addr netip.Addr) {
	l.total.Add(-1)
	if l.maxPerAddr <= 0 || !addr.IsValid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perAddr[addr]--; l.perAddr[addr] <= 0 {
		delete(l.perAddr, addr)
	}
}

// connAddr returns the address of the client, or the zero Addr where it has
// none, as over a Unix socket.
func connAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// gatedConn is a connection whose incoming bytes pass a gate.
//
// Deadlines are set when the next Read or Write begins, and only when they
// have moved by more than slack: on a busy connection that is once a second
// and not three times a request. A deadline may therefore come early by slack.
type gatedConn struct {
	net.Conn
	s     *Server
	addr  netip.Addr
	limit *connLimit // that it counts in
	admin bool       // came to the listener of admins
	gate  gate
	fault *fault // the gate's verdict; there is nothing to read after it
	slack time.Duration
	large atomic.Int64 // claimed for bodies that are being read or answered

	read, write deadline

	linger atomic.Bool // the client may still be sending
	state  atomic.Int32
	stream *stream // from the upgrade on
	tls    *tls.Conn
	client clientNames // asked for where there are keys of certificates

	hot      bool                   // hot requests are answered here
	direct   *direct                // nil before the first is read
	local    bool                   // the connection is a Unix socket's
	bucket   atomic.Pointer[bucket] // of the address, once it was asked for
	answered uint64                 // hot requests
	ended    time.Time              // the last of them
	head     head                   // of the hot request that is being read
	out      []byte                 // answers to hot requests that are to be sent
}

// States of a connection.
const (
	connOpen    int32 = iota
	connBusy          // with hot requests: whoever closes it waits
	connClosing       // and is closed behind their answers
	connClosed
)

// deadline is what was asked for and what the connection was told.
type deadline struct{ want, have time.Time }

// move reports whether the connection must be told, and to what.
func (d *deadline) move(slack time.Duration) bool {
	if d.want.Equal(d.have) {
		return false
	}
	if !d.want.IsZero() && !d.have.IsZero() {
		if late := d.want.Sub(d.have); late >= 0 && late < slack {
			return false
		}
	}
	d.have = d.want
	return true
}

func newGatedConn(c net.Conn, addr netip.Addr, s *Server) *gatedConn {
	l := &s.limits
	g := &gatedConn{
		Conn: c, s: s, addr: addr, limit: &s.limit,
		gate:  gate{maxBytes: l.MaxHeaderBytes, maxFields: l.MaxHeaderFields, maxBody: l.MaxBodyBytes, length: -1},
		slack: min(time.Second, l.HeaderTimeout/8, l.WriteTimeout/8, l.IdleTimeout/8),
	}
	g.gate.claim = g.claim
	_, g.local = c.LocalAddr().(*net.UnixAddr)
	g.tls, _ = c.(*tls.Conn)
	// Spans are made from what only fasthttp keeps of a request.
	g.hot = s.o.Tracer == nil && !s.o.coldOnly
	return g
}

// claim takes memory for a large body out of what all connections have
// together. Without that, a body of the largest size on every connection would
// be more than the machine has, and a Content-Length is enough to claim it.
func (c *gatedConn) claim(n int64) bool {
	if !c.s.large.take(c.addr, n) {
		return false
	}
	c.large.Add(n)
	return true
}

// unclaim gives back n of what claim took, or what there is of it.
func (c *gatedConn) unclaim(n int64) {
	for {
		have := c.large.Load()
		n = min(n, have)
		if n <= 0 {
			return
		}
		if c.large.CompareAndSwap(have, have-n) {
			c.s.large.give(c.addr, n)
			return
		}
	}
}

// secure reports whether the connection speaks TLS.
func (c *gatedConn) secure() bool { return c.tls != nil }

// Read reads what the gate lets pass, and no hot request. After a fault it
// returns the fault as an error, which reaches handleBroken.
func (c *gatedConn) Read(p []byte) (int, error) {
	if c.fault != nil {
		return 0, c.fault
	}
	begun := c.gate.begun()
	if !begun {
		c.unclaim(math.MaxInt64) // every message so far has been answered
		if c.hot && c.gate.messages > 0 {
			return c.readHot(p)
		}
	}
	n, err := c.receive(p)
	if n == 0 {
		return n, err
	}
	return c.pass(p, 0, 0, n, begun, err)
}

// receive reads what there is.
func (c *gatedConn) receive(p []byte) (int, error) {
	if err := c.moveReadDeadline(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *gatedConn) moveReadDeadline() error {
	if c.read.move(c.slack) {
		return c.Conn.SetReadDeadline(c.read.want)
	}
	return nil
}

// pass gives fasthttp the bytes of p between two positions, of which the gate
// has seen those before another. begun tells that fasthttp has read a part of
// the message that they begin with.
func (c *gatedConn) pass(p []byte, from, seen, to int, begun bool, err error) (int, error) {
	safe, f := c.gate.scan(p[seen:to])
	n := copy(p, p[from:to])
	if f == nil {
		return n, err
	}
	return c.refuse(p, seen+safe-from, begun, f)
}

// refuse gives fasthttp the bytes of p before a message that is refused.
func (c *gatedConn) refuse(p []byte, safe int, begun bool, f *fault) (int, error) {
	c.fault = f
	c.linger.Store(true)
	if begun && safe == 0 {
		return 0, f // of a message that fasthttp has begun to read
	}
	// fasthttp answers only a message of which it has seen a byte. It is given
	// one that is no part of the message, which it cannot take for a request.
	p[safe] = '!'
	return safe + 1, nil
}

// early reports whether the client has sent anything behind its request number n
// that was not hot, all before it being answered.
func (c *gatedConn) early(n uint64) bool {
	return c.fault != nil || c.gate.begun() || c.gate.messages != n+c.answered
}

// Write writes p.
func (c *gatedConn) Write(p []byte) (int, error) {
	if c.write.move(c.slack) {
		if err := c.Conn.SetWriteDeadline(c.write.want); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		c.drop()
	}
	return n, err
}

// drop has the system forget what it has taken for a client that does not read,
// when the connection is closed: it would keep that for as long as the client
// says that it is there.
func (c *gatedConn) drop() {
	conn := c.Conn
	if c.tls != nil {
		conn = c.tls.NetConn()
	}
	if l, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0)
	}
}

// SetReadDeadline takes effect with the next Read.
func (c *gatedConn) SetReadDeadline(t time.Time) error { c.read.want = t; return nil }

// SetWriteDeadline takes effect with the next Write.
func (c *gatedConn) SetWriteDeadline(t time.Time) error { c.write.want = t; return nil }

// SetDeadline takes effect with the next Read and Write.
func (c *gatedConn) SetDeadline(t time.Time) error { c.read.want, c.write.want = t, t; return nil }

// Close closes the connection, at once or behind the answers to hot requests
// that are under way. Where the client may still be sending, what it sends is
// read for a moment, since a connection that is closed with bytes unread is
// reset and the client would not see its answer.
func (c *gatedConn) Close() error {
	for !c.state.CompareAndSwap(connOpen, connClosed) {
		if c.state.Load() >= connClosing || c.state.CompareAndSwap(connBusy, connClosing) {
			return nil
		}
	}
	defer c.limit.release(c.addr)
	defer c.unclaim(math.MaxInt64)
	if c.stream != nil {
		defer c.stream.release()
	}
	if c.linger.Load() {
		c.drain()
	}
	return c.Conn.Close()
}

func (c *gatedConn) drain() {
	const (
		longest = time.Second
		most    = 64 << 20
	)
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.Conn.SetReadDeadline(time.Now().Add(longest)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.Conn, most)
}
