// Package carlarl opens trained driving and robot policies and acts with them,
// inside a Go program and without Python.
//
// A policy is opened as its trainer left it: a folder with model.pt,
// preprocessor.pkl and model_card.yaml, or a single model file of any format
// that docs/formats.md lists. Nothing in it is executed. What it computes is
// proven against the golden vectors of its card before Open returns.
//
//	policy, err := carlarl.Open("artifacts")
//	action, err := policy.Act(carlarl.Observation{"speed": 25.5, "steering": 0.1, "sensors": []float64{0.8, 0.2, 0.5, 0.9, 0.1}})
//	throttle := action.Value("throttle")
//
// To serve a policy over HTTP, use the program in cmd/carla-rl.
package carlarl

import (
	"fmt"
	"io/fs"
	"sync"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Policy is an opened policy. It is safe for use by many goroutines; calls
// take turns. Programs that act in parallel open the policy once for each
// goroutine.
type Policy struct {
	mu     sync.Mutex // guards the runner's memory and call
	policy *policy.Policy
	call   policy.Call // of one row; its state and history are those of the episode
}

// Observation holds the features of one observation by name: each a float64,
// or a []float64 in row-major order for a feature with a shape. Features has
// the names.
type Observation map[string]any

// Feature describes one feature of an observation.
type Feature struct {
	Name      string
	Shape     []int // nil for a single number
	Unit      string
	Low, High float64 // the range, both inclusive; infinite without a bound
}

// Open opens the policy in a folder or file of the file system.
func Open(path string) (*Policy, error) {
	a, err := artifact.OpenPath(path, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	return open(a)
}

// OpenFS opens the policy in a folder of fsys, such as one that is embedded in
// the program.
func OpenFS(fsys fs.FS, dir string) (*Policy, error) {
	a, err := artifact.Open(fsys, dir, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	return open(a)
}

func open(a *artifact.Artifact) (*Policy, error) {
	defer a.Release()
	p, err := policy.Open(a, policy.Options{})
	if err != nil {
		return nil, fmt.Errorf("open policy: %w", err)
	}
	c := p.Contract()
	opened := &Policy{policy: p, call: policy.Call{Rows: 1, Deterministic: true, Actions: make([]float32, c.ActionWidth()), State: c.NewState(1)}}
	if c.NeedsHistory() {
		opened.call.Histories = []*envelope.History{envelope.NewHistory(c.ActionWidth())}
	}
	for _, in := range c.Inputs {
		opened.call.In = append(opened.call.In, make([]float32, in.Width))
	}
	return opened, nil
}

// Recurrent tells whether the policy keeps state between steps. Each call of
// Act or ActRow is then the next step of one episode, and Reset begins another.
//
// The same is so, whether there is state or not, where the envelope of the card
// limits a rate or a jerk or falls back to hold or decay: they are counted from
// the action before. A step is then 1/control_hz seconds, however much time
// passes between two calls.
func (p *Policy) Recurrent() bool { return len(p.call.State) > 0 }

// Reset begins an episode: the state is that of its beginning, and there is no
// action before it.
func (p *Policy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policy.Contract().ResetState(p.call.State, 0)
	for _, h := range p.call.Histories {
		h.Reset()
	}
}

// Features returns the features of an observation, in the order of the
// contract.
func (p *Policy) Features() []Feature {
	var features []Feature
	for _, f := range p.policy.Contract().Features {
		features = append(features, Feature{Name: f.Name, Shape: f.Shape, Unit: f.Unit, Low: f.Low, High: f.High})
	}
	return features
}

// Act returns the deterministic action for one observation. A feature that is
// missing, unknown, of another shape, not finite or out of its range is an
// error, and so is an answer that is not finite or out of the contract; where
// the card has an envelope, that says what becomes of such an answer, and the
// action's Interventions what became of it.
func (p *Policy) Act(obs Observation) (Action, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.policy.Contract().Pack(map[string]any(obs), 0, p.call.In); err != nil {
		return Action{}, err
	}
	if err := p.act(); err != nil {
		return Action{}, err
	}
	values := make([]float64, len(p.call.Actions))
	for i, v := range p.call.Actions {
		values[i] = float64(v)
	}
	a := Action{contract: p.policy.Contract(), values: values}
	for _, v := range p.call.Interventions {
		a.interventions = append(a.interventions, Intervention{
			Action: a.contract.ActionName(v.Value), Kind: string(v.Kind), Fallback: v.Fallback != envelope.FallbackError, From: float64(v.From), To: float64(v.To),
		})
	}
	return a, nil
}

// ActRow is Act without names and without allocation: obs holds the values of
// all features in the order of the contract, action receives the values of
// all actions. It serves policies that have one input. An action that the
// envelope of the card changed is given as it became; Intervened tells whether
// it was, and Act what was changed.
func (p *Policy) ActRow(obs, action []float32) error {
	c := p.policy.Contract()
	if len(c.Inputs) != 1 || len(obs) != c.Inputs[0].Width || len(action) != len(p.call.Actions) {
		return fmt.Errorf("expected one row of %d values and room for %d, got %d and %d", c.Inputs[0].Width, len(p.call.Actions), len(obs), len(action))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	copy(p.call.In[0], obs)
	if err := p.act(); err != nil {
		return err
	}
	copy(action, p.call.Actions)
	return nil
}

// Intervened returns how many values of the last action that Act or ActRow gave
// are not what the policy gave, because the envelope of its card has them
// otherwise. It speaks of the caller's own action only where one goroutine acts.
func (p *Policy) Intervened() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.call.Interventions)
}

// act runs the call with the mutex held.
func (p *Policy) act() error {
	if err := p.policy.Contract().Check(1, p.call.In); err != nil {
		return err
	}
	return p.policy.Runner(0).Act(&p.call)
}

// Action is the answer of a policy.
type Action struct {
	contract *policy.Contract
	values   []float64

	interventions []Intervention
}

// Intervention is a value of an action that is not what the policy gave,
// because the envelope of its card has it otherwise.
type Intervention struct {
	Action   string // name of the value: "steer", "wheels[2]", "[3]"
	Kind     string // "not_finite", "bound", "rate", "jerk" or "out_of_distribution"
	Fallback bool   // To is of the card's fallback, which replaced the whole action
	From, To float64
}

// Interventions returns what the envelope of the card changed of the action.
func (a Action) Interventions() []Intervention { return a.interventions }

// Value returns the action of that name. It panics when the policy has no
// action of the name, or when the action has a shape.
func (a Action) Value(name string) float64 {
	values := a.Values(name)
	if len(values) != 1 {
		panic(fmt.Sprintf("carlarl: action %q has %d values", name, len(values)))
	}
	return values[0]
}

// Values returns the values of the action of that name, in row-major order.
// The empty name gives all values of the action row. It panics when the policy
// has no action of the name.
func (a Action) Values(name string) []float64 {
	if name == "" {
		return a.values
	}
	for _, d := range a.contract.Actions {
		if d.Name == name {
			return a.values[d.Offset:][:d.Size]
		}
	}
	panic(fmt.Sprintf("carlarl: the policy has no action %q", name))
}

// Names returns the names of the actions in the order of the contract; one
// empty name for a policy whose actions have none.
func (a Action) Names() []string {
	names := make([]string, len(a.contract.Actions))
	for i, d := range a.contract.Actions {
		names[i] = d.Name
	}
	return names
}
