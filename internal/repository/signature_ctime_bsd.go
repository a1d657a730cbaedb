//go:build darwin || freebsd || netbsd

package repository

import "syscall"

// changed is when the file or what is known of it was last changed, which
// nobody can set back.
func changed(st *syscall.Stat_t) syscall.Timespec { return st.Ctimespec }
