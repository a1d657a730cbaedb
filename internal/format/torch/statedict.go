package torch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// NamedTensor is a tensor under its key in a state dict.
type NamedTensor struct {
	Name   string
	Tensor *graph.Tensor
}

// StateDict is the tensors of a file in their order.
type StateDict []NamedTensor

// Get returns the tensor of a name, nil where there is none.
func (s StateDict) Get(name string) *graph.Tensor {
	for i := range s {
		if s[i].Name == name {
			return s[i].Tensor
		}
	}
	return nil
}

// nests are the keys under which checkpoints keep the state dict of the
// policy, beside those of optimizers and counters.
var nests = []string{"model_state_dict", "state_dict", "model_weights", "model", "policy"}

// StateDict returns the tensors of the file under the names they have there.
// In a checkpoint these are the tensors of its model, without the key of the
// nest; in a container of several state dicts each name begins with its key or
// its number.
func (f *File) StateDict() (StateDict, error) {
	v := f.Value
	for {
		inner, ok := nested(v)
		if !ok {
			break
		}
		v = inner
	}
	s, err := tensors(v)
	if err != nil {
		return nil, &FormatError{Format: "torch", Offset: -1, Err: err}
	}
	if len(s) == 0 {
		return nil, &FormatError{Format: "torch", Offset: -1, Err: errors.New("the file holds no tensors")}
	}
	seen := make(map[string]bool, len(s))
	for _, t := range s {
		if seen[t.Name] {
			return nil, &FormatError{Format: "torch", Offset: -1, Path: t.Name, Err: errors.New("two tensors of this name")}
		}
		seen[t.Name] = true
	}
	return s, nil
}

// Tensors returns all tensors of the file, each under the whole way to it; those
// of an optimizer are left out. It is nil where two have one name.
func (f *File) Tensors() StateDict {
	v := f.Value
	if d, ok := v.(*pickle.Dict); ok {
		parts := &pickle.Dict{}
		for _, e := range d.Entries {
			if !strings.Contains(keyName(e.Key), "optimizer") {
				parts.Entries = append(parts.Entries, e)
			}
		}
		v = parts
	}
	s, err := tensors(v)
	seen := make(map[string]bool, len(s))
	for _, t := range s {
		if err != nil || seen[t.Name] {
			return nil
		}
		seen[t.Name] = true
	}
	return s
}

// nested returns the state dict within a checkpoint: the value of a known key
// that is a dict with tensors in it, where the dict around it has none of its
// own.
func nested(v pickle.Value) (pickle.Value, bool) {
	d, ok := v.(*pickle.Dict)
	if !ok {
		return nil, false
	}
	for i := range d.Entries {
		if _, ok := d.Entries[i].Value.(*graph.Tensor); ok {
			return nil, false
		}
	}
	for _, key := range nests {
		if inner, ok := d.Get(key); ok {
			if _, ok := inner.(*pickle.Dict); ok && holdsTensors(inner) {
				return inner, true
			}
		}
	}
	return nil, false
}

// maxPath bounds the name of a tensor, and with it the names of all that lie
// on the way to one.
const maxPath = 1024

// tensors lists the tensors in a value, named by the way to them.
func tensors(v pickle.Value) ([]NamedTensor, error) {
	var out []NamedTensor
	err := walkTensors("", v, func(name string, t *graph.Tensor) {
		out = append(out, NamedTensor{name, t})
	})
	return out, err
}

func walkTensors(name string, v pickle.Value, f func(string, *graph.Tensor)) error {
	if len(name) > maxPath {
		return fmt.Errorf("%w: a name of more than %d bytes", ErrLimit, maxPath)
	}
	below := func(key string) string {
		if name == "" {
			return key
		}
		return name + "." + key
	}
	switch v := v.(type) {
	case *graph.Tensor:
		f(name, v)
	case *pickle.Dict:
		for i := range v.Entries {
			if err := walkTensors(below(keyName(v.Entries[i].Key)), v.Entries[i].Value, f); err != nil {
				return err
			}
		}
	case *pickle.List, pickle.Tuple:
		items, _ := pickle.Items(v)
		for i, item := range items {
			if err := walkTensors(below(strconv.Itoa(i)), item, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdsTensors reports whether there is a tensor in a value.
func holdsTensors(v pickle.Value) bool {
	found := false
	err := walkTensors("", v, func(string, *graph.Tensor) { found = true })
	return found && err == nil
}

// keyName writes a key of a dict as part of a name.
func keyName(k pickle.Value) string {
	switch k := k.(type) {
	case string:
		return k
	case int64:
		return strconv.FormatInt(k, 10)
	}
	return pickle.TypeName(k)
}
