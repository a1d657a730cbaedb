package architecture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Library is a file of weights in the layout of a training library, whose
// computation the library's own code fixes.
type Library struct {
	Name  string // "CleanRL (PPO, discrete actions)"
	Spec  *Spec
	Notes []string
}

// Recognize tells whether the tensors of a file, by their names and shapes, are
// those that a training library saves, and how that library computes with
// them; nil where they are not. All names must be there and no other: a
// network of the user's own that happens to share some is not taken for one.
//
// The layouts are those of the scripts of CleanRL (cleanrl/*.py, which save
// .cleanrl_model files) and of the runner of rsl_rl 1 to 5 (model_N.pt).
// Checkpoints keep their parts under names of their own, so that tensors are
// those of the whole file with the names of the parts before them.
func Recognize(all torch.StateDict) *Library {
	shapes := make(map[string]graph.Shape, len(all))
	for _, t := range all {
		shapes[t.Name] = t.Tensor.Shape
	}
	if l := recognize(shapes); l != nil {
		return l
	}
	for _, prefix := range wrappings {
		below := make(map[string]graph.Shape, len(shapes))
		for name, s := range shapes {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				below[rest] = s
			}
		}
		if len(below) != len(shapes) {
			continue
		}
		if l := recognize(below); l != nil {
			l.Spec.move(prefix, below)
			return l
		}
	}
	return nil
}

// wrappings are what DistributedDataParallel and torch.compile put before every
// name of the module that they wrap.
var wrappings = []string{"module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."}

func recognize(shapes map[string]graph.Shape) *Library {
	for _, f := range libraries {
		if l := f(layout{shapes: shapes}); l != nil {
			return l
		}
	}
	return nil
}

// move puts a prefix before the names of the tensors.
func (s *Spec) move(prefix string, tensors map[string]graph.Shape) {
	for i := range s.Layers {
		l := &s.Layers[i]
		if kinds[l.Op].keyed {
			l.Key = strings.TrimSuffix(prefix+l.Key, ".")
		}
		for j := range l.Args {
			if _, ok := tensors[l.Args[j].Name]; ok {
				l.Args[j].Name = prefix + l.Args[j].Name
			}
		}
		for name, v := range l.Attrs {
			if key, ok := v.(string); ok && tensors[key] != nil {
				l.Attrs[name] = prefix + key
			}
		}
	}
}

var libraries = []func(k layout) *Library{cleanRLActorCritic, cleanRLGaussian, cleanRLValues, cleanRLPixels, cleanRLActors, rslRL, rslRLBefore5}

// layout answers what is in a file. Names are below the prefix.
type layout struct {
	shapes map[string]graph.Shape
	prefix string
}

func (k layout) under(prefix string) layout { return layout{k.shapes, prefix} }

func (k layout) shape(name string) graph.Shape { return k.shapes[k.prefix+name] }

func (k layout) has(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return k.shape(name) == nil })
}

// only tells whether every tensor below the prefix begins with one of the
// names.
func (k layout) only(names ...string) bool {
	for full := range k.shapes {
		rest, below := strings.CutPrefix(full, k.prefix)
		if below && !slices.ContainsFunc(names, func(n string) bool { return rest == n || strings.HasPrefix(rest, n+".") }) {
			return false
		}
	}
	return true
}

// mlp returns the sizes of the dense layers name.0, name.2, ... between which
// the odd numbers are activations: the input, and the output of each.
func (k layout) mlp(name string) []int {
	var sizes []int
	for i := 0; ; i += 2 {
		w := k.shape(fmt.Sprintf("%s.%d.weight", name, i))
		if len(w) != 2 || !k.has(fmt.Sprintf("%s.%d.bias", name, i)) || sizes != nil && w[1] != sizes[len(sizes)-1] {
			break
		}
		if sizes == nil {
			sizes = []int{w[1]}
		}
		sizes = append(sizes, w[0])
	}
	tensors := 0
	for full := range k.shapes {
		if strings.HasPrefix(full, k.prefix+name+".") {
			tensors++
		}
	}
	if tensors != 2*(len(sizes)-1) {
		return nil
	}
	return sizes
}

// chain writes an MLP as layers of a spec, without a name for its result.
func (k layout) chain(name, activation string, layers int) string {
	var b strings.Builder
	for i := range layers {
		if i > 0 {
			b.WriteString(", " + activation + ", ")
		}
		b.WriteString(k.linear(name + "." + strconv.Itoa(2*i)))
	}
	return b.String()
}

