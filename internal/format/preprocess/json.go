package preprocess

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// Maxima of statistics in JSON.
const (
	maxJSONBytes  = 8 << 20
	maxJSONDepth  = 8
	maxJSONValues = 1 << 17
)

// IsJSON reports whether data begin as a JSON object does.
func IsJSON(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 1 && data[0] == '{' && bytes.IndexByte([]byte("\" \t\r\n}"), data[1]) >= 0
}

// fromJSON reads statistics by name: numbers and lists of numbers.
func fromJSON(data []byte) (*Preprocessor, error) {
	if len(data) > maxJSONBytes {
		return nil, fmt.Errorf("json: %w: %d bytes, at most %d are read", pickle.ErrLimit, len(data), maxJSONBytes)
	}
	r := &jsonReader{d: jsontext.NewDecoder(bytes.NewReader(data)), left: maxJSONValues}
	v, err := r.value(0)
	if err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	if _, err := r.d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("json: more follows the object")
	}
	return fromValue(v)
}

// jsonReader makes values of tokens. A key that is given twice is an error of
// the decoder.
type jsonReader struct {
	d    *jsontext.Decoder
	left int
}

func (r *jsonReader) value(depth int) (pickle.Value, error) {
	t, err := r.d.ReadToken()
	switch {
	case err != nil:
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	case depth > maxJSONDepth:
		return nil, fmt.Errorf("%w: nested deeper than %d", pickle.ErrLimit, maxJSONDepth)
	}
	if r.left--; r.left < 0 {
		return nil, fmt.Errorf("%w: more than %d values", pickle.ErrLimit, maxJSONValues)
	}
	switch t.Kind() {
	case '0':
		f, err := strconv.ParseFloat(t.String(), 64)
		return f, err
	case '[':
		return r.list(depth)
	case '{':
		return r.object(depth)
	case '"':
		return t.String(), nil
	case 't', 'f':
		return t.Bool(), nil
	}
	return pickle.None{}, nil
}

func (r *jsonReader) list(depth int) (pickle.Value, error) {
	items := pickle.Tuple{}
	for r.d.PeekKind() != ']' {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	_, err := r.d.ReadToken()
	return items, err
}

func (r *jsonReader) object(depth int) (pickle.Value, error) {
	d := new(pickle.Dict)
	for r.d.PeekKind() != '}' {
		t, err := r.d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := t.String() // the token is good until the next one is read
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		d.Entries = append(d.Entries, pickle.Entry{Key: key, Value: v})
		if len(d.Entries) > len(statNames) {
			return nil, fmt.Errorf("%w: an object of more than %d keys; known are %s", ErrUnsupported, len(statNames), statKeys())
		}
	}
	_, err := r.d.ReadToken()
	return d, err
}
