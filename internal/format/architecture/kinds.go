package architecture

import (
	"maps"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// kind is what is known of an operator of a spec.
type kind struct {
	keyed    bool // it has parameters
	operands bool // its value lists what it takes
	apply    func(b *builder, l *Layer)
}

// kinds are the operators by name: those of layers, and every operator of the
// graph that computes.
var kinds map[string]kind

func init() {
	kinds = map[string]kind{
		"linear":         {keyed: true, apply: (*builder).linear},
		"conv":           {keyed: true, apply: (*builder).conv},
		"conv_transpose": {keyed: true, apply: (*builder).convTranspose},
		"layer_norm":     {keyed: true, apply: (*builder).layerNorm},
		"rms_norm":       {keyed: true, apply: (*builder).rmsNorm},
		"batch_norm":     {keyed: true, apply: (*builder).batchNorm},
		"group_norm":     {keyed: true, apply: (*builder).groupNorm},
		"prelu":          {keyed: true, apply: (*builder).prelu},
		"embedding":      {keyed: true, apply: (*builder).embedding},

		"lstm": {keyed: true, apply: (*builder).recurrent},
		"gru":  {keyed: true, apply: (*builder).recurrent},
		"rnn":  {keyed: true, apply: (*builder).recurrent},

		"attention":           {keyed: true, apply: (*builder).attention},
		"transformer_encoder": {keyed: true, apply: (*builder).encoder},

		"normalize": {apply: (*builder).normalize},
		"flatten":   {apply: (*builder).flatten},
		"identity":  {apply: (*builder).identity},
		"dropout":   {apply: (*builder).identity},
		"relu6":     {apply: (*builder).relu6},
		"one_hot":   {apply: (*builder).oneHot},
		"squeeze":   {apply: (*builder).squeeze},

		"max_pool":          {apply: func(b *builder, l *Layer) { b.pool(l, "max_pool") }},
		"avg_pool":          {apply: func(b *builder, l *Layer) { b.pool(l, "avg_pool") }},
		"adaptive_avg_pool": {apply: (*builder).adaptivePool},
	}
	several := []graph.Op{
		graph.OpMatMul, graph.OpAdd, graph.OpSub, graph.OpMul, graph.OpDiv, graph.OpPow, graph.OpMinimum, graph.OpMaximum,
		graph.OpAtan2, graph.OpFmod, graph.OpRemainder, graph.OpFloorDiv,
		graph.OpEq, graph.OpNe, graph.OpLt, graph.OpLe, graph.OpGt, graph.OpGe, graph.OpAnd, graph.OpOr, graph.OpWhere, graph.OpConcat,
	}
	// What draws, branches or takes rows by indices is no layer.
	others := []graph.Op{graph.OpNormal, graph.OpBeta, graph.OpIf, graph.OpLoop, graph.OpTake, graph.OpGather}
	for _, op := range graph.Ops() {
		name := string(op)
		if _, own := kinds[name]; own || slices.Contains(others, op) {
			continue
		}
		kinds[name] = kind{operands: slices.Contains(several, op), apply: (*builder).generic}
	}
}

// Operators returns the names that a layer may have, sorted.
func Operators() []string { return slices.Sorted(maps.Keys(kinds)) }

// The attributes by kind, which is the same for all operators; beside them
// stand the booleans keepdim, ceil, descending and norm_first.
var (
	intAttrs   = []string{"axis", "start", "end", "step", "groups", "classes", "heads"}
	intsAttrs  = []string{"axes", "stride", "padding", "output_padding", "dilation", "perm", "shape", "kernel", "size"}
	floatAttrs = []string{"alpha", "beta", "threshold", "min", "max", "eps", "clip"}
	textAttrs  = []string{"approximate", "dtype", "mean", "var", "std", "activation"}
)
