package sb3

import (
	"errors"
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// kwargs returns the arguments of the policy: an object of JSON where it can
// hold them all, else a pickle.
func (d *data) kwargs() (*pickle.Dict, error) {
	e, ok := d.get("policy_kwargs")
	if !ok {
		return &pickle.Dict{}, nil
	}
	readable, ok := e.value.(*pickle.Dict)
	if !ok {
		if _, none := e.value.(pickle.None); none {
			return &pickle.Dict{}, nil
		}
		return nil, fmt.Errorf("policy_kwargs is a %s, a dict was wanted", pickle.TypeName(e.value))
	}
	if e.serialized == nil {
		return readable, nil
	}
	optimizer, _ := readable.Get("optimizer_class")
	own, _ := classText(optimizer)
	v, err := e.unpickleNamed(kwargsGlobals, own)
	var forbidden *pickle.ForbiddenGlobalError
	if errors.As(err, &forbidden) {
		if arg, what := foreignCode(readable); what != "" {
			return nil, fmt.Errorf("%w: %s is %s, whose code is not in the file in a form that can be read (%w): %s",
				ErrUnsupported, arg, what, err, wayOut)
		}
	}
	if err != nil {
		return nil, err
	}
	kwargs, ok := v.(*pickle.Dict)
	if !ok {
		return nil, fmt.Errorf("policy_kwargs is a %s, a dict was wanted", pickle.TypeName(v))
	}
	return kwargs, nil
}

// classText returns the class whose name Python prints as a text, and false for
// what is none.
func classText(v pickle.Value) (pickle.Global, bool) {
	text, _ := v.(string)
	name, ok := strings.CutPrefix(text, "<class '")
	if !ok {
		return pickle.Global{}, false
	}
	name, ok = strings.CutSuffix(name, "'>")
	dot := strings.LastIndexByte(name, '.')
	if !ok || dot < 0 {
		return pickle.Global{Name: name}, ok
	}
	return pickle.Global{Module: name[:dot], Name: name[dot+1:]}, true
}

// foreignCode returns the first argument that is a class or a function which is
// not known, by the text that stands beside the pickle.
func foreignCode(readable *pickle.Dict) (arg, what string) {
	for _, e := range readable.Entries {
		key, _ := e.Key.(string)
		text, _ := e.Value.(string)
		if strings.HasPrefix(key, ":") {
			continue
		}
		if g, ok := classText(e.Value); ok && !kwargsGlobals.Allows(g) {
			return key, "the class " + printable([]byte(g.String()), 128)
		}
		if name, ok := strings.CutPrefix(text, "<function "); ok {
			name, _, _ = strings.Cut(name, " at 0x")
			return key, "the function " + printable([]byte(name), 128)
		}
	}
	return "", ""
}
