package artifact

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Root is a folder of the operating system as a file system that cannot be
// left: neither by name nor by link. Opening never blocks, whatever the name
// leads to.
//
// The cache of the Hugging Face hub keeps what a snapshot's links lead to beside
// the snapshots. The links of such a folder may lead there, and nowhere else.
type Root struct {
	root   *os.Root
	prefix string // in the root, in slashes, "." for the root itself
}

// OpenRoot opens the folder at an operating system path.
func OpenRoot(dir string) (*Root, error) {
	// os.OpenRoot would block on a FIFO.
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a folder")}
	}
	outer, prefix := dir, "."
	if full, err := filepath.Abs(dir); err == nil && inHubCache(full) {
		outer = filepath.Dir(filepath.Dir(full))
		prefix = "snapshots/" + filepath.Base(full)
	}
	root, err := os.OpenRoot(outer)
	if err != nil {
		return nil, err
	}
	return &Root{root, prefix}, nil
}

// inHubCache reports whether a folder is a snapshot in the cache of the
// Hugging Face hub: models--<owner>--<name>/snapshots/<revision>, with the
// files themselves in models--<owner>--<name>/blobs.
func inHubCache(dir string) bool {
	snapshots := filepath.Dir(dir)
	repo := filepath.Dir(snapshots)
	if filepath.Base(snapshots) != "snapshots" || !strings.HasPrefix(filepath.Base(repo), "models--") {
		return false
	}
	info, err := os.Lstat(filepath.Join(repo, "blobs"))
	return err == nil && info.IsDir()
}

// at is a name below the prefix, which is valid and cannot leave it.
func (r *Root) at(name string) string { return path.Join(r.prefix, name) }

// Open implements fs.FS.
func (r *Root) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return r.root.OpenFile(r.at(name), os.O_RDONLY|openNonblock, 0)
}

// Stat implements fs.StatFS without opening the file.
func (r *Root) Stat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
	}
	return r.root.Stat(r.at(name))
}

// Lstat tells of the name itself where it is a link.
func (r *Root) Lstat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrInvalid}
	}
	return r.root.Lstat(r.at(name))
}

// ReadLink implements fs.ReadLinkFS.
func (r *Root) ReadLink(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return r.root.Readlink(r.at(name))
}

// Close gives the folder handle back.
func (r *Root) Close() error { return r.root.Close() }

// ReadNames returns the sorted names in the folder dir of fsys, or an error
// that wraps ErrLimit when there are more than limit. It never reads more than
// that.
func ReadNames(fsys fs.FS, dir string, limit int) ([]string, error) {
	f, err := fsys.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: errors.New("not a folder")}
	}
	var names []string
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if len(names) > limit {
			return nil, fmt.Errorf("%w: the folder has more than %d entries", ErrLimit, limit)
		}
		if errors.Is(err, io.EOF) || (err == nil && len(entries) == 0) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	return names, nil
}

// readFile reads the regular file name of fsys. Its size is checked before
// anything is allocated, and again by reading one byte more than it had.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	data, _, err := readSummed(fsys, name, limit)
	return data, err
}

// readSummed is readFile, with the SHA-256 of what was read.
func readSummed(fsys fs.FS, name string, limit int64) (data []byte, sum [sha256.Size]byte, err error) {
	// The first look keeps file systems without a non-blocking open from
	// blocking on a FIFO; the one after opening is the one that counts.
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, sum, FileError(fsys, name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, sum, notRegular(info.Mode())
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, sum, FileError(fsys, name, err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, sum, FileError(fsys, name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, sum, notRegular(info.Mode())
	}
	size := info.Size()
	if size > limit {
		return nil, sum, fmt.Errorf("%w: %d bytes, at most %d are read", ErrLimit, size, limit)
	}
	if size == 0 {
		return nil, sum, errors.New("is empty (0 bytes)")
	}
	// One byte more than the file had tells that it grew meanwhile.
	data = make([]byte, size+1)
	n, sum, err := sumWhileReading(f, data)
	if err != nil {
		return nil, sum, FileError(fsys, name, err)
	}
	if int64(n) != size {
		return nil, sum, fmt.Errorf("changed while it was read: %d bytes, then %d", size, n)
	}
	return data[:n:n], sum, nil
}

// sumPiece is how much of a file is read before its sum is begun.
const sumPiece = 1 << 19

// sumWhileReading fills data from r up to its end, and returns the SHA-256 of
// what came: of a large file it is computed beside the reading, which takes as
// long.
func sumWhileReading(r io.Reader, data []byte) (n int, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	pieces, done := make(chan []byte, len(data)/sumPiece+1), make(chan struct{})
	sumAll := func() {
		defer close(done)
		for p := range pieces {
			_, _ = h.Write(p)
		}
	}
	if len(data) > sumPiece {
		go sumAll()
	}
	for n < len(data) && err == nil {
		var of int
		of, err = io.ReadFull(r, data[n:min(n+sumPiece, len(data))])
		pieces <- data[n : n+of]
		n += of
	}
	close(pieces)
	if len(data) <= sumPiece {
		sumAll()
	}
	<-done
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, [sha256.Size]byte(h.Sum(nil)), err
}

func notRegular(m fs.FileMode) error {
	what := "a special file"
	switch {
	case m.IsDir():
		what = "a folder"
	case m&fs.ModeNamedPipe != 0:
		what = "a FIFO"
	case m&fs.ModeSocket != 0:
		what = "a socket"
	case m&fs.ModeSymlink != 0:
		what = "a link"
	case m&fs.ModeDevice != 0:
		what = "a device"
	}
	return fmt.Errorf("%w but %s", ErrNotRegular, what)
}

// FileError turns an error of the file system about a name into one that names
// no path of the machine. It wraps ErrEscape for a link that leads out of the
// root, and ErrMissing for one that leads nowhere.
func FileError(fsys fs.FS, name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if linkTarget(fsys, name) {
			return fmt.Errorf("%w: it is a link to a file that is not there", ErrMissing)
		}
		return ErrMissing
	}
	if errors.Is(err, fs.ErrPermission) {
		return errors.New("may not be read by this user")
	}
	if strings.Contains(err.Error(), "path escapes from parent") {
		return fmt.Errorf("%w: it is a link that leads out of the artifact root", ErrEscape)
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// linkTarget reports whether the name itself is a link.
func linkTarget(fsys fs.FS, name string) bool {
	l, ok := fsys.(interface {
		Lstat(name string) (fs.FileInfo, error)
	})
	if !ok {
		return false
	}
	info, err := l.Lstat(name)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// join joins a folder of a file system and a plain name.
func join(dir, name string) string {
	if dir == "." || dir == "" {
		return name
	}
	return path.Join(dir, name)
}
