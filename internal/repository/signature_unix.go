//go:build unix

package repository

import (
	"fmt"
	"io/fs"
	"syscall"
)

// inode names the file behind a name: one that was put in its place is another,
// whatever its times say.
func inode(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d.%d.%v", st.Dev, st.Ino, changed(st))
	}
	return ""
}
