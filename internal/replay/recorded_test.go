package replay_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// agents are policies of Stable-Baselines3.
const agents = "../format/sb3/testdata/"

// open opens a folder or a model file.
func open(t testing.TB, path string) *policy.Policy {
	t.Helper()
	a, err := artifact.OpenPath(path, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Open(a, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mlp is a network of seven inputs and three actions with drawn weights.
type mlp struct {
	layers  [][]float32 // weight and bias of each, row by row
	outputs []int
}

func newMLP(seed uint64) *mlp {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := &mlp{}
	in := 7
	for _, out := range []int{32, 32, 3} {
		w, b := make([]float32, out*in), make([]float32, out)
		for i := range w {
			w[i] = float32(rng.NormFloat64() / math.Sqrt(float64(in)))
			if in == 7 && i%in == 0 { // the speed, which is large
				w[i] /= 100
			}
		}
		for i := range b {
			b[i] = float32(rng.NormFloat64() * 0.1)
		}
		m.layers, m.outputs = append(m.layers, w, b), append(m.outputs, out)
		in = out
	}
	return m
}

// card begins the card of an mlp.
const card = `model_name: car
version: %s
model_type: pytorch
model_filename: model.safetensors
observation: [{name: speed, low: 0, high: 200}, {name: steering, low: -1, high: 1}, {name: sensors, shape: [5]}]
action: [{name: throttle, low: 0, high: 1}, {name: brake, low: 0, high: 1}, {name: steer, low: -1, high: 1}]
architecture: [{linear: a}, tanh, {linear: b}, tanh, {linear: c}, tanh]
`

// write writes the network as an artifact and returns its folder. What more is
// said in the card follows.
func (m *mlp) write(t testing.TB, version, more string) string {
	t.Helper()
	return m.writeCard(t, fmt.Sprintf(card, version)+more)
}

func (m *mlp) writeCard(t testing.TB, card string) string {
	t.Helper()
	dir := t.TempDir()
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets []int  `json:"data_offsets"`
	}
	header := map[string]entry{}
	var data []byte
	for i, x := range m.layers {
		name, out := string(rune('a'+i/2))+".weight", m.outputs[i/2]
		shape := []int{out, len(x) / out}
		if i%2 == 1 {
			name, shape = string(rune('a'+i/2))+".bias", []int{out}
		}
		from := len(data)
		for _, v := range x {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		header[name] = entry{"F32", shape, []int{from, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), append(text, data...)...)
	for name, content := range map[string][]byte{"model.safetensors": file, "model_card.yaml": []byte(card)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// recorder acts as a server does, one row a call, and keeps the steps.
type recorder struct {
	t       testing.TB
	policy  *policy.Policy
	rng     *rand.Rand
	steps   []experience.Step
	version string
	run     string

	sessions map[string]*session
}

// session is one stream of a recorder.
type session struct {
	state         [][]float32
	history       *envelope.History
	episode, step uint64
}

func newRecorder(t testing.TB, p *policy.Policy, version string) *recorder {
	return &recorder{t: t, policy: p, rng: rand.New(rand.NewPCG(7, 11)), version: version, run: "run1", sessions: map[string]*session{}}
}

// observe draws an observation within the contract.
func (r *recorder) observe() []float32 {
	c := r.policy.Contract()
	width, bases := 0, make([]int, len(c.Inputs))
	for i := range c.Inputs {
		bases[i] = width
		width += c.Inputs[i].Width
	}
	obs := make([]float32, width)
	for i := range c.Features {
		f := &c.Features[i]
		for j := range f.Size {
			v := r.rng.NormFloat64()
			if !math.IsInf(f.Low, 0) && !math.IsInf(f.High, 0) {
				v = f.Low + r.rng.Float64()*(f.High-f.Low)
			}
			if n := f.Choices(j); n > 0 {
				v = float64(r.rng.IntN(n))
			}
			obs[bases[f.Input]+f.Offset+j] = float32(v)
		}
	}
	return obs
}

// act takes one step and records it: of a session, where it has a name. begins
// begins an episode.
func (r *recorder) act(name string, begins bool, set func(*experience.Step, *policy.Call)) *experience.Step {
	r.t.Helper()
	c := r.policy.Contract()
	s := experience.Step{
		Run: r.run, Sequence: uint64(len(r.steps) + 1), RequestID: fmt.Sprintf("req-%d", len(r.steps)+1),
		Model: "car", Version: r.version, Digest: "digest-" + r.version, Observation: r.observe(), Deterministic: true,
	}
	call := &policy.Call{Rows: 1, Deterministic: true, Actions: make([]float32, c.ActionWidth())}
	if name != "" {
		st := r.sessions[name]
		if st == nil {
			st = &session{state: c.NewState(1)}
			if c.NeedsHistory() {
				st.history = envelope.NewHistory(c.ActionWidth())
			}
			r.sessions[name] = st
			s.First = true
		} else if begins {
			c.ResetState(st.state, 0)
			st.history.Reset()
			st.episode++
			s.First = true
		}
		s.Session, s.Episode, s.SessionStep = name, st.episode, st.step
		s.Seed, s.DrawStep = 99, st.step
		st.step++
		call.State = st.state
		if st.history != nil {
			call.Histories = []*envelope.History{st.history}
		}
	} else if len(c.State) > 0 { // a request that begins and does not go on
		call.State, s.First = c.NewState(1), true
		s.Seed = uint64(len(r.steps)) + 1000
	}
	if set != nil {
		set(&s, call)
	}
	call.Deterministic, call.Seed, call.Step, call.Row = s.Deterministic, s.Seed, s.DrawStep, s.DrawRow
	if s.Masks != nil {
		call.Masks = s.Masks
	}
	at := 0
	for i := range c.Inputs {
		call.In = append(call.In, s.Observation[at:at+c.Inputs[i].Width])
		at += c.Inputs[i].Width
	}
	if err := r.policy.Runner(0).Act(call); err != nil {
		r.t.Fatal(err)
	}
	s.Action = call.Actions
	for _, v := range call.Interventions {
		if s.Raw == nil {
			s.Raw = slices.Clone(s.Action)
		}
		s.Raw[v.Value] = v.From
		s.Interventions = append(s.Interventions, experience.Intervention{Value: v.Value, Kind: string(v.Kind), From: v.From, To: v.To})
	}
	r.steps = append(r.steps, s)
	return &r.steps[len(r.steps)-1]
}

// all gives the steps as a store does: one Step, whose memory is used again.
func all(steps []experience.Step) replay.Steps {
	return func(yield func(*experience.Step, error) bool) {
		var s experience.Step
		for i := range steps {
			obs, act := append(s.Observation[:0], steps[i].Observation...), append(s.Action[:0], steps[i].Action...)
			s = steps[i]
			s.Observation, s.Action = obs, act
			if !yield(&s, nil) {
				return
			}
		}
	}
}

// run replays steps and wants it to work.
func run(t testing.TB, steps []experience.Step, o replay.Options) *replay.Report {
	t.Helper()
	if o.Worst == 0 {
		o.Worst = 10
	}
	r, err := replay.Run(t.Context(), all(steps), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantSame wants every step compared, and no bit to differ.
func wantSame(t *testing.T, r *replay.Report, steps int) {
	t.Helper()
	if r.Steps.Compared != uint64(steps) || r.Steps.Different != 0 || len(r.Worst) != 0 {
		t.Errorf("%d of %d steps were compared and %d differ; %+v %+v; %+v", r.Steps.Compared, steps, r.Steps.Different, r.LeftOut, r.RefusedNew, r.Worst)
	}
	for i := range r.Actions {
		v := &r.Actions[i]
		if v.Different != 0 || v.Mean != 0 || v.Max != 0 || v.Bias != 0 || v.Quantiles.P999 != 0 || v.SignFlips != 0 || v.Disagree != 0 || v.Saturated.Base != v.Saturated.New || v.Interventions.Base != v.Interventions.New {
			t.Errorf("%+v", v)
		}
	}
}
