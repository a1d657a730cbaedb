package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// opener collects what an artifact is made of and what is wrong with it.
type opener struct {
	fsys     fs.FS
	dir      string
	l        Limits
	files    Files  // that the operator chose
	called   string // the name that the path of the artifact makes
	names    []string
	a        *Artifact
	problems []Problem
	hashes   map[string]Hash
	read     map[string]bool // names already among the members
}

func newOpener(fsys fs.FS, dir string, l Limits) *opener {
	l = l.withDefaults()
	o := &opener{fsys: fsys, dir: dir, l: l, called: NameFromPath(dir), read: map[string]bool{}, hashes: map[string]Hash{}}
	o.a = &Artifact{
		Dir: dir, Card: &Card{}, data: map[string][]byte{},
		modelDir: dir, hashes: o.hashes, requireHashes: l.RequireHashes, besides: map[string][]byte{}, besideLeft: l.MaxModelBytes,
	}
	return o
}

func (o *opener) problem(p Problem) { o.problems = append(o.problems, p) }

func (o *opener) note(format string, args ...any) {
	o.a.Notes = append(o.a.Notes, fmt.Sprintf(format, args...))
}

// open returns either an artifact or at least one problem.
func (o *opener) open() (*Artifact, []Problem) {
	info, err := fs.Stat(o.fsys, o.dir)
	switch {
	case err != nil:
		return nil, []Problem{{File: path.Base(o.dir), Err: FileError(o.fsys, o.dir, err)}}
	case !info.IsDir():
		return nil, []Problem{{File: path.Base(o.dir), Err: errors.New("is not a folder")}}
	}
	if o.names, err = ReadNames(o.fsys, o.dir, o.l.MaxFiles); err != nil {
		return nil, []Problem{{File: path.Base(o.dir), Err: FileError(o.fsys, o.dir, err)}}
	}
	cardFails := o.card()
	o.members()
	// What is wrong with files comes before what is wrong inside the card:
	// a missing file is what the operator wants to read first.
	o.problems = append(o.problems, cardFails...)
	if len(o.problems) > 0 {
		return nil, o.problems
	}
	return o.a, nil
}

// card reads the card and returns what is wrong with it. The members are
// looked for in any case, so that all problems are found at once.
func (o *opener) card() []Problem {
	if !slices.Contains(o.names, CardName) {
		if near := o.nearCard(); near != "" {
			o.problem(Problem{File: CardName, Err: ErrMissing, Hint: "there is " + quote(near) + ": rename it"})
		} else if o.l.RequireCard {
			o.problem(Problem{File: CardName, Err: ErrMissing})
		}
		o.note("There is no %s: the contract is what the files themselves say.", CardName)
		return nil
	}
	data, err := readFile(o.fsys, join(o.dir, CardName), o.l.MaxCardBytes)
	if err != nil {
		o.problem(Problem{File: CardName, Err: err})
		return nil
	}
	r := &cardReader{}
	if card := r.read(data); card != nil {
		o.a.Card = card
		for _, h := range card.ArtifactHashes {
			o.hashes[h.Name] = h
		}
	} else {
		o.a.Card.Present = true
	}
	o.a.Notes = append(o.a.Notes, r.notes...)
	o.add(RoleCard, CardName, data)
	return r.problems
}

func (o *opener) nearCard() string {
	for _, name := range o.names {
		switch strings.ToLower(name) {
		case "model_card.yml", "model-card.yaml", "model-card.yml", "modelcard.yaml", "model_card.yaml", "model_card.json":
			return name
		}
	}
	return ""
}

// members finds, reads and verifies every file that the artifact is made of.
func (o *opener) members() {
	c := o.a.Card
	model := o.model()
	o.loadModel(model)
	neighbours := o.neighbours(model)
	switch {
	case o.files != (Files{}):
		o.chosen()
	case c.PreprocessorFilename != "":
		role := RolePreprocessor
		if slices.Contains(vecNormalizeNames, c.PreprocessorFilename) {
			role = RoleVecNormalize
		}
		o.load(role, c.PreprocessorFilename, o.l.MaxPreprocessorBytes, "named by preprocessor_filename")
	default:
		o.one(RolePreprocessor, preprocessorNames)
		o.vecNormalize(model, neighbours)
	}
	if model.agent() {
		o.training(neighbours)
	}
	for _, h := range c.ArtifactHashes {
		if h.Name == CardName {
			o.problem(Problem{File: CardName, Line: h.Line, Field: "artifact_hashes", Err: fmt.Errorf("%w: a card cannot hold its own digest", ErrCard)})
			continue
		}
		if !o.read[h.Name] {
			o.load(RoleOther, h.Name, max(o.l.MaxModelBytes, o.l.MaxPreprocessorBytes), "named in artifact_hashes")
		}
	}
	if !c.Present {
		c.ModelName = trainedName(o.called, model.stem(), o.a.Training)
	}
	o.hashed()
}

