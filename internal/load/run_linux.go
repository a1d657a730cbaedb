package load

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// run puts the load on from one thread with epoll, so that a request leaves
// within a microsecond of its time and the client costs the machine little.
func run(o *Options) (*Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := &loop{options: o, result: &Result{Status: map[int]*Class{}}, chunk: make([]byte, 64<<10)}
	defer l.close()
	if err := l.open(); err != nil {
		return nil, err
	}
	return l.result, l.run()
}

// loop is the state of a run.
type loop struct {
	options *Options
	result  *Result
	target  unix.Sockaddr
	family  int
	epoll   int
	conns   []*conn
	chunk   []byte

	free     queue // of connections without a request
	start    time.Time
	end      time.Time
	next     uint64 // request of the schedule, or just the next one
	inFlight int
}

// conn is one connection.
type conn struct {
	fd        int // -1 while it is closed
	due, sent time.Time
	busy      bool
	out       []byte // of the request, not yet written
	in        []byte // of the answer
}

// queue is a ring of connections: what has been in it longest leaves first, so
// that all are used alike.
type queue struct {
	ring []*conn
	head int
	n    int
}

func (q *queue) push(c *conn) {
	q.ring[(q.head+q.n)%len(q.ring)] = c
	q.n++
}

func (q *queue) pop() *conn {
	c := q.ring[q.head]
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return c
}

func (l *loop) open() error {
	o := l.options
	switch o.Network {
	case "unix":
		l.family, l.target = unix.AF_UNIX, &unix.SockaddrUnix{Name: o.Address}
	case "tcp":
		a, err := net.ResolveTCPAddr("tcp", o.Address)
		if err != nil {
			return err
		}
		if v4 := a.IP.To4(); v4 != nil {
			l.family, l.target = unix.AF_INET, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(v4)}
		} else if v6 := a.IP.To16(); v6 != nil {
			l.family, l.target = unix.AF_INET6, &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte(v6)}
		} else {
			return fmt.Errorf("load: %s is no address to connect to", o.Address)
		}
	default:
		return fmt.Errorf("load: network %q: tcp or unix", o.Network)
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		l.epoll = -1
		return os.NewSyscallError("epoll_create1", err)
	}
	l.free.ring = make([]*conn, o.Connections)
	for range o.Connections {
		c := &conn{fd: -1}
		l.conns = append(l.conns, c)
		if err := l.dial(c); err != nil {
			return fmt.Errorf("load: connect to %s: %w", o.Address, err)
		}
		l.free.push(c)
	}
	return nil
}

func (l *loop) close() {
	for _, c := range l.conns {
		l.hangUp(c)
	}
	if l.epoll >= 0 {
		_ = unix.Close(l.epoll)
	}
}

func (l *loop) hangUp(c *conn) {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
	}
}

