package repository

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// Layout is a way of laying out artifacts under a root.
type Layout string

// The layouts.
const (
	LayoutFile      Layout = "file"      // the root is a model file
	LayoutFlat      Layout = "flat"      // the root is one artifact
	LayoutVersioned Layout = "versioned" // v0.1.0/, v0.2.0/, ... of one model
	LayoutModels    Layout = "models"    // <model>/<version>/... or <model>/ as one artifact
)

// unversioned names the version of an artifact whose card does not say one,
// or that has no card.
const unversioned = "unversioned"

// source is one version that was found, and how to open it.
type source struct {
	model string
	name  string
	dir   string // below the root, in slashes; "" is the root itself
	// semver is nil for a version that is not a semantic one.
	semver *artifact.Version
	// fromFolder tells that the folder named the version, with which the card
	// must then agree.
	fromFolder bool
	open       func(artifact.Limits) (*artifact.Artifact, error)
	// signature tells from names, sizes and times whether the files may have
	// changed. It opens no file.
	signature func() signature
}

// found is what a scan of the root brought.
type found struct {
	layout  Layout
	models  []string // in the order of the root
	sources map[string][]*source
	outside []string // names of links that lead out of the root
	notes   []string
	fsys    fs.FS // nil where the root is a file
	root    io.Closer
}

// close gives the handle of the root back, if there is one.
func (f *found) close() error {
	if f.root == nil {
		return nil
	}
	return f.root.Close()
}

// where names the folder of a source, for messages.
func (s *source) where() string { return cmp.Or(s.dir, "the root") }

func (f *found) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

func (f *found) add(s *source) {
	if v, err := artifact.ParseVersion(s.name); err == nil {
		s.semver = &v
	}
	if _, ok := f.sources[s.model]; !ok {
		f.models = append(f.models, s.model)
	}
	f.sources[s.model] = append(f.sources[s.model], s)
}

// scan looks at names and cards. It opens no model file.
func scan(o Options) (*found, error) {
	f := &found{sources: map[string][]*source{}}
	fsys := o.FS
	if fsys == nil {
		info, err := os.Stat(o.Root)
		if err != nil {
			return nil, rootError(o.Root, err)
		}
		if !info.IsDir() || artifact.IsUnzipped(os.DirFS(o.Root), ".") {
			f.layout = LayoutFile
			return f, f.scanFile(o, info.IsDir())
		}
		root, err := artifact.OpenRoot(o.Root)
		if err != nil {
			return nil, rootError(o.Root, err)
		}
		fsys, f.root = root, root
	}
	f.fsys = fsys
	if err := f.scanFolder(fsys, o); err != nil {
		if f.root != nil {
			err = errors.Join(err, f.root.Close())
		}
		return nil, err
	}
	return f, nil
}

func rootError(root string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("artifact root %s: %w", root, err)
}

// scanFile adds the model of a root that is a file, or the folder in which a
// model zip was unzipped.
func (f *found) scanFile(o Options, unzipped bool) error {
	if !unzipped && !artifact.IsModelFile(o.Root) {
		return fmt.Errorf("artifact root %s: %w: want a folder or a model file (.pt, .pth, .onnx, .zip, ...)", o.Root, ErrEmpty)
	}
	f.add(&source{
		model: artifact.PeekFile(absolute(o.Root)),
		name:  unversioned,
		open:  func(l artifact.Limits) (*artifact.Artifact, error) { return artifact.OpenPath(o.Root, l) },

		signature: func() signature { return signFile(o.Root) },
	})
	return nil
}

