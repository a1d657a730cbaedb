package doctor

import (
	"bytes"
	"encoding/base64"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// files is a folder in memory: what a ConfigMap makes of its keys.
type files map[string][]byte

// configMapFiles returns the files of a ConfigMap as a volume shows them.
func configMapFiles(o *Object, items []any) files {
	all := files{}
	for k, v := range words(o.m["data"]) {
		all[k] = []byte(v)
	}
	for k, v := range words(o.m["binaryData"]) {
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(v), ""))
		if err == nil {
			all[k] = b
		}
	}
	if items == nil {
		return all
	}
	some := files{}
	for _, item := range items {
		if b, ok := all[text(at(item, "key"))]; ok {
			some[text(at(item, "path"))] = b
		}
	}
	return some
}

// Open implements fs.FS for the folder and its files.
func (f files) Open(name string) (fs.File, error) {
	if name == "." {
		return &folder{entries: f.entries()}, nil
	}
	b, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{info: info{name, int64(len(b))}, Reader: bytes.NewReader(b)}, nil
}

func (f files) entries() []fs.DirEntry {
	var out []fs.DirEntry
	for name, b := range f {
		out = append(out, fs.FileInfoToDirEntry(info{name, int64(len(b))}))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}

// info tells of a file, or of the folder, which has no name.
type info struct {
	name string
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.name == "" }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.IsDir() {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

type file struct {
	info
	*bytes.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Size() int64                { return f.info.size }
func (f *file) Close() error               { return nil }

type folder struct {
	info
	entries []fs.DirEntry
	next    int
}

func (f *folder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *folder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: ".", Err: fs.ErrInvalid}
}
func (f *folder) Close() error { return nil }

// ReadDir implements fs.ReadDirFile.
func (f *folder) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := f.entries[f.next:]
	if n <= 0 {
		f.next = len(f.entries)
		return rest, nil
	}
	if len(rest) == 0 {
		return nil, io.EOF
	}
	rest = rest[:min(n, len(rest))]
	f.next += len(rest)
	return rest, nil
}
