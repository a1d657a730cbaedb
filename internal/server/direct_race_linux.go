//go:build race

package server

import (
	"sync"
	"syscall"
)

// acquire tells the race detector that what came before the other side's write
// came before this read: it knows that of syscall.Read, and not of recvmsg.
func acquire() {
	var b [1]byte
	_, _ = syscall.Read(zeros(), b[:])
}

// zeros is a file from which each read succeeds.
var zeros = sync.OnceValue(func() int {
	fd, err := syscall.Open("/dev/zero", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("server: /dev/zero: " + err.Error())
	}
	return fd
})
