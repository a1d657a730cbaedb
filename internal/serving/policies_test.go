package serving_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// Policies of real trainers.
const (
	fileRecurrentPPO = "../format/sb3/testdata/rppo_two_layers/model.zip"
	filePPO          = "../format/sb3/testdata/ppo_box/model.zip"
	fileLSTM         = "../../testdata/libraries/rsl_rl_2_lstm/model_3.pt"
	scripts          = "../../testdata/scripts/2.8.0/"
)

// enveloped is the rest of the card of a policy with three actions.
const enveloped = `action:
  - {name: pedal, low: -2, high: 3}
  - {name: wheel, low: -2, high: 3}
  - {name: gear, low: -2, high: 3}
control_hz: 10
envelope:
  limits: {pedal: {rate: 0.5}, wheel: {rate: 0.25, jerk: 1}}
`

// open opens the policy of a file or folder, with a card if there is a text for
// it.
func open(tb testing.TB, path, card string, lanes int, o policy.Options) *policy.Policy {
	tb.Helper()
	files := fstest.MapFS{}
	add := func(name string) {
		data, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		files["policy/"+filepath.Base(name)] = &fstest.MapFile{Data: data}
	}
	if info, err := os.Stat(path); err != nil {
		tb.Fatal(err)
	} else if info.IsDir() {
		a, err := artifact.OpenPath(path, artifact.Limits{})
		return opened(tb, a, err, lanes, o)
	}
	add(path)
	if card != "" {
		files["policy/model_card.yaml"] = &fstest.MapFile{Data: []byte("model_name: policy\nversion: v1.0.0\nmodel_type: pytorch\nmodel_filename: " + filepath.Base(path) + "\n" + card)}
	}
	a, err := artifact.Open(fs.FS(files), "policy", artifact.Limits{})
	return opened(tb, a, err, lanes, o)
}

func opened(tb testing.TB, a *artifact.Artifact, err error, lanes int, o policy.Options) *policy.Policy {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	defer a.Release()
	p, err := policy.Open(a, o)
	if err != nil {
		tb.Fatal(err)
	}
	p.Prepare(lanes)
	return p
}

// version is that of a policy, with a digest of its own.
func version(p *policy.Policy, digest string) serving.SessionVersion {
	return serving.SessionVersion{Model: "m", Version: "v" + digest, Digest: digest, Contract: p.Contract(), Handle: p}
}

// observe fills the inputs of a request with numbers that depend on n.
func observe(req *serving.Request, c *policy.Contract, rows, n int) {
	req.Rows = rows
	for i, in := range c.Inputs {
		if len(req.Inputs) <= i {
			req.Inputs = append(req.Inputs, nil)
		}
		if len(req.Inputs[i]) != rows*in.Width {
			req.Inputs[i] = make([]float32, rows*in.Width)
		}
		for j := range req.Inputs[i] {
			req.Inputs[i][j] = float32((n*31+j*17)%23)/8 - 1
		}
	}
}

// paced is an engine whose programs take a time, which is that of the bubble.
type paced struct {
	compiles atomic.Int64 // nanoseconds of a compilation
	takes    atomic.Int64 // nanoseconds of a run
	runs     atomic.Int64
}

func (e *paced) Name() string { return "paced" }

func (e *paced) Compile(g *graph.Graph) (policy.Program, error) {
	time.Sleep(time.Duration(e.compiles.Load()))
	p, err := policy.Plan.Compile(g)
	return pacedProgram{e, p}, err
}

type pacedProgram struct {
	e *paced
	policy.Program
}

func (p pacedProgram) NewRunner() policy.ProgramRunner {
	return &pacedRunner{p.e, p.Program.NewRunner()}
}

type pacedRunner struct {
	e *paced
	policy.ProgramRunner
}

func (r *pacedRunner) Run(rows int, in, out [][]float32, n graph.Noise) error {
	r.e.runs.Add(1)
	if d := r.e.takes.Load(); d > 0 {
		time.Sleep(time.Duration(d))
	}
	return r.ProgramRunner.Run(rows, in, out, n)
}
