package main

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"
)

// overlay is a file system of one folder whose files lie at other paths: what
// it holds by name is a path of the operating system.
type overlay map[string]string

// Open implements fs.FS.
func (o overlay) Open(name string) (fs.File, error) {
	if name == "." {
		return &overlayDir{o: o}, nil
	}
	path, ok := o[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return os.Open(path)
}

// Stat implements fs.StatFS, so that a FIFO is told before it is opened.
func (o overlay) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return overlayInfo("."), nil
	}
	path, ok := o[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return os.Stat(path)
}

// overlayDir is the one folder of an overlay.
type overlayDir struct {
	o    overlay
	read bool
}

func (d *overlayDir) Stat() (fs.FileInfo, error) { return overlayInfo("."), nil }
func (d *overlayDir) Close() error               { return nil }
func (d *overlayDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: ".", Err: fs.ErrInvalid}
}

// ReadDir implements fs.ReadDirFile; it gives all entries at once.
func (d *overlayDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if d.read {
		if n > 0 {
			return nil, io.EOF
		}
		return nil, nil
	}
	d.read = true
	var entries []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(d.o)) {
		info, err := d.o.Stat(name)
		if err != nil {
			return nil, err
		}
		entries = append(entries, named{fs.FileInfoToDirEntry(info), name})
	}
	return entries, nil
}

// named is an entry under another name.
type named struct {
	fs.DirEntry
	name string
}

func (n named) Name() string { return n.name }

// overlayInfo describes the folder.
type overlayInfo string

func (i overlayInfo) Name() string     { return string(i) }
func (overlayInfo) Size() int64        { return 0 }
func (overlayInfo) Mode() fs.FileMode  { return fs.ModeDir | 0o555 }
func (overlayInfo) ModTime() time.Time { return time.Time{} }
func (overlayInfo) IsDir() bool        { return true }
func (overlayInfo) Sys() any           { return nil }
