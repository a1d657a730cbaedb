package server

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// direct reads hot requests from a TCP connection and sends their answers by
// the system's own calls, without what net does before each.
//
// Where net has read what there is it finds that out by one more call, which
// fails, before it waits. Here the system says with each read whether there is
// more (TCP_INQ), the end of the stream among it. The poller tells what comes
// later: it is asked to begin once, before the first read, and net forgets
// nothing that it tells from there on (syscall.RawConn.Read).
type direct struct {
	c    *gatedConn
	conn syscall.RawConn // nil where this is not possible
	turn func(fd uintptr) bool

	p   []byte // what is read into
	b   batch
	n   int // what Read returns
	err error
}

func newDirect(c *gatedConn) *direct {
	d := &direct{c: c}
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return d
	}
	conn, err := tcp.SyscallConn()
	if err != nil {
		return d
	}
	told := false
	err = conn.Control(func(fd uintptr) {
		told = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INQ, 1) == nil
	})
	if err == nil && told {
		d.conn, d.turn = conn, d.takeTurn
	}
	return d
}

func (d *direct) possible() bool { return d.conn != nil }

// read is readHot.
func (d *direct) read(p []byte) (int, error) {
	for {
		if err := d.c.moveReadDeadline(); err != nil {
			return 0, err
		}
		d.p, d.b = p, batch{}
		if err := d.conn.Read(d.turn); err != nil {
			return 0, err
		}
		if !d.b.short {
			return d.n, d.err
		}
		d.b.fd = -1
		if more, n, err := d.c.serve(&d.b, nil); !more {
			return n, err
		}
	}
}

// takeTurn reads and answers as long as there is something. It reports false
// where it is to be called again when there is.
func (d *direct) takeTurn(fd uintptr) (done bool) {
	for {
		n, more, err := receiveNow(int(fd), d.p)
		switch err {
		case 0:
			d.err = nil
			if n == 0 {
				d.err = io.EOF
			}
		case syscall.EAGAIN:
			return false
		case syscall.EINTR:
			continue
		default:
			d.err = &net.OpError{Op: "read", Net: "tcp", Source: d.c.LocalAddr(), Addr: d.c.RemoteAddr(), Err: os.NewSyscallError("recvmsg", err)}
		}
		var hot bool
		d.b = batch{p: d.p, n: n, fd: int(fd)}
		if hot, d.n, d.err = d.c.serve(&d.b, d.err); !hot {
			return true
		}
		if d.n, d.err = 0, d.c.moveReadDeadline(); d.err != nil {
			return true
		}
		if !more {
			return false
		}
	}
}

// receiveNow reads what there is into p. It reports whether there is more, or
// may be.
func receiveNow(fd int, p []byte) (n int, more bool, err syscall.Errno) {
	var control struct {
		unix.Cmsghdr
		left uint32 // 1 where only the end of the stream is
		_    uint32
	}
	part := unix.Iovec{Base: unsafe.SliceData(p)}
	part.SetLen(len(p))
	message := unix.Msghdr{Iov: &part, Control: (*byte)(unsafe.Pointer(&control))}
	message.SetIovlen(1)
	message.SetControllen(int(unsafe.Sizeof(control)))
	// The connection does not block, so the scheduler need not hear of it.
	r, _, err := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), 0)
	if err != 0 {
		return 0, false, err
	}
	acquire()
	told := control.Level == unix.IPPROTO_TCP && control.Type == unix.TCP_CM_INQ
	return int(r), !told || control.left != 0, 0
}

// sendNow sends as much of b as the system takes at once, and returns how much
// that was. What is wrong with the connection the next write tells.
func sendNow(fd int, b []byte) int {
	n, err := syscall.Write(fd, b)
	if err != nil {
		return 0
	}
	return n
}
