package graph_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// torchTensor is a tensor of testdata/torch.json: "f32[2] 0.5 nan".
type torchTensor struct {
	Type  string // as in the text form
	DType string
	Data  []string
}

func (tt *torchTensor) UnmarshalText(b []byte) error {
	f := strings.Fields(string(b))
	if len(f) == 0 {
		return errors.New("no tensor")
	}
	tt.Type, tt.Data = f[0], f[1:]
	tt.DType, _, _ = strings.Cut(tt.Type, "[")
	return nil
}

type torchCase struct {
	Op    string            `json:"op"`
	Attrs map[string]string `json:"attrs"`
	In    []torchTensor     `json:"in"`
	Out   torchTensor       `json:"out"`
}

// Every operator gives torch's own answer, recorded by testdata/gen.py: the
// same type and shape, and each element to within the rounding of its type.
func TestTorch(t *testing.T) {
	raw, err := os.ReadFile("testdata/torch.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Torch string      `json:"torch"`
		Cases []torchCase `json:"cases"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	seen := map[graph.Op]bool{}
	for i, c := range file.Cases {
		seen[graph.Op(c.Op)] = true
		if err := c.check(); err != nil {
			t.Errorf("case %d, %s %v of %v: %v", i, c.Op, c.Attrs, c.In, err)
		}
	}
	for _, op := range graph.Ops() {
		// Torch has no such draws, and no graphs inside operators: control_test.go has those.
		if !seen[op] && op != graph.OpNormal && op != graph.OpBeta && op != graph.OpIf && op != graph.OpLoop {
			t.Errorf("no case of %s", op)
		}
	}
	t.Logf("%d cases of torch %s", len(file.Cases), file.Torch)
}

// check builds the case as text, so that the text form is tried as well.
func (c *torchCase) check() error {
	var b strings.Builder
	b.WriteString("graph \"case\"\n")
	var refs []string
	var inputs []*graph.Tensor
	for i, in := range c.In {
		fmt.Fprintf(&b, "%%%d = input \"%d\" %s\n", i, i, in.Type)
		refs = append(refs, fmt.Sprintf("%%%d", i))
		x, err := in.tensor()
		if err != nil {
			return err
		}
		inputs = append(inputs, x)
	}
	fmt.Fprintf(&b, "%%y = %s(%s)", c.Op, strings.Join(refs, ","))
	for k, v := range c.Attrs {
		fmt.Fprintf(&b, " %s=%s", k, v)
	}
	fmt.Fprintf(&b, " %s\noutput \"y\" %%y\n", c.Out.Type)
	g, err := graph.Parse(b.String())
	if err != nil {
		return err
	}
	got, err := graph.Evaluate(g, 1, inputs, graph.Noise{})
	if err != nil {
		return err
	}
	return c.Out.compare(got[0], c.slack())
}

// slack is the absolute error, in epsilons of the type, that an operator that
// sums may have where terms cancel: a few for each unit of their magnitudes,
// and in half precision one for that of the largest result.
func (c *torchCase) slack() float64 {
	largest := func(tt torchTensor) (top, sum float64) {
		for _, s := range tt.Data {
			if x, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(x) && !math.IsInf(x, 0) {
				top, sum = max(top, math.Abs(x)), sum+math.Abs(x)
			}
		}
		return top, sum
	}
	_, sum := largest(c.In[0])
	weight := 1.0
	switch c.Op {
	case "linear", "matmul", "conv", "conv_transpose":
		weight, _ = largest(c.In[1])
	case "sum", "mean", "log_softmax", "cumsum":
	case "gelu":
		return 8 // 1 + tanh cancels for negative operands, and torch's own erf in single precision is off by 5e-7.
	case "erf":
		return 1e-7 / epsilon[c.Out.DType] // As in gelu.
	default:
		return 0x1p-126 / epsilon[c.Out.DType] // torch's vector code gives 0 or fewer digits below the normal range.
	}
	if epsilon[c.Out.DType] > 1e-4 {
		top, _ := largest(c.Out)
		return top
	}
	return sum * weight
}

func (tt *torchTensor) tensor() (*graph.Tensor, error) {
	dt, _ := graph.ParseDType(tt.DType)
	x := &graph.Tensor{DType: dt, Shape: graph.Shape{}}
	for _, d := range strings.FieldsFunc(tt.Type[len(tt.DType):], func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(d)
		if err != nil {
			return nil, err
		}
		x.Shape = append(x.Shape, n)
	}
	for _, s := range tt.Data {
		switch {
		case dt == graph.Bool:
			x.I64 = append(x.I64, int64(len("true")-len(s)+1))
		case dt.IsInt():
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return nil, err
			}
			x.I64 = append(x.I64, n)
		default:
			n, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return nil, err
			}
			if dt == graph.Float64 {
				x.F64 = append(x.F64, n)
			} else {
				x.F32 = append(x.F32, float32(n))
			}
		}
	}
	return x, nil
}

// epsilon is the distance of 1 to the next number of the type.
var epsilon = map[string]float64{"f32": 0x1p-23, "f64": 0x1p-52, "f16": 0x1p-10, "bf16": 0x1p-7}

// compare allows torch's own functions, which sum in another order and in the
// type itself, a few units in the last place; half precision, computed in
// float32 by torch, one.
func (tt *torchTensor) compare(got *graph.Tensor, slack float64) error {
	want, err := tt.tensor()
	if err != nil {
		return err
	}
	if got.DType != want.DType || !got.Shape.Equal(want.Shape) {
		return fmt.Errorf("got %v%v, want %v%v", got.DType, got.Shape, want.DType, want.Shape)
	}
	eps := epsilon[tt.DType]
	tol := 16 * eps
	if eps > 1e-4 {
		tol = eps
	}
	for i := range want.Len() {
		g, w := got.At(i), want.At(i)
		if got.I64 != nil && got.I64[i] != want.I64[i] {
			return fmt.Errorf("element %d: got %d, want %d", i, got.I64[i], want.I64[i])
		}
		same := g == w || math.IsNaN(g) && math.IsNaN(w) || math.Abs(g-w) <= tol*math.Abs(w)+slack*eps
		if !same {
			return fmt.Errorf("element %d: got %v, want %v", i, g, w)
		}
	}
	return nil
}
