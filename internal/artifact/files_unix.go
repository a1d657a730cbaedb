//go:build unix

package artifact

import "syscall"

// openNonblock keeps the opening of a FIFO without a writer from blocking.
const openNonblock = syscall.O_NONBLOCK
