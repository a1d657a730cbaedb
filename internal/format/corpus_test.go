package format_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// corpusCase is a cases.json: files of one network in several forms, and what
// torch answered.
type corpusCase struct {
	Name        string            `json:"name"`
	Files       map[string]string `json:"files"`
	Sequence    bool              `json:"sequence"`
	InputNames  []string          `json:"input_names"`
	InputDTypes map[string]any    `json:"input_dtypes"`
	Atol        float64           `json:"atol"`
	Batches     []corpusBatch     `json:"batches"`
	Steps       []corpusBatch     `json:"steps"`
	ResetBefore []int             `json:"reset_before_steps"`

	dir string
}

type corpusBatch struct {
	Batch      int            `json:"batch"`
	Inputs     map[string]any `json:"inputs"`
	Outputs    map[string]any `json:"outputs"`
	ActOutputs map[string]any `json:"act_outputs"`
}

func readCase(t *testing.T, path string) *corpusCase {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &corpusCase{dir: filepath.Dir(path)}
	if err := json.Unmarshal(data, c); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if c.Atol == 0 {
		c.Atol = 1e-5
	}
	c.Batches = append(c.Batches, c.Steps...)
	return c
}

// decodeFile decodes one file of a case.
func (c *corpusCase) decodeFile(t *testing.T, form string) (format.Network, error) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, c.Files[form]))
	if err != nil {
		t.Fatal(err)
	}
	return format.Decode(c.Files[form], data)
}

// check lowers a method of one file and compares all recorded answers. The
// shapes of the recorded inputs are given where the file needs them.
func (c *corpusCase) check(t *testing.T, form, method string) error {
	t.Helper()
	n, err := c.decodeFile(t, form)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	g, err := n.Lower(format.LowerOptions{Method: method, Deterministic: true, InputShapes: c.shapes(t)})
	if err != nil {
		return fmt.Errorf("lower: %w", err)
	}
	for i, b := range c.Batches {
		inputs := c.inputs(t, b)
		wants := b.Outputs
		if method == "act" {
			wants = b.ActOutputs
		}
		if wants == nil {
			continue
		}
		if err := compareBatch(g, inputs, wants, c.Atol); err != nil {
			return fmt.Errorf("batch %d: %w", i, err)
		}
	}
	return nil
}

// inputs are the recorded inputs of a batch by name.
func (c *corpusCase) inputs(t *testing.T, b corpusBatch) map[string]tensorData {
	t.Helper()
	inputs := map[string]tensorData{}
	for name, v := range b.Inputs {
		if m, ok := v.(map[string]any); ok && m["npy"] == nil { // a dict of inputs
			for k, e := range m {
				inputs[k] = c.data(t, e)
			}
			continue
		}
		inputs[name] = c.data(t, v)
	}
	return inputs
}

// checkRows lowers a method for the number of rows of each recorded batch, and
// goes through a recorded sequence with its state.
func (c *corpusCase) checkRows(t *testing.T, form, method string) error {
	t.Helper()
	n, err := c.decodeFile(t, form)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	graphs := map[int]*graph.Graph{}
	var state []*graph.Tensor
	for i, b := range c.Batches {
		inputs, wants := c.inputs(t, b), b.Outputs
		if method == "act" {
			wants = b.ActOutputs
		}
		rows := b.Batch
		if rows == 0 {
			rows = 1
		}
		g := graphs[rows]
		if g == nil {
			if g, err = n.Lower(format.LowerOptions{Method: method, Deterministic: true, InputShapes: c.shapes(t), Rows: rows}); err != nil {
				return fmt.Errorf("lower for %d rows: %w", rows, err)
			}
			if err := g.Verify(); err != nil {
				return err
			}
			graphs[rows] = g
		}
		if i == 0 || !c.Sequence {
			state = firstState(g, false)
		}
		if slices.Contains(c.ResetBefore, i) {
			state = firstState(g, true)
		}
		if state, err = compareStep(g, inputs, state, wants, c.Atol); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// firstState is what the states of a graph are before the first step, or
// after a reset.
func firstState(g *graph.Graph, reset bool) []*graph.Tensor {
	var out []*graph.Tensor
	for _, s := range g.States {
		if reset && s.Reset != nil {
			out = append(out, s.Reset)
		} else {
			out = append(out, s.Initial)
		}
	}
	return out
}

// compareStep runs a graph for one step, and returns its state after it.
func compareStep(g *graph.Graph, inputs map[string]tensorData, state []*graph.Tensor, wants map[string]any, atol float64) ([]*graph.Tensor, error) {
	args := make([]*graph.Tensor, len(g.Inputs))
	for i, s := range g.States {
		args[s.Input] = state[i]
	}
	for i, v := range g.Inputs {
		if args[i] == nil {
			d, ok := inputs[v.Name]
			if !ok {
				return nil, fmt.Errorf("the graph has an input %q that was not recorded", v.Name)
			}
			args[i] = d.as(v.DType)
		}
	}
	outs, err := graph.Evaluate(g, 1, args, graph.Noise{})
	if err != nil {
		return nil, err
	}
	if got := len(outs) - len(g.States); got != len(wants) {
		return nil, fmt.Errorf("%d outputs, %d were recorded", got, len(wants))
	}
	for i, o := range g.Outputs[:len(wants)] {
		if err := compareTensor(outs[i], wants[o.Name], atol); err != nil {
			return nil, fmt.Errorf("output %s: %w", o.Name, err)
		}
	}
	next := make([]*graph.Tensor, len(g.States))
	for i, s := range g.States {
		next[i] = outs[s.Output]
	}
	return next, nil
}

// shapes are the shapes of the recorded images: what a card would say of them.
// Flat rows must be found without.
func (c *corpusCase) shapes(t *testing.T) map[string][]int {
	out := map[string][]int{}
	for name, v := range c.Batches[0].Inputs {
		if m, ok := v.(map[string]any); ok && m["npy"] == nil {
			continue
		}
		if s := slices.Clone(c.data(t, v).shape); len(s) > 2 || needShapes[c.Name] || strings.HasPrefix(c.Name, "scripts/") {
			// The state of a recurrent layer has the batch in the middle.
			s[max(0, slices.Index(s, c.Batches[0].Batch))] = graph.Batch
			out[name] = s
		}
	}
	return out
}

// needShapes are the cases whose flat rows are not told by the file either.
var needShapes = map[string]bool{"torch/lstm_state_io": true, "embedding": true, "embedding_bag": true}

// tensorData is a tensor of a cases.json.
type tensorData struct {
	shape []int
	flat  []float64
}

// data reads nested lists, in which NaN and infinities are strings, or the
// .npy file that a string names.
func (c *corpusCase) data(t *testing.T, v any) tensorData {
	t.Helper()
	if m, ok := v.(map[string]any); ok {
		if f, ok := m["npy"].(string); ok {
			return readNPY(t, filepath.Join(c.dir, f))
		}
	}
	return nestedData(t, v)
}

func nestedData(t *testing.T, v any) tensorData {
	t.Helper()
	var d tensorData
	for x := v; ; {
		l, ok := x.([]any)
		if !ok {
			break
		}
		d.shape = append(d.shape, len(l))
		if len(l) == 0 {
			break
		}
		x = l[0]
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case float64:
			d.flat = append(d.flat, v)
		case bool:
			d.flat = append(d.flat, map[bool]float64{true: 1, false: 0}[v])
		case string:
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatalf("a tensor with %q in it", v)
			}
			d.flat = append(d.flat, f)
		default:
			t.Fatalf("a tensor with a %T in it", v)
		}
	}
	walk(v)
	return d
}

