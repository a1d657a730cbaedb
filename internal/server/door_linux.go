package server

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A listener that is closed resets the connections that the kernel has taken
// for it and nobody has accepted, with the requests that they carry. closeDoor
// makes the kernel drop attempts to connect, so that what is already there can
// be accepted before the listener is closed. A client whose attempt is dropped
// tries again a second later, and is refused.
//
// It reports whether it could.
func closeDoor(ln net.Listener) bool {
	// The program of the filter, which sees a packet from its TCP header on:
	// packets with SYN are dropped, those that end a handshake pass.
	const flags, syn = 13, 0x02
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 0, Jf: 1, K: syn},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	done := false
	control(ln, func(fd int) {
		filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
		done = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter) == nil
	})
	return done
}

// waitingAtDoor returns how many connections the kernel holds that nobody has
// accepted; 0 where it does not say.
func waitingAtDoor(ln net.Listener) int {
	n := 0
	control(ln, func(fd int) {
		// Of a listener, this member is the length of that queue.
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
