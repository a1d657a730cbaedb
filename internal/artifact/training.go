package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Training is what RL Zoo wrote down of a training, as far as it changes what
// the policy takes. The zero value of a field means that it does not say.
type Training struct {
	Files       []string // of the artifact, from which it was read
	Algorithm   string   // "ppo"
	Env         string   // "CartPole-v1"
	FrameStack  int      // observations that were stacked
	Normalize   *Normalize
	EnvWrappers []string // classes that wrapped the environment, in their order
}

// Normalize tells what VecNormalize did.
type Normalize struct {
	Observation, Reward bool
}

// Maxima of what RL Zoo writes.
const (
	maxTrainingBytes = 256 << 10
	maxTrainingNodes = 50_000 // separators, as in a card
	maxTrainingDepth = 32
	maxWrappers      = 64
	maxFrameStack    = 1 << 10
)

// training reads config.yml, which has the parameters of the training, and
// args.yml, which has its command line, from the first of the folders that has
// them. They are read as data: a tag of Python makes no object. Other programs
// have files of these names too, so that what cannot be read is only noted.
func (o *opener) training(dirs []string) {
	var t Training
	for _, name := range trainingNames { // config.yml goes before the command line
		for _, dir := range dirs {
			at := join(dir, name)
			if info, err := fs.Stat(o.fsys, join(o.dir, at)); err != nil || info.IsDir() {
				continue
			}
			data, err := readFile(o.fsys, join(o.dir, at), maxTrainingBytes)
			found := false
			if err == nil {
				found, err = t.read(data)
			}
			if err != nil {
				o.note("%s is not used: %v.", at, err)
			}
			if found && !o.read[at] {
				t.Files = append(t.Files, at)
				o.add(RoleTraining, at, data)
			}
			break
		}
	}
	if len(t.Files) > 0 {
		o.a.Training = &t
	}
}

// read takes the facts of one file, and reports whether there were any. Facts
// that are known already stay.
func (t *Training) read(data []byte) (bool, error) {
	root, err := parseSidecar(data)
	if err != nil {
		return false, err
	}
	w := &sidecar{}
	found := w.facts(t, pairs(root, w))
	return found, w.err
}

// parseSidecar makes nodes of a text that is not ours. Nothing is resolved.
func parseSidecar(data []byte) (*yaml.Node, error) {
	switch {
	case !utf8.Valid(data):
		return nil, errors.New("the text is not valid UTF-8")
	case countTokens(data) > maxTrainingNodes:
		return nil, fmt.Errorf("%w: more than %d entries", ErrLimit, maxTrainingNodes)
	case flowDepth(data) > maxFlowBrackets:
		return nil, fmt.Errorf("%w: nested deeper than %d", ErrLimit, maxTrainingDepth)
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, fmt.Errorf("it is no YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("it holds nothing")
	}
	return doc.Content[0], nil
}

// sidecar walks nodes. The first thing that is wrong stays in err.
type sidecar struct {
	depth int
	err   error
}

func (w *sidecar) fail(n *yaml.Node, format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...))
	}
}

// entry is a key and its value.
type entry struct {
	key   string
	value *yaml.Node
}

// The tags of Python in which a dict and a tuple are written.
const (
	orderedDictTag = "tag:yaml.org,2002:python/object/apply:collections.OrderedDict"
	tupleTag       = "tag:yaml.org,2002:python/tuple"
)

// plain reports whether a node is data: a tag of Python would make an object of
// it, which is not done, so that its value is not known.
func plain(n *yaml.Node) bool {
	tag := n.LongTag()
	return !strings.HasPrefix(tag, "tag:yaml.org,2002:python/") && !strings.HasPrefix(tag, "!") || tag == tupleTag
}

// resolve follows an alias.
func (w *sidecar) resolve(n *yaml.Node) *yaml.Node {
	for i := 0; n.Kind == yaml.AliasNode && n.Alias != nil; i++ {
		if i == maxTrainingDepth {
			w.fail(n, "%w: aliases of aliases", ErrLimit)
			return &yaml.Node{Line: n.Line}
		}
		n = n.Alias
	}
	return n
}

// pairs returns the entries of a mapping, or of the OrderedDict in whose form
// RL Zoo writes one: a call with a list of pairs.
func pairs(n *yaml.Node, w *sidecar) []entry {
	n = w.resolve(n)
	var out []entry
	switch {
	case n.Kind == yaml.MappingNode && plain(n):
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := w.resolve(n.Content[i]); key.Kind == yaml.ScalarNode {
				out = append(out, entry{key.Value, n.Content[i+1]})
			}
		}
	case n.Kind == yaml.SequenceNode && n.LongTag() == orderedDictTag && len(n.Content) == 1:
		list := w.resolve(n.Content[0])
		if list.Kind != yaml.SequenceNode || !plain(list) {
			return nil
		}
		for _, e := range list.Content {
			if e = w.resolve(e); e.Kind == yaml.SequenceNode && len(e.Content) == 2 {
				if key := w.resolve(e.Content[0]); key.Kind == yaml.ScalarNode {
					out = append(out, entry{key.Value, e.Content[1]})
				}
			}
		}
	}
	return out
}

