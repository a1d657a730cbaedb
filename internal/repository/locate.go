package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// ErrSeveral says that a model must be named.
var ErrSeveral = errors.New("a folder of several models")

// Location is where under a root the version lies that answers.
type Location struct {
	Path     string // of the operating system
	Model    string
	Version  string
	Versions int // of the model, with this one
}

// Locate finds the folder or file of the version that would answer, as Open
// chooses it, without opening it. A root of several models without a default
// one is an error that names them, and wraps ErrSeveral; an error that wraps
// ErrEmpty says that nothing under the root looks like an artifact.
func Locate(o Options) (l Location, err error) {
	o = o.withDefaults()
	f, err := scan(o)
	if err != nil {
		return Location{}, err
	}
	if f.root != nil {
		defer func() { err = errors.Join(err, f.root.Close()) }()
	}
	s, err := f.choose(o)
	if err != nil {
		return Location{}, err
	}
	if s.def == nil {
		return Location{}, fmt.Errorf("%s is %w (%s): name one of them", o.Root, ErrSeveral, s.names())
	}
	m := s.def.set.Load()
	v := m.current
	l = Location{Path: o.Root, Model: v.Model, Version: v.Name, Versions: len(m.versions)}
	for i, src := range f.sources[v.Model] {
		if m.versions[i] != v || src.dir == "" {
			continue
		}
		l.Path = filepath.Join(o.Root, filepath.FromSlash(src.dir))
		// A path is followed wherever it leads; what lies under a root is not.
		if _, err := fs.Stat(f.fsys, src.dir); err != nil {
			return Location{}, fmt.Errorf("artifact root %s: %s: %w", o.Root, src.dir, artifact.FileError(f.fsys, src.dir, err))
		}
	}
	return l, nil
}
