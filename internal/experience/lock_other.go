//go:build !unix

package experience

import (
	"errors"
	"os"
)

func lockFile(string) (*os.File, error) {
	return nil, errors.New("experience log: this system has no lock for its file")
}
