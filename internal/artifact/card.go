package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Card is what model_card.yaml says. Only the name, the version and the type
// must be there; everything else is optional, and the zero value of a field
// means that the card does not say.
type Card struct {
	// Present tells whether there was a card at all. Without one, only
	// ModelName is set, from the name of the folder or file.
	Present bool

	ModelName        string
	Version          string // as written
	ModelType        string
	Description      string
	FrameworkVersion string

	InputShape  []int // of one observation, without the batch axis
	OutputShape []int

	// PerformanceMetrics are the numbers under performance_metrics; a group
	// is flattened to group_key.
	PerformanceMetrics map[string]float64

	ArtifactHashes       []Hash
	ModelFilename        string
	PreprocessorFilename string

	Observation          []FeatureSpec
	Action               []ActionSpec
	Postprocess          string // "", "clip", "unscale" or "none"
	DeterministicDefault *bool
	OnVersionChange      string        // "", "drain" or "reset"
	Distribution         *Distribution // nil where absent
	FrameStack           FrameStack
	ControlHz            float64
	Golden               *Golden
	Envelope             *Envelope // nil where absent
	Fallback             *Fallback // nil where absent

	// Recurrent and Architecture are kept as the card has them, for the
	// packages that give them a meaning. Nil where absent. Their depth is
	// bounded and they hold no alias.
	Recurrent    *yaml.Node
	Architecture *yaml.Node
}

// FeatureSpec is one named feature of the observation.
type FeatureSpec struct {
	Name      string
	Shape     []int // nil for a single number
	Unit      string
	Low, High *float64 // nil where there is no bound
}

// Size returns the number of values of the feature.
func (f FeatureSpec) Size() int { return product(f.Shape) }

// ActionSpec is one named output of the policy.
type ActionSpec struct {
	Name      string
	Shape     []int // nil for a single number
	Unit      string
	Low, High *float64
	Discrete  bool
}

// Size returns the number of values of the output.
func (a ActionSpec) Size() int { return product(a.Shape) }

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// The bounds of a card. A card is written by hand or by a training script:
// these are far above what either writes, and keep a hostile one cheap.
const (
	maxCardDepth  = 32
	maxCardTokens = 200_000 // separators; a parsed node takes about 200 bytes
	maxFeatures   = 4096
	maxShapeDims  = 8
	maxShapeSize  = 1 << 24 // values of one feature
	maxTextBytes  = 64 << 10
)

// knownKeys are the keys of a card, in the order of the documentation.
var knownKeys = []string{
	"model_name", "version", "model_type", "description", "input_shape", "output_shape", "framework_version",
	"performance_metrics", "artifact_hashes", "model_filename", "preprocessor_filename", "observation", "action",
	"postprocess", "deterministic_default", "on_version_change", "distribution", "recurrent", "frame_stack", "control_hz", "fallback",
	"envelope", "golden", "architecture",
}

// CardKeys returns the keys that a card may have.
func CardKeys() []string { return slices.Clone(knownKeys) }

// ParseCard reads the text of a model_card.yaml. Where it is not valid, the
// error is an *Error with every problem; the notes are for the operator.
func ParseCard(data []byte) (*Card, []string, error) {
	r := &cardReader{}
	card := r.read(data)
	if len(r.problems) > 0 {
		return nil, nil, &Error{Dir: CardName, Problems: r.problems}
	}
	return card, r.notes, nil
}

// PeekCard returns the model name and version of the card name in fsys as far
// as they can be read, whatever else is wrong with it. Either may be empty.
func PeekCard(fsys fs.FS, name string) (model, version string) {
	data, err := readFile(fsys, name, defaultMaxCardBytes)
	if err != nil {
		return "", ""
	}
	r := &cardReader{}
	if card := r.read(data); card != nil {
		return card.ModelName, card.Version
	}
	return "", ""
}

// cardReader walks the nodes of a card and collects what is wrong with them.
type cardReader struct {
	problems []Problem
	notes    []string
}

func (r *cardReader) fail(n *yaml.Node, field, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	r.problems = append(r.problems, Problem{
		File: CardName, Field: field, Line: line,
		Err: fmt.Errorf("%w: %w", ErrCard, fmt.Errorf(format, args...)),
	})
}

