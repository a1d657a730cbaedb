package onnx

import (
	"errors"
	"fmt"
	"strconv"
)

// graph reads a GraphProto.
func (d *decoder) graph(to *body, place string, data []byte, base int) error {
	if d.depth++; d.depth > maxBodies {
		return fmt.Errorf("%w: more than %d graphs inside each other", ErrLimit, maxBodies)
	}
	err := d.each(place, data, base, func(f field) error {
		switch f.number {
		case 1, 2, 5, 11, 12, 15:
		default:
			return nil
		}
		b, err := f.bytes()
		if err != nil {
			return err
		}
		switch f.number {
		case 1:
			err = d.node(to, b, f.base)
		case 2:
			to.name, err = f.text()
		case 5:
			err = d.initializer(to, b, f.base)
		case 11:
			to.inputs, err = d.port(to.inputs, "input", b, f.base)
		case 12:
			to.outputs, err = d.port(to.outputs, "output", b, f.base)
		case 15:
			err = unsupportedf("sparse initializers")
		}
		return err
	})
	d.depth--
	return err
}

func (d *decoder) initializer(to *body, data []byte, base int) error {
	if d.tensors++; d.tensors > maxTensors {
		return fmt.Errorf("%w: more than %d initializers", ErrLimit, maxTensors)
	}
	name, t, err := d.tensor("initializer["+strconv.Itoa(len(to.tensors))+"]", "initializer", data, base)
	if err == nil {
		to.tensors = append(to.tensors, NamedTensor{name, t})
	}
	return err
}

func (d *decoder) node(to *body, data []byte, base int) error {
	if d.nodes++; d.nodes > maxNodes {
		return fmt.Errorf("%w: more than %d nodes", ErrLimit, maxNodes)
	}
	n := node{attrs: map[string]attribute{}}
	count := 0
	err := d.each("node["+strconv.Itoa(len(to.nodes))+"]", data, base, func(f field) (err error) {
		switch f.number {
		case 1, 2:
			list := &n.in
			if f.number == 2 {
				list = &n.out
			}
			if len(*list) >= maxOperands {
				return fmt.Errorf("%w: more than %d operands", ErrLimit, maxOperands)
			}
			var s string
			s, err = f.text()
			*list = append(*list, s)
		case 3:
			n.name, err = f.text()
		case 4:
			n.op, err = f.text()
		case 5:
			var b []byte
			if count++; count > maxAttributes {
				return fmt.Errorf("%w: more than %d attributes", ErrLimit, maxAttributes)
			}
			if b, err = f.bytes(); err == nil {
				err = d.attribute(n.attrs, b, f.base)
			}
		case 7:
			n.domain, err = f.text()
		}
		return err
	})
	if n.domain == "ai.onnx" {
		n.domain = ""
	}
	to.nodes = append(to.nodes, n)
	return err
}

// attribute reads an AttributeProto.
func (d *decoder) attribute(to map[string]attribute, data []byte, base int) error {
	var a attribute
	var name string
	err := d.each("attribute["+strconv.Itoa(len(to))+"]", data, base, func(f field) (err error) {
		var b []byte
		switch f.number {
		case 5, 6:
			if b, err = f.bytes(); err != nil {
				return err
			}
		}
		switch f.number {
		case 1:
			if name, err = f.text(); err == nil {
				d.label("attribute[" + quoted(name) + "]")
			}
		case 2:
			a.f, err = f.float()
		case 3:
			a.i, err = f.int()
		case 4:
			a.s, err = f.text()
		case 5:
			_, a.t, err = d.tensor("t", "t", b, f.base)
		case 6:
			if a.g != nil {
				return errors.New("there are two graphs")
			}
			a.g = &body{}
			err = d.graph(a.g, "g", b, f.base)
		case 7:
			b, err = f.fixed(nil, wire32)
			if len(a.floats)+len(b)/4 > maxNumbers {
				return fmt.Errorf("%w: more than %d numbers", ErrLimit, maxNumbers)
			}
			for i := 0; i+4 <= len(b); i += 4 {
				a.floats = append(a.floats, float64(float32At(b[i:])))
			}
		case 8:
			a.ints, err = f.ints(a.ints, maxNumbers)
		case 9:
			if len(a.strings) >= maxAttributes {
				return fmt.Errorf("%w: more than %d strings", ErrLimit, maxAttributes)
			}
			var s string
			s, err = f.text()
			a.strings = append(a.strings, s)
		case 21:
			a.ref, err = f.text()
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, twice := to[name]; twice || name == "" {
		return fmt.Errorf("the attribute %.80q is without a name or there twice", name)
	}
	to[name] = a
	return nil
}

// function reads a FunctionProto.
func (d *decoder) function(m *Model, data []byte, base int) error {
	if len(m.functions) >= maxFunctions {
		return fmt.Errorf("%w: more than %d functions", ErrLimit, maxFunctions)
	}
	var name, domain, overload string
	fn := &function{body: &body{}, defaults: map[string]attribute{}}
	opsets := map[string]int64{}
	err := d.each("functions["+strconv.Itoa(len(m.functions))+"]", data, base, func(f field) (err error) {
		switch f.number {
		case 1:
			name, err = f.text()
		case 4, 5:
			list := &fn.in
			if f.number == 5 {
				list = &fn.out
			}
			if len(*list) >= maxOperands {
				return fmt.Errorf("%w: more than %d operands", ErrLimit, maxOperands)
			}
			var s string
			s, err = f.text()
			*list = append(*list, s)
		case 7, 9, 11:
			var b []byte
			if b, err = f.bytes(); err != nil {
				return err
			}
			switch f.number {
			case 7:
				err = d.node(fn.body, b, f.base)
			case 9:
				err = d.opset(opsets, b, f.base)
			case 11:
				if len(fn.defaults) >= maxAttributes {
					return fmt.Errorf("%w: more than %d attributes", ErrLimit, maxAttributes)
				}
				err = d.attribute(fn.defaults, b, f.base)
			}
		case 10:
			domain, err = f.text()
		case 13:
			overload, err = f.text()
		}
		return err
	})
	if err != nil {
		return err
	}
	if domain == "ai.onnx" {
		domain = ""
	}
	key := functionKey(domain, name)
	if _, twice := m.functions[key]; twice || name == "" || overload != "" {
		return fmt.Errorf("the function %.80q is without a name, there twice or overloaded", name)
	}
	fn.opset = opsets[""]
	m.functions[key] = fn
	return nil
}

func functionKey(domain, name string) string { return domain + "." + name }
