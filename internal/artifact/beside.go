package artifact

import (
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Maxima of the files that hold tensors of a model.
const (
	maxDataFiles     = 4096
	maxDataNameBytes = 255 // of a name on the file systems of today
)

// Beside returns the bytes of a file that holds tensors of the model, by the
// name that the model has for it: a plain one, in the folder of the model. The
// file is read at the first call, within MaxModelBytes for all of them
// together, is held to its digest in the card, and becomes a member. What lies
// elsewhere, is hidden or is no regular file cannot be had.
//
// Unlike the rest of an artifact it changes it: it is for the one who decodes
// the model, and not after Release.
func (a *Artifact) Beside(name string) ([]byte, error) {
	if data, ok := a.besides[name]; ok {
		return data, nil
	}
	return a.readBeside(name)
}

func (a *Artifact) readBeside(name string) ([]byte, error) {
	switch {
	case !plainFile(name):
		return nil, fmt.Errorf("%w: want the name of a file in the folder of the model", ErrName)
	case a.reopen == nil:
		return nil, fmt.Errorf("%w: the artifact was released", ErrMissing)
	case len(a.besides) >= maxDataFiles:
		return nil, fmt.Errorf("%w: more than %d files", ErrLimit, maxDataFiles)
	}
	at := slices.IndexFunc(a.Members, func(m Member) bool { return m.Name == name })
	if at >= 0 && a.Members[at].Role != RoleOther && a.Members[at].Role != RoleModelData {
		return nil, fmt.Errorf("%w: it is the %s", ErrName, a.Members[at].Role)
	}
	fsys, closer, err := a.reopen()
	if err != nil {
		return nil, err
	}
	if closer != nil {
		defer closer.Close() //nolint:errcheck // A read-only folder handle has nothing to lose.
	}
	data, sum, err := readSummed(fsys, join(a.modelDir, name), a.besideLeft)
	if err != nil {
		return nil, err
	}
	m := Member{Role: RoleModelData, Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	if h, ok := a.hashes[name]; ok {
		m.Hashed = true
		if h.SHA256 != "" && h.SHA256 != m.SHA256 {
			return nil, hashError(h, m)
		}
	} else if a.requireHashes {
		return nil, fmt.Errorf("%w: require_hashes is set and artifact_hashes does not name this file", ErrNoHash)
	}
	if at >= 0 {
		if a.Members[at].SHA256 != m.SHA256 {
			return nil, fmt.Errorf("%w: the file changed while the artifact was opened", ErrHash)
		}
		a.Members[at].Role = RoleModelData
	} else {
		a.Members = append(a.Members, m)
		if !m.Hashed && a.Card.Present {
			a.Notes = append(a.Notes, fmt.Sprintf("No digest is given for %s: nothing proves that it is the file that was trained.", name))
		}
	}
	a.besideLeft -= m.Size
	a.besides[name] = data
	return data, nil
}

// plainFile reports whether a name can only mean a file of the same folder. A
// model names its files as its tensors are called, which may be anything else.
func plainFile(name string) bool {
	return name != "" && len(name) <= maxDataNameBytes && name[0] != '.' && fs.ValidPath(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '/' || r == '\\' })
}

// reopener gives the file system of an artifact again, and what closes it.
type reopener func() (fs.FS, io.Closer, error)

func hashError(h Hash, m Member) error {
	return fmt.Errorf("%w: the card says sha256:%s, the file has sha256:%s", ErrHash, h.SHA256, m.SHA256)
}