func (k layout) linear(name string) string { return "{linear: " + quoteKey(k.prefix+name) + "}" }

// named gives the last layer of a chain a name or another origin.
func named(layers, more string) string { return strings.TrimSuffix(layers, "}") + ", " + more + "}" }

// library makes the answer of a spec that is written here, so that it reads.
func library(name, text string, notes ...string) *Library {
	s, err := ParseText(text)
	if err != nil {
		panic("architecture: " + name + ": " + err.Error())
	}
	return &Library{Name: name, Spec: s, Notes: append([]string{
		"The names of the tensors are those of " + name + ", which fixes what is computed with them; an `architecture:` in the card comes before."}, notes...)}
}

// from makes the first layer of a chain take a value of another name, and gives
// the result of the last a name.
func from(chain, origin, as string) string {
	first, rest, _ := strings.Cut(chain, "}")
	return first + ", from: " + origin + "}" + named(rest, "as: "+as)
}

// cleanRLActorCritic is ppo.py.
func cleanRLActorCritic(k layout) *Library {
	actor, critic := k.mlp("actor"), k.mlp("critic")
	if !k.only("actor", "critic") || !sized(actor, -1, -1, -1) || !sized(critic, -1, -1, 1) || !slices.Equal(actor[:3], critic[:3]) {
		return nil
	}
	var notes []string
	if !sized(actor, 64, 64, -1) {
		notes = append(notes, fmt.Sprintf("CleanRL's own layers are 64 wide, these are %d and %d: the activation, which is not in the file, is taken to be CleanRL's tanh. "+
			"Another one must be said by an `architecture:` in the card.", actor[1], actor[2]))
	}
	return library("CleanRL (PPO, discrete actions)", "{inputs: [obs], layers: ["+named(k.chain("actor", "tanh", 3), "as: logits")+
		", {argmax: , as: action}, "+from(k.chain("critic", "tanh", 3), "obs", "value")+"], outputs: {action: action, logits: logits, value: value}}", notes...)
}

// cleanRLGaussian is ppo_continuous_action.py and those made of it.
func cleanRLGaussian(k layout) *Library {
	actor, critic := k.mlp("actor_mean"), k.mlp("critic")
	s := k.shape("actor_logstd")
	if !k.only("actor_mean", "critic", "actor_logstd") || !sized(actor, -1, -1, -1) || !sized(critic, -1, -1, 1) || len(s) != 2 || s[1] != actor[3] {
		return nil
	}
	return library("CleanRL (PPO, continuous actions)", fmt.Sprintf("{inputs: [obs], layers: [%s, {mul: 0.0}, {add: actor_logstd, as: log_std}, {exp: , as: std}, %s], "+
		"outputs: {action: action, mean: action, std: std, log_std: log_std, value: value}}", named(k.chain("actor_mean", "tanh", 3), "as: action"), from(k.chain("critic", "tanh", 3), "obs", "value")),
		"CleanRL normalises observations and clips actions in wrappers of the environment, whose statistics are not in the file.")
}

// cleanRLValues is dqn.py and c51.py.
func cleanRLValues(k layout) *Library {
	q := k.mlp("network")
	if k.only("network") && sized(q, 120, 84, -1) {
		return library("CleanRL (DQN)", "{inputs: [obs], layers: ["+named(k.chain("network", "relu", 3), "as: q_values")+
			", {argmax: , as: action}], outputs: {action: action, q_values: q_values}}")
	}
	k = k.under("model_weights.")
	if q = k.mlp("network"); !k.only("network", "atoms") || !sized(q, -1, -1, -1) {
		return nil
	}
	end := k.atoms(q[3])
	if end == "" {
		return nil
	}
	return library("CleanRL (C51)", "{inputs: [obs], layers: ["+k.chain("network", "relu", 3)+end+"], outputs: {action: action, q_values: q_values}}")
}

// atoms is the end of a distributional critic with the given number of
// outputs; empty where the tensor of atoms does not fit it.
func (k layout) atoms(outputs int) string {
	s := k.shape("atoms")
	if len(s) != 1 || s[0] < 1 || outputs < s[0] || outputs%s[0] != 0 {
		return ""
	}
	return fmt.Sprintf(", {reshape: {shape: [%d, %d]}}, softmax, {mul: %satoms}, {sum: {axes: -1}, as: q_values}, {argmax: , as: action}", outputs/s[0], s[0], k.prefix)
}

