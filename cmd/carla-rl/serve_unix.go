package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// unixListener is a Unix domain socket whose file is removed when it is closed,
// unless another server's is there by then.
type unixListener struct {
	*net.UnixListener
	path   string
	file   fs.FileInfo
	remove sync.Once
}

// listenUnix listens on a Unix domain socket with the mode of its file. A
// socket that nobody listens on, which a process that was killed leaves behind,
// is replaced, and nothing else is. The socket appears under its name with its
// mode, so that nobody can connect whom the mode keeps out.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if err := replaceable(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".carla-rl-") // for its owner only
	if err != nil {
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	l := &unixListener{UnixListener: ln, path: path}
	if err = os.Chmod(made, mode); err == nil {
		if l.file, err = os.Lstat(made); err == nil {
			err = os.Rename(made, path)
		}
	}
	if err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	return l, nil
}

// replaceable tells why a path cannot be taken; nil says that nothing is there,
// or a socket that nobody listens on.
func replaceable(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("listen on unix://%s: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("listen on unix://%s: there is a file that is no socket, which is not replaced (choose another path with --host or HOST)", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("listen on unix://%s: another process listens there (stop it, or choose another path with --host or HOST)", path)
}

// Addr is the name of the socket.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Unlink removes the file of the socket: who has not connected yet cannot any
// more, and who has is still accepted. A second call does nothing.
func (l *unixListener) Unlink() (err error) {
	l.remove.Do(func() {
		now, statErr := os.Lstat(l.path)
		if statErr != nil || !os.SameFile(now, l.file) {
			return // it is gone, or another server's
		}
		err = os.Remove(l.path)
	})
	return err
}

// Close closes the listener and removes its file.
func (l *unixListener) Close() error {
	return errors.Join(l.Unlink(), l.UnixListener.Close())
}