func (r *cardReader) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// read returns the card, or nil when the text cannot be walked at all.
func (r *cardReader) read(data []byte) *Card {
	root := r.parse(data)
	if root == nil {
		return nil
	}
	card := &Card{Present: true}
	m := r.mapping(root, "")
	for _, p := range m {
		r.key(card, p.name, p.key, p.value)
	}
	for _, name := range []string{"model_name", "version", "model_type"} {
		if _, ok := find(m, name); !ok {
			r.fail(root, name, "this key is required and is not there")
		}
	}
	r.agreeEnvelope(card)
	return card
}

// parse makes nodes of the text and checks what holds for all of them: depth,
// aliases, merge keys, duplicate keys and tags.
func (r *cardReader) parse(data []byte) *yaml.Node {
	if !utf8.Valid(data) {
		r.fail(nil, "", "the text is not valid UTF-8")
		return nil
	}
	if tokens := countTokens(data); tokens > maxCardTokens {
		r.problems = append(r.problems, Problem{File: CardName, Err: fmt.Errorf("%w: more than %d entries", ErrLimit, maxCardTokens)})
		return nil
	}
	if depth := flowDepth(data); depth > maxFlowBrackets {
		r.problems = append(r.problems, Problem{File: CardName, Err: fmt.Errorf("%w: nested deeper than %d", ErrLimit, maxCardDepth)})
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			r.fail(nil, "", "the card is empty")
		} else {
			r.fail(nil, "", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		r.fail(nil, "", "the file holds more than one YAML document")
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		r.fail(&doc, "", "want a mapping of keys to values, got %s", kindName(&doc))
		return nil
	}
	root := doc.Content[0]
	if !r.checkTree(root, "", 0) {
		return nil
	}
	return root
}

// checkTree reports whether the tree under n may be walked.
func (r *cardReader) checkTree(n *yaml.Node, field string, depth int) bool {
	if depth > maxCardDepth {
		r.problems = append(r.problems, Problem{File: CardName, Line: n.Line, Field: field,
			Err: fmt.Errorf("%w: nested deeper than %d", ErrLimit, maxCardDepth)})
		return false
	}
	ok := true
	if n.Kind == yaml.AliasNode {
		r.fail(n, field, "aliases (*%s) are not allowed in a card", n.Value)
		return false
	}
	if n.Style&yaml.TaggedStyle != 0 {
		r.fail(n, field, "the tag %s is not allowed in a card", quote(n.Tag))
		ok = false
	}
	switch n.Kind {
	case yaml.MappingNode:
		seen := make(map[string]int, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if k.Kind != yaml.ScalarNode {
				r.fail(k, field, "a key must be plain text")
				ok = false
				continue
			}
			if k.Tag == "!!merge" {
				r.fail(k, field, "merge keys (<<) are not allowed in a card")
				ok = false
				continue
			}
			name := dotted(field, k.Value)
			if k.Style&yaml.TaggedStyle != 0 {
				r.fail(k, name, "the tag %s is not allowed in a card", quote(k.Tag))
				ok = false
			}
			if line, dup := seen[k.Value]; dup {
				r.fail(k, name, "the key is given twice, first on line %d", line)
				ok = false
			}
			seen[k.Value] = k.Line
			ok = r.checkTree(v, name, depth+1) && ok
		}
	case yaml.SequenceNode:
		for i, v := range n.Content {
			if !r.checkTree(v, fmt.Sprintf("%s[%d]", field, i), depth+1) {
				ok = false
				break
			}
		}
	}
	return ok
}

func dotted(field, key string) string {
	if len(key) > 80 {
		key = key[:80] + "..."
	}
	if field == "" {
		return key
	}
	return field + "." + key
}

// countTokens bounds from above the number of nodes that the text can have:
// each needs a separator of its own.
func countTokens(data []byte) int {
	n := 1
	for i, c := range data {
		switch c {
		case '\n', ',', '[', '{', ':', '?':
			n++
		case '-':
			if i+1 < len(data) && (data[i+1] == ' ' || data[i+1] == '\t') {
				n++
			}
		}
	}
	return n
}

// maxFlowBrackets is far above maxCardDepth, because brackets may also stand
// in text that is not nested at all.
const maxFlowBrackets = 1000

// flowDepth bounds from above how deep brackets nest. The parser's time grows
// with the square of it, so that it is looked at first.
func flowDepth(data []byte) int {
	depth, deepest := 0, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return deepest
}
