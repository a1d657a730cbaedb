package sb3

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// options are what policy_kwargs say, as far as it matters to inference.
type options struct {
	netArch         string // for people; the layers themselves are those of the weights
	hidden          hiddenSizes
	activation      activation
	extractor       string
	normalizeImages bool
	useSDE          bool
	fullStd         bool
	useExpln        bool
	sdeOnFeatures   bool // sde_net_arch is there: gSDE does not see what the actor computes
	squash          bool
	clipMean        float64
	nCritics        int
	quantiles       int
	batchNormEps    float64
	shareExtractor  bool
}

// hiddenSizes are the sizes of hidden layers by the part of the network, nil
// where net_arch was not given.
type hiddenSizes struct {
	known              bool
	split              bool // there is a dict of parts; those that are absent have no layers
	shared, pi, vf, qf []int
}

// kwargsGlobals are the names that pickled policy_kwargs may have.
var kwargsGlobals = func() pickle.AllowList {
	l := pickle.NewAllowList("collections.OrderedDict")
	l.Add(activationGlobals()...)
	for _, name := range []string{flattenExtractor, natureCNN, combinedExtractor} {
		l.Add("stable_baselines3.common.torch_layers." + name)
	}
	// Optimizers do not matter to inference, but stand beside what does.
	for _, name := range []string{
		"adam.Adam", "adamw.AdamW", "adamax.Adamax", "adagrad.Adagrad", "adadelta.Adadelta", "nadam.NAdam", "radam.RAdam",
		"rmsprop.RMSprop", "rprop.Rprop", "sgd.SGD", "asgd.ASGD", "lbfgs.LBFGS",
	} {
		l.Add("torch.optim." + name)
	}
	l.Add("stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike")
	l.Add(pickle.NumpyGlobals()...) // numbers of a search for hyperparameters
	return l
}()

// ignored are arguments that act on training alone.
var ignored = []string{
	"ortho_init", "log_std_init", "optimizer_class", "optimizer_kwargs", "batch_norm", "batch_norm_momentum", "renorm_warmup_steps",
	"lstm_hidden_size", "n_lstm_layers", "shared_lstm", "enable_critic_lstm", "lstm_kwargs", "with_bias",
	":type:", ":serialized:",
}

// readOptions interprets policy_kwargs. An argument that is not known is
// refused: it may change what the network computes.
func readOptions(c *class, kwargs *pickle.Dict, useSDE bool) (options, error) {
	o := options{
		netArch: "default", activation: newActivation(c.activation()), extractor: c.extractor, normalizeImages: true,
		useSDE: useSDE, fullStd: true, clipMean: 2, batchNormEps: 0.001, shareExtractor: c.kind == actorCritic || c.kind == recurrent,
		squash: c.kind == linearSearch && !c.linear,
	}
	for _, e := range kwargs.Entries {
		key, ok := e.Key.(string)
		if !ok {
			return o, fmt.Errorf("a key that is a %s", pickle.TypeName(e.Key))
		}
		if slices.Contains(ignored, key) {
			continue
		}
		if err := o.set(key, e.Value); err != nil {
			return o, fmt.Errorf("%.80s: %w", printable([]byte(key), 80), err)
		}
	}
	return o, nil
}

func (o *options) set(key string, v pickle.Value) error {
	switch key {
	case "net_arch":
		return o.setNetArch(v)
	case "activation_fn":
		var err error
		o.activation, err = readActivation(v)
		return err
	case "features_extractor_class":
		g, ok := v.(pickle.Global)
		if !ok || g.Module != "stable_baselines3.common.torch_layers" {
			return fmt.Errorf("%w: a %s: %s", ErrUnsupported, pickle.TypeName(v), wayOut)
		}
		o.extractor = g.Name
		return nil
	case "features_extractor_kwargs":
		return o.setExtractorArguments(v)
	case "normalize_images":
		return flag(&o.normalizeImages, v)
	case "use_sde":
		return flag(&o.useSDE, v)
	case "full_std":
		return flag(&o.fullStd, v)
	case "sde_net_arch":
		_, none := v.(pickle.None)
		o.sdeOnFeatures = !none
		return nil
	case "use_expln":
		return flag(&o.useExpln, v)
	case "squash_output":
		return flag(&o.squash, v)
	case "share_features_extractor":
		return flag(&o.shareExtractor, v)
	case "clip_mean":
		return number(&o.clipMean, v)
	case "batch_norm_eps":
		return number(&o.batchNormEps, v)
	case "n_critics":
		return integer(&o.nCritics, v)
	case "n_quantiles":
		return integer(&o.quantiles, v)
	}
	return fmt.Errorf("%w: an argument that is not known", ErrUnsupported)
}