// cleanRLPixels is dqn_atari.py, c51_atari.py, ppo_atari.py, ppo_atari_lstm.py
// and sac_atari.py: the convolutions of Mnih et al. 2015 on bytes.
func cleanRLPixels(k layout) *Library {
	nature := func(name string, last bool) (string, bool) {
		var shapes []graph.Shape
		for i := 0; i <= 4; i += 2 {
			shapes = append(shapes, k.shape(fmt.Sprintf("%s.%d.weight", name, i)))
		}
		for i, want := range []graph.Shape{{32, -1, 8, 8}, {64, 32, 4, 4}, {64, 64, 3, 3}} {
			if len(shapes[i]) != 4 || !slices.EqualFunc(shapes[i], want, func(a, b int) bool { return b < 0 || a == b }) {
				return "", false
			}
		}
		p := quoteKey
		text := fmt.Sprintf("{inputs: {obs: [%d, 84, 84]}, layers: [{div: 255.0}, {conv: %s, stride: 4}, relu, {conv: %s, stride: 2}, relu, {conv: %s}", shapes[0][1],
			p(k.prefix+name+".0"), p(k.prefix+name+".2"), p(k.prefix+name+".4"))
		if last {
			text += ", relu"
		}
		return text + ", flatten", true
	}
	discrete := "{argmax: , as: action}"
	if text, ok := nature("network", true); ok && k.has("network.7.weight") {
		text += ", " + k.linear("network.7") + ", relu"
		heads := fmt.Sprintf(", {argmax: , as: action}, %s], outputs: {action: action, logits: logits, value: value}}", named(k.linear("critic"), "from: hidden, as: value"))
		switch {
		case k.only("network") && k.has("network.9.weight"):
			return library("CleanRL (DQN, pixels)", text+", "+named(k.linear("network.9"), "as: q_values")+", "+discrete+"], outputs: {action: action, q_values: q_values}}")
		case k.only("network", "actor", "critic") && k.has("actor.weight", "critic.weight"):
			return library("CleanRL (PPO, pixels)", strings.TrimSuffix(text, "relu")+"{relu: , as: hidden}, "+named(k.linear("actor"), "as: logits")+heads)
		case k.only("network", "lstm", "actor", "critic") && k.has("actor.weight", "critic.weight", "lstm.weight_ih_l0"):
			return library("CleanRL (PPO with LSTM, pixels)", text+", {lstm: "+quoteKey(k.prefix+"lstm")+", as: hidden}, "+named(k.linear("actor"), "as: logits")+heads)
		}
	}
	if text, ok := nature("conv", false); ok && k.only("conv", "fc1", "fc_logits") && k.has("fc1.weight", "fc_logits.weight") {
		return library("CleanRL (SAC, pixels)", text+", relu, "+k.linear("fc1")+", relu, "+named(k.linear("fc_logits"), "as: logits")+", "+discrete+"], outputs: {action: action, logits: logits}}")
	}
	k = k.under("model_weights.")
	head := k.shape("network.9.weight")
	if text, ok := nature("network", true); ok && k.only("network", "atoms") && k.has("network.7.weight") && len(head) == 2 {
		if end := k.atoms(head[0]); end != "" {
			return library("CleanRL (C51, pixels)", text+", "+k.linear("network.7")+", relu, "+k.linear("network.9")+end+"], outputs: {action: action, q_values: q_values}}")
		}
	}
	return nil
}

