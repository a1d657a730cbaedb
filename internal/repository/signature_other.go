//go:build !unix

package repository

import "io/fs"

// inode is not known here.
func inode(fs.FileInfo) string { return "" }
