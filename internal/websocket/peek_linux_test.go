package websocket_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// peeked returns how many bytes wait in a socket, up to some.
func peeked(t testing.TB, c net.Conn) (n int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var b [64]byte
	if err := raw.Read(func(fd uintptr) bool {
		n, _, _ = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
