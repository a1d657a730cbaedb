package sb3

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The maxima of the parts of a policy. Policies of the library have 1 to 5
// critics and a few layers.
const (
	maxCritics = 64
	maxLayers  = 256
)

// builder makes the graph of a policy. The first error stays; after it nothing
// is added any more and values are nil.
type builder struct {
	p       *Policy
	g       *graph.Graph
	weights map[string]*graph.Tensor
	used    map[string]bool
	rows    int // graph.Batch, or the fixed number
	streams int
	states  []carried
	err     error
}

func newBuilder(p *Policy) *builder {
	b := &builder{p: p, g: graph.New(p.Algorithm), weights: make(map[string]*graph.Tensor, len(p.Weights)), used: map[string]bool{}}
	for _, t := range p.Weights {
		b.weights[t.Name] = t.Tensor
	}
	return b
}

func (b *builder) fail(format string, args ...any) *graph.Value {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
	return nil
}

// add appends an operator.
func (b *builder) add(op graph.Op, attrs graph.Attrs, in ...*graph.Value) *graph.Value {
	if b.err != nil {
		return nil
	}
	v, err := b.g.Add(op, attrs, in...)
	if err != nil {
		return b.fail("%w", err)
	}
	return v
}

// input adds an input.
func (b *builder) input(name string, dt graph.DType, shape graph.Shape) *graph.Value {
	for _, in := range b.g.Inputs {
		if in.Name == name {
			return b.fail("%w: the observation has a part %s, a name that the policy uses itself", ErrUnsupported, name)
		}
	}
	return b.g.Input(name, dt, shape)
}

// number is a constant without dimensions.
func (b *builder) number(x float32) *graph.Value {
	return b.g.Constant("", graph.Float32s([]float32{x}))
}

// row is a constant row.
func (b *builder) row(name string, x []float32) *graph.Value {
	return b.g.Constant(name, graph.Float32s(x, len(x)))
}

// width is the last dimension of a value; 0 after an error.
func (b *builder) width(v *graph.Value) int {
	if b.err != nil || len(v.Shape) == 0 {
		return 0
	}
	return v.Shape[len(v.Shape)-1]
}

func (b *builder) reshape(x *graph.Value, shape ...int) *graph.Value {
	if b.err == nil && slices.Equal([]int(x.Shape), shape) {
		return x
	}
	return b.add(graph.OpReshape, graph.Attrs{"shape": shape}, x)
}

func (b *builder) slice(x *graph.Value, start, end int) *graph.Value {
	return b.add(graph.OpSlice, graph.Attrs{"axis": 1, "start": start, "end": end}, x)
}

func (b *builder) concat(parts ...*graph.Value) *graph.Value {
	if len(parts) == 1 {
		return parts[0]
	}
	return b.add(graph.OpConcat, graph.Attrs{"axis": 1}, parts...)
}

// sum adds up the last axis of [B,N].
func (b *builder) sum(x *graph.Value) *graph.Value {
	return b.add(graph.OpSum, graph.Attrs{"axes": []int{1}}, x)
}

func (b *builder) has(name string) bool {
	_, ok := b.weights[name]
	return ok
}

