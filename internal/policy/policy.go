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

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
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

	deterministic variant
	stochastic    variant // as deterministic where the policy does not sample

	runners []*Runner
}

// variant is one way to act: the graph as it was composed, the graph as the
// passes left it, and its plan.
type variant struct {
	composed  *graph.Graph
	detailed  *graph.Graph // composed with all outputs of the network; nil where it has one
	optimized *graph.Graph
	plan      *plan.Plan
}

// Open reads the policy of an artifact, composes its graph, compiles it and
// replays the golden vectors of its card. Any source that contradicts another,
// an operator that is not known and a golden vector that is missed are errors.
func Open(a *artifact.Artifact) (*Policy, error) {
	src, err := readSources(a)
	if err != nil {
		return nil, err
	}
	p, err := compose(src)
	if err != nil {
		return nil, err
	}
	p.Prepare(1)
	if err := p.replayGolden(a.Card); err != nil {
		return nil, err
	}
	if err := p.probe(); err != nil {
		return nil, err
	}
	return p, nil
}

// sources are the parts of an artifact as their decoders understood them.
type sources struct {
	card         *artifact.Card // never nil
	network      format.Network
	preprocessor *preprocess.Preprocessor // nil where the artifact has none
	notes        []string

	spaces *format.Spaces // those that the model file brings, nil where it brings none
}

func readSources(a *artifact.Artifact) (*sources, error) {
	src := &sources{card: a.Card, notes: a.Notes}
	data, err := a.Read(artifact.RoleModel)
	if err != nil {
		return nil, err
	}
	name := a.Member(artifact.RoleModel).Name
	if src.network, err = format.DecodeBeside(name, data, a.Beside); err != nil {
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
	for _, role := range []artifact.Role{artifact.RolePreprocessor, artifact.RoleVecNormalize} {
		m := a.Member(role)
		if m == nil {
			continue
		}
		if src.preprocessor != nil {
			return nil, fmt.Errorf("%s: the artifact has a preprocessor and normalisation statistics, and which comes first is not known", m.Name)
		}
		if data, err = a.Read(role); err != nil {
			return nil, err
		}
		if src.preprocessor, err = preprocess.Decode(data); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return src, nil
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

// Composed returns the graph of the whole policy as it was composed, before
// the optimizing passes; it is the reference for what the plan computes.
func (p *Policy) Composed() *graph.Graph { return p.deterministic.composed }

// Detailed returns the graph of the policy with all outputs of its network
// beside the action, for people and tests; nil where the network has no other.
func (p *Policy) Detailed() *graph.Graph { return p.deterministic.detailed }

// Optimized returns the graph from which the plan was made.
func (p *Policy) Optimized() *graph.Graph { return p.deterministic.optimized }

// Plan returns the compiled form of the deterministic policy.
func (p *Policy) Plan() *plan.Plan { return p.deterministic.plan }

// Prepare makes the runners of lanes 0 to lanes-1 and runs each once, so that
// the first request finds its memory in place. It must not be called while
// the policy acts.
func (p *Policy) Prepare(lanes int) {
	for len(p.runners) < lanes {
		p.runners = append(p.runners, p.newRunner())
	}
}

// Runner returns the runner of a lane below the number prepared. Only one
// goroutine may use a lane at a time.
func (p *Policy) Runner(lane int) *Runner { return p.runners[lane] }
