// Package artifact opens what a trainer left on disk: a folder with a
// model_card.yaml, a model file and perhaps a preprocessor, or a single model
// file.
//
// What enters is a file system and a name. What leaves is an Artifact: the
// card as typed facts, the members by role, and for each member exactly the
// bytes whose SHA-256 was compared with the card. The package knows nothing
// of model formats and imports nothing of this module but the spelling of words.
//
// An artifact is untrusted: only regular files are read, links must stay
// inside the root, sizes are checked before anything is allocated, and a name
// that comes from a card is never used as a path.
package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// CardName is the name of the file that describes an artifact.
const CardName = "model_card.yaml"

// Role says what a member of an artifact is for.
type Role string

// The roles of members.
const (
	RoleCard         Role = "card"
	RoleModel        Role = "model"
	RolePreprocessor Role = "preprocessor"
	RoleVecNormalize Role = "vecnormalize"
	RoleModelData    Role = "model data" // <model>.data: tensors that ONNX keeps beside the model
	RoleOther        Role = "other"      // named in artifact_hashes, verified, not used
)

// Member is one file of an artifact.
type Member struct {
	Role   Role
	Name   string // plain file name inside the artifact
	Size   int64
	SHA256 string // lower-case hex of the bytes that were read
	Hashed bool   // whether the card gives this digest
}

// Limits is what an artifact must keep within to be opened. The zero value of
// each field stands for its default.
type Limits struct {
	MaxCardBytes         int64 // default 4 MiB
	MaxModelBytes        int64 // default 512 MiB
	MaxPreprocessorBytes int64 // default 64 MiB; also for files that only have a hash
	MaxFiles             int   // entries of the folder; default 4096

	// RequireHashes refuses an artifact whose card does not give the digest
	// of every member that is used.
	RequireHashes bool
	// RequireCard refuses a folder without a model_card.yaml. Without it, a
	// folder that holds exactly one model file is opened with an empty card.
	RequireCard bool
}

// The defaults of Limits.
const (
	defaultMaxCardBytes         = 4 << 20
	defaultMaxModelBytes        = 512 << 20
	defaultMaxPreprocessorBytes = 64 << 20
	defaultMaxFiles             = 4096
)

func (l Limits) withDefaults() Limits {
	if l.MaxCardBytes <= 0 {
		l.MaxCardBytes = defaultMaxCardBytes
	}
	if l.MaxModelBytes <= 0 {
		l.MaxModelBytes = defaultMaxModelBytes
	}
	if l.MaxPreprocessorBytes <= 0 {
		l.MaxPreprocessorBytes = defaultMaxPreprocessorBytes
	}
	if l.MaxFiles <= 0 {
		l.MaxFiles = defaultMaxFiles
	}
	return l
}

// Artifact is one opened and verified artifact. It does not change after it
// was opened and holds no open file.
type Artifact struct {
	// Dir is the name the artifact was opened under: a folder, or a single
	// file.
	Dir string
	// Card is never nil. It is empty but for the name where the artifact has
	// no card; Card.Present tells.
	Card *Card
	// Members are the files that were read, the card first.
	Members []Member
	// Notes are full sentences for the operator: what is unusual but no
	// reason to refuse.
	Notes []string

	data map[Role][]byte
}

// Open opens the artifact in the folder name of fsys ("." for its root). A
// folder that has problems gives an *Error that lists all of them.
func Open(fsys fs.FS, name string, l Limits) (*Artifact, error) {
	a, problems := open(fsys, name, l.withDefaults())
	if len(problems) > 0 {
		return nil, &Error{Dir: name, Problems: problems}
	}
	return a, nil
}

// OpenFile opens the single model file name of fsys as an artifact without a
// card.
func OpenFile(fsys fs.FS, name string, l Limits) (*Artifact, error) {
	a, problems := openFile(fsys, name, l.withDefaults())
	if len(problems) > 0 {
		return nil, &Error{Dir: name, Problems: problems}
	}
	return a, nil
}