// hasBelow reports whether there are weights whose names begin so.
func (b *builder) hasBelow(prefix string) bool {
	for name := range b.weights {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// ignore marks all weights below a prefix as known.
func (b *builder) ignore(prefix string) {
	for name := range b.weights {
		if strings.HasPrefix(name, prefix) {
			b.used[name] = true
		}
	}
}

// parameter returns a tensor of the weights as a constant.
func (b *builder) parameter(name string, rank int) *graph.Value {
	if b.err != nil {
		return nil
	}
	t, ok := b.weights[name]
	if !ok {
		return b.fail("%s has no tensor %s, which %s needs", weightsMember, name, b.p.class.name.Name)
	}
	if t.DType != graph.Float32 {
		return b.fail("%w: %s: %s is of type %s; Stable-Baselines3 computes in f32", ErrUnsupported, weightsMember, name, t.DType)
	}
	if len(t.Shape) != rank {
		return b.fail("%s: %s has the shape %v, %d dimensions were wanted", weightsMember, name, t.Shape, rank)
	}
	b.used[name] = true
	return b.g.Constant(name, t)
}

// linear applies the layer of a name; its bias may be absent.
func (b *builder) linear(x *graph.Value, name string) *graph.Value {
	w := b.parameter(name+".weight", 2)
	if b.err != nil {
		return nil
	}
	if in := b.width(x); in != w.Shape[1] {
		return b.fail("%s: %s.weight takes %d values, it would be given %d: the weights are not those of this observation space and architecture",
			weightsMember, name, w.Shape[1], in)
	}
	if !b.has(name + ".bias") {
		return b.add(graph.OpLinear, nil, x, w)
	}
	bias := b.parameter(name+".bias", 1)
	if b.err == nil && bias.Shape[0] != w.Shape[0] {
		return b.fail("%s: %s has a weight for %d outputs and a bias for %d", weightsMember, name, w.Shape[0], bias.Shape[0])
	}
	return b.add(graph.OpLinear, nil, x, w, bias)
}

// head applies a linear layer of a known number of outputs.
func (b *builder) head(x *graph.Value, name string, outputs int) *graph.Value {
	y := b.linear(x, name)
	if b.err == nil && b.width(y) != outputs {
		return b.fail("%s: %s has %d outputs, %s needs %d", weightsMember, name, b.width(y), b.p.Action, outputs)
	}
	return y
}

// layers returns the numbers of the modules of a torch.nn.Sequential that have
// weights, in their order.
func (b *builder) layers(prefix string) []int {
	var out []int
	for _, t := range b.p.Weights {
		rest, ok := strings.CutPrefix(t.Name, prefix+".")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ".")
		if i, err := strconv.Atoi(number); err == nil && i >= 0 && !slices.Contains(out, i) {
			if len(out) == maxCategories>>8 {
				b.fail("%s: %s has more than %d layers", weightsMember, prefix, len(out))
				return nil
			}
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// mlp applies the layers of a Sequential: linear ones, each followed by the
// activation but for the last where that is the output, and those of batch
// renormalisation. It returns also the sizes of the hidden layers.
func (b *builder) mlp(x *graph.Value, prefix string, output bool) (*graph.Value, []int) {
	layers := b.layers(prefix)
	last := -1
	for _, i := range layers {
		if b.has(fmt.Sprintf("%s.%d.weight", prefix, i)) {
			last = i
		}
	}
	if output && last < 0 {
		return b.fail("%s has no layers %s, which %s needs", weightsMember, prefix, b.p.class.name.Name), nil
	}
	sizes := []int{}
	next := 0
	for _, i := range layers {
		name := fmt.Sprintf("%s.%d", prefix, i)
		if i == next-1 { // an activation that has weights
			continue
		}
		if i != next {
			return b.fail("%w: %s has a layer %s where layer %d was expected: not the layers that %s makes: %s",
				ErrUnsupported, weightsMember, name, next, b.p.class.name.Name, wayOut), nil
		}
		if b.has(name + ".ra_mean") {
			x = b.renormalise(x, name)
			next = i + 1
			continue
		}
		x = b.linear(x, name)
		if output && i == last {
			next = i + 1
			continue
		}
		x = b.activate(x, fmt.Sprintf("%s.%d", prefix, i+1))
		sizes = append(sizes, b.width(x))
		next = i + 2
	}
	return x, sizes
}

// renormalise is BatchRenorm at test time: the running statistics, then scale
// and bias.
func (b *builder) renormalise(x *graph.Value, name string) *graph.Value {
	mean, variance := b.parameter(name+".ra_mean", 1), b.parameter(name+".ra_var", 1)
	scale, bias := b.parameter(name+".scale", 1), b.parameter(name+".bias", 1)
	b.used[name+".steps"] = true
	x = b.add(graph.OpSub, nil, x, mean)
	std := b.add(graph.OpSqrt, nil, b.add(graph.OpAdd, nil, variance, b.number(float32(b.p.options.batchNormEps))))
	x = b.add(graph.OpMul, nil, scale, b.add(graph.OpDiv, nil, x, std))
	x = b.add(graph.OpAdd, nil, x, bias)
	if b.err == nil && len(x.Shape) != 2 {
		return b.fail("%s: %s does not fit", weightsMember, name)
	}
	return x
}

// agree refuses hidden layers that are not those of net_arch.
func (b *builder) agree(part string, got, want []int) {
	if b.err == nil && b.p.options.hidden.known && !slices.Equal(got, want) {
		b.fail("%s: %s has hidden layers of %v, net_arch says %v", weightsMember, part, got, want)
	}
}

// leftOver refuses weights that nothing used: the policy is then another than
// its class.
func (b *builder) leftOver() {
	for _, t := range b.p.Weights {
		if b.err != nil || b.used[t.Name] {
			continue
		}
		b.fail("%w: %s holds %s, which %s does not have: %s", ErrUnsupported, weightsMember, t.Name, b.p.class.name.Name, wayOut)
	}
}
