package sb3

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// kind is a family of policies that share their networks.
type kind uint8

const (
	actorCritic        kind = iota + 1 // PPO, A2C, TRPO, MaskablePPO
	recurrent                          // RecurrentPPO
	deepQ                              // DQN
	quantileQ                          // QR-DQN
	softActor                          // SAC, TQC, CrossQ
	deterministicActor                 // TD3, DDPG
	linearSearch                       // ARS
)

// Features extractors of the library.
const (
	flattenExtractor  = "FlattenExtractor"
	natureCNN         = "NatureCNN"
	combinedExtractor = "CombinedExtractor"
)

// class is what is known of one class of policies.
type class struct {
	name      pickle.Global
	kind      kind
	algorithm string // "A2C" for the policies that PPO and TRPO use too
	extractor string // the default
	maskable  bool
	linear    bool // ARSLinearPolicy, which has no hidden layers
}

// classes are the policies that are read, by the names in pickles.
var classes = map[pickle.Global]*class{}

// classGlobals are the names that the pickle of policy_class may have.
var classGlobals = pickle.AllowList{}

func init() {
	def := func(module, name string, k kind, algorithm, extractor string) *class {
		g := pickle.Global{Module: module, Name: name}
		c := &class{name: g, kind: k, algorithm: algorithm, extractor: extractor}
		classes[g] = c
		classGlobals[g] = struct{}{}
		return c
	}
	three := func(module string, names [3]string, k kind, algorithm string) {
		def(module, names[0], k, algorithm, flattenExtractor)
		def(module, names[1], k, algorithm, natureCNN)
		def(module, names[2], k, algorithm, combinedExtractor)
	}
	three("stable_baselines3.common.policies", [3]string{"ActorCriticPolicy", "ActorCriticCnnPolicy", "MultiInputActorCriticPolicy"}, actorCritic, "A2C")
	three("stable_baselines3.dqn.policies", [3]string{"DQNPolicy", "CnnPolicy", "MultiInputPolicy"}, deepQ, "DQN")
	three("stable_baselines3.sac.policies", [3]string{"SACPolicy", "CnnPolicy", "MultiInputPolicy"}, softActor, "SAC")
	three("stable_baselines3.td3.policies", [3]string{"TD3Policy", "CnnPolicy", "MultiInputPolicy"}, deterministicActor, "TD3")
	three("sb3_contrib.qrdqn.policies", [3]string{"QRDQNPolicy", "CnnPolicy", "MultiInputPolicy"}, quantileQ, "QR-DQN")
	three("sb3_contrib.tqc.policies", [3]string{"TQCPolicy", "CnnPolicy", "MultiInputPolicy"}, softActor, "TQC")
	three("sb3_contrib.common.recurrent.policies", [3]string{"RecurrentActorCriticPolicy", "RecurrentActorCriticCnnPolicy", "RecurrentMultiInputActorCriticPolicy"}, recurrent, "RecurrentPPO")
	three("sb3_contrib.common.maskable.policies", [3]string{"MaskableActorCriticPolicy", "MaskableActorCriticCnnPolicy", "MaskableMultiInputActorCriticPolicy"}, actorCritic, "MaskablePPO")
	def("sb3_contrib.crossq.policies", "CrossQPolicy", softActor, "CrossQ", flattenExtractor)
	def("sb3_contrib.ars.policies", "ARSPolicy", linearSearch, "ARS", flattenExtractor)
	def("sb3_contrib.ars.policies", "ARSLinearPolicy", linearSearch, "ARS", flattenExtractor).linear = true
	for _, c := range classes {
		c.maskable = c.algorithm == "MaskablePPO"
	}
}

// samples tells whether the policy has a distribution to draw from.
func (c *class) samples() bool {
	return c.kind == actorCritic || c.kind == softActor || c.kind == recurrent
}

// squashes tells whether actions leave the network between -1 and 1 and are
// unscaled to the space, instead of clipped to it.
func (c *class) squashes(p *Policy) bool {
	switch c.kind {
	case softActor, deterministicActor:
		return true
	case actorCritic, recurrent, linearSearch:
		return p.options.squash && p.Action.Kind == Box
	}
	return false
}

// activation is the default of a family.
func (c *class) activation() string {
	if c.kind == actorCritic || c.kind == recurrent {
		return "Tanh"
	}
	return "ReLU"
}
