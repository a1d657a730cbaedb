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
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
	RoleModelData    Role = "model data"   // tensors that ONNX keeps beside the model
	RoleModelMember  Role = "model member" // a file of a model zip that was unzipped
	RoleTraining     Role = "training"     // config.yml and args.yml of RL Zoo
	RoleOther        Role = "other"        // named in artifact_hashes, verified, not used
)

// Member is one file of an artifact.
type Member struct {
	Role   Role
	Name   string // inside the artifact; in slashes where the file lies in a folder of it
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
// was opened, but for Beside, and holds no open file.
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
	// Training is what RL Zoo wrote down of the training beside a model of
	// stable-baselines3, nil where there is nothing.
	Training *Training

	data map[string][]byte // by the name of the member

	unzipped string // folder of the unzipped model, "." for the artifact itself, or ""

	// What Beside needs.
	modelDir      string
	reopen        reopener
	hashes        map[string]Hash
	requireHashes bool
	besides       map[string][]byte
	besideLeft    int64
}

// Open opens the artifact in the folder name of fsys ("." for its root). A
// folder that has problems gives an *Error that lists all of them.
func Open(fsys fs.FS, name string, l Limits) (*Artifact, error) {
	o := newOpener(fsys, name, l)
	o.a.reopen = func() (fs.FS, io.Closer, error) { return fsys, nil, nil }
	a, problems := o.open()
	if len(problems) > 0 {
		return nil, &Error{Dir: name, Problems: problems}
	}
	return a, nil
}

// OpenFile opens the single model file name of fsys as an artifact without a
// card. Beside a zip of stable-baselines3, its statistics and what RL Zoo wrote
// of the training are looked for.
func OpenFile(fsys fs.FS, name string, l Limits) (*Artifact, error) {
	o := newOpener(fsys, path.Dir(name), l)
	o.a.reopen = func() (fs.FS, io.Closer, error) { return fsys, nil, nil }
	a, problems := o.openFile(path.Base(name))
	if len(problems) > 0 {
		return nil, &Error{Dir: name, Problems: problems}
	}
	return a, nil
}

// OpenPath opens the folder or single file at an operating system path. Links
// inside a folder are followed only as long as they stay inside it. A model zip
// that was unzipped is opened as the zip in its place.
func OpenPath(name string, l Limits) (*Artifact, error) {
	return OpenPathWith(name, Files{}, l)
}

// Files are paths of the operating system of files that lie elsewhere and take
// the place of those of an artifact. An empty one changes nothing.
type Files struct {
	Preprocessor string
	VecNormalize string
}

// OpenPathWith is OpenPath with files that were chosen by the operator. Where
// there are any, no other preprocessor or statistics are used.
func OpenPathWith(name string, f Files, l Limits) (*Artifact, error) {
	a, problems := openPath(name, f, l)
	if len(problems) > 0 {
		return nil, &Error{Dir: name, Problems: problems}
	}
	return a, nil
}

// openPath returns either an artifact or at least one problem.
func openPath(name string, files Files, l Limits) (*Artifact, []Problem) {
	dir, file, problem := splitPath(name)
	if problem != nil {
		return nil, []Problem{*problem}
	}
	root, err := OpenRoot(dir)
	if err != nil {
		return nil, []Problem{pathProblem(name, err)}
	}
	defer root.Close() //nolint:errcheck // A read-only folder handle has nothing to lose.

	o := newOpener(root, ".", l)
	o.files = files
	o.a.reopen = func() (fs.FS, io.Closer, error) {
		root, err := OpenRoot(dir)
		return root, root, err
	}
	if abs, err := filepath.Abs(name); err == nil {
		o.called = NameFromPath(filepath.ToSlash(abs))
	}
	var a *Artifact
	var problems []Problem
	if file != "" {
		a, problems = o.openFile(file)
	} else {
		a, problems = o.open()
	}
	if a != nil {
		a.Dir = name
	}
	return a, problems
}

// splitPath returns the folder to open and the name in it of what a path
// means: "" for the folder itself, or a file or unzipped model in it.
func splitPath(name string) (dir, file string, problem *Problem) {
	info, err := os.Stat(name)
	if err != nil {
		p := pathProblem(name, err)
		return "", "", &p
	}
	switch {
	case info.Mode().IsRegular():
	case !info.IsDir():
		return "", "", &Problem{File: filepath.Base(name), Err: notRegular(info.Mode())}
	case !IsUnzipped(os.DirFS(name), "."):
		return name, "", nil
	}
	// The root is the folder of what the path leads to, so that a path given
	// by the operator may itself be a link. A file in the cache of the Hugging
	// Face hub is a link too, whose name and neighbours are those of the link.
	full, err := filepath.Abs(name)
	if err == nil && !inHubCache(filepath.Dir(full)) {
		full, err = filepath.EvalSymlinks(full)
	}
	if err != nil {
		p := pathProblem(name, err)
		return "", "", &p
	}
	dir, file = filepath.Split(full)
	return dir, file, nil
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
	if m := a.Member(role); m != nil {
		if data, ok := a.data[m.Name]; ok {
			return data, nil
		}
	}
	return nil, fmt.Errorf("%w: the artifact has no %s", ErrMissing, role)
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
func (a *Artifact) Release() { a.data, a.besides, a.reopen = nil, nil, nil }

// Digest identifies the content of the artifact: the SHA-256 of the names and
// digests of all its members, as lower-case hex.
func (a *Artifact) Digest() string { return digestOf(a.Members) }
