package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// paramNames are what outputs and tensors that are a parameter are called. Of a
// tensor it is the last part of its name, or that without a part before "_".
var paramNames = map[string][]string{
	"mean":    {"mean", "mu", "loc", "action_mean", "actor_mean"},
	"std":     {"std", "sigma", "stddev", "action_std", "std_param"},
	"log_std": {"log_std", "logstd", "log_sigma", "log_stddev", "action_logstd", "action_log_std", "actor_logstd", "log_std_param"},
	"logits":  {"logits", "action_logits"},
	"probs":   {"probs", "probabilities", "action_probs"},
	"alpha":   {"alpha", "concentration1"},
	"beta":    {"beta", "concentration0"},
	"scale":   {"action_scale"},
	"shift":   {"action_bias", "action_shift"},
}

// criticNames are outputs that are no parameter.
var criticNames = []string{"value", "values", "v", "vf", "q", "q_value", "q_values", "critic"}

// inTensors are the parameters that may be a tensor of the file.
var inTensors = []string{"std", "log_std", "scale", "shift"}

// param returns a parameter as flat rows, or as one row for all; nil where the
// card does not say it and nothing has a name of it.
func (d *drawing) param(name string) *graph.Value {
	if d.err != nil {
		return nil
	}
	if s, ok := d.net.spec.Params[name]; ok {
		return d.source(name, s)
	}
	var outputs []int
	for i := range d.given {
		if v := &d.given[i]; !v.used && v.value.DType.IsFloat() && slices.Contains(paramNames[name], strings.ToLower(v.name)) {
			outputs = append(outputs, i)
		}
	}
	switch {
	case len(outputs) > 1:
		return d.fail("%s may be the output %q or %q: say which, %s: {output: %s}", name, d.given[outputs[0]].name, d.given[outputs[1]].name, name, d.given[outputs[0]].name)
	case len(outputs) == 1:
		return d.take(name, outputs[0])
	case !slices.Contains(inTensors, name):
		return nil
	}
	var tensors []format.NamedTensor
	for _, t := range format.Tensors(d.net.Network) {
		last := t.Name[strings.LastIndexByte(t.Name, '.')+1:]
		if slices.Contains(paramNames[name], strings.ToLower(last)) {
			tensors = append(tensors, t)
		}
	}
	switch {
	case len(tensors) > 1:
		return d.fail("%s may be the tensor %q or %q: say which, %s: {tensor: %s}", name, tensors[0].Name, tensors[1].Name, name, tensors[0].Name)
	case len(tensors) == 1:
		return d.tensor(name, tensors[0])
	}
	return nil
}

// source returns the parameter that the card describes.
func (d *drawing) source(name string, s artifact.ParamSource) *graph.Value {
	var v *graph.Value
	switch {
	case s.Constant != nil:
		row := make([]float32, len(s.Constant))
		copyFloat32(row, s.Constant)
		d.found = append(d.found, fmt.Sprintf("%s %v", name, s.Constant))
		return d.g.Constant(name, graph.Float32s(row, 1, len(row)))
	case s.Output != nil:
		if *s.Output >= len(d.given) {
			return d.fail("%s: there is no output %d; the network gives %s", name, *s.Output, d.outputs())
		}
		v = d.take(name, *s.Output)
	case s.Tensor != "":
		v = d.named(name, s.Tensor, false, true)
	case s.Names != nil:
		parts := make([]*graph.Value, len(s.Names))
		for i, n := range s.Names {
			parts[i] = d.named(name, n, true, false)
		}
		if v = parts[0]; len(parts) > 1 {
			v = d.add(graph.OpConcat, graph.Attrs{"axis": 1}, parts...)
		}
	default:
		v = d.named(name, s.Name, true, true)
	}
	return d.transform(name, v, &s)
}

// transform takes the part of a parameter and applies what the card says.
func (d *drawing) transform(name string, v *graph.Value, s *artifact.ParamSource) *graph.Value {
	if d.err != nil {
		return nil
	}
	if s.Start != nil || s.End != nil {
		width := v.Shape[1]
		start, end := 0, width
		if s.Start != nil {
			start = *s.Start
		}
		if s.End != nil {
			end = *s.End
		}
		if start >= end || end > width {
			return d.fail("%s: start %d and end %d of %d values", name, start, end, width)
		}
		v = d.slice(v, start, end)
	}
	switch s.Transform {
	case "exp":
		v = d.add(graph.OpExp, nil, v)
	case "softplus", "softplus_plus_one":
		v = d.add(graph.OpSoftplus, graph.Attrs{"beta": 1.0, "threshold": 20.0}, v)
		if s.Transform != "softplus" {
			v = d.add(graph.OpAdd, nil, v, d.number(1))
		}
	}
	if s.Min != nil || s.Max != nil {
		attrs := graph.Attrs{}
		if s.Min != nil {
			attrs["min"] = *s.Min
		}
		if s.Max != nil {
			attrs["max"] = *s.Max
		}
		v = d.add(graph.OpClamp, attrs, v)
	}
	return v
}

