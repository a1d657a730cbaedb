package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// header reads the JSON of the header. jsontext refuses names that are there
// twice, and text that is no UTF-8.
func (d *decoder) header(b []byte) ([]entry, map[string]string, error) {
	r := headerReader{dec: jsontext.NewDecoder(bytes.NewBuffer(b))}
	entries, meta, err := r.object()
	if err != nil {
		d.at, d.path = 8+r.dec.InputOffset(), r.name
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	return entries, meta, nil
}

type headerReader struct {
	dec  *jsontext.Decoder
	name string // of the tensor that is read
}

func (r *headerReader) object() (entries []entry, meta map[string]string, err error) {
	err = r.members(func(name string) error {
		if name == "__metadata__" {
			meta, err = r.metadata()
			return err
		}
		r.name = name
		switch {
		case len(name) > maxName:
			r.name = ""
			return fmt.Errorf("%w: a name of %d bytes, at most %d", ErrLimit, len(name), maxName)
		case len(entries) >= maxTensors:
			return fmt.Errorf("%w: more than %d tensors", ErrLimit, maxTensors)
		}
		e, err := r.entry(name)
		entries = append(entries, e)
		r.name = ""
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	// The header may be filled up with blanks, and with nothing else.
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("something after the end of the object")
	}
	return entries, meta, nil
}

func (r *headerReader) metadata() (map[string]string, error) {
	meta := map[string]string{}
	return meta, r.members(func(name string) error {
		s, err := r.text()
		meta[name] = s
		return err
	})
}

func (r *headerReader) entry(name string) (entry, error) {
	e := entry{name: name}
	err := r.members(func(key string) (err error) {
		switch key {
		case "dtype":
			e.hasType = true
			e.dtype, err = r.text()
		case "shape":
			e.hasShape = true
			e.shape, err = r.numbers(maxRank)
		case "data_offsets":
			e.hasRange = true
			var ends []uint64
			if ends, err = r.numbers(2); err == nil {
				if len(ends) != 2 || ends[1] < ends[0] {
					return fmt.Errorf("data_offsets are %v, a beginning and an end were wanted", ends)
				}
				e.begin, e.end = ends[0], ends[1]
			}
		default:
			return fmt.Errorf("an unknown key %.40q", key)
		}
		return err
	})
	if err == nil && !(e.hasType && e.hasShape && e.hasRange) {
		err = errors.New("dtype, shape or data_offsets is missing")
	}
	return e, err
}

// members reads an object and calls f for each key, to read its value.
func (r *headerReader) members(f func(key string) error) error {
	if err := r.expect('{', "an object"); err != nil {
		return err
	}
	for r.dec.PeekKind() != '}' {
		key, err := r.text()
		if err != nil {
			return err
		}
		if err := f(key); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *headerReader) expect(k jsontext.Kind, what string) error {
	t, err := r.dec.ReadToken()
	if err != nil {
		return err
	}
	if t.Kind() != k {
		return fmt.Errorf("%.40s, %s was wanted", t.String(), what)
	}
	return nil
}

func (r *headerReader) text() (string, error) {
	t, err := r.dec.ReadToken()
	if err != nil {
		return "", err
	}
	if t.Kind() != '"' {
		return "", fmt.Errorf("%.40s, a string was wanted", t.String())
	}
	return t.String(), nil
}

// numbers reads a list of at most so many natural numbers.
func (r *headerReader) numbers(most int) ([]uint64, error) {
	if err := r.expect('[', "a list"); err != nil {
		return nil, err
	}
	list := []uint64{}
	for r.dec.PeekKind() != ']' {
		t, err := r.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		if t.Kind() != '0' {
			return nil, fmt.Errorf("%.40s, a number was wanted", t.String())
		}
		// The text is parsed, not the number: 1e3 and 2.0 are refused.
		n, err := strconv.ParseUint(t.String(), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%.40s is no natural number below 2^63", t.String())
		}
		if len(list) == most {
			return nil, fmt.Errorf("%w: a list of more than %d numbers", ErrLimit, most)
		}
		list = append(list, n)
	}
	_, err := r.dec.ReadToken()
	return list, err
}