func (f *found) scanFolder(fsys fs.FS, o Options) error {
	names, err := artifact.ReadNames(fsys, ".", maxFolderEntries)
	if err != nil {
		return rootError(o.Root, err)
	}
	folders := f.folders(fsys, ".", names)
	var versions []string
	for _, name := range folders {
		if _, err := artifact.ParseVersion(name); err == nil {
			versions = append(versions, name)
		}
	}
	hasCard := slices.Contains(names, artifact.CardName)
	switch {
	case len(versions) > 0:
		f.layout = LayoutVersioned
		f.scanVersions(fsys, ".", versions, versionedName(fsys, versions, hasCard, o.Root))
		if hasCard {
			f.scanFlat(fsys, ".", f.models[0], o)
		}
		for _, name := range folders {
			if !slices.Contains(versions, name) {
				f.note("The folder %s is not used: its name is no version such as v0.1.0.", name)
			}
		}
	case hasCard:
		f.layout = LayoutFlat
		name, _ := peek(fsys, artifact.CardName)
		f.scanFlat(fsys, ".", modelName(name, o.Root), o)
	default:
		unused, err := f.scanModels(fsys, folders, o)
		if err != nil {
			return err
		}
		if len(f.models) == 0 {
			if f.scanBare(fsys, o) {
				return nil // The folders are those of the training.
			}
			if unused, err = f.scanBareModels(fsys, unused, o); err != nil {
				return err
			}
		}
		for _, model := range unused {
			f.note("The folder %s is not used: it holds neither versions nor a model_card.yaml.", model)
		}
	}
	if len(f.models) == 0 && len(f.outside) > 0 {
		return fmt.Errorf("artifact root %s: %w: %s: %w: a link out of the root is not followed (put the folder itself there, or take a root above both)",
			o.Root, ErrEmpty, list(f.outside, func(s string) string { return s }), artifact.ErrEscape)
	}
	if len(f.models) == 0 {
		return fmt.Errorf("artifact root %s: %w: want model_card.yaml with a model file, folders such as v0.1.0/, or folders <model>/<version>/", o.Root, ErrEmpty)
	}
	return nil
}

// folders returns the names that may be models or versions. A name with a dot
// in front is the file system's or Kubernetes' own.
func (f *found) folders(fsys fs.FS, dir string, names []string) []string {
	var out []string
	for _, name := range names {
		if strings.HasPrefix(name, ".") || name == "lost+found" || name == "__pycache__" {
			continue
		}
		info, err := fs.Stat(fsys, path.Join(dir, name))
		if err != nil {
			if f.link(path.Join(dir, name), artifact.FileError(fsys, path.Join(dir, name), err)) {
				out = append(out, name)
			}
			continue
		}
		if !info.IsDir() {
			continue
		}
		if !artifact.ValidVersion(name) {
			f.note("The folder %q is not used: a model or version has letters, digits, '.', '_' and '-', at most 64.", shorten(name))
			continue
		}
		out = append(out, name)
	}
	return out
}

// link tells of a link that cannot be followed. It reports whether it is to be
// a version all the same: one that is there, refused and says why.
func (f *found) link(name string, why error) bool {
	if !errors.Is(why, artifact.ErrEscape) {
		return false
	}
	if _, err := artifact.ParseVersion(path.Base(name)); err == nil {
		return true
	}
	f.outside = append(f.outside, name)
	f.note("The link %s is not used: it leads out of the artifact root.", name)
	return false
}

// versionedName takes the name of the one model of a versioned root from its
// newest card that can be read.
func versionedName(fsys fs.FS, versions []string, flat bool, root string) string {
	sorted := slices.Clone(versions)
	slices.SortFunc(sorted, func(a, b string) int { return compareNames(b, a) })
	for i, version := range sorted {
		if i == 16 {
			break
		}
		if name, _ := peek(fsys, path.Join(version, artifact.CardName)); name != "" {
			return name
		}
	}
	if flat {
		if name, _ := peek(fsys, artifact.CardName); name != "" {
			return name
		}
	}
	return modelName("", root)
}

func (f *found) scanVersions(fsys fs.FS, dir string, versions []string, model string) {
	for _, version := range versions {
		at := path.Join(dir, version)
		f.add(&source{
			model: model, name: version, dir: at, fromFolder: true,
			open: func(l artifact.Limits) (*artifact.Artifact, error) {
				l.RequireCard = true
				return artifact.Open(fsys, at, l)
			},
			signature: func() signature { return sign(fsys, at) },
		})
	}
}

// scanFlat adds the artifact in dir, whose card names the version.
func (f *found) scanFlat(fsys fs.FS, dir, model string, o Options) {
	_, version := peek(fsys, path.Join(dir, artifact.CardName))
	if version == "" {
		// The card is there and cannot say: it is refused when it is loaded,
		// under the name that the operator expects it to have.
		version = unversioned
		if _, err := fs.Stat(fsys, path.Join(dir, artifact.CardName)); err == nil && isExact(o.ModelVersion) {
			version = strings.TrimSpace(o.ModelVersion)
		}
	}
	below := dir
	if dir == "." {
		below = ""
	}
	f.add(&source{
		model: model, name: version, dir: below,
		open: func(l artifact.Limits) (*artifact.Artifact, error) { return artifact.Open(fsys, dir, l) },

		signature: func() signature { return sign(fsys, dir) },
	})
}

