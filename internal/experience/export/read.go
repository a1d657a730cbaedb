package export

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// Reader reads steps that were exported as JSON Lines.
type Reader struct {
	decoder *jsontext.Decoder
	step    experience.Step
	line    int
	parts   [2][]experience.Part // of observations and actions, as the first line has them
	now     [2][]experience.Part // as the present one does
	raw     []float32
	masks   []float32
	none    bool // there is no line
}

// maxValues bounds an observation that is read.
const maxValues = 1 << 24

// NewReader reads the first line. No line is no error.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{decoder: jsontext.NewDecoder(in)}
	err := r.next()
	if errors.Is(err, io.EOF) {
		r.none, err = true, nil
	}
	r.parts = [2][]experience.Part{slices.Clone(r.now[0]), slices.Clone(r.now[1])}
	return r, err
}

// Observation and Action name the parts of all steps, in the order in which
// their values stand in them. Whether an action is a choice is not in the file.
func (r *Reader) Observation() []experience.Part { return r.parts[0] }

// Action is as Observation.
func (r *Reader) Action() []experience.Part { return r.parts[1] }

// Steps gives the steps in the order of the file, once. A *Step is valid until
// the next one.
func (r *Reader) Steps() iter.Seq2[*experience.Step, error] {
	return func(yield func(*experience.Step, error) bool) {
		for !r.none {
			if !yield(&r.step, nil) {
				return
			}
			err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil && !(sameParts(r.now[0], r.parts[0]) && sameParts(r.now[1], r.parts[1])) {
				err = fmt.Errorf("line %d: it has other features or actions than the first", r.line)
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

func sameParts(a, b []experience.Part) bool {
	return slices.EqualFunc(a, b, func(x, y experience.Part) bool { return x.Name == y.Name && x.Size == y.Size })
}

// next reads a line into the step; io.EOF is the end of the file.
func (r *Reader) next() error {
	r.line++
	tok, err := r.decoder.ReadToken()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err == nil && tok.Kind() != '{' {
		err = fmt.Errorf("expected a JSON object, got %s", kindName(tok.Kind()))
	}
	s := &r.step
	*s = experience.Step{Observation: s.Observation[:0], Action: s.Action[:0], Interventions: s.Interventions[:0]}
	r.raw, r.masks = r.raw[:0], r.masks[:0]
	r.now = [2][]experience.Part{r.now[0][:0], r.now[1][:0]}
	for err == nil && r.decoder.PeekKind() != '}' {
		if tok, err = r.decoder.ReadToken(); err != nil {
			break
		}
		name := tok.String()
		if err = r.member(name); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	if err == nil {
		_, err = r.decoder.ReadToken()
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("line %d: %w", r.line, err)
	}
	return r.complete()
}

// complete sets what follows from several members.
func (r *Reader) complete() error {
	s := &r.step
	if s.Run == "" || len(s.Observation) == 0 || len(s.Action) == 0 {
		return fmt.Errorf("line %d: it has no run, no observation or no action: expected a step that was exported as JSON Lines", r.line)
	}
	if len(r.raw) == len(s.Action) && !sameBits(r.raw, s.Action) {
		s.Raw = r.raw
	}
	if slices.ContainsFunc(r.masks, func(v float32) bool { return v != 1 }) {
		s.Masks = r.masks // Without one that is 0, everything was allowed.
	}
	return nil
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// member reads the value of a member; one that is not needed is skipped.
func (r *Reader) member(name string) (err error) {
	s := &r.step
	switch name {
	case "run":
		s.Run, err = r.text()
	case "request_id":
		s.RequestID, err = r.text()
	case "session":
		s.Session, err = r.text()
	case "model":
		s.Model, err = r.text()
	case "version":
		s.Version, err = r.text()
	case "digest":
		s.Digest, err = r.text()
	case "time":
		var text string
		if text, err = r.text(); err == nil && text != "" {
			s.Time, err = time.Parse(time.RFC3339Nano, text)
		}
	case "sequence":
		s.Sequence, err = r.whole()
	case "request_row":
		var row uint64
		row, err = r.whole()
		s.Row = int(row)
	case "episode":
		s.Episode, err = r.whole()
	case "session_step":
		s.SessionStep, err = r.whole()
	case "seed":
		s.Seed, err = r.whole()
	case "draw_step":
		s.DrawStep, err = r.whole()
	case "draw_row":
		s.DrawRow, err = r.whole()
	case "first":
		s.First, err = r.truth()
	case "deterministic":
		s.Deterministic, err = r.truth()
	case "interventions":
		err = r.interventions()
	case "observation":
		s.Observation, err = r.values(s.Observation, &r.now[0])
	case "action":
		s.Action, err = r.values(s.Action, &r.now[1])
	case "raw_action":
		r.raw, err = r.values(r.raw, nil)
	case "action_masks":
		r.masks, err = r.values(r.masks, nil)
	default:
		err = r.decoder.SkipValue()
	}
	return err
}

// text reads a string; null is an empty one.
func (r *Reader) text() (string, error) {
	tok, err := r.decoder.ReadToken()
	switch {
	case err != nil:
		return "", err
	case tok.Kind() == 'n':
		return "", nil
	case tok.Kind() != '"':
		return "", fmt.Errorf("expected a string, got %s", kindName(tok.Kind()))
	}
	return tok.String(), nil
}

func (r *Reader) whole() (uint64, error) {
	tok, err := r.decoder.ReadToken()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(tok.String(), 10, 64)
	if tok.Kind() != '0' || err != nil {
		return 0, fmt.Errorf("expected a whole number, got %s", kindName(tok.Kind()))
	}
	return n, nil
}

func (r *Reader) truth() (bool, error) {
	tok, err := r.decoder.ReadToken()
	if err != nil {
		return false, err
	}
	if k := tok.Kind(); k != 't' && k != 'f' {
		return false, fmt.Errorf("expected true or false, got %s", kindName(k))
	}
	return tok.Bool(), nil
}

// interventions reads what the envelope changed, which is told by value and kind.
func (r *Reader) interventions() error {
	value, err := r.decoder.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return err
	}
	var list []struct {
		Value int    `json:"value"`
		Kind  string `json:"kind"`
	}
	if err := json.Unmarshal(value, &list); err != nil {
		return err
	}
	for _, v := range list {
		r.step.Interventions = append(r.step.Interventions, experience.Intervention{Value: v.Value, Kind: v.Kind, Feature: -1})
	}
	return nil
}

// values reads a number, nested lists of numbers, or an object of such by name,
// one after the other, and notes which is what.
func (r *Reader) values(to []float32, parts *[]experience.Part) ([]float32, error) {
	if r.decoder.PeekKind() != '{' {
		return r.part("", to, parts)
	}
	_, err := r.decoder.ReadToken()
	for err == nil && r.decoder.PeekKind() != '}' {
		var tok jsontext.Token
		if tok, err = r.decoder.ReadToken(); err != nil {
			break
		}
		name := tok.String()
		if to, err = r.part(name, to, parts); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	if err == nil {
		_, err = r.decoder.ReadToken()
	}
	return to, err
}

func (r *Reader) part(name string, to []float32, parts *[]experience.Part) ([]float32, error) {
	from := len(to)
	depth := 0
	for {
		tok, err := r.decoder.ReadToken()
		if err != nil {
			return to, err
		}
		switch tok.Kind() {
		case '[':
			depth++
		case ']':
			depth--
		case '0', '"':
			v, err := number32(tok)
			if err != nil {
				return to, err
			}
			if to = append(to, v); len(to) > maxValues {
				return to, fmt.Errorf("expected at most %d values", maxValues)
			}
		default:
			return to, fmt.Errorf("expected numbers, got %s", kindName(tok.Kind()))
		}
		if depth == 0 {
			break
		}
	}
	if parts != nil {
		*parts = append(*parts, experience.Part{Name: name, Offset: from, Size: len(to) - from})
	}
	return to, nil
}

// number32 is a number as it was written, or the name of what JSON has none for.
func number32(tok jsontext.Token) (float32, error) {
	text := tok.String()
	if tok.Kind() == '"' && text != "NaN" && text != "Infinity" && text != "-Infinity" {
		return 0, fmt.Errorf("expected numbers, got %q", text[:min(len(text), 40)])
	}
	v, err := strconv.ParseFloat(text, 32)
	if err != nil {
		return 0, fmt.Errorf("expected a number of float32, got %s", text[:min(len(text), 40)])
	}
	return float32(v), nil
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	case '"':
		return "a string"
	case '0':
		return "another number"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return "something else"
}
