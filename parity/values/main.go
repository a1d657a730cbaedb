// Command values tells what the readers of this module see in files: the values
// of every tensor, the members of every archive, and what networks and
// preprocessors answer. The parity tests hold it against the Python readers.
//
// Lines of JSON enter, {"path": a file, "as": "zip", "model" or "preprocessor"};
// a line leaves for each, with an error or with values. Networks and
// preprocessors are asked for rows of the numbers of given.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"os"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/format/safetensors"
	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchexport"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchmodule"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// rows is how many rows are asked for.
const rows = 2

type question struct {
	Path string `json:"path"`
	As   string `json:"as"`
}

// answer is what was seen in one file.
type answer struct {
	Path  string `json:"path"`
	Error string `json:"error,omitzero"`
	// Kind is the reader that took the file.
	Kind string `json:"kind,omitzero"`
	// Values has for each tensor its shape and the digest of its values as
	// float64, NaN as one NaN; for each member of an archive that of its bytes.
	Values map[string]value `json:"values,omitzero"`
	// Inputs and Outputs are those of the network, where it could be run.
	Inputs  []port `json:"inputs,omitzero"`
	Outputs []port `json:"outputs,omitzero"`
}

type value struct {
	Shape  []int  `json:"shape"`
	Digest string `json:"digest"`
}