// dial opens a connection. It waits for it, for a bounded time.
func (l *loop) dial(c *conn) error {
	fd, err := unix.Socket(l.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	limit := unix.NsecToTimeval(int64(dialTimeout))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	if l.family != unix.AF_UNIX {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	err = unix.Connect(fd, l.target)
	for errors.Is(err, unix.EINTR) {
		err = unix.Connect(fd, l.target)
		if errors.Is(err, unix.EISCONN) {
			err = nil
		}
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	}
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	c.fd, c.busy, c.out, c.in = fd, false, nil, c.in[:0]
	return nil
}

func (l *loop) run() error {
	o, r := l.options, l.result
	byFD := map[int32]*conn{}
	for _, c := range l.conns {
		byFD[int32(c.fd)] = c
	}
	events := make([]unix.EpollEvent, 256)
	l.start = time.Now()
	l.end = l.start.Add(o.Duration)
	shown := l.start
	now := l.start
	for {
		l.send(now, byFD)
		over := !now.Before(l.end)
		if over && (l.inFlight == 0 || now.After(l.end.Add(o.Grace))) {
			break
		}
		timeout, err := l.wait(now, over)
		if err != nil {
			return err
		}
		n, err := unix.EpollWait(l.epoll, events, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("epoll_wait", err)
		}
		for _, e := range events[:max(n, 0)] {
			if c := byFD[e.Fd]; c != nil {
				l.event(c, e, byFD)
			}
		}
		if now = time.Now(); now.Sub(shown) >= progressEvery {
			shown = now
			o.Progress(min(1, now.Sub(l.start).Seconds()/o.Duration.Seconds()), r.Answered)
		}
	}
	r.Broken += uint64(l.inFlight)
	r.Elapsed = now.Sub(l.start)
	if o.Rate == 0 {
		// The last answers of a closed loop are of the connections' last
		// requests; they came a moment after the end.
		r.Elapsed = o.Duration
	}
	r.late(o, l.next, l.end)
	return nil
}

// send sends what is due on the connections that are free.
func (l *loop) send(now time.Time, byFD map[int32]*conn) {
	o := l.options
	for l.free.n > 0 && now.Before(l.end) {
		due := now
		if o.Rate > 0 {
			if due = planned(l.start, o.Rate, l.next); due.After(now) || !due.Before(l.end) {
				return
			}
		}
		c := l.free.pop()
		if c.fd < 0 {
			if err := l.dial(c); err != nil {
				l.free.push(c)
				return // Nobody listens just now: the schedule goes on.
			}
			l.result.Reconnects++
			byFD[int32(c.fd)] = c
		}
		request := o.Requests[l.next%uint64(len(o.Requests))]
		l.next++
		c.due, c.sent, c.busy, c.out = due, now, true, request
		if o.Rate > 0 {
			c.sent = time.Now()
		}
		l.inFlight++
		l.result.Sent++
		l.write(c, byFD)
	}
}

// write writes what the socket takes of the request.
func (l *loop) write(c *conn, byFD map[int32]*conn) {
	full := false
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			full = true
		case err != nil:
			l.broken(c, byFD)
			return
		default:
			c.out = c.out[n:]
		}
		if full {
			break
		}
	}
	if full {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT, Fd: int32(c.fd)})
	}
}

// broken ends a connection whose request gets no answer.
func (l *loop) broken(c *conn, byFD map[int32]*conn) {
	if c.busy {
		l.result.Broken++
		l.inFlight--
		l.free.push(c)
	}
	c.busy = false
	delete(byFD, int32(c.fd))
	l.hangUp(c)
}

// wait sleeps until there is something to do, or returns for how many
// milliseconds epoll may do so.
func (l *loop) wait(now time.Time, over bool) (timeout int, err error) {
	o := l.options
	until := l.end
	if over {
		until = l.end.Add(o.Grace)
	}
	if l.options.Rate == 0 || over {
		// There is nothing to do before the next answer.
		return int(min(until.Sub(now), progressEvery)/time.Millisecond) + 1, nil
	}
	if !o.Wait {
		return 0, nil
	}
	if l.free.n > 0 {
		until = minTime(until, planned(l.start, o.Rate, l.next))
	}
	// A millisecond would be too coarse for a schedule.
	if left := min(until.Sub(now), progressEvery); left > 0 {
		limit := unix.NsecToTimespec(int64(left))
		_, err = unix.Ppoll([]unix.PollFd{{Fd: int32(l.epoll), Events: unix.POLLIN}}, &limit, nil)
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	return 0, os.NewSyscallError("ppoll", err)
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// event reads what came, and writes what still has to go.
func (l *loop) event(c *conn, e unix.EpollEvent, byFD map[int32]*conn) {
	if e.Events&unix.EPOLLOUT != 0 {
		if l.write(c, byFD); c.fd < 0 {
			return
		}
		if len(c.out) == 0 {
			_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)})
		}
	}
	if e.Events&^unix.EPOLLOUT == 0 {
		return
	}
	n, err := unix.Read(c.fd, l.chunk)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil || n == 0:
		l.broken(c, byFD)
		return
	}
	b := l.chunk[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, b...)
		b = c.in
	}
	a, err := parse(b)
	switch {
	case err != nil || !c.busy:
		l.broken(c, byFD)
		return
	case !a.whole:
		if len(c.in) == 0 {
			c.in = append(c.in, b...)
		}
		return
	}
	now := time.Now()
	want := l.options.Want
	l.result.count(a.status, now.Sub(c.due), now.Sub(c.sent), want == nil || bytes.HasPrefix(b[a.head:a.end], want))
	c.in, c.busy = c.in[:0], false
	l.inFlight--
	l.free.push(c)
	if a.closes {
		delete(byFD, int32(c.fd))
		l.hangUp(c)
		return
	}
	// The next request of a closed loop goes at once.
	if l.options.Rate == 0 {
		l.send(now, byFD)
	}
}
