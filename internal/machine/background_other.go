//go:build !linux

package machine

// giveWay leaves the thread as it is: what a thread may be told differs by system.
func giveWay() {}

func isMain() bool { return false }
