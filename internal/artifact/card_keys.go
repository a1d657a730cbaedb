package artifact

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/spelling"
)

// key reads the value of one key of the card.
func (r *cardReader) key(c *Card, name string, key, v *yaml.Node) {
	if v.Kind == yaml.ScalarNode && v.Tag == "!!null" {
		switch name {
		case "model_name", "version", "model_type":
			r.fail(v, name, "this key is required and has no value")
		}
		// A key without a value says nothing, as in cards that a template
		// filled in.
		return
	}
	switch name {
	case "model_name":
		c.ModelName = r.plainName(v, name, false)
	case "version":
		c.Version = r.version(v, name)
	case "model_type":
		c.ModelType = strings.ToLower(r.text(v, name))
	case "description":
		c.Description = r.text(v, name)
	case "framework_version":
		c.FrameworkVersion = r.text(v, name)
	case "input_shape":
		c.InputShape = r.shape(v, name, true)
	case "output_shape":
		c.OutputShape = r.shape(v, name, true)
	case "performance_metrics":
		c.PerformanceMetrics = r.metrics(v, name)
	case "artifact_hashes":
		c.ArtifactHashes = r.hashes(v, name)
	case "model_filename":
		c.ModelFilename = r.plainName(v, name, true)
	case "preprocessor_filename":
		c.PreprocessorFilename = r.plainName(v, name, true)
	case "observation":
		c.Observation = r.observation(v, name)
	case "action":
		c.Action = r.action(v, name)
	case "postprocess":
		c.Postprocess = r.oneOf(v, name, "clip", "unscale", "none")
	case "deterministic_default":
		b := r.boolean(v, name)
		c.DeterministicDefault = &b
	case "on_version_change":
		c.OnVersionChange = r.oneOf(v, name, "drain", "reset")
	case "distribution":
		c.Distribution = r.distribution(v, name)
	case "frame_stack":
		c.FrameStack = r.frameStack(v, name)
	case "control_hz":
		if c.ControlHz = r.finite(v, name); c.ControlHz < 0 || c.ControlHz > 1e6 {
			r.fail(v, name, "want a rate from 0 to 1000000, got %s", v.Value)
		}
	case "recurrent":
		c.Recurrent = v
	case "fallback":
		c.Fallback = r.fallback(v, name)
	case "envelope":
		c.Envelope = r.envelope(v, name)
	case "architecture":
		c.Architecture = v
	case "golden":
		c.Golden = r.golden(v, name)
	default:
		r.unknown(key, name, knownKeys, true)
	}
}

// unknown refuses a key that is almost one of the known ones, because it was
// surely meant to be. Where tolerant, any other key is only noted: cards carry
// facts of their own.
func (r *cardReader) unknown(key *yaml.Node, field string, known []string, tolerant bool) {
	if near := spelling.Nearest(key.Value, known); near != "" {
		r.fail(key, field, "unknown key, did you mean %s?", near)
		return
	}
	if !tolerant {
		r.fail(key, field, "unknown key; there are: %s", strings.Join(known, ", "))
		return
	}
	r.note("%s:%d: the key %s is not one that is used here.", CardName, key.Line, quote(key.Value))
}

func (r *cardReader) plainName(n *yaml.Node, field string, file bool) string {
	s := r.text(n, field)
	if s == "" {
		return ""
	}
	if err := checkName(s); err != nil {
		what := "want a name"
		if file {
			what = "want the name of a file in the artifact folder"
		}
		r.fail(n, field, "%s: %w", what, err)
		return ""
	}
	return s
}

// version reads a semantic version, with or without its v. As it also names
// the version in addresses, it is no longer than a name.
func (r *cardReader) version(n *yaml.Node, field string) string {
	before := len(r.problems)
	s := strings.TrimSpace(r.text(n, field))
	if len(r.problems) > before {
		return ""
	}
	if _, err := ParseVersion(s); err != nil || !ValidVersion(s) {
		r.fail(n, field, "want a semantic version MAJOR.MINOR.PATCH such as v0.1.0, at most %d bytes, got %s", maxNameBytes, quote(s))
		return ""
	}
	return s
}

func (r *cardReader) oneOf(n *yaml.Node, field string, allowed ...string) string {
	s := strings.ToLower(r.text(n, field))
	if !slices.Contains(allowed, s) {
		r.fail(n, field, "want one of %s, got %s", strings.Join(allowed, ", "), quote(s))
		return ""
	}
	return s
}

// metrics flattens groups to group_key. What is not a number is noted.
func (r *cardReader) metrics(n *yaml.Node, field string) map[string]float64 {
	out := map[string]float64{}
	put := func(name, field string, v *yaml.Node) {
		if v.Kind == yaml.ScalarNode && (v.Tag == "!!int" || v.Tag == "!!float" || v.Tag == "!!str") {
			if v.Tag == "!!str" {
				if _, ok := parseNumber(v.Value); !ok {
					r.note("%s:%d: %s is not a number and is left out.", CardName, v.Line, field)
					return
				}
			}
			if _, dup := out[name]; dup {
				r.fail(v, field, "two metrics have the name %s once groups are flattened", name)
				return
			}
			out[name] = r.finite(v, field)
			return
		}
		r.note("%s:%d: %s is not a number and is left out.", CardName, v.Line, field)
	}
	for _, p := range r.mapping(n, field) {
		if p.value.Kind == yaml.MappingNode {
			for _, q := range r.mapping(p.value, dotted(field, p.name)) {
				put(p.name+"_"+q.name, dotted(dotted(field, p.name), q.name), q.value)
			}
			continue
		}
		put(p.name, dotted(field, p.name), p.value)
	}
	return out
}

// hashes reads artifact_hashes. A name that is not plain is refused here, long
// before anything could be opened by it.
func (r *cardReader) hashes(n *yaml.Node, field string) []Hash {
	var out []Hash
	for _, p := range r.mapping(n, field) {
		at := fmt.Sprintf("%s[%s]", field, quote(p.name))
		if err := checkName(p.name); err != nil {
			r.problems = append(r.problems, Problem{File: CardName, Line: p.key.Line, Field: field, Err: err,
				Hint: "it was not read"})
			continue
		}
		if p.value.Tag == "!!null" {
			r.problems = append(r.problems, Problem{File: CardName, Line: p.key.Line, Field: at,
				Err: fmt.Errorf("%w: the value is empty", ErrPlaceholder), Hint: placeholderHint(p.name)})
			out = append(out, Hash{Name: p.name, Line: p.key.Line})
			continue
		}
		text := r.text(p.value, at)
		if text == "" {
			continue
		}
		digest, err := parseHash(text)
		if err != nil {
			problem := Problem{File: CardName, Line: p.value.Line, Field: at, Err: err}
			problem.Hint = placeholderHint(p.name)
			r.problems = append(r.problems, problem)
		}
		// A name without a digest that can be used is kept too, so that a
		// missing file is told in the same breath.
		out = append(out, Hash{Name: p.name, SHA256: digest, Line: p.value.Line})
	}
	return out
}

func placeholderHint(name string) string {
	return "put the output of sha256sum " + strconv.Quote(name) + " there, or remove the line"
}