type port struct {
	Name  string `json:"name"`
	Type  string `json:"type,omitzero"`
	Shape []int  `json:"shape"`
	// Numbers are texts where JSON has none for them.
	Numbers []any `json:"numbers,omitzero"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, "values:", err)
			os.Exit(2)
		}
		a := &answer{Path: q.Path}
		if err := a.see(q); err != nil {
			a = &answer{Path: q.Path, Error: err.Error()}
		}
		line, err := json.Marshal(a, json.Deterministic(true))
		if err != nil {
			fmt.Fprintln(os.Stderr, "values:", err)
			os.Exit(2)
		}
		fmt.Printf("%s\n", line)
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "values:", err)
		os.Exit(2)
	}
}

func (a *answer) see(q question) error {
	data, err := os.ReadFile(q.Path)
	if err != nil {
		return err
	}
	a.Values = map[string]value{}
	switch q.As {
	case "zip":
		return a.members(data)
	case "preprocessor":
		return a.preprocessor(data)
	case "model":
		return a.model(data)
	}
	return fmt.Errorf("as %q is not known", q.As)
}

func (a *answer) members(data []byte) error {
	a.Kind = "zip"
	z, err := torch.OpenZip(data, torch.Limits{})
	if err != nil {
		return err
	}
	for _, name := range z.Names() {
		b, err := z.Read(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		a.Values[name] = value{[]int{len(b)}, hex.EncodeToString(sum[:])}
	}
	return nil
}

func (a *answer) preprocessor(data []byte) error {
	a.Kind = "preprocessor"
	p, err := preprocess.Decode(data)
	if err != nil {
		return err
	}
	g, err := p.Graph(4)
	if err != nil {
		return err
	}
	return a.run(g)
}

// model reads the tensors of a model file by the reader that format chooses, and
// runs the network.
func (a *answer) model(data []byte) error {
	n, err := format.Decode("", data)
	if err != nil {
		return err
	}
	a.Kind = n.Describe().Format
	if err := a.tensors(data); err != nil {
		return err
	}
	// Where it does not run, the tensors are what there is to compare.
	g, unsupported := n.Lower(format.LowerOptions{Deterministic: true})
	if unsupported == nil && len(g.States) == 0 && a.run(g) != nil {
		a.Inputs, a.Outputs = nil, nil
	}
	return nil
}

func (a *answer) tensors(data []byte) error {
	dict, err := tensorsOf(a.Kind, data)
	if err != nil {
		return err
	}
	for _, t := range dict {
		if _, twice := a.Values[t.Name]; twice {
			return fmt.Errorf("two tensors are called %q", t.Name)
		}
		a.Values[t.Name] = valueOf(t.Tensor)
	}
	return nil
}

func tensorsOf(kind string, data []byte) (torch.StateDict, error) {
	var z *torch.Zip
	if torch.IsZip(data) {
		var err error
		if z, err = torch.OpenZip(data, torch.Limits{}); err != nil {
			return nil, err
		}
	}
	switch kind {
	case "safetensors":
		f, err := safetensors.Decode(data)
		if err != nil {
			return nil, err
		}
		return f.Tensors, nil
	case "onnx":
		m, err := onnx.Decode(data, nil)
		if err != nil {
			return nil, err
		}
		var all torch.StateDict
		for _, t := range m.Tensors {
			all = append(all, torch.NamedTensor(t))
		}
		return all, nil
	case "torch.export":
		p, err := torchexport.Decode(z)
		if err != nil {
			return nil, err
		}
		return p.Tensors, nil
	case "torchscript":
		m, err := torchscript.Decode(z)
		if err != nil {
			return nil, err
		}
		var all torch.StateDict
		for _, t := range m.Tensors() {
			all = append(all, torch.NamedTensor(t))
		}
		return all, nil
	case "stable-baselines3":
		p, err := sb3.Decode(z)
		if err != nil {
			return nil, err
		}
		return p.Weights, nil
	case "torch module":
		if z == nil {
			m, err := torchmodule.DecodeLegacy(data)
			if err != nil {
				return nil, err
			}
			return m.Tensors(), nil
		}
		m, err := torchmodule.Decode(z)
		if err != nil {
			return nil, err
		}
		return m.Tensors(), nil
	}
	f, err := torch.Decode(data)
	if err != nil {
		return nil, err
	}
	return f.Tensors(), nil
}

func valueOf(t *graph.Tensor) value {
	h := sha256.New()
	for i := range t.Len() {
		add(h, t.At(i))
	}
	return value{append([]int{}, t.Shape...), hex.EncodeToString(h.Sum(nil))}
}

func add(h hash.Hash, v float64) {
	bits := math.Float64bits(v)
	if v != v {
		bits = 0x7ff8000000000000
	}
	var b [8]byte
	for i := range b {
		b[i] = byte(bits >> (8 * i))
	}
	_, _ = h.Write(b[:]) // a hash takes everything
}

// given is number k of an input: a few fractions, which float32 has exactly.
func given(k int) float64 { return float64(k*37%101-50) / 64 }

// run asks a graph for rows of given numbers.
func (a *answer) run(g *graph.Graph) error {
	const most = 1 << 16
	var in []*graph.Tensor
	for _, v := range g.Inputs {
		if v.Shape.RowElements() > most || !v.DType.IsFloat() {
			return errors.New("an input that is too large or holds no floats")
		}
		t := &graph.Tensor{DType: v.DType, Shape: v.Shape.For(rows)}
		for k := range t.Shape.RowElements() {
			if v.DType == graph.Float64 {
				t.F64 = append(t.F64, given(k))
			} else {
				t.F32 = append(t.F32, float32(given(k)))
			}
		}
		in = append(in, t)
		a.Inputs = append(a.Inputs, port{Name: v.Name, Type: v.DType.String(), Shape: t.Shape})
	}
	out, err := graph.Evaluate(g, rows, in, graph.Noise{})
	if err != nil {
		return err
	}
	for i, t := range out {
		if t.Len() > most {
			return errors.New("an output that is too large")
		}
		p := port{Name: g.Outputs[i].Name, Shape: t.Shape}
		for k := range t.Len() {
			v := t.At(k)
			if v-v != 0 {
				p.Numbers = append(p.Numbers, fmt.Sprint(v))
			} else {
				p.Numbers = append(p.Numbers, v)
			}
		}
		a.Outputs = append(a.Outputs, p)
	}
	return nil
}
