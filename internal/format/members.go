package format

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
)

// DecodeMembers reads a model whose members are files of their own: the zip of
// Stable-Baselines3 that was unzipped. The function gets a plain name without
// separators and gives the content; for a file that is not there its error
// wraps [fs.ErrNotExist]. The name is for messages only. Errors are those of
// [Decode].
func DecodeMembers(name string, members func(name string) ([]byte, error)) (Network, error) {
	n, err := decodeMembers(members)
	if err != nil && name != "" {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, err
}

func decodeMembers(read func(name string) ([]byte, error)) (Network, error) {
	files := folder{}
	for _, name := range sb3.Members() {
		b, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = b
	}
	if !sb3.Is(files) {
		return nil, fmt.Errorf("%w: the folder lacks the files data and policy.pth of an unzipped agent of Stable-Baselines3", ErrFormat)
	}
	p, err := sb3.Decode(files)
	if err != nil {
		return nil, err
	}
	return newAgent(p), nil
}

// folder is the members of an agent by their names.
type folder map[string][]byte

func (f folder) Has(name string) bool { _, ok := f[name]; return ok }

func (f folder) Read(name string) ([]byte, error) {
	b, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return b, nil
}
