package websocket

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/gobwas/ws"
)

// maxKept is the largest buffer for what is sent that is kept.
const maxKept = 256 << 10

// Frame returns a buffer to append the payload of a message to, for Write. What
// it holds already is room for the frame's header.
func (c *Conn) Frame() []byte {
	var header [maxHeader]byte
	return append(c.out[:0], header[:]...)
}

// Write sends a message: what was appended to the slice of Frame, as one frame
// and by one write of the connection.
func (c *Conn) Write(op Op, frame []byte) error {
	if cap(frame) <= maxKept {
		c.out = frame[:0]
	}
	return c.send(op, frame)
}

// Send sends a message that is not in a buffer of Frame.
func (c *Conn) Send(op Op, payload []byte) error {
	return c.Write(op, append(c.Frame(), payload...))
}

// send writes a frame, whose payload begins after maxHeader bytes.
func (c *Conn) send(op ws.OpCode, frame []byte) error {
	payload := frame[maxHeader:]
	var b [maxHeader]byte
	b[0] = 0x80 | byte(op)
	n := 2
	switch size := len(payload); {
	case size < 126:
		b[1] = byte(size)
	case size <= 0xffff:
		b[1] = 126
		binary.BigEndian.PutUint16(b[2:], uint16(size))
		n += 2
	default:
		b[1] = 127
		binary.BigEndian.PutUint64(b[2:], uint64(size))
		n += 8
	}
	if c.o.Client {
		b[1] |= 0x80
		c.mask = bits.RotateLeft32(c.mask*0x85ebca6b+1, 13)
		mask := [4]byte(b[n : n+4])
		binary.LittleEndian.PutUint32(mask[:], c.mask)
		copy(b[n:], mask[:])
		n += 4
		ws.Cipher(payload, mask, 0)
	}
	start := maxHeader - n
	copy(frame[start:], b[:n])
	if now := time.Now(); c.sendUntil.Sub(now) < c.o.WriteTimeout*7/8 {
		c.sendUntil = now.Add(c.o.WriteTimeout)
		if err := c.conn.SetWriteDeadline(c.sendUntil); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(frame[start:])
	return err
}
