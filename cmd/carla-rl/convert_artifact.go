package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// writtenFile is a file of the artifact that is made.
type writtenFile struct {
	name string
	data []byte
}

// writeArtifact writes a folder that holds the policy, and opens it as a server
// would.
func (c *convertCmd) writeArtifact(a *artifact.Artifact, p *policy.Policy) (*conversion, error) {
	files, err := copied(a)
	if err != nil {
		return nil, err
	}
	card, notes, err := c.card(a, p, files)
	if err != nil {
		return nil, err
	}
	files = append(files, writtenFile{artifact.CardName, card})
	if a.Training != nil {
		notes = append(notes, fmt.Sprintf("%s, which tell of the training, were not copied.", strings.Join(a.Training.Files, " and ")))
	}
	done, err := c.writeFolder(files, func(dir string) error { return opensAs(dir, p) })
	if err != nil {
		return nil, err
	}
	done.notes = notes
	return done, nil
}

// writeFolder writes files to a folder beside its place, and moves it there
// when it opens as it should.
func (c *convertCmd) writeFolder(files []writtenFile, opens func(dir string) error) (*conversion, error) {
	out := filepath.Clean(c.Out)
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return nil, err
	}
	made, err := os.MkdirTemp(filepath.Dir(out), ".carla-rl-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(made)
	done := &conversion{what: "an artifact folder"}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(made, f.name), f.data, 0o644); err != nil {
			return nil, err
		}
		done.lines = append(done.lines, fmt.Sprintf("%-24s %9d bytes", f.name, len(f.data)))
	}
	if err := os.Chmod(made, 0o755); err != nil {
		return nil, err
	}
	if err := opens(made); err != nil {
		return nil, fmt.Errorf("what was made does not open as the same policy: %w", err)
	}
	return done, moveNew(made, out)
}

// moveNew gives a folder its name, which nothing must have.
func moveNew(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: convert writes over nothing", to)
	}
	return os.Rename(from, to)
}

// opensAs opens the artifact that was made, which replays its golden vectors,
// and compares its contract.
func opensAs(dir string, p *policy.Policy) error {
	a, err := artifact.OpenPath(dir, artifact.Limits{RequireHashes: true})
	if err != nil {
		return err
	}
	defer a.Release()
	q, err := policy.Open(a, policy.Options{})
	if err != nil {
		return err
	}
	if x, y := contractLines(p.Contract()), contractLines(q.Contract()); !slices.Equal(x, y) {
		return fmt.Errorf("its contract is %s, and was %s", strings.Join(y, "; "), strings.Join(x, "; "))
	}
	return nil
}

// copied are the files of an artifact under the names that they get.
func copied(a *artifact.Artifact) ([]writtenFile, error) {
	var files []writtenFile
	if a.Unzipped() {
		data, err := zipped(a)
		if err != nil {
			return nil, err
		}
		files = append(files, writtenFile{"model.zip", data})
	}
	for _, m := range a.Members {
		var name string
		switch m.Role {
		case artifact.RoleModel:
			name = modelName(m.Name)
		case artifact.RolePreprocessor:
			name = "preprocessor" + extension(m.Name, ".joblib", ".pkl")
		case artifact.RoleVecNormalize:
			name = "vecnormalize.pkl"
		case artifact.RoleModelData:
			name = path.Base(m.Name)
		default:
			continue
		}
		data, err := memberBytes(a, m)
		if err != nil {
			return nil, err
		}
		files = append(files, writtenFile{name, data})
	}
	return files, nil
}

func memberBytes(a *artifact.Artifact, m artifact.Member) ([]byte, error) {
	if m.Role == artifact.RoleModelData {
		return a.Beside(m.Name)
	}
	return a.Read(m.Role)
}

// modelName is the name of a model file in an artifact: its own, where that is
// the name of a model.
func modelName(name string) string {
	base := path.Base(name)
	if artifact.IsModelFile(base) && artifact.ValidName(base) {
		return base
	}
	return "model.pt"
}

// extension is the one of the name where it is known, else the last of those
// that are.
func extension(name string, known ...string) string {
	if ext := strings.ToLower(path.Ext(name)); slices.Contains(known, ext) {
		return ext
	}
	return known[len(known)-1]
}

// zipped makes the zip again that an unzipped agent was. Its members are
// stored, as the library stores them.
func zipped(a *artifact.Artifact) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range a.Members {
		if m.Role != artifact.RoleModelMember {
			continue
		}
		name := path.Base(m.Name)
		data, err := a.ModelMember(name)
		if err != nil {
			return nil, err
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
