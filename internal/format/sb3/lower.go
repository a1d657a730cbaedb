package sb3

import (
	"fmt"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The logarithms of deviations are cut to this range in SAC and its kin.
const (
	minLogStd = -20.0
	maxLogStd = 2.0
)

// LowerOptions say which computation of a policy is wanted.
type LowerOptions struct {
	// Deterministic wants the likeliest action instead of a draw. Policies
	// without a distribution have only that.
	Deterministic bool
	// InputShapes gives shapes of inputs by name, with [graph.Batch] for the
	// batch axis. It matters for images alone: with the channels first the graph
	// takes them so, in all other cases with the channels last.
	InputShapes map[string][]int
	// ActionMasks adds the input action_masks to a policy of MaskablePPO: true
	// for each action that is allowed, [Policy.ActionMasks] of them in a row.
	ActionMasks bool
	// Rows asks for exactly that number of rows, without a batch axis; 0 is for
	// any number.
	Rows int
}

// Lower makes the graph of the policy, from the raw observation (after
// VecNormalize, where there is one) to the action that predict gives. Inputs are
// f32: "obs", or one for each key of a Dict in the order of the space. The first
// output is "action"; those that the policy has besides follow, each a row or a
// number an observation:
//
//	raw_action   before it is clipped or unscaled, of a Box
//	mean, std    of a Gaussian, before squashing and clipping
//	log_std      what the network or the file has of it
//	logits       normalised, the parts of a MultiDiscrete in a row
//	probs        of the same
//	q_values     of each action
//	value        of the observation: predict_values, or the greatest of q_values
//	log_prob     of the action before it is clipped or unscaled
//	entropy      of the distribution, where the library has it: not where tanh
//	             squashes it
//	critic_q     of the action, one for each critic
//
// A recurrent policy has states: see [Policy.Recurrent].
func (p *Policy) Lower(o LowerOptions) (*graph.Graph, error) {
	if o.ActionMasks && !p.class.maskable {
		return nil, fmt.Errorf("%s takes no action masks", p.PolicyClass)
	}
	b := newBuilder(p)
	if b.rows = graph.Batch; o.Rows > 0 {
		b.rows = o.Rows
	}
	obs := b.observe(o.InputShapes)
	switch p.class.kind {
	case actorCritic, recurrent:
		b.actorCritic(obs, o)
	case deepQ, quantileQ:
		b.qNetwork(obs)
	case softActor:
		b.softActor(obs, o.Deterministic)
	case deterministicActor:
		b.deterministicActor(obs)
	case linearSearch:
		b.linearSearch(obs)
	}
	b.carryOn()
	b.leftOver()
	if b.err != nil {
		return nil, fmt.Errorf("%s: %w", p.PolicyClass, b.err)
	}
	if err := b.g.Verify(); err != nil {
		return nil, err
	}
	return b.g, nil
}

func (b *builder) output(name string, v *graph.Value) {
	if b.err == nil {
		b.g.Output(name, v)
	}
}

// actorCritic is the policy of PPO, A2C, TRPO, MaskablePPO and RecurrentPPO.
// Before version 1.8 its parts could share layers, and before 2.0 the features
// extractor had one name for both.
func (b *builder) actorCritic(obs []*graph.Value, o LowerOptions) {
	pi, vf := b.actorCriticFeatures(obs)
	features, masks := pi, b.masks(o)
	if b.p.Recurrent {
		pi, vf = b.recurrent(pi, vf)
	}
	h := &b.p.options.hidden
	wantPi, wantVf := h.pi, h.vf
	if b.hasBelow("mlp_extractor.shared_net.") {
		pi, vf = b.sharedLayers(pi, vf)
	} else if !h.split {
		wantPi, wantVf = h.shared, h.shared
	}
	latent, sizes := b.mlp(pi, "mlp_extractor.policy_net", false)
	b.agree("mlp_extractor.policy_net", sizes, wantPi)
	critic, sizes := b.mlp(vf, "mlp_extractor.value_net", false)
	b.agree("mlp_extractor.value_net", sizes, wantVf)

	logProb := b.distribution(latent, b.explorationFeatures(features, latent, "", "log_std"), masks, o)
	if v := b.linear(critic, "value_net"); b.err == nil && b.width(v) != 1 {
		b.fail("%s: value_net has %d outputs, 1 was wanted", weightsMember, b.width(v))
	} else {
		b.output("value", b.reshape(v, b.rows))
	}
	b.output("log_prob", logProb)
}

// sharedLayers applies the layers that actor and critic share, once where they
// see the same features.
func (b *builder) sharedLayers(pi, vf *graph.Value) (*graph.Value, *graph.Value) {
	x, sizes := b.mlp(pi, "mlp_extractor.shared_net", false)
	b.agree("mlp_extractor.shared_net", sizes, b.p.options.hidden.shared)
	if vf == pi {
		return x, x
	}
	y, _ := b.mlp(vf, "mlp_extractor.shared_net", false)
	return x, y
}

func (b *builder) actorCriticFeatures(obs []*graph.Value) (pi, vf *graph.Value) {
	const own, actor, critic = "features_extractor", "pi_features_extractor", "vf_features_extractor"
	if !b.hasBelow(actor + ".") {
		pi = b.extract(obs, own)
		return pi, pi
	}
	b.ignore(own + ".") // the actor's, a second time
	pi = b.extract(obs, actor)
	if b.p.options.shareExtractor {
		b.ignore(critic + ".")
		return pi, pi
	}
	return pi, b.extract(obs, critic)
}

// distribution adds the outputs of the action and its distribution and returns
// the log_prob.
func (b *builder) distribution(latent, exploration, masks *graph.Value, o LowerOptions) *graph.Value {
	s := b.p.Action
	switch {
	case s.Kind == Box && b.p.UseSDE:
		mean := b.head(latent, "action_net", product(s.Shape))
		std := b.explorationStd(exploration, "log_std", product(s.Shape))
		a := b.gaussian(mean, std, o.Deterministic)
		var logProb *graph.Value
		if b.p.SquashOutput {
			a = b.add(graph.OpTanh, nil, a)
			logProb = b.squashedLogProb(a, mean, std)
		} else {
			logProb = b.normalLogProb(a, mean, std)
		}
		b.boxAction(a)
		b.output("mean", mean)
		b.output("std", std)
		if !b.p.SquashOutput {
			b.output("entropy", b.normalEntropy(std))
		}
		return logProb
	case s.Kind == Box:
		mean := b.head(latent, "action_net", product(s.Shape))
		logStd := b.parameter("log_std", 1)
		if b.err == nil && b.width(logStd) != product(s.Shape) {
			return b.fail("%s: log_std has %d values, %s needs %d", weightsMember, b.width(logStd), s, product(s.Shape))
		}
		logStd = b.add(graph.OpExpand, graph.Attrs{"shape": []int{b.rows, product(s.Shape)}}, logStd)
		std := b.add(graph.OpExp, nil, logStd)
		a := b.gaussian(mean, std, o.Deterministic)
		b.boxAction(a)
		b.output("mean", mean)
		b.output("std", std)
		b.output("log_std", logStd)
		b.output("entropy", b.normalEntropy(std))
		return b.normalLogProb(a, mean, std)
	case s.Kind == MultiBinary && !b.p.class.maskable:
		logits := b.head(latent, "action_net", product(s.Shape))
		a := b.bernoulli(logits, o.Deterministic)
		b.output("action", b.reshape(a, append([]int{b.rows}, s.Shape...)...))
		b.output("logits", logits)
		b.output("probs", b.add(graph.OpSigmoid, nil, logits))
		b.output("entropy", b.bernoulliEntropy(logits))
		return b.bernoulliLogProb(logits, a)
	}
	return b.categories(latent, masks, o.Deterministic)
}

// qNetwork is the policy of DQN, and of QR-DQN, whose values are means of
// quantiles.
func (b *builder) qNetwork(obs []*graph.Value) {
	name := "q_net"
	if b.p.class.kind == quantileQ {
		name = "quantile_net"
	}
	b.ignore(name + "_target.")
	if b.p.Action.Kind != Discrete {
		b.fail("%w: actions in %s", ErrUnsupported, b.p.Action)
		return
	}
	n := b.p.Action.N[0]
	q, sizes := b.mlp(b.extract(obs, name+".features_extractor"), name+"."+name, true)
	b.agree(name, sizes, b.p.options.hidden.shared)
	if b.p.class.kind == quantileQ {
		quantiles := b.p.options.quantiles
		if quantiles == 0 {
			quantiles = 200
		}
		if b.err == nil && b.width(q) != quantiles*n {
			b.fail("%s: %s has %d outputs, %d quantiles of %d actions need %d", weightsMember, name, b.width(q), quantiles, n, quantiles*n)
			return
		}
		q = b.add(graph.OpMean, graph.Attrs{"axes": []int{1}}, b.reshape(q, b.rows, quantiles, n))
	}
	if b.err == nil && b.width(q) != n {
		b.fail("%s: %s has %d outputs, %s needs %d", weightsMember, name, b.width(q), b.p.Action, n)
		return
	}
	b.output("action", b.add(graph.OpArgmax, graph.Attrs{"axis": 1}, q))
	b.output("q_values", q)
	b.output("value", b.add(graph.OpAmax, graph.Attrs{"axes": []int{1}}, q))
}

// offPolicySizes are the hidden sizes of actor and critic: net_arch is one list
// for both, or a dict.
func (b *builder) offPolicySizes() (actor, critic []int) {
	h := &b.p.options.hidden
	if !h.split {
		return h.shared, h.shared
	}
	return h.pi, h.qf
}

// softActor is the policy of SAC, TQC and CrossQ: tanh of a Gaussian.
func (b *builder) softActor(obs []*graph.Value, deterministic bool) {
	b.ignore("critic_target.")
	if b.p.Action.Kind != Box {
		b.fail("%w: actions in %s", ErrUnsupported, b.p.Action)
		return
	}
	n := product(b.p.Action.Shape)
	features := b.extract(obs, "actor.features_extractor")
	latent, sizes := b.mlp(features, "actor.latent_pi", false)
	want, _ := b.offPolicySizes()
	b.agree("actor.latent_pi", sizes, want)
	var mean, std, logStd *graph.Value
	if b.p.UseSDE {
		if clip := b.p.options.clipMean; clip > 0 {
			mean = b.add(graph.OpClamp, graph.Attrs{"min": -clip, "max": clip}, b.head(latent, "actor.mu.0", n))
		} else {
			mean = b.head(latent, "actor.mu", n)
		}
		std = b.explorationStd(b.explorationFeatures(features, latent, "actor.", "actor.log_std"), "actor.log_std", n)
		logStd = b.parameter("actor.log_std", 2)
	} else {
		mean = b.head(latent, "actor.mu", n)
		logStd = b.add(graph.OpClamp, graph.Attrs{"min": minLogStd, "max": maxLogStd}, b.head(latent, "actor.log_std", n))
		std = b.add(graph.OpExp, nil, logStd)
	}
	a := b.add(graph.OpTanh, nil, b.gaussian(mean, std, deterministic))
	b.boxAction(a)
	b.output("mean", mean)
	b.output("std", std)
	b.output("log_std", logStd)
	b.output("log_prob", b.squashedLogProb(a, mean, std))
	b.critics(obs, a)
}

// deterministicActor is the policy of TD3 and DDPG.
func (b *builder) deterministicActor(obs []*graph.Value) {
	b.ignore("actor_target.")
	b.ignore("critic_target.")
	if b.p.Action.Kind != Box {
		b.fail("%w: actions in %s", ErrUnsupported, b.p.Action)
		return
	}
	a, sizes := b.mlp(b.extract(obs, "actor.features_extractor"), "actor.mu", true)
	want, _ := b.offPolicySizes()
	b.agree("actor.mu", sizes, want)
	if n := product(b.p.Action.Shape); b.err == nil && b.width(a) != n {
		b.fail("%s: actor.mu has %d outputs, %s needs %d", weightsMember, b.width(a), b.p.Action, n)
		return
	}
	a = b.add(graph.OpTanh, nil, a)
	b.boxAction(a)
	b.critics(obs, a)
}

// critics adds the values that the critics give to an action between -1 and 1;
// those of TQC are means of quantiles.
func (b *builder) critics(obs []*graph.Value, action *graph.Value) {
	x := b.concat(b.extract(obs, "critic.features_extractor"), action)
	_, want := b.offPolicySizes()
	var values []*graph.Value
	for i := 0; b.err == nil && b.hasBelow("critic.qf"+strconv.Itoa(i)+"."); i++ {
		if i == maxCritics {
			b.fail("%s: more than %d critics", weightsMember, maxCritics)
			return
		}
		name := "critic.qf" + strconv.Itoa(i)
		q, sizes := b.mlp(x, name, true)
		b.agree(name, sizes, want)
		if b.width(q) > 1 {
			q = b.add(graph.OpMean, graph.Attrs{"axes": []int{1}, "keepdim": true}, q)
		}
		values = append(values, q)
	}
	if n := b.p.options.nCritics; b.err == nil && (len(values) == 0 || n > 0 && n != len(values)) {
		b.fail("%s holds %d critics, %s has %d", weightsMember, len(values), b.p.class.name.Name, max(n, 1))
		return
	}
	b.output("critic_q", b.concat(values...))
}

// linearSearch is the policy of ARS. Before sb3-contrib 1.4 a linear policy was
// a single layer, since then it is a Sequential of one.
func (b *builder) linearSearch(obs []*graph.Value) {
	s := b.p.Action
	if s.Kind != Box && s.Kind != Discrete {
		b.fail("%w: actions in %s", ErrUnsupported, s)
		return
	}
	n := product(s.Shape)
	if s.Kind == Discrete {
		n = s.N[0]
	}
	x := b.extract(obs, "features_extractor")
	if b.has("action_net.weight") {
		x = b.linear(x, "action_net")
	} else {
		var sizes []int
		x, sizes = b.mlp(x, "action_net", true)
		b.agree("action_net", sizes, b.p.options.hidden.shared)
	}
	if b.err == nil && b.width(x) != n {
		b.fail("%s: action_net has %d outputs, %s needs %d", weightsMember, b.width(x), s, n)
		return
	}
	if s.Kind == Discrete {
		b.output("action", b.add(graph.OpArgmax, graph.Attrs{"axis": 1}, x))
		return
	}
	if b.p.SquashOutput || !b.p.class.linear && b.p.before(1, 7) { // which had tanh whatever squash_output says
		x = b.add(graph.OpTanh, nil, x)
	}
	b.boxAction(x)
}
