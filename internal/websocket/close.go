package websocket

import (
	"time"

	"github.com/gobwas/ws"
)

// Close tells the peer that the connection ends and why, and waits a moment
// for its answer. The caller closes the connection below. A connection that
// the peer has closed is left as it is.
func (c *Conn) Close(code int, reason string) {
	if c.peerClosed {
		return
	}
	c.peerClosed = true // nothing is sent after a Close
	if len(reason) > maxReasonSize {
		reason = reason[:maxReasonSize]
	}
	b := append(c.Frame(), byte(code>>8), byte(code))
	if c.send(ws.OpClose, append(b, reason...)) != nil {
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(closeLinger)) // its failure ends the loop
	for discard := c.buf; ; {
		h, size, err := readHeader(discard[c.r:c.w])
		switch {
		case err != nil || size != 0 && c.check(h) != nil:
			return
		case size != 0 && h.OpCode == ws.OpClose:
			return
		case size != 0 && c.w-c.r >= size+int(h.Length):
			c.r += size + int(h.Length)
			continue
		}
		c.r, c.w = 0, copy(discard, discard[c.r:c.w])
		if c.w == len(discard) {
			return // a large message is not read to its end
		}
		n, err := c.conn.Read(discard[c.w:])
		if c.w += n; err != nil {
			return
		}
	}
}
