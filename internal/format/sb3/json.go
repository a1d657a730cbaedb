package sb3

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// The maxima of the member data. The largest seen has 3 MB, nearly all of it
// statistics of episodes.
const (
	maxDataBytes = 64 << 20
	maxJSONDepth = 64
	maxEntries   = 4096 // entries of data, and of an object in it that is kept
	maxKeyBytes  = 1024
)

// jsonReader reads the JSON that Python writes, which has NaN and Infinity,
// strictly otherwise: no key twice, nothing after the end. What is not wanted is
// checked and skipped without taking memory.
type jsonReader struct {
	data []byte
	pos  int
}

// entry is one entry of data.
type entry struct {
	key        string
	value      pickle.Value // in the form of a pickle; nil where it was not wanted
	typ        string       // what `:type:` says, where it is an object
	serialized []byte       // base64 of a pickle; nil where there is none
	raw        []byte       // the JSON of an object that was passed over
}

var errJSONShort = errors.New("the JSON ends early")

func (r *jsonReader) fail(format string, args ...any) error {
	return fmt.Errorf("at byte 0x%x: %s", r.pos, fmt.Sprintf(format, args...))
}

func (r *jsonReader) space() {
	for r.pos < len(r.data) {
		switch r.data[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// next returns the next byte that is no space, without taking it; 0 at the end.
func (r *jsonReader) next() byte {
	r.space()
	if r.pos >= len(r.data) {
		return 0
	}
	return r.data[r.pos]
}

func (r *jsonReader) take(c byte) bool {
	if r.next() != c || r.pos >= len(r.data) {
		return false
	}
	r.pos++
	return true
}

// entries reads the outermost object. wanted says which values are kept.
func (r *jsonReader) entries(wanted func(key string) bool) ([]entry, error) {
	var out []entry
	err := r.object(0, func(key string) error {
		if len(out) == maxEntries {
			return r.fail("%v: more than %d entries", pickle.ErrLimit, maxEntries)
		}
		e := entry{key: key}
		var err error
		if wanted(key) {
			err = r.keep(&e)
		} else {
			err = r.skim(&e)
		}
		if err != nil {
			return err
		}
		out = append(out, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if r.space(); r.pos != len(r.data) {
		return nil, r.fail("%d bytes after the end of the JSON", len(r.data)-r.pos)
	}
	return out, nil
}

// keep reads a value wholly.
func (r *jsonReader) keep(e *entry) error {
	v, err := r.value(1)
	if err != nil {
		return err
	}
	e.value = v
	d, ok := v.(*pickle.Dict)
	if !ok {
		return nil
	}
	if t, ok := d.Get(":type:"); ok {
		e.typ, _ = t.(string)
	}
	if s, ok := d.Get(":serialized:"); ok {
		text, ok := s.(string)
		if !ok {
			return r.fail("%s: `:serialized:` is a %s", e.key, pickle.TypeName(s))
		}
		e.serialized = []byte(text)
	}
	return nil
}

// skim passes over a value and keeps only its `:type:`.
func (r *jsonReader) skim(e *entry) error {
	if r.next() != '{' {
		return r.skip(1)
	}
	start := r.pos
	defer func() { e.raw = r.data[start:r.pos] }()
	return r.object(1, func(key string) error {
		if key == ":type:" && r.next() == '"' {
			s, err := r.text(maxKeyBytes)
			e.typ = s
			return err
		}
		if key == ":serialized:" {
			e.serialized = []byte{}
		}
		return r.skip(2)
	})
}

// object reads an object and gives each key to f, which reads its value.
func (r *jsonReader) object(depth int, f func(key string) error) error {
	if depth > maxJSONDepth {
		return r.fail("%v: nested deeper than %d levels", pickle.ErrLimit, maxJSONDepth)
	}
	if !r.take('{') {
		return r.fail("an object was wanted")
	}
	if r.take('}') {
		return nil
	}
	seen := map[string]bool{}
	for {
		key, err := r.text(maxKeyBytes)
		if err != nil {
			return err
		}
		if seen[key] {
			return r.fail("key %.80q twice", key)
		}
		if seen[key] = true; len(seen) > maxEntries {
			return r.fail("%v: more than %d entries", pickle.ErrLimit, maxEntries)
		}
		if !r.take(':') {
			return r.fail("a colon was wanted")
		}
		if err := f(key); err != nil {
			return err
		}
		if r.take('}') {
			return nil
		}
		if !r.take(',') {
			return r.fail("a comma or the end of an object was wanted")
		}
	}
}

// array reads an array; f reads each element.
func (r *jsonReader) array(depth int, f func() error) error {
	if depth > maxJSONDepth {
		return r.fail("%v: nested deeper than %d levels", pickle.ErrLimit, maxJSONDepth)
	}
	r.pos++
	if r.take(']') {
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		if r.take(']') {
			return nil
		}
		if !r.take(',') {
			return r.fail("a comma or the end of an array was wanted")
		}
	}
}

// value reads a value as the pickle machine would have given it.
func (r *jsonReader) value(depth int) (pickle.Value, error) {
	switch r.next() {
	case '{':
		d := &pickle.Dict{}
		err := r.object(depth, func(key string) error {
			v, err := r.value(depth + 1)
			d.Entries = append(d.Entries, pickle.Entry{Key: key, Value: v})
			return err
		})
		return d, err
	case '[':
		l := &pickle.List{}
		err := r.array(depth, func() error {
			if len(l.Items) == maxEntries {
				return r.fail("%v: more than %d items", pickle.ErrLimit, maxEntries)
			}
			v, err := r.value(depth + 1)
			l.Items = append(l.Items, v)
			return err
		})
		return l, err
	case '"':
		return r.text(maxDataBytes)
	}
	return r.scalar()
}

// skip passes over a value.
func (r *jsonReader) skip(depth int) error {
	switch r.next() {
	case '{':
		return r.object(depth, func(string) error { return r.skip(depth + 1) })
	case '[':
		return r.array(depth, func() error { return r.skip(depth + 1) })
	case '"':
		_, err := r.quoted()
		return err
	}
	_, err := r.scalar()
	return err
}

// quoted returns a string with its quotes and whether it has escapes.
func (r *jsonReader) quoted() ([]byte, error) {
	if r.next() != '"' {
		return nil, r.fail("a string was wanted")
	}
	for i := r.pos + 1; i < len(r.data); i++ {
		switch c := r.data[i]; {
		case c == '\\':
			i++
		case c == '"':
			s := r.data[r.pos : i+1]
			r.pos = i + 1
			return s, nil
		case c < ' ':
			return nil, r.fail("a control character in a string")
		}
	}
	return nil, errJSONShort
}

// text reads a string of at most so many bytes.
func (r *jsonReader) text(most int) (string, error) {
	q, err := r.quoted()
	if err != nil {
		return "", err
	}
	if len(q) > most {
		return "", r.fail("%v: a string of %d bytes, at most %d", pickle.ErrLimit, len(q), most)
	}
	for _, c := range q {
		if c == '\\' || c >= 0x80 {
			s, err := jsontext.AppendUnquote(nil, q)
			if err != nil {
				return "", r.fail("%v", err)
			}
			return string(s), nil
		}
	}
	return string(q[1 : len(q)-1]), nil
}

// scalar reads a number, true, false, null, NaN or an infinity.
func (r *jsonReader) scalar() (pickle.Value, error) {
	r.space()
	start := r.pos
	for r.pos < len(r.data) && isScalarByte(r.data[r.pos]) {
		r.pos++
	}
	if r.pos-start > 64 && jsontext.Value(r.data[start:r.pos]).IsValid() {
		return pickle.None{}, nil // an integer of a size that nothing here has
	}
	word := string(r.data[start:min(r.pos, start+64)])
	switch word {
	case "null":
		return pickle.None{}, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "NaN", "Infinity", "-Infinity":
		f, _ := strconv.ParseFloat(word, 64)
		return f, nil
	}
	if jsontext.Value(r.data[start:r.pos]).IsValid() {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			return n, nil
		}
		f, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, r.fail("number %q is out of range", word)
		}
		return f, nil
	}
	if start == len(r.data) {
		return nil, errJSONShort
	}
	r.pos = start
	return nil, r.fail("no JSON value begins with %q", r.data[start])
}

func isScalarByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.'
}
