//go:build !unix

package spool

import "os"

// lockFile keeps a file open, which elsewhere is locked: here two processes
// must not be given the same folder.
func lockFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}

// syncDir does nothing where folders cannot be synced.
func syncDir(string) error { return nil }