// loadModel loads the model and the tensors beside it that go by the name that
// the exporters of ONNX give the file.
func (o *opener) loadModel(m model) {
	switch {
	case m.folder != "":
		o.loadUnzipped(m.folder)
	case m.name != "":
		o.load(RoleModel, m.name, o.l.MaxModelBytes, "")
		// An exporter that has put all tensors into the model leaves an empty file.
		if name := m.name + ".data"; slices.Contains(o.names, name) && !o.isEmpty(name) {
			o.load(RoleModelData, name, o.l.MaxModelBytes, "")
			if data, ok := o.a.data[name]; ok {
				o.a.besides[name] = data
				o.a.besideLeft -= int64(len(data))
			}
		}
	}
}

// isEmpty reports whether a file has no bytes.
func (o *opener) isEmpty(name string) bool {
	info, err := fs.Stat(o.fsys, join(o.dir, name))
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}

// chosen loads the files that the operator chose.
func (o *opener) chosen() {
	for _, f := range []struct {
		role Role
		path string
	}{{RolePreprocessor, o.files.Preprocessor}, {RoleVecNormalize, o.files.VecNormalize}} {
		if f.path == "" {
			continue
		}
		data, err := readPath(f.path, o.l.MaxPreprocessorBytes)
		if err != nil {
			o.problem(pathProblem(f.path, err))
			continue
		}
		// A digest in the card is that of the file in whose place this one is.
		name := filepath.Base(f.path)
		if o.read[name] {
			name = string(f.role) + "/" + name
		}
		delete(o.hashes, name)
		o.add(f.role, name, data)
	}
}

// load reads one member and compares its digest with the card's. why says who
// wants the file where that is not plain from its name.
func (o *opener) load(role Role, name string, limit int64, why string) {
	data, sum, err := readSummed(o.fsys, join(o.dir, name), limit)
	if err != nil {
		o.read[name] = true
		o.problem(Problem{File: name, Err: err, Hint: why})
		return
	}
	o.addSummed(role, name, data, sum)
}

func (o *opener) add(role Role, name string, data []byte) {
	o.addSummed(role, name, data, sha256.Sum256(data))
}

func (o *opener) addSummed(role Role, name string, data []byte, sum [sha256.Size]byte) {
	o.read[name] = true
	m := Member{Role: role, Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	if h, ok := o.hashes[name]; ok && role != RoleCard {
		m.Hashed = true
		if h.SHA256 != "" && h.SHA256 != m.SHA256 {
			o.problem(Problem{File: name, Err: hashError(h, m), Hint: "the file is not the one that the card was made for"})
			return
		}
	}
	o.a.Members = append(o.a.Members, m)
	if role != RoleOther {
		o.a.data[name] = data
	}
}

// hashed notes or refuses members whose digest the card does not give.
func (o *opener) hashed() {
	var without []string
	for _, m := range o.a.Members {
		if m.Role == RoleCard || m.Hashed {
			continue
		}
		without = append(without, m.Name)
		if o.l.RequireHashes {
			o.problem(Problem{File: m.Name, Err: fmt.Errorf("%w: require_hashes is set and artifact_hashes does not name this file", ErrNoHash),
				Hint: "add " + m.Name + ": sha256:" + m.SHA256})
		}
	}
	if len(without) > 0 {
		o.a.Notes = append(o.a.Notes, fmt.Sprintf("No digest is given for %s: nothing proves that it is the file that was trained.", strings.Join(without, ", ")))
	}
}

// openFile opens one file, or an unzipped model, as an artifact of its own.
func (o *opener) openFile(name string) (*Artifact, []Problem) {
	o.a.Dir = join(o.dir, name)
	o.a.Card.ModelName = NameFromPath(name)
	m := model{name: name, alone: true}
	if IsUnzipped(o.fsys, o.a.Dir) {
		m = model{folder: name, alone: true}
	}
	note := "A single file has no " + CardName + ": the contract is what the file itself says."
	if _, err := fs.Stat(o.fsys, join(o.dir, CardName)); err == nil {
		note = "The " + CardName + " beside the file was not used: open the folder to use it."
	}
	o.note("%s", note)
	if o.l.RequireCard {
		o.problem(Problem{File: CardName, Err: ErrMissing})
	}
	if _, err := fs.Stat(o.fsys, o.a.Dir+".data"); err == nil {
		o.names = []string{name + ".data"}
	}
	o.loadModel(m)
	if m.agent() {
		var err error
		if o.names, err = ReadNames(o.fsys, o.dir, o.l.MaxFiles); err != nil {
			o.note("What lies beside %s was not looked for: %v.", name, FileError(o.fsys, o.dir, err))
		}
	}
	neighbours := o.neighbours(m)
	switch {
	case o.files != (Files{}):
		o.chosen()
	case m.agent():
		o.vecNormalize(m, neighbours)
		o.unusedBeside(m)
	case IsModelFile(name):
		o.unusedBeside(m)
	}
	if m.agent() {
		o.training(neighbours)
	}
	o.a.Card.ModelName = trainedName(NameFromPath(name), m.stem(), o.a.Training)
	o.hashed()
	if len(o.problems) > 0 {
		return nil, o.problems
	}
	return o.a, nil
}
