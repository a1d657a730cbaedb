package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// modelNames are the names that a model file has where the card does not give
// one. The first is the default and wins over the others; of the others only
// one may be there.
var modelNames = []string{
	"model.pt", "model.pth", "policy.pt", "policy.pth", "model.onnx", "policy.onnx", "policy.zip", "model.zip",
	"model.pt2", "policy.pt2", "model.safetensors", "policy.safetensors",
}

var (
	preprocessorNames = []string{"preprocessor.pkl", "preprocessor.joblib"}
	vecNormalizeNames = []string{"vecnormalize.pkl", "vec_normalize.pkl"}
)

var modelExtensions = []string{".pt", ".pth", ".pt2", ".onnx", ".zip", ".safetensors"}

func isModelExtension(ext string) bool { return slices.Contains(modelExtensions, strings.ToLower(ext)) }

// IsModelFile reports whether a file of this name may be a model.
func IsModelFile(name string) bool { return isModelExtension(path.Ext(name)) }

// opener collects what an artifact is made of and what is wrong with it.
type opener struct {
	fsys     fs.FS
	dir      string
	l        Limits
	names    []string
	a        *Artifact
	problems []Problem
	hashes   map[string]Hash
	read     map[string]bool // names already among the members
}

func (o *opener) problem(p Problem) { o.problems = append(o.problems, p) }

// open returns either an artifact or at least one problem.
func open(fsys fs.FS, dir string, l Limits) (*Artifact, []Problem) {
	o := &opener{fsys: fsys, dir: dir, l: l, read: map[string]bool{}, hashes: map[string]Hash{}}
	o.a = &Artifact{Dir: dir, Card: &Card{}, data: map[Role][]byte{}}
	info, err := fs.Stat(fsys, dir)
	switch {
	case err != nil:
		return nil, []Problem{{File: path.Base(dir), Err: FileError(fsys, dir, err)}}
	case !info.IsDir():
		return nil, []Problem{{File: path.Base(dir), Err: errors.New("is not a folder")}}
	}
	if o.names, err = ReadNames(fsys, dir, l.MaxFiles); err != nil {
		return nil, []Problem{{File: path.Base(dir), Err: FileError(fsys, dir, err)}}
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
		o.a.Card.ModelName = NameFromPath(o.dir)
		o.a.Notes = append(o.a.Notes, "There is no "+CardName+": the contract is what the files themselves say.")
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
	if model := o.modelName(); model != "" {
		o.load(RoleModel, model, o.l.MaxModelBytes, "")
		o.modelData(model)
	}
	if c.PreprocessorFilename != "" {
		role := RolePreprocessor
		if slices.Contains(vecNormalizeNames, c.PreprocessorFilename) {
			role = RoleVecNormalize
		}
		o.load(role, c.PreprocessorFilename, o.l.MaxPreprocessorBytes, "named by preprocessor_filename")
	} else {
		o.one(RolePreprocessor, preprocessorNames)
		o.one(RoleVecNormalize, vecNormalizeNames)
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
	o.hashed()
}

// modelData loads the tensors beside a model, under the name that the
// exporters of ONNX give the file.
func (o *opener) modelData(model string) {
	if name := model + ".data"; slices.Contains(o.names, name) {
		o.load(RoleModelData, name, o.l.MaxModelBytes, "")
	}
}

// modelName returns the name of the model file, or "" after it told why there
// is none.
func (o *opener) modelName() string {
	if name := o.a.Card.ModelFilename; name != "" {
		return name
	}
	var found []string
	for _, name := range modelNames {
		if slices.Contains(o.names, name) {
			found = append(found, name)
		}
	}
	if len(found) == 0 && !o.a.Card.Present {
		// Without a card, any single file that is a model by its extension.
		for _, name := range o.names {
			if IsModelFile(name) && ValidName(name) {
				found = append(found, name)
			}
		}
	}
	switch {
	case len(found) == 0:
		hint := "model_filename in the card may name another"
		if other := o.otherModel(); other != "" {
			hint = "there is " + quote(other) + ": name it with model_filename in the card"
		}
		o.problem(Problem{File: modelNames[0], Err: ErrMissing, Hint: hint})
		o.read[modelNames[0]] = true // It is told of once.
		return ""
	case found[0] == modelNames[0]:
		if len(found) > 1 {
			o.a.Notes = append(o.a.Notes, fmt.Sprintf("%s is used; %s is not.", found[0], strings.Join(found[1:], ", ")))
		}
	case len(found) > 1:
		o.problem(Problem{File: found[0], Err: fmt.Errorf("%w: there is also %s", ErrAmbiguous, strings.Join(found[1:], ", ")),
			Hint: "name one with model_filename in the card"})
		return ""
	}
	return found[0]
}

func (o *opener) otherModel() string {
	for _, name := range o.names {
		if IsModelFile(name) {
			return name
		}
	}
	return ""
}

// one loads the one of names that is there.
func (o *opener) one(role Role, names []string) {
	var found []string
	for _, name := range names {
		if slices.Contains(o.names, name) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
	case 1:
		o.load(role, found[0], o.l.MaxPreprocessorBytes, "")
	default:
		o.problem(Problem{File: found[0], Err: fmt.Errorf("%w: there is also %s", ErrAmbiguous, strings.Join(found[1:], ", ")),
			Hint: "name one with preprocessor_filename in the card"})
	}
}

// load reads one member and compares its digest with the card's. why says who
// wants the file where that is not plain from its name.
func (o *opener) load(role Role, name string, limit int64, why string) {
	data, err := readFile(o.fsys, join(o.dir, name), limit)
	if err != nil {
		o.read[name] = true
		o.problem(Problem{File: name, Err: err, Hint: why})
		return
	}
	o.add(role, name, data)
}

func (o *opener) add(role Role, name string, data []byte) {
	o.read[name] = true
	m := Member{Role: role, Name: name, Size: int64(len(data)), SHA256: sumHex(data)}
	if h, ok := o.hashes[name]; ok && role != RoleCard {
		m.Hashed = true
		if h.SHA256 != "" && h.SHA256 != m.SHA256 {
			o.problem(Problem{File: name, Err: fmt.Errorf("%w: the card says sha256:%s, the file has sha256:%s", ErrHash, h.SHA256, m.SHA256),
				Hint: "the file is not the one that the card was made for"})
			return
		}
	}
	o.a.Members = append(o.a.Members, m)
	if role != RoleOther {
		o.a.data[role] = data
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

// openFile opens one file as an artifact of its own.
func openFile(fsys fs.FS, name string, l Limits) (*Artifact, []Problem) {
	o := &opener{fsys: fsys, dir: path.Dir(name), l: l, read: map[string]bool{}, hashes: map[string]Hash{}}
	o.a = &Artifact{Dir: name, Card: &Card{ModelName: NameFromPath(name)}, data: map[Role][]byte{}}
	note := "A single file has no " + CardName + ": the contract is what the file itself says."
	if _, err := fs.Stat(fsys, join(o.dir, CardName)); err == nil {
		note = "The " + CardName + " beside the file was not used: open the folder to use it."
	}
	o.a.Notes = append(o.a.Notes, note)
	if l.RequireCard {
		o.problem(Problem{File: CardName, Err: ErrMissing})
	}
	o.load(RoleModel, path.Base(name), l.MaxModelBytes, "")
	if _, err := fs.Stat(fsys, name+".data"); err == nil {
		o.load(RoleModelData, path.Base(name)+".data", l.MaxModelBytes, "")
	}
	o.hashed()
	if len(o.problems) > 0 {
		return nil, o.problems
	}
	return o.a, nil
}
