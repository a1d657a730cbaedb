//go:build linux

package hot

// request makes a client request of valgrind; outside it the answer is
// otherwise.
//
//go:noescape
func request(args *[6]uintptr, otherwise uintptr) uintptr