// facts takes what is known of the entries and reports whether there was any.
func (w *sidecar) facts(t *Training, entries []entry) bool {
	if w.depth == 2 { // the command line holds parameters, and no more
		return false
	}
	w.depth++
	defer func() { w.depth-- }()
	found := false
	for _, e := range entries {
		v := w.resolve(e.value)
		switch e.key {
		case "algo":
			found = w.label(&t.Algorithm, v) || found
		case "env", "env_id":
			found = w.label(&t.Env, v) || found
		case "frame_stack":
			found = w.frames(t, v) || found
		case "normalize":
			found = w.normalize(t, v) || found
		case "env_wrapper", "vec_env_wrapper":
			found = w.wrappers(t, v) || found
		case "hyperparams":
			found = w.facts(t, pairs(v, w)) || found
		}
	}
	return found
}

// scalar returns the text of a plain value; null is none.
func scalar(n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || !plain(n) || n.ShortTag() == "!!null" {
		return "", false
	}
	return n.Value, true
}

// labelText is what an algorithm or an environment is called: "ppo_lstm",
// "ALE/Pong-v5", "my_package:Env-v0".
var labelText = onDemand(`^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}$`)

func (w *sidecar) label(to *string, n *yaml.Node) bool {
	s, ok := scalar(n)
	if !ok || !labelText().MatchString(s) {
		return false
	}
	if *to == "" {
		*to = s
	}
	return true
}

// frames reads a number of observations, of which 1 is no stack.
func (w *sidecar) frames(t *Training, n *yaml.Node) bool {
	s, ok := scalar(n)
	if !ok {
		if n.ShortTag() != "!!null" {
			w.fail(n, "frame_stack is not a number")
		}
		return false
	}
	k, err := strconv.Atoi(s)
	if err != nil || k < 1 || k > maxFrameStack {
		w.fail(n, "frame_stack is %s, a number from 1 to %d was wanted", quote(s), maxFrameStack)
		return false
	}
	if t.FrameStack == 0 {
		t.FrameStack = k
	}
	return true
}

// normalize reads true, false, or the arguments of VecNormalize: as entries, or
// as the text of a Python dict.
func (w *sidecar) normalize(t *Training, n *yaml.Node) bool {
	var to Normalize
	s, ok := scalar(n)
	switch {
	case n.Kind == yaml.MappingNode:
		to = Normalize{true, true}
		for _, e := range pairs(n, w) {
			v, _ := scalar(w.resolve(e.value))
			on, err := strconv.ParseBool(strings.ToLower(v))
			if err == nil {
				to.set(e.key, on)
			}
		}
	case !ok:
		if n.ShortTag() != "!!null" {
			w.fail(n, "normalize is neither a bool nor the arguments of VecNormalize")
		}
		return false
	default:
		var err error
		if to, err = normalizeText(s); err != nil {
			w.fail(n, "normalize: %w", err)
			return false
		}
	}
	if t.Normalize == nil {
		t.Normalize = &to
	}
	return true
}

func (z *Normalize) set(key string, on bool) {
	switch key {
	case "norm_obs":
		z.Observation = on
	case "norm_reward":
		z.Reward = on
	}
}

func normalizeText(s string) (Normalize, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "yes", "on":
		return Normalize{true, true}, nil
	case "false", "no", "off", "none", "":
		return Normalize{}, nil
	}
	v, err := parseLiteral(s)
	if err != nil {
		return Normalize{}, err
	}
	entries, ok := v.([]keyword)
	if !ok {
		return Normalize{}, fmt.Errorf("%s is no dict", quote(s))
	}
	to := Normalize{true, true}
	for _, e := range entries {
		if on, ok := e.value.(bool); ok {
			to.set(e.key, on)
		}
	}
	return to, nil
}

// wrappers reads the name of a class, a list of names, or names with the
// arguments of the class. A wrapper that stacks frames says how many.
func (w *sidecar) wrappers(t *Training, n *yaml.Node) bool {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode && plain(n) {
		list = n.Content
	}
	found := false
	for _, e := range list {
		e = w.resolve(e)
		entries := pairs(e, w)
		if s, ok := scalar(e); ok {
			entries = []entry{{s, e}}
		}
		for _, c := range entries {
			if !labelText().MatchString(c.key) || len(t.EnvWrappers) == maxWrappers {
				continue
			}
			found = true
			if !slices.Contains(t.EnvWrappers, c.key) {
				t.EnvWrappers = append(t.EnvWrappers, c.key)
			}
			if !strings.HasSuffix(c.key, "FrameStack") {
				continue
			}
			for _, arg := range pairs(c.value, w) {
				if arg.key == "n_stack" || arg.key == "num_stack" {
					w.frames(t, w.resolve(arg.value))
				}
			}
		}
	}
	return found
}
