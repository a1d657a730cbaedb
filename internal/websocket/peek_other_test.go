//go:build !linux

package websocket_test

import (
	"net"
	"testing"
	"time"
)

// peeked gives the bytes of a loopback connection time to arrive.
func peeked(testing.TB, net.Conn) int {
	time.Sleep(50 * time.Millisecond)
	return 64
}
