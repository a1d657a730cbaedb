package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/load"
)

// subject is a server that is measured.
type subject struct {
	key, name string
	// command starts it on a port, and may use the three behind it.
	command func(b *bench, port, workers int) (*exec.Cmd, error)
	path    string
	body    func(i int) string // of the i-th observation
	// venv tells that it runs in a virtual environment of its own.
	venv bool
}

func (s *subject) request(address string, i int) []byte {
	return load.Request("POST", address, s.path, "application/json", []byte(s.body(i)))
}

// observation and the action that torch computed for it: golden vectors of the
// demo policy's card.
type observation struct {
	speed, steering float64
	sensors         [5]float64
	action          [3]float64 // throttle, brake, steer
}

var observations = []observation{
	{25.5, 0.1, [5]float64{0.8, 0.2, 0.5, 0.9, 0.1}, [3]float64{0, 0.12720178, -0.85249764}},
	{0, -1, [5]float64{}, [3]float64{1, 0, -0.33293507}},
	{200, 1, [5]float64{1, 1, 1, 1, 1}, [3]float64{0, 0.32400936, 0.07035399}},
	{34.40077, 0.13954462, [5]float64{0.13375582, 0.31552926, 0.58842254, 0.25299063, 0.14996435}, [3]float64{0.74014515, 0, 0.14398338}},
}

func (o *observation) flat() string {
	words := []string{text(o.speed), text(o.steering)}
	for _, x := range o.sensors {
		words = append(words, text(x))
	}
	return strings.Join(words, ",")
}

func text(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// guideRequest is the form of the deployment guide.
func guideRequest(i int) string {
	o := &observations[i]
	flat := strings.SplitN(o.flat(), ",", 3)
	return fmt.Sprintf(`{"observations":[{"speed":%s,"steering":%s,"sensors":[%s]}],"deterministic":true}`, flat[0], flat[1], flat[2])
}

// inferRequest is the form of the Open Inference Protocol.
func inferRequest(i int) string {
	return fmt.Sprintf(`{"inputs":[{"name":"input","shape":[1,7],"datatype":"FP32","data":[%s]}]}`, observations[i].flat())
}

// sameAction reads an answer of either form.
func sameAction(body []byte, want [3]float64) error {
	var a struct {
		Actions []struct{ Throttle, Brake, Steer *float64 }
		Outputs []struct{ Data []float64 }
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return err
	}
	var got []float64
	switch {
	case len(a.Actions) == 1 && a.Actions[0].Throttle != nil && a.Actions[0].Brake != nil && a.Actions[0].Steer != nil:
		x := a.Actions[0]
		got = []float64{*x.Throttle, *x.Brake, *x.Steer}
	case len(a.Outputs) == 1:
		got = a.Outputs[0].Data
	}
	if len(got) != len(want) {
		return fmt.Errorf("the answer has %d actions, not %d", len(got), len(want))
	}
	for i, x := range got {
		if math.Abs(x-want[i]) > 1e-5 {
			return fmt.Errorf("the actions are %v, not %v", got, want)
		}
	}
	return nil
}

// ours with its default settings.
var ours = &subject{
	key: "carla-rl", name: "carla-rl", path: "/predict", body: guideRequest,
	command: func(b *bench, port, _ int) (*exec.Cmd, error) {
		c := exec.Command(b.binary, "serve", "--port", strconv.Itoa(port))
		c.Dir = b.scratch
		return c, nil
	},
}

// noop is one that answers what address answers.
func noop(stack, name, address string) *subject {
	return &subject{
		key: stack, name: name, path: "/predict", body: guideRequest,
		command: func(b *bench, port, _ int) (*exec.Cmd, error) {
			return exec.Command(filepath.Join(b.tools, "noop"), "-stack", stack, "-listen", "127.0.0.1:"+strconv.Itoa(port),
				"-like", "http://"+address+"/predict", "-request", filepath.Join(b.scratch, "request.json")), nil
		},
	}
}

// peer is one that runs in a virtual environment. Its command gets the port and
// the number of workers.
func peer(key, name, path string, body func(int) string, script string) *subject {
	return &subject{
		key: key, name: name, path: path, body: body, venv: true,
		command: func(b *bench, port, workers int) (*exec.Cmd, error) {
			python, err := b.venv(key)
			if err != nil {
				return nil, err
			}
			script := filepath.Join(b.root, "bench/peers", script)
			c := exec.Command(python, script, strconv.Itoa(port), strconv.Itoa(workers))
			c.Dir = filepath.Dir(script)
			c.Env = append(os.Environ(), "BENCH_MODEL="+b.model, "BENCH_SCRATCH="+b.scratch, "PYTHONDONTWRITEBYTECODE=1", "OMP_NUM_THREADS=1",
				"PATH="+filepath.Dir(python)+string(os.PathListSeparator)+os.Getenv("PATH"))
			return c, nil
		},
	}
}

var allPeers = []*subject{
	peer("fastapi", "FastAPI + ONNX Runtime", "/predict", guideRequest, "fastapi_server.py"),
	peer("mlserver", "MLServer", "/v2/models/driving/infer", inferRequest, "mlserver/start.py"),
	peer("pytriton", "PyTriton", "/v2/models/driving/infer", inferRequest, "pytriton_server.py"),
	peer("litserve", "LitServe", "/predict", guideRequest, "litserve_server.py"),
	peer("bentoml", "BentoML", "/predict", guideRequest, "bentoml/start.py"),
	peer("rayserve", "Ray Serve", "/predict", guideRequest, "rayserve_server.py"),
}

var defaultPeers = []string{"fastapi", "mlserver", "pytriton"}

func peersOf(s string) ([]string, error) {
	switch s {
	case "", "default":
		return defaultPeers, nil
	case "none":
		return nil, nil
	}
	var known, wanted []string
	for _, p := range allPeers {
		known = append(known, p.key)
	}
	if s == "all" {
		return known, nil
	}
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); !slices.Contains(known, name) {
			return nil, fmt.Errorf("peer %q: default, all, none, or some of %s", name, strings.Join(known, ", "))
		}
		wanted = append(wanted, name)
	}
	return wanted, nil
}

func (b *bench) chosenPeers() []*subject {
	var all []*subject
	for _, p := range allPeers {
		if slices.Contains(b.peerNames, p.key) {
			all = append(all, p)
		}
	}
	return all
}

// venv returns the Python of a peer's environment, which is made once.
func (b *bench) venv(key string) (string, error) {
	c := b.command(filepath.Join(b.root, "training/venv.sh"), "bench-"+key, filepath.Join(b.root, "bench/peers/requirements-"+key+".txt"))
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("environment of %s: %w", key, err)
	}
	return strings.TrimSpace(string(out)), nil
}