// OpenPath opens the folder or single file at an operating system path. Links
// inside a folder are followed only as long as they stay inside it.
func OpenPath(name string, l Limits) (*Artifact, error) {
	a, problems := openPath(name, l.withDefaults())
	if len(problems) > 0 {
		return nil, &Error{Dir: name, Problems: problems}
	}
	return a, nil
}

// openPath returns either an artifact or at least one problem.
func openPath(name string, l Limits) (*Artifact, []Problem) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, []Problem{pathProblem(name, err)}
	}
	dir, file := name, ""
	switch {
	case info.IsDir():
	case info.Mode().IsRegular():
		// The root is the folder of what the path leads to, so that a path
		// given by the operator may itself be a link.
		full, err := filepath.EvalSymlinks(name)
		if err != nil {
			return nil, []Problem{pathProblem(name, err)}
		}
		dir, file = filepath.Split(full)
		if dir == "" {
			dir = "."
		}
	default:
		return nil, []Problem{{File: filepath.Base(name), Err: notRegular(info.Mode())}}
	}
	root, err := OpenRoot(dir)
	if err != nil {
		return nil, []Problem{pathProblem(name, err)}
	}
	defer root.Close() //nolint:errcheck // A read-only folder handle has nothing to lose.

	var a *Artifact
	var problems []Problem
	if file != "" {
		a, problems = openFile(root, file, l)
	} else {
		a, problems = open(root, ".", l)
	}
	if a != nil {
		a.Dir = name
		if !a.Card.Present && file == "" {
			if abs, err := filepath.Abs(name); err == nil {
				a.Card.ModelName = NameFromPath(filepath.ToSlash(abs))
			}
		}
	}
	return a, problems
}

// pathProblem says what went wrong with a path that the operator gave.
func pathProblem(name string, err error) Problem {
	base := filepath.Base(name)
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Problem{File: base, Err: fmt.Errorf("%w: there is no such file or folder", ErrMissing)}
	case errors.Is(err, fs.ErrPermission):
		return Problem{File: base, Err: errors.New("may not be read by this user"), Hint: "check the owner and mode of the file and of the folders above it"}
	case errors.As(err, &pe):
		return Problem{File: base, Err: pe.Err}
	}
	return Problem{File: base, Err: err}
}

// Read returns the bytes of the member with the role: exactly those whose
// SHA-256 stands in Members. The caller must not change them.
func (a *Artifact) Read(role Role) ([]byte, error) {
	data, ok := a.data[role]
	if !ok {
		return nil, fmt.Errorf("%w: the artifact has no %s", ErrMissing, role)
	}
	return data, nil
}

// Beside returns the bytes of the file that holds tensors of the model, if
// that is its name. No other file of the folder can be had by its name.
func (a *Artifact) Beside(name string) ([]byte, error) {
	if m := a.Member(RoleModelData); m != nil && m.Name == name {
		return a.Read(RoleModelData)
	}
	return nil, fmt.Errorf("%w: the artifact has no file %s beside the model", ErrMissing, quote(name))
}

// Member returns the member with the role, or nil. It must not be changed.
func (a *Artifact) Member(role Role) *Member {
	for i := range a.Members {
		if a.Members[i].Role == role {
			return &a.Members[i]
		}
	}
	return nil
}

// Release lets go of the bytes that Read returns, once a policy was built
// from them. Card, Members and Notes stay.
func (a *Artifact) Release() { a.data = nil }

// Digest identifies the content of the artifact: the SHA-256 of the names and
// digests of all its members, as lower-case hex.
func (a *Artifact) Digest() string { return digestOf(a.Members) }

// NameFromPath makes a plain model name of the last part of a slash path.
func NameFromPath(p string) string {
	base := path.Base(path.Clean(p))
	if ext := path.Ext(base); isModelExtension(ext) {
		base = strings.TrimSuffix(base, ext)
	}
	var b strings.Builder
	for _, r := range base {
		if b.Len() >= maxNameBytes {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && r == '.' && strings.HasSuffix(b.String(), "."):
		case b.Len() > 0:
			if r != '.' && r != '_' {
				r = '-'
			}
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "policy"
	}
	return b.String()
}
