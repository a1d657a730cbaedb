// Package policy makes one graph of everything between an observation and an
// action: preprocessing, network and postprocessing, with the contract that
// says what goes in and what comes out.
//
// What enters is an artifact; what leaves is a Policy, which is verified,
// compiled and proven against its golden vectors, and runs rows of float32 on
// as many lanes as it was prepared for. The package knows no protocols.
package policy

import (
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// Policy is an opened policy. It is immutable but for its runners, and may be
// used from many goroutines, each on a lane of its own.
type Policy struct {
	contract      Contract
	description   format.Description
	preprocessing []string // one line for each step, for people
	notes         []string

	engine    Engine
	batchable bool
	serial    uint64
	forms     forms

	envelope *envelope.Envelope // nil where the card has none
	scorer   *envelope.Scorer   // nil where observations are not scored

	statistics []statistics // by Contract.Inputs

	runners []*Runner
	pace    Pace
}

// Options of Open. The zero Options are those of production.
type Options struct {
	// Engine computes the policy; nil is Plan.
	Engine Engine
	// Untried opens a policy without trying it on drawn observations: for a
	// caller who has observations to hold it to.
	Untried bool
	// MaxNodes is the greatest number of nodes of the policy's graph; 0 is
	// what a graph may have at most, the constant MaxNodes.
	MaxNodes int
}

// Open reads the policy of an artifact, composes its graph, compiles it and
// replays the golden vectors of its card. Any source that contradicts another,
// an operator that is not known and a golden vector that is missed are errors.
func Open(a *artifact.Artifact, o Options) (*Policy, error) {
	src, err := readSources(a)
	if err != nil {
		return nil, err
	}
	p, err := compose(src, o)
	if err != nil {
		return nil, err
	}
	p.serial = serials.Add(1)
	first, err := p.newRunner()
	if err != nil {
		return nil, err
	}
	p.runners = append(p.runners, first)
	if err := p.replayGolden(a.Card); err != nil {
		return nil, err
	}
	if o.Untried {
		return p, nil
	}
	if err := p.probe(); err != nil {
		return nil, err
	}
	return p, nil
}

// Check reads the policy of an artifact and holds its sources to each other, as
// Open does, and computes nothing with it: that a number is right is for Open
// to show. It returns the first thing that is wrong.
func Check(a *artifact.Artifact) error {
	src, err := readSources(a)
	if err != nil {
		return err
	}
	p, err := compose(src, Options{})
	if err != nil {
		return err
	}
	return p.checkGolden(a.Card)
}

// sources are the parts of an artifact as their decoders understood them.
type sources struct {
	card         *artifact.Card // never nil
	network      format.Network
	preprocessor *preprocess.Preprocessor // nil where the artifact has none
	notes        []string

	spaces *format.Spaces // those that the model file brings, nil where it brings none
	frames *frameStack    // nil where frames are not stacked here
}

func readSources(a *artifact.Artifact) (*sources, error) {
	src := &sources{card: a.Card}
	name := a.ModelName()
	var err error
	if src.network, err = readNetwork(a); err != nil {
		return nil, err // It names the file already.
	}
	if node := src.card.Architecture; node != nil {
		spec, err := architecture.Parse(node)
		if err != nil {
			return nil, fmt.Errorf("model_card.yaml: %w", err)
		}
		if src.network, err = format.WithArchitecture(src.network, spec); err != nil {
			return nil, fmt.Errorf("%s: model_card.yaml: %w", name, err)
		}
	}
	if src.network, err = withDistribution(src.network, a.Card); err != nil {
		return nil, err
	}
	for _, role := range []artifact.Role{artifact.RolePreprocessor, artifact.RoleVecNormalize} {
		m := a.Member(role)
		if m == nil {
			continue
		}
		if src.preprocessor != nil {
			return nil, fmt.Errorf("%s: the artifact has a preprocessor and normalisation statistics, and which comes first is not known", m.Name)
		}
		data, err := a.Read(role)
		if err != nil {
			return nil, err
		}
		if src.preprocessor, err = preprocess.Decode(data); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	src.notes = slices.Clone(a.Notes) // Reading the model may have added some.
	return src, checkTraining(src, a.Training, &src.notes)
}

// readNetwork decodes the model, which is a file or a folder of its members.
func readNetwork(a *artifact.Artifact) (format.Network, error) {
	if a.Unzipped() {
		return format.DecodeMembers(a.ModelName(), a.ModelMember)
	}
	data, err := a.Read(artifact.RoleModel)
	if err != nil {
		return nil, err
	}
	return format.DecodeBeside(a.ModelName(), data, a.Beside)
}

// Contract returns what the policy promises. It must not be changed.
func (p *Policy) Contract() *Contract { return &p.contract }

// Description returns what the decoder understood of the model file.
func (p *Policy) Description() format.Description { return p.description }

// Preprocessing returns the steps before the network, a line each.
func (p *Policy) Preprocessing() []string { return p.preprocessing }

// Notes returns what a person should know about how the artifact was read:
// what was inferred and from where, what is absent, what was skipped.
func (p *Policy) Notes() []string { return p.notes }

// Batchable tells whether rows go through the policy together. A policy whose
// computation takes another way for each observation, or keeps its state in
// buffers of one row, takes them in turn: its answers are the same, and
// batching gains nothing.
func (p *Policy) Batchable() bool { return p.batchable }

// Engine returns the engine that computes the policy.
func (p *Policy) Engine() Engine { return p.engine }

// Composed returns the graph of the deterministic policy as it was composed,
// before the optimizing passes; it is the reference for what an engine
// computes. Its inputs are rows of float32: those of the contract, then its
// state; its outputs are the action, then the state of the next step.
func (p *Policy) Composed() *graph.Graph { return p.form(true, false).graph }

// Sampled is Composed of the policy as it draws its actions; the same graph
// where it does not.
func (p *Policy) Sampled() *graph.Graph { return p.form(false, false).graph }

// Masked is Composed of the form with action masks, or Sampled of it: the masks
// are an input behind those of the contract. It is nil for a policy that takes
// none.
func (p *Policy) Masked(deterministic bool) *graph.Graph {
	if f := p.form(deterministic, true); f != nil {
		return f.graph
	}
	return nil
}

// Detailed is Composed, Sampled or Masked of the form with extras: those of the
// contract are outputs behind the action. It is nil for masks that the policy
// does not take.
func (p *Policy) Detailed(deterministic, masked bool) (*graph.Graph, error) {
	if f := p.forms[formOf(deterministic, masked, true)]; f != nil {
		return f.build()
	}
	return nil, nil
}

// Optimized returns the graph from which the plan was made, nil where another
// engine computes the policy.
func (p *Policy) Optimized() *graph.Graph {
	if c, ok := p.form(true, false).program.(*planned); ok {
		return c.optimized
	}
	return nil
}

// Plan returns the compiled form of the deterministic policy, nil where another
// engine computes it.
func (p *Policy) Plan() *plan.Plan {
	if c, ok := p.form(true, false).program.(*planned); ok {
		return c.plan
	}
	return nil
}

func (p *Policy) form(deterministic, masked bool) *form {
	return p.forms[formOf(deterministic, masked, false)]
}

// Prepare makes the runners of lanes 0 to lanes-1 and runs each once, so that
// the first request finds its memory in place. It must not be called while
// the policy acts.
func (p *Policy) Prepare(lanes int) {
	for len(p.runners) < lanes {
		r, err := p.newRunner()
		if err != nil {
			panic("policy: another lane: " + err.Error()) // The first one ran.
		}
		p.runners = append(p.runners, r)
	}
}

// Runner returns the runner of a lane below the number prepared. Only one
// goroutine may use a lane at a time.
func (p *Policy) Runner(lane int) *Runner { return p.runners[lane] }