// named returns an output or a tensor of the file by its name.
func (d *drawing) named(param, name string, outputs, tensors bool) *graph.Value {
	at := -1
	if outputs {
		at = slices.IndexFunc(d.given, func(v given) bool { return v.name == name })
	}
	var tensor *format.NamedTensor
	if tensors {
		all := format.Tensors(d.net.Network)
		if i := slices.IndexFunc(all, func(t format.NamedTensor) bool { return t.Name == name }); i >= 0 {
			tensor = &all[i]
		}
	}
	switch {
	case at >= 0 && tensor != nil:
		return d.fail("%s: %q is an output of the network and a tensor of the file: say which, {output: %s} or {tensor: %s}", param, name, name, name)
	case at >= 0:
		return d.take(param, at)
	case tensor != nil:
		return d.tensor(param, *tensor)
	case !outputs:
		return d.fail("%s: the file has no tensor %q", param, name)
	}
	return d.fail("%s: there is no %q; the network gives %s", param, name, d.outputs())
}

// take returns an output of the network.
func (d *drawing) take(param string, i int) *graph.Value {
	v := &d.given[i]
	if !v.value.DType.IsFloat() {
		return d.fail("%s: the output %s has integers, an action that is chosen already", param, v.name)
	}
	v.used = true
	d.found = append(d.found, fmt.Sprintf("%s from the output %s", param, v.name))
	return v.value
}

// tensor returns a tensor of the file, as one row.
func (d *drawing) tensor(param string, t format.NamedTensor) *graph.Value {
	row := make([]float32, t.Tensor.Len())
	if !t.Tensor.DType.IsFloat() || len(row) == 0 || len(row) > maxParamTensor {
		return d.fail("%s: the tensor %s is %v%v, which is none", param, t.Name, t.Tensor.DType, t.Tensor.Shape)
	}
	for i := range row {
		row[i] = float32(t.Tensor.At(i))
	}
	d.found = append(d.found, fmt.Sprintf("%s from the tensor %s", param, t.Name))
	return d.g.Constant(t.Name, graph.Float32s(row, 1, len(row)))
}

// maxParamTensor bounds the values of a tensor that is a parameter.
const maxParamTensor = 1 << 16

// rest are the outputs that nobody named: not used, no critic's, floating point.
func (d *drawing) rest() []int {
	var at []int
	for i := range d.given {
		if v := &d.given[i]; !v.used && v.value.DType.IsFloat() && !slices.Contains(criticNames, strings.ToLower(v.name)) {
			at = append(at, i)
		}
	}
	return at
}

// only returns the parameter that is the one output that is left.
func (d *drawing) only(name string) *graph.Value {
	rest := d.rest()
	if d.err != nil {
		return nil
	}
	if len(rest) == 1 {
		return d.take(name, rest[0])
	}
	if at := slices.IndexFunc(rest, func(i int) bool { return d.given[i].name == "action" }); at >= 0 {
		return d.take(name, rest[at]) // The library's own action without a draw.
	}
	return d.fail("which output is %s is not known: the network gives %s; say it, %s: {output: NAME or POSITION}", name, d.outputs(), name)
}

// outputs lists what the network gives.
func (d *drawing) outputs() string {
	parts := make([]string, len(d.given))
	for i := range d.given {
		parts[i] = fmt.Sprintf("%s%s", d.given[i].name, strings.ReplaceAll(fmt.Sprint(d.given[i].row), " ", ","))
	}
	return strings.Join(parts, ", ")
}

// row gives a parameter the rows and the width of another.
func (d *drawing) row(name string, v *graph.Value, width int) *graph.Value {
	if d.err != nil || v == nil {
		return v
	}
	if w := v.Shape[1]; w != width && w != 1 {
		return d.fail("%s has %d values, the action %d", name, w, width)
	}
	if v.Shape[1] == width && v.Shape[0] == d.rows {
		return v
	}
	return d.add(graph.OpExpand, graph.Attrs{"shape": []int{d.rows, width}}, v)
}

// rowShapeOf is the shape of the action whose parameter v is: that of the output
// it was taken from, where the whole of it was.
func (d *drawing) rowShapeOf(v *graph.Value) []int {
	if d.err != nil {
		return nil
	}
	for i := range d.given {
		if d.given[i].value == v {
			return d.given[i].row
		}
	}
	return []int{v.Shape[1]}
}
