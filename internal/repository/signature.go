package repository

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// signature stands for the names, sizes, times and inodes of the files of a
// version: as long as it is the same, so are their bytes. Where it is another,
// the bytes are read and their digest tells.
//
// Links are followed: what a ConfigMap or a release folder changes is where a
// link leads to, and the file that it leads to has another inode.
// What is wrong with a folder is a state of it as well.
type signature string

// How much of a root is looked at.
const (
	maxDepth       = 8
	maxSigned      = 100_000 // files and folders
	maxSignedFiles = 4 * maxFolderEntries
)

type signer struct {
	fsys fs.FS
	hash hash.Hash
	left int
}

// sign returns the signature of a folder and all below it. Names with a dot in
// front are left out, as they are of no artifact, and so is what a training that
// goes on beside its model writes all the time.
func sign(fsys fs.FS, dir string) signature { return signTree(fsys, dir, maxSignedFiles) }

func signTree(fsys fs.FS, dir string, most int) signature {
	s := &signer{fsys: fsys, hash: sha256.New(), left: most}
	if err := s.folder(dir, 0); err != nil {
		return unsigned(artifact.FileError(fsys, dir, err))
	}
	return s.sum()
}

func (s *signer) sum() signature { return signature(hex.EncodeToString(s.hash.Sum(nil))) }

func unsigned(err error) signature { return signature("error: " + err.Error()) }

// written reports whether a file is one of those that trainings append to.
func written(name string) bool {
	return strings.HasPrefix(name, "events.out.tfevents.") || strings.HasSuffix(name, ".log") || strings.HasSuffix(name, ".csv")
}

func (s *signer) folder(dir string, depth int) error {
	names, err := artifact.ReadNames(s.fsys, dir, maxFolderEntries)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.hash, "%q(", path.Base(dir))
	for _, name := range names {
		if strings.HasPrefix(name, ".") || written(name) {
			continue
		}
		if s.left--; s.left < 0 {
			return fmt.Errorf("%w: more files than are looked at", artifact.ErrLimit)
		}
		at := path.Join(dir, name)
		info, err := fs.Stat(s.fsys, at)
		switch {
		case err != nil:
			// A link that leads nowhere, or out of the root, is a state too.
			fmt.Fprintf(s.hash, "%q:%v;", name, artifact.FileError(s.fsys, at, err))
		case info.IsDir() && depth < maxDepth:
			// A folder that cannot be read does not hide the others.
			if err := s.folder(at, depth+1); err != nil {
				if errors.Is(err, artifact.ErrLimit) {
					return err
				}
				fmt.Fprintf(s.hash, "%q:%v;", name, artifact.FileError(s.fsys, at, err))
			}
		default:
			s.file(name, info)
		}
	}
	fmt.Fprint(s.hash, ")")
	return nil
}

func (s *signer) file(name string, info fs.FileInfo) {
	fmt.Fprintf(s.hash, "%q:%v:%d:%d:%s;", name, info.Mode().Type(), info.Size(), info.ModTime().UnixNano(), inode(info))
}

// signFile returns the signature of a root that is a model file, or of a folder
// that is one, with what may lie beside the file.
func signFile(name string) signature {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return unsigned(rootError("", err))
	case info.IsDir():
		return sign(os.DirFS(name), ".")
	}
	s := &signer{hash: sha256.New()}
	s.file(filepath.Base(name), info)
	for _, beside := range besideFile(name) {
		if info, err := os.Stat(beside); err == nil && !info.IsDir() {
			s.file(filepath.Base(beside), info)
		}
	}
	return s.sum()
}

// besideFile lists what a model file may bring with it: the tensors of ONNX, the
// statistics of stable-baselines3, and what RL Zoo wrote of the training. Of
// what lies elsewhere, a reload that is asked for takes notice.
func besideFile(name string) []string {
	dir, base := filepath.Split(name)
	list := []string{name + ".data"}
	for _, n := range []string{"vecnormalize.pkl", "vec_normalize.pkl", "preprocessor.pkl", "config.yml", "args.yml"} {
		list = append(list, filepath.Join(dir, n), filepath.Join(dir, strings.TrimSuffix(base, filepath.Ext(base)), n))
	}
	return list
}

// signRoot returns the signature of everything under the root.
func signRoot(o Options) signature {
	if o.FS != nil {
		return signTree(o.FS, ".", maxSigned)
	}
	info, err := os.Stat(o.Root)
	switch {
	case err != nil:
		return unsigned(rootError("", err))
	case !info.IsDir() || artifact.IsUnzipped(os.DirFS(o.Root), "."):
		return signFile(o.Root)
	}
	root, err := artifact.OpenRoot(o.Root)
	if err != nil {
		return unsigned(rootError("", err))
	}
	defer root.Close() //nolint:errcheck // A read-only folder handle has nothing to lose.
	return signTree(root, ".", maxSigned)
}
