package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// opened is what a path turned out to be: exactly one of policy, network,
// preprocessor and card is set, or policy and network for a model file that is
// a policy by itself.
type opened struct {
	name     string // the path as it was given
	artifact *artifact.Artifact
	notes    []string

	policy       *policy.Policy           // a folder, or the policy of a model file
	network      format.Network           // a model file
	preprocessor *preprocess.Preprocessor // a preprocessor or VecNormalize file
	card         *artifact.Card           // a model card
}

// what names the kind, for messages.
func (o *opened) what() string {
	switch {
	case o.network != nil:
		return "a model file"
	case o.policy != nil:
		return "an artifact folder"
	case o.preprocessor != nil:
		return "a preprocessor"
	}
	return "a model card"
}

// openPath opens a folder or a file. What a file is follows from its content,
// and what it was taken for first is final: a file that one reader refuses is
// not offered to the next.
func openPath(path string) (*opened, error) {
	dir, note, err := artifactFolder(path)
	if err != nil {
		return nil, err
	}
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	o := &opened{name: path, artifact: a}
	if note != "" {
		o.notes = append(o.notes, note)
	}
	if isFolder(dir) {
		defer a.Release()
		if o.policy, err = policy.Open(a, policy.Options{}); errors.Is(err, plan.ErrLimit) {
			err = fmt.Errorf("%s: %w", filepath.Join(dir, a.ModelName()), err)
		}
		return o, err
	}
	data, err := a.Read(artifact.RoleModel)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(path)
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case ext == ".yaml" || ext == ".yml":
		var notes []string
		if o.card, notes, err = artifact.ParseCard(data); err != nil && name != artifact.CardName {
			err = fmt.Errorf("%s is read as a model card: %w", name, err)
		}
		o.notes = append(o.notes, notes...)
	case isPreprocessor(data):
		if o.preprocessor, err = preprocess.Decode(data); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	default:
		o.network, err = format.DecodeBeside(name, data, a.Beside)
	}
	return o, err
}

// readNetwork decodes the model of an artifact, which may be a folder of the
// members of a zip, and may need the card to say how its weights are used.
func readNetwork(a *artifact.Artifact) (format.Network, error) {
	name := a.ModelName()
	if a.Unzipped() {
		return format.DecodeMembers(name, a.ModelMember)
	}
	data, err := a.Read(artifact.RoleModel)
	if err != nil {
		return nil, err
	}
	n, err := format.DecodeBeside(name, data, a.Beside)
	if err != nil || a.Card.Architecture == nil {
		return n, err
	}
	spec, err := architecture.Parse(a.Card.Architecture)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", artifact.CardName, err)
	}
	if n, err = format.WithArchitecture(n, spec); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", name, artifact.CardName, err)
	}
	return n, nil
}

// asPolicy opens the policy of a model file that tells the spaces of its
// environment, with the statistics that lie beside it. One that is refused
// stays a network, and a note says why.
func (o *opened) asPolicy() {
	if o.network == nil || o.network.Describe().Spaces == nil {
		return
	}
	p, err := policy.Open(o.artifact, policy.Options{})
	if err != nil {
		o.notes = append(o.notes, fmt.Sprintf("The file is sound, but no policy to act with: %v.", err))
		return
	}
	o.policy = p
}

// legacyTorch begins a file of torch.save as it was before torch 1.6: the
// pickle of its magic number.
var legacyTorch = []byte{0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19}

// isPreprocessor tells the file of a preprocessor from a model file: a pickle,
// which begins with a protocol, or is of a protocol that has no such beginning
// and ends as every pickle does; a joblib file; a JSON object; or the arrays of
// an .npz or .npy file.
func isPreprocessor(data []byte) bool {
	switch {
	case len(data) < 2 || bytes.HasPrefix(data, legacyTorch) || isSafetensors(data):
		return false
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return bytes.HasSuffix(firstMember(data), []byte(".npy"))
	case bytes.HasPrefix(data, []byte("\x93NUMPY")), preprocess.IsCompressed(data), preprocess.IsJSON(data):
		return true
	}
	const printable = ' ' // The operators of the old protocols are texts; other files end with a dot by chance.
	return data[0] == 0x80 && data[1] >= 2 && data[1] <= 5 || data[0] >= printable && data[0] < 0x7f && bytes.HasSuffix(bytes.TrimRight(data, "\r\n"), []byte{'.'})
}

// isSafetensors tells a file that begins with the length of its header, whose
// lowest byte may be that with which a pickle begins, and a JSON object.
func isSafetensors(data []byte) bool {
	return len(data) > 8 && data[8] == '{' && bytes.Equal(data[4:8], []byte{0, 0, 0, 0})
}

// firstMember returns the name in the first local header of a zip.
func firstMember(data []byte) []byte {
	const header = 30
	if len(data) < header {
		return nil
	}
	n := int(data[26]) | int(data[27])<<8
	return data[header:min(header+n, len(data))]
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// artifactFolder returns the folder of the artifact that a path means: itself,
// or, where it holds versions or models, that of the version that a server
// would answer with, with a note that says so.
func artifactFolder(path string) (dir, note string, err error) {
	if !isFolder(path) {
		return path, "", nil
	}
	at, err := repository.Locate(repository.Options{Root: path})
	switch {
	case errors.Is(err, repository.ErrEmpty) && !errors.Is(err, artifact.ErrEscape):
		return path, "", nil // What opens it says what is missing.
	case err != nil:
		return "", "", err
	case at.Path != path:
		note = fmt.Sprintf("The folder holds %d version(s); this is %s.", at.Versions, at.Version)
	}
	return at.Path, note, nil
}

// openPolicy opens the policy of a folder or a model file, with a preprocessor
// or VecNormalize file that lies elsewhere in place of those that lie there. A
// shape of one observation is that of a file which does not tell it and has no
// card that does; nil where none is known.
func openPolicy(model, preprocessor, vecNormalize string, shape []int, o policy.Options) (*policy.Policy, error) {
	dir, _, err := artifactFolder(model)
	if err != nil {
		return nil, err
	}
	files := artifact.Files{Preprocessor: preprocessor, VecNormalize: vecNormalize}
	a, err := artifact.OpenPathWith(dir, files, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	defer a.Release()
	p, err := policy.Open(a, o)
	var unknown *torchscript.NeedShapeError
	if errors.As(err, &unknown) && shape != nil && !a.Card.Present {
		a.Card.InputShape = shape
		return policy.Open(a, o)
	}
	return p, err
}
