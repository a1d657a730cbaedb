package preprocess

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// maxHeader bounds the header of an .npy file; numpy's own limit is 10,000.
const maxHeader = 10_000

// npyHeader is the only form in which numpy writes the header of an array that
// is not structured: a Python dict with its keys in alphabetical order.
var npyHeader = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\{'descr': '([<>|=]?[a-z]\d+)', 'fortran_order': (True|False), 'shape': \(((?:\d+(?:, ?\d+)*,?)?)\),? ?\} *\n$`)
})

// npyMagic begins an .npy file.
const npyMagic = "\x93NUMPY"

// decodeNPY reads an .npy file of version 1 to 3.
func decodeNPY(b []byte) (*pickle.Array, error) {
	if len(b) < 12 || string(b[:6]) != npyMagic {
		return nil, errors.New("not an .npy array")
	}
	n, at := int(binary.LittleEndian.Uint16(b[8:])), 10
	switch b[6] {
	case 1:
	case 2, 3:
		n, at = int(binary.LittleEndian.Uint32(b[8:])), 12
	default:
		return nil, fmt.Errorf("%w: .npy version %d", ErrUnsupported, b[6])
	}
	if n > maxHeader || n > len(b)-at {
		return nil, fmt.Errorf("an .npy header of %d bytes in %d", n, len(b))
	}
	m := npyHeader().FindStringSubmatch(string(b[at : at+n]))
	if m == nil {
		return nil, fmt.Errorf("%w: .npy header %.80q", ErrUnsupported, b[at:at+n])
	}
	var shape []int
	for part := range strings.SplitSeq(m[3], ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		d, err := strconv.ParseInt(part, 10, 32)
		if err != nil {
			return nil, fmt.Errorf(".npy shape (%s): %w", m[3], err)
		}
		shape = append(shape, int(d))
	}
	return pickle.ArrayOf(m[1], shape, m[2] == "True", b[at+n:])
}
