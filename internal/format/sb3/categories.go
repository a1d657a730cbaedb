package sb3

import "github.com/carla-rl/carla-rl-serving/internal/graph"

// actionMasksInput is the name of the input of masks.
const actionMasksInput = "action_masks"

// maskedLogit is the logit of an action that is not allowed.
const maskedLogit = -1e8

// categoriesOf are the sizes of the Categorical distributions of an action
// space, in their order; nil for a space that has others. With masks a
// MultiBinary has two categories for each value, not allowed and allowed.
func (p *Policy) categoriesOf() []int {
	switch s := p.Action; {
	case s.Kind == Discrete || s.Kind == MultiDiscrete:
		return s.N
	case s.Kind == MultiBinary && p.class.maskable:
		parts := make([]int, product(s.Shape))
		for i := range parts {
			parts[i] = 2
		}
		return parts
	}
	return nil
}

// ActionMasks is the number of masks of a row: one for each category of each
// part of the action, in a row, and so two for each value of a MultiBinary; 0
// for a policy that takes none.
func (p *Policy) ActionMasks() int { return sum(p.MaskParts()) }

// MaskParts are the sizes of the parts of a row of masks, of each of which one
// category is taken.
func (p *Policy) MaskParts() []int {
	if !p.class.maskable {
		return nil
	}
	return p.categoriesOf()
}

// masks adds the input of masks, where they are wanted.
func (b *builder) masks(o LowerOptions) *graph.Value {
	if !o.ActionMasks || b.err != nil {
		return nil
	}
	return b.input(actionMasksInput, graph.Bool, graph.Shape{b.rows, b.p.ActionMasks()})
}

// categories is the distribution of one category or of several.
func (b *builder) categories(latent, masks *graph.Value, deterministic bool) *graph.Value {
	parts := b.p.categoriesOf()
	if len(parts) == 0 {
		return b.fail("%w: %s with actions in %s", ErrUnsupported, b.p.class.name.Name, b.p.Action)
	}
	raw := b.head(latent, "action_net", sum(parts))
	var actions, logits, probs []*graph.Value
	var logProb, entropy *graph.Value
	at := 0
	for _, n := range parts {
		l := raw
		if len(parts) > 1 {
			l = b.slice(raw, at, at+n)
		}
		scores := l // have the same order, and need no more steps
		if l = b.logits(l); masks != nil {
			allowed := masks
			if len(parts) > 1 {
				allowed = b.slice(masks, at, at+n)
			}
			scores, l = b.mask(l, allowed)
		}
		a := b.categorical(scores, deterministic)
		p := b.add(graph.OpSoftmax, graph.Attrs{"axis": 1}, l)
		logProb, entropy = b.plus(logProb, b.chosen(l, a)), b.plus(entropy, b.surprise(l, p))
		actions, logits, probs = append(actions, a), append(logits, l), append(probs, p)
		at += n
	}
	b.output("action", b.reshape(b.concat(actions...), append([]int{b.rows}, b.p.Action.Shape...)...))
	b.output("logits", b.concat(logits...))
	b.output("probs", b.concat(probs...))
	b.output("entropy", entropy)
	return logProb
}

// plus adds up; nil is nothing.
func (b *builder) plus(sum, x *graph.Value) *graph.Value {
	if sum == nil {
		return x
	}
	return b.add(graph.OpAdd, nil, sum, x)
}

// surprise is the entropy of one Categorical: -Σ p log p, of shape [B]. What is
// masked has a probability of 0, and where all of it is a logit of 0.
func (b *builder) surprise(logits, probs *graph.Value) *graph.Value {
	return b.add(graph.OpNeg, nil, b.sum(b.add(graph.OpMul, nil, logits, probs)))
}

// logits normalises the logits of one Categorical.
func (b *builder) logits(x *graph.Value) *graph.Value {
	return b.add(graph.OpLogSoftmax, graph.Attrs{"axis": 1}, x)
}

// mask makes the actions that are not allowed as good as impossible. scores
// have the order of the logits. Where nothing is allowed, all logits are alike:
// the likeliest action is the first, a draw is any, and the library, which takes
// the logarithm of the sum of exponentials in one number of 32 bits, has logits
// of 0.
func (b *builder) mask(logits, allowed *graph.Value) (scores, normalised *graph.Value) {
	scores = b.add(graph.OpWhere, nil, allowed, logits, b.number(maskedLogit))
	last := graph.Attrs{"axes": []int{1}, "keepdim": true}
	top := b.add(graph.OpAmax, last, scores)
	all := b.add(graph.OpLog, nil, b.add(graph.OpSum, last, b.add(graph.OpExp, nil, b.add(graph.OpSub, nil, scores, top))))
	return scores, b.add(graph.OpSub, nil, scores, b.add(graph.OpAdd, nil, top, all))
}

// categorical returns the column of the likeliest category, or of a draw: the
// category whose score less the logarithm of an exponential draw is greatest.
// Half the sum of two squared Gaussians is such a draw.
func (b *builder) categorical(scores *graph.Value, deterministic bool) *graph.Value {
	if !deterministic {
		m, n := b.normal(scores), b.normal(scores)
		e := b.add(graph.OpAdd, nil, b.add(graph.OpMul, nil, m, m), b.add(graph.OpMul, nil, n, n))
		scores = b.add(graph.OpSub, nil, scores, b.add(graph.OpLog, nil, e))
	}
	return b.add(graph.OpArgmax, graph.Attrs{"axis": 1, "keepdim": true}, scores)
}

// chosen returns the logit of a category, of shape [B].
func (b *builder) chosen(logits, category *graph.Value) *graph.Value {
	index := make([]int64, b.width(logits))
	for i := range index {
		index[i] = int64(i)
	}
	is := b.add(graph.OpEq, nil, category, b.g.Constant("", &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{len(index)}, I64: index}))
	return b.sum(b.add(graph.OpWhere, nil, is, logits, b.number(0)))
}

func sum(n []int) int {
	total := 0
	for _, k := range n {
		total += k
	}
	return total
}