// setExtractorArguments checks the arguments of the features extractor: the
// sizes in them show in the weights.
func (o *options) setExtractorArguments(v pickle.Value) error {
	if _, none := v.(pickle.None); none {
		return nil
	}
	d, ok := v.(*pickle.Dict)
	if !ok {
		return fmt.Errorf("a %s, a dict was wanted", pickle.TypeName(v))
	}
	for _, e := range d.Entries {
		switch e.Key {
		case "features_dim", "cnn_output_dim":
			var n int
			if err := integer(&n, e.Value); err != nil {
				return err
			}
		case "normalized_image":
			var normalized bool
			if err := flag(&normalized, e.Value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: an argument that is not known", ErrUnsupported)
		}
	}
	return nil
}

// setNetArch reads net_arch in all its spellings: [64, 64]; {"pi": [..], "vf":
// [..]} or "qf"; and, before 1.8, [64, {"pi": [..], "vf": [..]}] with layers
// that both parts share.
func (o *options) setNetArch(v pickle.Value) error {
	if _, none := v.(pickle.None); none {
		return nil
	}
	h := hiddenSizes{known: true}
	switch v := v.(type) {
	case *pickle.Dict:
		if err := h.parts(v); err != nil {
			return err
		}
	default:
		items, ok := pickle.Items(v)
		if !ok {
			return fmt.Errorf("a %s, a list or a dict was wanted", pickle.TypeName(v))
		}
		for i, item := range items {
			if d, ok := item.(*pickle.Dict); ok && i == len(items)-1 {
				if err := h.parts(d); err != nil {
					return err
				}
				continue
			}
			n, ok := pickle.Number(item)
			if !ok || n != math.Trunc(n) || n < 1 || n > maxCategories {
				return fmt.Errorf("item %d is no size of a layer", i)
			}
			h.shared = append(h.shared, int(n))
		}
	}
	o.hidden, o.netArch = h, h.String()
	return nil
}

func (h *hiddenSizes) parts(d *pickle.Dict) error {
	h.split = true
	for _, e := range d.Entries {
		key, _ := e.Key.(string)
		var part *[]int
		switch key {
		case "pi":
			part = &h.pi
		case "vf":
			part = &h.vf
		case "qf":
			part = &h.qf
		default:
			return fmt.Errorf("%w: a part that is neither pi, vf nor qf", ErrUnsupported)
		}
		items, ok := pickle.Items(e.Value)
		if !ok {
			return fmt.Errorf("%s is a %s, a list was wanted", key, pickle.TypeName(e.Value))
		}
		*part = []int{}
		for i, item := range items {
			n, ok := pickle.Number(item)
			if !ok || n != math.Trunc(n) || n < 1 || n > maxCategories {
				return fmt.Errorf("%s: item %d is no size of a layer", key, i)
			}
			*part = append(*part, int(n))
		}
	}
	return nil
}

// String prints net_arch.
func (h *hiddenSizes) String() string {
	var parts []string
	if h.shared != nil || !h.split {
		parts = append(parts, fmt.Sprint(h.shared))
	}
	for _, part := range []struct {
		name  string
		sizes []int
	}{{"pi", h.pi}, {"vf", h.vf}, {"qf", h.qf}} {
		if part.sizes != nil {
			parts = append(parts, fmt.Sprintf("%s=%v", part.name, part.sizes))
		}
	}
	if len(parts) == 0 {
		return "{}"
	}
	return strings.Join(parts, " ")
}

func flag(to *bool, v pickle.Value) error {
	b, ok := v.(bool)
	if n, isNumber := pickle.Number(v); isNumber && (n == 0 || n == 1) { // numpy.bool, or 0 and 1
		b, ok = n == 1, true
	}
	if !ok {
		return fmt.Errorf("a %s, a bool was wanted", pickle.TypeName(v))
	}
	*to = b
	return nil
}

func number(to *float64, v pickle.Value) error {
	n, ok := pickle.Number(v)
	if !ok || !(n >= 0) || math.IsInf(n, 0) {
		return fmt.Errorf("a %s, a number of at least 0 was wanted", pickle.TypeName(v))
	}
	*to = n
	return nil
}

func integer(to *int, v pickle.Value) error {
	n, ok := pickle.Number(v)
	if !ok || n != math.Trunc(n) || n < 1 || n > maxCategories {
		return fmt.Errorf("a %s, an integer of 1 to %d was wanted", pickle.TypeName(v), maxCategories)
	}
	*to = int(n)
	return nil
}
