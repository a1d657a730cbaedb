package artifact

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

var (
	preprocessorNames = []string{"preprocessor.pkl", "preprocessor.joblib", "preprocessor.npz", "preprocessor.json"}
	vecNormalizeNames = []string{"vecnormalize.pkl", "vec_normalize.pkl"}
	trainingNames     = []string{"config.yml", "args.yml"}
)

// statisticsName is a file of VecNormalize by its name, which people give it in
// many ways: with what goes before and after.
var statisticsName = onDemand(`(?i)^(?:(.+?)[_.-])?vec[_-]?norm(?:ali[sz]e|ali[sz]ation)?(?:[_.-](.+?))?\.(?:pkl|pickle)$`)

// passingStatistics is what follows the name in the file of a checkpoint.
var passingStatistics = onDemand(`^\d+_steps$`)

// neighbours returns the folders in which what belongs to a model of
// stable-baselines3 may lie: that of the model, and the one below it that RL Zoo
// names after the environment.
func (o *opener) neighbours(m model) []string {
	dirs := []string{"."}
	stem := m.stem()
	switch {
	case !m.agent():
		return dirs
	case stem != "" && m.folder == "" && o.isFolder(stem):
		return append(dirs, stem)
	case m.folder != "" && m.folder != "." && o.holdsTraining(m.folder):
		return []string{m.folder}
	case m.alone && !passing(stem):
		return dirs // The folders beside a file may be anything.
	}
	if run := runOf(o.called); run != o.called && o.isFolder(run) {
		return append(dirs, run)
	}
	var found []string
	for _, name := range o.folders() {
		if name != m.folder && o.holdsTraining(name) {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 1:
		return append(dirs, found[0])
	case len(found) > 1:
		o.note("The folders %s are not used: which of them belongs to the model is not plain.", strings.Join(found, ", "))
	}
	return dirs
}

func (o *opener) holdsTraining(folder string) bool {
	for _, name := range slices.Concat(vecNormalizeNames, trainingNames) {
		if info, err := fs.Stat(o.fsys, join(o.dir, folder+"/"+name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

// vecNormalize loads the statistics of a model of stable-baselines3: those of
// the same checkpoint, those that are named after the model, those of a plain
// name, and else the only ones there. Any other model has those of a plain name
// in its folder.
func (o *opener) vecNormalize(m model, dirs []string) {
	if !m.agent() {
		o.one(RoleVecNormalize, vecNormalizeNames)
		return
	}
	stem := m.stem()
	prefix, step, isCheckpoint := checkpoint(stem)
	var same, own, plain, others, passed []string
	for _, dir := range dirs {
		for _, name := range o.namesIn(dir) {
			match := statisticsName().FindStringSubmatch(name)
			if match == nil {
				continue
			}
			at := join(dir, name)
			switch before, after := match[1], match[2]; {
			case passingStatistics().MatchString(after):
				if n, _, _ := strings.Cut(after, "_"); isCheckpoint && n == strconv.Itoa(step) && (before == "" || before == prefix) {
					same = append(same, at)
				} else {
					passed = append(passed, at)
				}
			case before == "" && after == "":
				plain = append(plain, at)
			case stem != "" && (before == stem && after == "" || after == stem && before == ""):
				own = append(own, at)
			default:
				others = append(others, at)
			}
		}
	}
	if m.alone && o.models() > 1 {
		others = nil // They may be of another model of the folder.
	}
	for _, found := range [][]string{same, own, plain, others} {
		if len(found) > 0 {
			o.statistics(m, found)
			return
		}
	}
	if len(passed) > 0 {
		o.note("%s is not used: it belongs to a checkpoint.", passed[len(passed)-1])
	}
}

// models counts the models of stable-baselines3 in the folder.
func (o *opener) models() int {
	n := 0
	for _, name := range o.names {
		if strings.EqualFold(path.Ext(name), ".zip") && !slices.Contains(notModels, name) {
			n++
		}
	}
	return n
}

// namesIn returns the names in a folder of the artifact.
func (o *opener) namesIn(dir string) []string {
	if dir == "." {
		return o.names
	}
	names, err := ReadNames(o.fsys, join(o.dir, dir), o.l.MaxFiles)
	if err != nil {
		o.note("The folder %s is not used: %v.", dir, FileError(o.fsys, join(o.dir, dir), err))
	}
	return names
}

// statistics loads those of a model of stable-baselines3.
func (o *opener) statistics(m model, found []string) {
	hint := "remove what does not belong to the model, or name one with preprocessor_filename in the card"
	if m.alone {
		hint = "give the path of the one that belongs to the model"
	}
	if o.same(RoleVecNormalize, found, hint) && (m.alone || !slices.Contains(vecNormalizeNames, found[0])) {
		o.note("%s, which lies beside the model, is used for its observations.", found[0])
	}
}

// one loads the one of names that is there.
func (o *opener) one(role Role, names []string) {
	var found []string
	for _, name := range names {
		if slices.Contains(o.names, name) {
			found = append(found, name)
		}
	}
	if len(found) > 0 {
		o.same(role, found, "name one with preprocessor_filename in the card")
	}
}

// same loads the first of some files, all of which must hold the same bytes,
// and reports whether it could.
func (o *opener) same(role Role, found []string, hint string) bool {
	o.load(role, found[0], o.l.MaxPreprocessorBytes, "")
	first, ok := o.a.data[found[0]]
	for _, name := range found[1:] {
		data, err := readFile(o.fsys, join(o.dir, name), o.l.MaxPreprocessorBytes)
		if err != nil || !ok || !bytes.Equal(data, first) {
			o.problem(Problem{File: found[0], Err: fmt.Errorf("%w: there is also %s", ErrAmbiguous, strings.Join(found[1:], ", ")), Hint: hint})
			return false
		}
	}
	return ok
}

// unusedBeside notes what a folder would have used, where the operator named a
// model file in it.
func (o *opener) unusedBeside(m model) {
	names := preprocessorNames
	if !m.agent() {
		names = slices.Concat(names, vecNormalizeNames)
	}
	for _, name := range names {
		if info, err := fs.Stat(o.fsys, join(o.dir, name)); err == nil && info.Mode().IsRegular() {
			o.note("%s, which lies beside the file, is not used: open the folder to use it.", name)
		}
	}
}

// readPath reads a file that the operator named.
func readPath(name string, limit int64) ([]byte, error) {
	dir, file := filepath.Split(name)
	if dir == "" {
		dir = "."
	}
	return readFile(os.DirFS(dir), file, limit)
}