// scanModels takes each folder that holds versions or an artifact with a card
// for a model, and returns the others.
func (f *found) scanModels(fsys fs.FS, folders []string, o Options) (others []string, err error) {
	f.layout = LayoutModels
	for _, model := range folders {
		names, err := artifact.ReadNames(fsys, model, maxFolderEntries)
		if err != nil {
			f.note("The folder %s is not used: it cannot be read.", model)
			continue
		}
		var versions []string
		for _, name := range f.folders(fsys, model, names) {
			if _, err := artifact.ParseVersion(name); err == nil || isArtifact(fsys, path.Join(model, name)) {
				versions = append(versions, name)
			}
		}
		switch {
		case !artifact.ValidName(model):
			continue
		case len(versions) > 0:
			f.scanVersions(fsys, model, versions, model)
		case slices.Contains(names, artifact.CardName):
			f.scanFlat(fsys, model, model, o)
		default:
			others = append(others, model)
			continue
		}
		if err := f.tooMany(o); err != nil {
			return nil, err
		}
	}
	return others, nil
}

func (f *found) tooMany(o Options) error {
	if len(f.models) > o.MaxModels {
		return fmt.Errorf("artifact root %s: %w: more than %d models (model.max_models)", o.Root, ErrTooMany, o.MaxModels)
	}
	return nil
}

// scanBare takes a root without a card for one artifact, where a model lies in
// it: as training, RL Zoo or the Hugging Face hub leave it.
func (f *found) scanBare(fsys fs.FS, o Options) bool {
	name, ok := artifact.Peek(fsys, ".", modelName("", o.Root))
	if ok {
		f.layout = LayoutFlat
		f.scanFlat(fsys, ".", name, o)
	}
	return ok
}

// scanBareModels takes each folder of such a kind for a model; where there is
// none, each in a folder below, as RL Zoo has a folder for each algorithm. It
// returns the others.
func (f *found) scanBareModels(fsys fs.FS, folders []string, o Options) (others []string, err error) {
	for _, folder := range folders {
		if !f.bareModel(fsys, folder) {
			others = append(others, folder)
		}
		if err := f.tooMany(o); err != nil {
			return nil, err
		}
	}
	if len(f.models) > 0 {
		return others, nil
	}
	others = nil
	for _, folder := range folders {
		names, err := artifact.ReadNames(fsys, folder, maxFolderEntries)
		if err != nil {
			f.note("The folder %s is not used: it cannot be read.", folder)
			continue
		}
		before := len(f.models)
		for _, name := range f.folders(fsys, folder, names) {
			f.bareModel(fsys, path.Join(folder, name))
			if err := f.tooMany(o); err != nil {
				return nil, err
			}
		}
		if len(f.models) == before {
			others = append(others, folder)
		}
	}
	return others, nil
}

// bareModel adds the model in a folder under the name that its training gave
// it, or that of the folder where another run has it.
func (f *found) bareModel(fsys fs.FS, dir string) bool {
	folder := artifact.NameFromPath(dir)
	name, ok := artifact.Peek(fsys, dir, folder)
	switch {
	case !ok:
		return false
	case f.sources[name] == nil:
	case f.sources[folder] == nil:
		name = folder
	default:
		return false
	}
	f.scanFlat(fsys, dir, name, Options{})
	return true
}

// isArtifact reports whether a folder holds a card.
func isArtifact(fsys fs.FS, dir string) bool {
	info, err := fs.Stat(fsys, path.Join(dir, artifact.CardName))
	return err == nil && info.Mode().IsRegular()
}

// peek returns the model name and version of a card as far as they can be
// read.
func peek(fsys fs.FS, name string) (model, version string) {
	return artifact.PeekCard(fsys, name)
}

// modelName returns the name of the card, or else one made of the root.
func modelName(card, root string) string {
	if card != "" {
		return card
	}
	return artifact.NameFromPath(filepath.ToSlash(absolute(root)))
}

func absolute(root string) string {
	if abs, err := filepath.Abs(root); err == nil && root != "" {
		return abs
	}
	return root
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