// cleanRLActors is td3_continuous_action.py and ddpg_continuous_action.py,
// which save their networks as a tuple, and sac_continuous_action.py; the
// actor alone is known as well.
func cleanRLActors(k layout) *Library {
	for _, prefix := range []string{"", "0."} {
		k := k.under(prefix)
		if !k.has("action_scale", "action_bias", "fc1.weight", "fc2.weight") {
			continue
		}
		body := k.linear("fc1") + ", relu, " + k.linear("fc2") + ", {relu: , as: hidden}, "
		unscale := fmt.Sprintf(", tanh, {mul: %saction_scale}, {add: %saction_bias, as: action}", prefix, prefix)
		switch {
		case k.only("action_scale", "action_bias", "fc1", "fc2", "fc_mu") && k.has("fc_mu.weight"):
			return library("CleanRL (TD3, DDPG)", "{inputs: [obs], layers: ["+body+k.linear("fc_mu")+unscale+"], outputs: [action]}")
		case k.only("action_scale", "action_bias", "fc1", "fc2", "fc_mean", "fc_logstd") && k.has("fc_mean.weight", "fc_logstd.weight"):
			return library("CleanRL (SAC)", "{inputs: [obs], layers: ["+body+named(k.linear("fc_mean"), "as: mean")+unscale+", "+named(k.linear("fc_logstd"), "from: hidden")+
				", tanh, {add: 1.0}, {mul: 3.5}, {sub: 5.0, as: log_std}, {exp: , as: std}], outputs: {action: action, mean: mean, std: std, log_std: log_std}}")
		}
	}
	return nil
}

// eluNote says what a checkpoint of rsl_rl does not hold.
const eluNote = "The activation is not in the file: elu is rsl_rl's default, and what is taken. Another one must be said by an `architecture:` in the card."

// rslRL is the runner of rsl_rl 5: actor_state_dict with an obs_normalizer, an
// rnn and an mlp. The distribution leaves a parameter where it is a Gaussian of
// fixed width; files without one are of a distribution that cannot be told.
func rslRL(k layout) *Library {
	k = k.under("actor_state_dict.")
	sizes := k.mlp("mlp")
	gaussian := k.has("distribution.std_param") || k.has("distribution.log_std_param")
	if len(sizes) < 3 || !gaussian || !k.only("obs_normalizer", "mlp", "distribution", "rnn") {
		return nil
	}
	std := "distribution.std_param"
	if !k.has(std) {
		std = "distribution.log_std_param"
	}
	return rslRLSpec(k, "rsl_rl 5", "obs_normalizer", "rnn.rnn", "mlp", std, len(sizes)-1)
}

// rslRLBefore5 is the runner of rsl_rl 1 to 4: model_state_dict with actor,
// critic and std; the statistics of observations are beside it, or within.
func rslRLBefore5(k layout) *Library {
	whole := k
	k = k.under("model_state_dict.")
	sizes := k.mlp("actor")
	if len(sizes) < 3 || !k.has("std") && !k.has("log_std") ||
		!k.only("actor", "critic", "std", "log_std", "memory_a", "memory_c", "actor_obs_normalizer", "critic_obs_normalizer") {
		return nil
	}
	std := "std"
	if !k.has(std) {
		std = "log_std"
	}
	if whole.has("obs_norm_state_dict._mean") {
		l := rslRLSpec(k, "rsl_rl 2", "", "memory_a.rnn", "actor", std, len(sizes)-1)
		l.Spec.Layers = slices.Insert(l.Spec.Layers, 0, normalizer("obs_norm_state_dict"))
		return l
	}
	return rslRLSpec(k, "rsl_rl", "actor_obs_normalizer", "memory_a.rnn", "actor", std, len(sizes)-1)
}

// Hint says what a card must say about a file that is in the layout of a
// training library but for a part that the file does not tell; empty where
// there is nothing to say.
func Hint(all torch.StateDict) string {
	k, sizes := rslRLWithoutParameter(all)
	if sizes == nil {
		return ""
	}
	hint := "The names are those of a checkpoint of rsl_rl 5 whose distribution leaves no parameter: which one it was is not in the file."
	if last := sizes[len(sizes)-1]; last%2 == 0 {
		hint += fmt.Sprintf(" Write it into the card: distribution: {kind: beta, low: -1, high: 1} of a Beta, with its action_range, "+
			"distribution: {kind: gaussian, std: spread} of a Gaussian whose width depends on the observation, or log_std: spread where std_type was log. "+
			"For the mean alone: architecture: [%s, {slice: {axis: -1, start: 0, end: %d}}].", k.chain("mlp", "elu", len(sizes)-1), last/2)
	}
	return hint + " Of any other, write into the card's architecture what makes an action of these numbers, " +
		"or serve what rsl_rl exports itself: policy.pt or policy.onnx."
}

