//go:build unix

package websocket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// canTry tells whether a socket can be asked for what has arrived.
const canTry = true

// tryRead reads from a socket without waiting; into no bytes it only looks
// whether there are any. It is called by RawConn.Read, which it tells never to
// wait.
func (c *Conn) tryRead(fd uintptr) bool {
	if len(c.tryInto) == 0 {
		c.tried, _, c.tryErr = unix.Recvfrom(int(fd), c.small[:1], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	}
	c.tried, c.tryErr = syscall.Read(int(fd), c.tryInto) // sockets of Go do not block
	return true
}
