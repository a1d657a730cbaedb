//go:build !linux

package server

import "net"

// refuseNew is there on Linux only.
func refuseNew(net.Listener) bool { return false }

// unaccepted is told on Linux only.
func unaccepted(net.Listener) int { return 0 }
