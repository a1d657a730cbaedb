//go:build ort && cgo

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
)

func init() { runONNXFile = runFileOnONNXRuntime }

// runFileOnONNXRuntime runs the bytes of an ONNX model once, whatever its
// operators are. A dimension of an output that the file leaves open is taken
// for the number of rows.
func runFileOnONNXRuntime(path string, given map[string]*tensor) ([]string, []values, error) {
	a, err := artifact.OpenPath(path, artifact.Limits{})
	if err != nil {
		return nil, nil, err
	}
	data, err := a.Read(artifact.RoleModel)
	if err != nil {
		return nil, nil, err
	}
	if !onnx.Is(data) {
		return nil, nil, fmt.Errorf("%s is no ONNX model", path)
	}
	engine, err := openONNXRuntime()
	if err != nil {
		return nil, nil, err
	}
	session, err := engine.(*ort.Engine).Load(data)
	if err != nil {
		return nil, nil, err
	}
	inputs := session.Inputs()
	if len(inputs) == 1 && len(given) == 1 {
		for _, t := range given {
			given = map[string]*tensor{inputs[0].Name: t}
		}
	}
	var in []graph.Shape
	var flat [][]float32
	for _, p := range inputs {
		t := given[p.Name]
		if t == nil || len(given) != len(inputs) {
			return nil, nil, fmt.Errorf("expected the inputs %s", portNames(inputs))
		}
		if len(t.shape) != len(p.Shape) {
			return nil, nil, fmt.Errorf("input %s: expected %d dimensions, got the shape %v", p.Name, len(p.Shape), t.shape)
		}
		in, flat = append(in, t.shape), append(flat, float32s(t.data))
	}
	rows := 1
	if len(in) > 0 && len(in[0]) > 0 {
		rows = in[0][0]
	}
	var out []graph.Shape
	var names []string
	var results []values
	flatOut := make([][]float32, len(session.Outputs()))
	for i, p := range session.Outputs() {
		shape := slices.Clone(p.Shape)
		for j, d := range shape {
			if d < 0 {
				shape[j] = rows
			}
		}
		out, names = append(out, shape), append(names, p.Name)
		flatOut[i] = make([]float32, count(shape))
		dt := p.DType
		if dt == graph.Float64 {
			dt = graph.Float32 // It comes as float32.
		}
		results = append(results, values{shape: shape, dtype: dt})
	}
	runner, err := session.NewRunner(in, out)
	if err != nil {
		return nil, nil, err
	}
	if err := runner.Run(1, flat, flatOut); err != nil {
		return nil, nil, err
	}
	for i := range results {
		results[i].data = float64s(flatOut[i])
	}
	return names, results, nil
}

func portNames(ports []ort.Port) string {
	names := make([]string, len(ports))
	for i, p := range ports {
		names[i] = p.Name
	}
	return strings.Join(names, ", ")
}
