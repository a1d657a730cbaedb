package server

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// onlyOldConnections is a filter of the packets of a listening socket, which
// begin with the TCP header: it drops those whose flags, at byte 13, say SYN,
// and lets pass those that end a handshake.
var onlyOldConnections = [...]unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 0, Jf: 1, K: 0x02},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// refuseNew makes the kernel begin no new connection on a TCP listener, while
// those that have begun can still be accepted. A listener that is closed with
// connections in its queue resets them, and the requests on them are lost. A
// client whose attempt is dropped tries again a second later, and is refused.
// It reports whether that was possible.
func refuseNew(ln net.Listener) bool {
	if _, ok := ln.Addr().(*net.TCPAddr); !ok {
		return false
	}
	done := false
	control(ln, func(fd int) {
		program := unix.SockFprog{Len: uint16(len(onlyOldConnections)), Filter: &onlyOldConnections[0]}
		done = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program) == nil
	})
	return done
}

// unaccepted returns how many connections wait in a listener's queue; 0 where
// the system does not say.
func unaccepted(ln net.Listener) (n int) {
	control(ln, func(fd int) {
		// Of a listener, this member is the length of the queue.
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Unacked)
		}
	})
	return n
}

// control calls f with the descriptor of a listener that has one.
func control(ln net.Listener, f func(fd int)) {
	c, ok := ln.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { f(int(fd)) })
}
