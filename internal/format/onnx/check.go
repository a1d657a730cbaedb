package onnx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// check holds the model to static single assignment: every value is made once
// and before it is used, which a cycle is not.
func (d *decoder) check(m *Model) error {
	switch {
	case m.Opset == 0:
		return errors.New("the operator set is not named")
	case m.Opset < minOpset || m.Opset > maxOpset:
		return unsupportedf("operator set %d, %d to %d are read", m.Opset, minOpset, maxOpset)
	case len(m.body.outputs) == 0:
		return errors.New("the graph has no outputs")
	}
	d.path = []string{"graph"}
	if err := d.checkBody(m.body, nil); err != nil {
		return err
	}
	for name, f := range m.functions {
		d.path = []string{"function " + quoted(name)}
		s := &known{names: map[string]bool{}}
		for _, in := range f.in {
			s.names[in] = true
		}
		if err := d.checkNodes(f.body, s); err != nil {
			return err
		}
		for _, out := range f.out {
			if !s.has(out) {
				return fmt.Errorf("the output %s is made by no node", quoted(out))
			}
		}
	}
	d.path = nil
	m.Inputs = m.body.inputs
	for _, out := range m.body.outputs {
		m.Outputs = append(m.Outputs, out.Name)
	}
	m.Ops = listOps(m.body, nil)
	return m.findStates()
}

// known are the values of a graph and of those around it.
type known struct {
	names map[string]bool
	outer *known
}

func (k *known) has(name string) bool {
	for ; k != nil; k = k.outer {
		if k.names[name] {
			return true
		}
	}
	return false
}

// checkBody checks a graph. Initializers are taken off its inputs, of which
// they were before IR 4.
func (d *decoder) checkBody(b *body, outer *known) error {
	k := &known{names: map[string]bool{}, outer: outer}
	for _, t := range b.tensors {
		if t.Name == "" || k.names[t.Name] {
			return fmt.Errorf("the initializer %.80q is without a name or there twice", t.Name)
		}
		k.names[t.Name] = true
	}
	var inputs []Input
	seen := map[string]bool{}
	for _, in := range b.inputs {
		if seen[in.Name] {
			return fmt.Errorf("the input %.80q is there twice", in.Name)
		}
		seen[in.Name] = true
		if !k.names[in.Name] {
			inputs = append(inputs, in)
		}
		k.names[in.Name] = true
	}
	b.inputs = inputs
	if err := d.checkNodes(b, k); err != nil {
		return err
	}
	for _, out := range b.outputs {
		if !k.has(out.Name) {
			return fmt.Errorf("the output %s is made by no node", quoted(out.Name))
		}
	}
	return nil
}

func (d *decoder) checkNodes(b *body, k *known) error {
	depth := len(d.path)
	for i, n := range b.nodes {
		d.path = append(d.path[:depth], "node["+strconv.Itoa(i)+"]")
		for _, in := range n.in {
			if in != "" && !k.has(in) {
				return fmt.Errorf("%s takes %s, which nothing before it makes: the nodes are out of order or make a cycle", short(n.op), quoted(in))
			}
		}
		for _, a := range n.attrs {
			if a.g == nil {
				continue
			}
			if err := d.checkBody(a.g, k); err != nil {
				return err
			}
		}
		for _, out := range n.out {
			if out != "" && k.names[out] {
				return fmt.Errorf("the value %s is made twice", quoted(out))
			}
			if out != "" {
				k.names[out] = true
			}
		}
	}
	d.path = d.path[:depth]
	return nil
}

// listOps names the operators of a graph and of those inside it.
func listOps(b *body, ops []string) []string {
	for _, n := range b.nodes {
		op := n.op
		if n.domain != "" {
			op = n.domain + "." + op
		}
		ops = append(ops, op)
		for _, name := range slices.Sorted(maps.Keys(n.attrs)) {
			if g := n.attrs[name].g; g != nil {
				ops = listOps(g, ops)
			}
		}
	}
	return ops
}