// as makes a graph tensor of a type.
func (d tensorData) as(dt graph.DType) *graph.Tensor {
	out := &graph.Tensor{DType: dt, Shape: append(graph.Shape{}, d.shape...)}
	switch {
	case dt == graph.Float64:
		out.F64 = d.flat
	case dt.IsFloat():
		out.F32 = make([]float32, len(d.flat))
		for i, v := range d.flat {
			out.F32[i] = float32(v)
		}
	default:
		out.I64 = make([]int64, len(d.flat))
		for i, v := range d.flat {
			out.I64[i] = int64(v)
		}
	}
	return out
}

func compareBatch(g *graph.Graph, inputs map[string]tensorData, wants map[string]any, atol float64) error {
	rows := 0
	var args []*graph.Tensor
	for _, v := range g.Inputs {
		d, ok := inputs[v.Name]
		if !ok && len(inputs) == 1 && len(g.Inputs) == 1 { // a module of torch has its own name for it
			for _, only := range inputs {
				d, ok = only, true
			}
		}
		if !ok {
			return fmt.Errorf("the graph has an input %q that was not recorded", v.Name)
		}
		if rows == 0 {
			rows = d.shape[0]
		}
		args = append(args, d.as(v.DType))
	}
	outs, err := graph.Evaluate(g, rows, args, graph.Noise{})
	if err != nil {
		return err
	}
	if len(outs) != len(wants) {
		return fmt.Errorf("%d outputs, %d were recorded", len(outs), len(wants))
	}
	for i, o := range g.Outputs {
		want, ok := wants[o.Name]
		if !ok {
			return fmt.Errorf("the graph has an output %q that was not recorded", o.Name)
		}
		if err := compareTensor(outs[i], want, atol); err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
	}
	return nil
}

// compareTensor compares element by element: |got-want| <= atol + 1e-5*|want|.
func compareTensor(got *graph.Tensor, want any, atol float64) error {
	var flat []float64
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case float64:
			flat = append(flat, v)
		case string:
			f, _ := strconv.ParseFloat(v, 64)
			flat = append(flat, f)
		}
	}
	walk(want)
	if len(flat) != got.Len() {
		return fmt.Errorf("%d elements, %d were recorded", got.Len(), len(flat))
	}
	for i, w := range flat {
		g := got.At(i)
		if g == w || math.IsNaN(g) && math.IsNaN(w) {
			continue
		}
		if !(math.Abs(g-w) <= atol+1e-5*math.Abs(w)) {
			return fmt.Errorf("element %d is %v, torch has %v", i, g, w)
		}
	}
	return nil
}

// readNPY reads the arrays that the corpus keeps beside cases.json: version 1
// or 2, little-endian, C order.
func readNPY(t *testing.T, path string) tensorData {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := int(data[8]) | int(data[9])<<8
	header, body := string(data[10:10+n]), data[10+n:]
	field := func(key string) string {
		_, rest, _ := strings.Cut(header, "'"+key+"': ")
		return rest
	}
	var d tensorData
	dims, _, _ := strings.Cut(strings.TrimPrefix(field("shape"), "("), ")")
	count := 1
	for s := range strings.SplitSeq(dims, ",") {
		if s = strings.TrimSpace(s); s != "" {
			v, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			d.shape = append(d.shape, v)
			count *= v
		}
	}
	for i := range count {
		switch descr := field("descr"); {
		case strings.HasPrefix(descr, "'|u1'"):
			d.flat = append(d.flat, float64(body[i]))
		case strings.HasPrefix(descr, "'<f4'"):
			bits := uint32(body[4*i]) | uint32(body[4*i+1])<<8 | uint32(body[4*i+2])<<16 | uint32(body[4*i+3])<<24
			d.flat = append(d.flat, float64(math.Float32frombits(bits)))
		default:
			t.Fatalf("%s: descr %.10s", path, descr)
		}
	}
	return d
}
