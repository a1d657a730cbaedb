package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := listenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if ln.Addr().String() != path || ln.Addr().Network() != "unix" {
		t.Errorf("address %v", ln.Addr())
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside the socket: %v, %v", entries, err)
	}
	if second, err := listenUnix(path, 0o600); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("a second listener: %v, %v", second, err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// TestListenUnixReplaces holds that a socket which a process left behind is
// replaced, and nothing else.
func TestListenUnixReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	first, err := listenUnix(path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	// What another server put there meanwhile stays.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := listenUnix(path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the second listener: %v", err)
	} else {
		c.Close()
	}
	second.Close()

	for name, create := range map[string]func() error{
		"a file":     func() error { return os.WriteFile(path, []byte("x"), 0o600) },
		"a folder":   func() error { return os.Mkdir(path, 0o700) },
		"a dangling": func() error { return os.Symlink("nowhere", path) },
	} {
		if err := create(); err != nil {
			t.Fatal(err)
		}
		if ln, err := listenUnix(path, 0o660); err == nil || !strings.Contains(err.Error(), "no socket, which is not replaced") {
			t.Errorf("%s: %v, %v", name, ln, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s was removed: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := listenUnix(filepath.Join(path, "none", "s"), 0o660); err == nil {
		t.Error("a folder that is not there: no error")
	}
}
