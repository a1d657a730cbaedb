package pgtest

import "syscall"

// attributes are those of a process that ends with the test, whatever ends the
// test.
func attributes(user *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: user, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
