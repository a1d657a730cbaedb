package websocket

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// readHeader reads the header of the frame that b begins with, and how many
// bytes it has; 0 says that it has not come wholly. It is ws.ReadHeader for
// bytes that lie in a buffer.
func readHeader(b []byte) (h ws.Header, size int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = b[0] >> 4 & 7
	h.OpCode = ws.OpCode(b[0] & 0x0f)
	h.Masked = b[1]&0x80 != 0
	size = 2
	switch n := b[1] & 0x7f; n {
	case 126:
		if size += 2; len(b) < size {
			return h, 0, nil
		}
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if size += 8; len(b) < size {
			return h, 0, nil
		}
		if b[2]&0x80 != 0 {
			return h, 0, &CloseError{Code: CloseProtocol, Reason: "the length of a frame has its first bit set"}
		}
		h.Length = int64(binary.BigEndian.Uint64(b[2:]))
	default:
		h.Length = int64(n)
	}
	if h.Masked {
		if len(b) < size+4 {
			return h, 0, nil
		}
		copy(h.Mask[:], b[size:])
		size += 4
	}
	return h, size, nil
}

func validText(p []byte) bool { return utf8.Valid(p) }

// control answers a control frame.
func (c *Conn) control(op ws.OpCode, payload []byte) error {
	if c.heard.Sub(c.second) > time.Second {
		c.second, c.controls = c.heard, 0
	}
	if c.controls++; c.controls > controlBurst {
		return &CloseError{Code: ClosePolicy, Reason: "too many control frames in a second"}
	}
	if !c.state.Fragmented() {
		c.began = time.Time{}
	}
	switch op {
	case ws.OpPing:
		return c.send(ws.OpPong, append(c.small[:maxHeader], payload...))
	case ws.OpClose:
		return c.closed(payload)
	}
	return nil // a pong, which said enough by coming
}

// closed answers the peer's Close.
func (c *Conn) closed(payload []byte) error {
	code, reason := CloseNormal, ""
	if len(payload) > 0 {
		if len(payload) == 1 {
			return &CloseError{Code: CloseProtocol, Reason: "a Close of one byte"}
		}
		given, text := ws.ParseCloseFrameData(payload)
		if err := ws.CheckCloseFrameData(given, text); err != nil {
			return &CloseError{Code: CloseProtocol, Reason: err.Error()}
		}
		code, reason = int(given), text
	}
	c.peerClosed = true
	_ = c.send(ws.OpClose, append(c.small[:maxHeader], byte(code>>8), byte(code))) // to a peer that may have gone
	return &CloseError{Code: code, Reason: reason, Peer: true}
}

// fill waits for bytes and reads what has arrived, as far as there is room.
// While it waits it asks a silent peer whether it is there.
func (c *Conn) fill() error {
	if err := c.room(c.w - c.r + 1); err != nil {
		return err
	}
	for {
		if err := c.waitUntil(c.patience()); err != nil {
			return err
		}
		if c.stopped.Load() { // looked at after the deadline was set, which Interrupt sets last
			return ErrInterrupted
		}
		space := c.buf[c.w:]
		n, err := c.conn.Read(space)
		if n > 0 {
			c.w += n
			c.drained = n < len(space) && !c.through
			return c.arrived()
		}
		if !isTimeout(err) {
			return err
		}
		c.readUntil = time.Time{} // it is set anew, however little it has moved
		if err := c.silent(); err != nil {
			return err
		}
	}
}

// patience is when something is to be done if nothing comes until then.
func (c *Conn) patience() time.Time {
	until := c.heard.Add(c.o.Ping)
	if c.asked {
		until = c.heard.Add(2 * c.o.Ping)
	}
	if !c.began.IsZero() {
		if end := c.began.Add(c.o.MessageTimeout); end.Before(until) {
			return end
		}
	}
	return until
}

// waitUntil sets the deadline of reading where it has to move back or by much:
// one that comes early is looked at and set anew, and to set it for each
// message would cost more than to read one.
func (c *Conn) waitUntil(until time.Time) error {
	if late := until.Sub(c.readUntil); late >= 0 && late < c.o.Ping/8 {
		return nil
	}
	c.readUntil = until
	return c.conn.SetReadDeadline(until)
}

// arrived notes that the peer is there, and holds it to the time of a message.
func (c *Conn) arrived() error {
	c.heard, c.asked = time.Now(), false
	return c.hurry(c.heard)
}

func (c *Conn) hurry(now time.Time) error {
	if !c.began.IsZero() && now.Sub(c.began) >= c.o.MessageTimeout {
		return &CloseError{Code: ClosePolicy, Reason: "a message did not arrive in time"}
	}
	return nil
}

// silent does what is due when nothing has come until the deadline.
func (c *Conn) silent() error {
	if c.stopped.Load() {
		return ErrInterrupted
	}
	now := time.Now()
	if err := c.hurry(now); err != nil {
		return err
	}
	switch idle := now.Sub(c.heard); {
	case idle >= 2*c.o.Ping:
		return ErrDead
	case idle >= c.o.Ping && !c.asked:
		c.asked = true
		c.Release() // nothing has come for a while
		return c.send(ws.OpPing, c.small[:maxHeader])
	}
	return nil // the deadline was an early one
}

// fillNow reads what has arrived and reports whether there was anything.
func (c *Conn) fillNow() (bool, error) {
	if c.drained || c.raw == nil || c.stopped.Load() {
		return false, nil
	}
	if err := c.room(c.w - c.r + 1); err != nil {
		return false, err
	}
	space := c.buf[c.w:]
	if c.through {
		space = c.buf[:0:0]
	}
	c.tryInto = space
	c.tried, c.tryErr = 0, nil
	failed := c.raw.Read(c.try)
	n := c.tried
	if failed != nil || c.tryErr != nil {
		n = 0 // the next Read will tell what is wrong, if anything is
	}
	if n <= 0 {
		return false, nil
	}
	if c.through {
		if n = c.readThrough(); n == 0 {
			return false, nil
		}
	} else {
		c.drained = n < len(space)
	}
	c.w += n
	return true, c.arrived()
}

// layerTime is how long a layer such as TLS may take to make bytes of those
// that have arrived: the rest of a record may still be under way.
const layerTime = time.Millisecond

// readThrough reads through the layer above the socket, which has bytes for it.
func (c *Conn) readThrough() int {
	c.readUntil = time.Now().Add(layerTime)
	if c.conn.SetReadDeadline(c.readUntil) != nil {
		return 0
	}
	n, err := c.conn.Read(c.buf[c.w:])
	if err != nil && n == 0 {
		return 0
	}
	return n
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// findRaw finds the socket, or the one below a layer such as TLS.
func (c *Conn) findRaw() {
	if !canTry {
		return
	}
	conn := c.conn
	if layer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn, c.through = layer.NetConn(), true
	}
	if s, ok := conn.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			c.raw, c.try = raw, c.tryRead
		}
	}
}
