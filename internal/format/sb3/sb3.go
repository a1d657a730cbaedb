// Package sb3 reads the zip files of Stable-Baselines3 and sb3-contrib: the
// spaces, the architecture and the weights of a trained agent.
//
// A checked zip archive, or the folder it was unzipped to, enters; a [Policy] leaves, which lowers itself into a
// graph from the raw observation of the environment to the action that the
// library's own predict gives. Of the member `data` only what inference needs
// is decoded, by the pickle machine and with exact lists of names; code in it is
// never touched. The package imports pickle, torch and graph and nothing else
// of this module.
package sb3

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// FormatError says what is wrong with a file and where.
type FormatError = pickle.FormatError

// ErrUnsupported is the refusal of a valid file with something in it that is
// not read. It matches errors.ErrUnsupported.
var ErrUnsupported error = unsupported{}

type unsupported struct{}

func (unsupported) Error() string        { return "unsupported" }
func (unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

// wayOut says what to do with a policy that is refused for its classes.
const wayOut = "export the policy as TorchScript, .pt2 or ONNX instead"

// Names of the members of a zip.
const (
	dataMember    = "data"
	weightsMember = "policy.pth"
	versionMember = "_stable_baselines3_version"
	systemMember  = "system_info.txt"
)

// Policy is a decoded agent. It is read only.
type Policy struct {
	Algorithm   string // "PPO", as far as the file tells it: files do not name their algorithm
	PolicyClass string // "stable_baselines3.common.policies.ActorCriticPolicy"
	Version     string // of Stable-Baselines3; empty where the file does not say
	System      string // first lines of system_info.txt; may be empty

	// Observation is the space of the policy. Where the environment has images
	// with the channels last, the library stores the transposed space.
	Observation *Space
	Action      *Space

	// NetArch is net_arch as it was given, "default" where it was not.
	NetArch         string
	Activation      string // class of torch.nn, "Tanh"
	NormalizeImages bool
	UseSDE          bool
	SquashOutput    bool
	// Recurrent tells that the graph has states: lstm_pi_h and lstm_pi_c of the
	// actor's LSTM and, where the critic has its own, lstm_vf_h and lstm_vf_c.
	// Each is a row of all layers' values, and zeros when an episode begins. The
	// outputs have the same names with _out behind them.
	Recurrent bool

	Weights torch.StateDict
	// NonFinite names the tensors that hold a NaN or an infinity.
	NonFinite []string
	Notes     []string // one sentence each

	class   *class
	options options
	row     *Space // as the networks take it: Observation, but for hasGoal
	hasGoal bool   // the row is an observation and its goal
}

// Archive is where the members of an agent are: a zip, or the folder that it
// was unzipped to.
type Archive interface {
	Has(name string) bool
	Read(name string) ([]byte, error)
}

// Members returns the names of all members that [Decode] may read.
func Members() []string { return []string{dataMember, weightsMember, versionMember, systemMember} }

// Is reports whether an archive is one that Stable-Baselines3 wrote.
func Is(z Archive) bool {
	return z.Has(dataMember) && (z.Has(weightsMember) || z.Has(versionMember))
}

// Decode reads the agent of an archive. The weights are held against the spaces
// and the architecture, so that a policy that decodes also lowers, but for those
// whose refusal wraps [ErrUnsupported].
func Decode(z Archive) (*Policy, error) {
	if !z.Has(dataMember) {
		return nil, fail(dataMember, errors.New("the archive has no such member: not written by Stable-Baselines3"))
	}
	b, err := z.Read(dataMember)
	if err != nil {
		return nil, err
	}
	d, err := readData(b)
	if err != nil {
		return nil, fail(dataMember, err)
	}
	p := &Policy{}
	if err := p.fromData(d); err != nil {
		return nil, fail(dataMember, err)
	}
	if err := p.readVersion(z); err != nil {
		return nil, err
	}
	if err := p.readWeights(z); err != nil {
		return nil, err
	}
	if _, err := p.Lower(LowerOptions{Deterministic: true}); err != nil && !errors.Is(err, ErrUnsupported) {
		return nil, fail("", err)
	}
	return p, nil
}

// fromData fills in what the member data says.
func (p *Policy) fromData(d *data) error {
	var err error
	if p.class, err = d.policyClass(); err != nil {
		return err
	}
	p.PolicyClass = p.class.name.String()
	p.Algorithm = d.algorithm(p.class)
	p.Recurrent = p.class.kind == recurrent
	if p.Observation, err = d.space("observation_space"); err != nil {
		return err
	}
	p.row = p.Observation
	p.readGoal(d)
	if p.Action, err = d.space("action_space"); err != nil {
		return err
	}
	if p.Action.Kind == Dict {
		return fmt.Errorf("%w: action_space is a Dict, which Stable-Baselines3 has no policy for", ErrUnsupported)
	}
	kwargs, err := d.kwargs()
	if err != nil {
		return err
	}
	if p.options, err = readOptions(p.class, kwargs, d.flag("use_sde")); err != nil {
		return fmt.Errorf("policy_kwargs: %w", err)
	}
	p.NetArch, p.Activation = p.options.netArch, p.options.activation.String()
	p.NormalizeImages, p.UseSDE = p.options.normalizeImages, p.options.useSDE
	p.SquashOutput = p.class.squashes(p)
	p.Notes = append(p.Notes, d.notes()...)
	return nil
}

func (p *Policy) readVersion(z Archive) error {
	if !z.Has(versionMember) {
		p.Notes = append(p.Notes, "The file does not say which version of Stable-Baselines3 wrote it.")
	} else {
		b, err := z.Read(versionMember)
		if err != nil {
			return err
		}
		p.Version = printable(b, 64)
	}
	if z.Has(systemMember) {
		b, err := z.Read(systemMember)
		if err != nil {
			return err
		}
		p.System = printable(b, 1024)
	}
	return nil
}

// readWeights decodes policy.pth, an archive in the archive or, from torch
// before 1.6, a file of its own form.
func (p *Policy) readWeights(z Archive) error {
	if !z.Has(weightsMember) {
		return fail(weightsMember, errors.New("the archive has no such member: it holds no weights"))
	}
	b, err := z.Read(weightsMember)
	if err != nil {
		return err
	}
	f, err := torch.Decode(b)
	if err != nil {
		return fail(weightsMember, err)
	}
	if p.Weights, err = f.StateDict(); err != nil {
		return fail(weightsMember, err)
	}
	p.NonFinite = f.NonFinite
	if len(p.NonFinite) > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("Tensors with a NaN or an infinity: %s.", strings.Join(p.NonFinite, ", ")))
	}
	return nil
}

// before tells whether a version of the library before the given one wrote the
// file. A file that does not say is taken for one of the first.
func (p *Policy) before(major, minor int) bool {
	first, rest, _ := strings.Cut(p.Version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(first)
	if err != nil {
		return true
	}
	b, _ := strconv.Atoi(second)
	return a < major || a == major && b < minor
}

// HasSampling tells whether the policy draws its actions from a distribution
// when it is not deterministic.
func (p *Policy) HasSampling() bool { return p.class.samples() }

// Inputs returns the inputs of the graph that Lower makes without input shapes.
func (p *Policy) Inputs() []Input { return p.inputs(nil) }

// Input is one input of a policy's graph: a part of the raw observation.
type Input struct {
	Name  string
	Space *Space
	Shape graph.Shape // with the batch axis, as the environment gives it
}

// fail wraps an error of the file with the member it is in.
func fail(member string, err error) error {
	return &FormatError{Format: "stable-baselines3", Offset: -1, Path: member, Err: err}
}

// printable returns a text of the file with what cannot be printed left out.
func printable(b []byte, most int) string {
	b = b[:min(len(b), most)]
	s := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f || r == 0xfffd {
			return -1
		}
		return r
	}, string(b))
	return strings.TrimSpace(s)
}