// rslRLWithoutParameter are the sizes of the MLP of a checkpoint of rsl_rl 5
// whose distribution has no parameter of its own; nil of any other file.
func rslRLWithoutParameter(all torch.StateDict) (layout, []int) {
	shapes := make(map[string]graph.Shape, len(all))
	for _, t := range all {
		shapes[t.Name] = t.Tensor.Shape
	}
	k := layout{shapes: shapes, prefix: "actor_state_dict."}
	sizes := k.mlp("mlp")
	if len(sizes) < 3 || k.has("distribution.std_param") || k.has("distribution.log_std_param") || !k.only("obs_normalizer", "mlp", "distribution", "rnn") {
		return k, nil
	}
	return k, sizes
}

// RecognizeDrawn is Recognize of a file that gives the parameters of a
// distribution whose kind only the card tells; nil where it is none. That is a
// checkpoint of rsl_rl 5, whose network gives two numbers for each action, the
// first of all before the second of all: of a Beta, whose parameters are
// softplus(x) + 1 (BetaDistribution.update), and of a Gaussian whose width
// depends on the observation (HeteroscedasticGaussianDistribution).
func RecognizeDrawn(all torch.StateDict, kind string) *Library {
	k, sizes := rslRLWithoutParameter(all)
	if sizes == nil || sizes[len(sizes)-1]%2 != 0 {
		return nil
	}
	half := sizes[len(sizes)-1] / 2
	first := fmt.Sprintf("{slice: {axis: -1, start: 0, end: %d}, from: params", half)
	second := fmt.Sprintf("{slice: {axis: -1, start: %d, end: %d}, from: params", half, 2*half)
	var heads, outputs string
	notes := []string{eluNote}
	switch kind {
	case "beta":
		heads = first + "}, softplus, {add: 1.0, as: alpha}, " + second + "}, softplus, {add: 1.0, as: beta}"
		outputs = "{alpha: alpha, beta: beta}"
	case "gaussian":
		heads = first + ", as: mean}, " + second + ", as: spread}"
		outputs = "{mean: mean, spread: spread}"
		notes = append(notes, "The output spread is std where rsl_rl's std_type was scalar, its default, and log_std where it was log. rsl_rl keeps std above 1e-6.")
	default:
		return nil
	}
	text := k.recurrent("rnn.rnn") + named(k.chain("mlp", "elu", len(sizes)-1), "as: params")
	l := library("rsl_rl 5", "{inputs: [obs], layers: ["+text+", "+heads+"], outputs: "+outputs+"}", notes...)
	if k.has("obs_normalizer._mean") {
		l.Spec.Layers = slices.Insert(l.Spec.Layers, 0, normalizer(k.prefix+"obs_normalizer"))
	}
	return l
}

// recurrent writes the LSTM or GRU of a file as the first layer of a spec, empty
// where there is none.
func (k layout) recurrent(memory string) string {
	w := k.shape(memory + ".weight_ih_l0")
	if len(w) != 2 {
		return ""
	}
	kind := "gru"
	if u := k.shape(memory + ".weight_hh_l0"); len(u) == 2 && w[0] == 4*u[1] {
		kind = "lstm"
	}
	return fmt.Sprintf("{%s: %s}, ", kind, quoteKey(k.prefix+memory))
}

func rslRLSpec(k layout, name, statistics, memory, mlp, std string, layers int) *Library {
	text := k.recurrent(memory)
	// The width of the distribution is one for all observations.
	width := ", {mul: 0.0}, {add: " + quoteKey(k.prefix+std) + ", as: std}"
	if strings.Contains(std, "log_std") {
		width = ", {mul: 0.0}, {add: " + quoteKey(k.prefix+std) + ", as: log_std}, {exp: , as: std}"
	}
	l := library(name, "{inputs: [obs], layers: ["+text+named(k.chain(mlp, "elu", layers), "as: action")+width+"], outputs: {action: action, mean: action, std: std}}", eluNote)
	if statistics != "" && k.has(statistics+"._mean") {
		l.Spec.Layers = slices.Insert(l.Spec.Layers, 0, normalizer(k.prefix+statistics))
	}
	return l
}

// normalizer is EmpiricalNormalization: (x - mean) / (std + 0.01).
func normalizer(key string) Layer {
	l := Layer{Op: "normalize"}
	l.set("mean", key+"._mean").set("std", key+"._std").set("eps", 0.01)
	return l
}

// sized compares the sizes of an MLP's layers; -1 stands for any.
func sized(have []int, want ...int) bool {
	if len(have) != len(want)+1 {
		return false
	}
	for i, n := range want {
		if n >= 0 && have[i+1] != n {
			return false
		}
	}
	return true
}
