package sb3

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// maxSerialized bounds the pickle of one entry. Spaces of large images have a
// few megabytes.
const maxSerialized = 16 << 20

// needed are the entries that inference needs; all others are passed over.
var needed = []string{"policy_class", "policy_kwargs", "observation_space", "action_space", "use_sde", "policy_delay", "target_noise_clip"}

// data is the member data: the attributes of the algorithm.
type data struct {
	entries []entry
}

func readData(b []byte) (*data, error) {
	if len(b) > maxDataBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", pickle.ErrLimit, len(b), maxDataBytes)
	}
	r := &jsonReader{data: b}
	entries, err := r.entries(func(key string) bool { return slices.Contains(needed, key) })
	if err != nil {
		return nil, err
	}
	return &data{entries}, nil
}

func (d *data) get(key string) (*entry, bool) {
	for i := range d.entries {
		if d.entries[i].key == key {
			return &d.entries[i], true
		}
	}
	return nil, false
}

func (d *data) has(key string) bool {
	_, ok := d.get(key)
	return ok
}

// number returns a number of data, and false where there is none.
func (d *data) number(key string) (float64, bool) {
	if e, ok := d.get(key); ok {
		return pickle.Float(e.value)
	}
	return 0, false
}

// flag returns a bool of data, false where there is none.
func (d *data) flag(key string) bool {
	e, ok := d.get(key)
	if !ok {
		return false
	}
	b, _ := e.value.(bool)
	return b
}

// late decodes the pickle of an entry that was passed over.
func (d *data) late(key string, allow pickle.AllowList) (pickle.Value, error) {
	e, ok := d.get(key)
	if !ok || e.serialized == nil {
		return nil, fmt.Errorf("%s is missing", key)
	}
	full := entry{key: key}
	if err := (&jsonReader{data: e.raw}).keep(&full); err != nil {
		return nil, err
	}
	return full.unpickle(allow)
}

// unpickle decodes the pickle of an entry.
func (e *entry) unpickle(allow pickle.AllowList) (pickle.Value, error) {
	return e.decode(allow.Allows)
}

// unpickleNamed is unpickle for a pickle that may hold one name more, as a
// name alone: an optimizer of any library, which acts on training alone.
func (e *entry) unpickleNamed(allow pickle.AllowList, name pickle.Global) (pickle.Value, error) {
	if name.Module == "" {
		return e.unpickle(allow)
	}
	v, err := e.decode(func(g pickle.Global) bool { return allow.Allows(g) || g == name })
	if d, ok := v.(*pickle.Dict); ok && err == nil {
		if used, _ := d.Get("optimizer_class"); used == name {
			return v, nil
		}
	}
	return e.unpickle(allow)
}

func (e *entry) decode(allow func(pickle.Global) bool) (pickle.Value, error) {
	if n := base64.StdEncoding.DecodedLen(len(e.serialized)); n > maxSerialized {
		return nil, fmt.Errorf("%s: %w: a pickle of %d bytes, at most %d", e.key, pickle.ErrLimit, n, maxSerialized)
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(e.serialized)))
	n, err := base64.StdEncoding.Strict().Decode(b, e.serialized)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.key, err)
	}
	v, err := pickle.Decode(b[:n], pickle.Options{Allow: allow, Limits: pickle.Limits{MaxBytes: maxSerialized}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.key, err)
	}
	return v, nil
}

// policyClass finds the class of the policy among those that are known.
func (d *data) policyClass() (*class, error) {
	e, ok := d.get("policy_class")
	if !ok || e.serialized == nil {
		return nil, errors.New("policy_class is missing: not written by Stable-Baselines3 1.0 or later")
	}
	v, err := e.unpickle(classGlobals)
	var forbidden *pickle.ForbiddenGlobalError
	if errors.As(err, &forbidden) {
		return nil, fmt.Errorf("%w: the policy is of %s, whose code a zip does not hold in a form that can be read (%w): %s",
			ErrUnsupported, e.className(forbidden.Global), err, wayOut)
	}
	if err != nil {
		return nil, err
	}
	g, ok := v.(pickle.Global)
	if !ok {
		return nil, fmt.Errorf("policy_class is a %s, the name of a class was wanted", pickle.TypeName(v))
	}
	return classes[g], nil
}

// className names the class of an entry: by the name that its pickle has for
// it, or, where the pickle holds the code of the class, by the texts that stand
// beside it, which are its module and its methods as Python prints them.
func (e *entry) className(g pickle.Global) string {
	if !strings.HasPrefix(g.Module, "cloudpickle") {
		return "the class " + printable([]byte(g.String()), 128)
	}
	d, ok := e.value.(*pickle.Dict)
	if !ok {
		return "a class of its own"
	}
	v, _ := d.Get("__module__")
	module, ok := v.(string)
	if !ok {
		return "a class of its own"
	}
	for _, attr := range d.Entries {
		text, _ := attr.Value.(string)
		method, ok := strings.CutPrefix(text, "<function ")
		if class, _, found := strings.Cut(method, "."); ok && found {
			return "the class " + printable([]byte(module+"."+class), 128)
		}
	}
	return "a class of its own in the module " + printable([]byte(module), 128)
}

// space decodes a space.
func (d *data) space(key string) (*Space, error) {
	e, ok := d.get(key)
	if !ok || e.serialized == nil {
		return nil, fmt.Errorf("%s is missing", key)
	}
	v, err := e.unpickle(spaceGlobals)
	var forbidden *pickle.ForbiddenGlobalError
	if errors.As(err, &forbidden) {
		return nil, fmt.Errorf("%w: a kind of space that is not read: %w", ErrUnsupported, err)
	}
	if err != nil {
		return nil, err
	}
	s, err := readSpace(v, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return s, nil
}

// notes name what was passed over.
func (d *data) notes() []string {
	var code []string
	others := 0
	for i := range d.entries {
		e := &d.entries[i]
		if e.serialized == nil || slices.Contains(needed, e.key) {
			continue
		}
		if isCode(e.typ) {
			code = append(code, printable([]byte(e.key), 64))
		} else {
			others++
		}
	}
	var notes []string
	if len(code) > 0 {
		more := ""
		if len(code) > 16 {
			more = fmt.Sprintf(" and %d more", len(code)-16)
			code = code[:16]
		}
		notes = append(notes, fmt.Sprintf("Code in the file was not read: %s%s.", strings.Join(code, ", "), more))
	}
	if others > 0 {
		notes = append(notes, fmt.Sprintf("%d pickled attributes of the training were not read.", others))
	}
	return notes
}

// isCode tells by its `:type:` whether an entry holds code: functions, and
// classes other than those of plain data.
func isCode(typ string) bool {
	for _, plain := range []string{"numpy.", "collections.", "torch.", "gym", "TrainFreq"} {
		if strings.Contains(typ, plain) {
			return false
		}
	}
	return true
}

// algorithm tells the algorithm by the class of its policy and the attributes
// that it alone has.
func (d *data) algorithm(c *class) string {
	name := c.algorithm
	switch name {
	case "A2C": // shares its policies with PPO and TRPO
		switch {
		case d.has("cg_max_steps"):
			return "TRPO"
		case d.has("clip_range"):
			return "PPO"
		}
	case "TD3":
		delay, ok1 := d.number("policy_delay")
		clip, ok2 := d.number("target_noise_clip")
		if ok1 && ok2 && delay == 1 && clip == 0 {
			return "DDPG"
		}
	}
	if d.oldHER() {
		return name + " with HER"
	}
	return name
}
