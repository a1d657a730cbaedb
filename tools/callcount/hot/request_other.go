//go:build !linux || !amd64

package hot

// request answers as it does where there is no valgrind.
func request(_ *[6]uintptr, otherwise uintptr) uintptr { return otherwise }
