package artifact

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// unzippedNames are the members of a zip of stable-baselines3 that are read.
var unzippedNames = []string{"data", "policy.pth", "_stable_baselines3_version", "system_info.txt"}

// isUnzipped reports whether names of files are those of such a zip.
func isUnzipped(names []string) bool {
	return slices.Contains(names, "data") && (slices.Contains(names, "policy.pth") || slices.Contains(names, "_stable_baselines3_version"))
}

// IsUnzipped reports whether the folder dir of fsys is the model of
// stable-baselines3 that a zip held, and nothing more: neither a card nor
// another model lies there.
func IsUnzipped(fsys fs.FS, dir string) bool {
	names, err := ReadNames(fsys, dir, defaultMaxFiles)
	if err != nil || !isUnzipped(names) || slices.Contains(names, CardName) {
		return false
	}
	if info, err := fs.Stat(fsys, join(dir, "data")); err != nil || !info.Mode().IsRegular() {
		return false
	}
	return !slices.ContainsFunc(names, func(name string) bool { return IsModelFile(name) && path.Ext(name) != ".pth" })
}

// unzippedBelow finds the one folder of the artifact that is a model.
func (o *opener) unzippedBelow() model {
	var found []string
	for _, name := range o.folders() {
		if IsUnzipped(o.fsys, join(o.dir, name)) {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 1:
		o.note("The model is the unzipped one in the folder %s.", found[0])
		return model{folder: found[0]}
	case len(found) > 1:
		return o.ambiguous(found)
	}
	hint := "model_filename in the card may name another"
	if i := slices.IndexFunc(o.names, IsModelFile); i >= 0 {
		hint = "there is " + quote(o.names[i]) + ": name it with model_filename in the card"
	}
	o.problem(Problem{File: modelNames[0], Err: ErrMissing, Hint: hint})
	o.read[modelNames[0]] = true // It is told of once.
	return model{}
}

// loadUnzipped loads the members of a model that was unzipped. Together they
// may have the size of a model file.
func (o *opener) loadUnzipped(folder string) {
	o.a.unzipped = folder
	left := o.l.MaxModelBytes
	for _, name := range unzippedNames {
		name = join(folder, name)
		if _, err := fs.Stat(o.fsys, join(o.dir, name)); err != nil && !linkTarget(o.fsys, join(o.dir, name)) {
			continue
		}
		o.load(RoleModelMember, name, left, "")
		left -= int64(len(o.a.data[name]))
	}
}

// Unzipped reports whether the model is a zip of stable-baselines3 that was
// unzipped: it has no bytes of its own, and ModelMember gives its files.
func (a *Artifact) Unzipped() bool { return a.unzipped != "" }

// ModelMember returns the bytes of a file of an unzipped model: exactly those
// whose SHA-256 stands in Members. For one that is not there the error wraps
// fs.ErrNotExist.
func (a *Artifact) ModelMember(name string) ([]byte, error) {
	if a.unzipped != "" && !strings.Contains(name, "/") {
		if data, ok := a.data[join(a.unzipped, name)]; ok {
			return data, nil
		}
	}
	return nil, fmt.Errorf("the model has no member %s: %w", quote(name), fs.ErrNotExist)
}

// ModelName returns the name of the model in the artifact: of its file, or of
// the folder where it was unzipped.
func (a *Artifact) ModelName() string {
	if m := a.Member(RoleModel); m != nil {
		return m.Name
	}
	if a.unzipped == "." {
		return a.Card.ModelName
	}
	return a.unzipped
}
