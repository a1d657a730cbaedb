//go:build !linux

package repository

// nicely starts work. Priorities of threads are Linux's.
func nicely(work func()) { go work() }
