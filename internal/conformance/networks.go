package conformance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// networkFile is the cases.json beside the files of one network.
type networkFile struct {
	Torch        string            `json:"torch"`
	Source       string            `json:"source"`
	Library      string            `json:"library"` // whose layout the one file has
	File         string            `json:"file"`
	Files        map[string]string `json:"files"`
	Architecture *string           `json:"architecture"`
	Sequence     bool              `json:"sequence"`
	Reset        []int             `json:"reset_before_steps"`
	Atol         float64           `json:"atol"`
	Batches      []networkRun      `json:"batches"`
	Steps        []networkRun      `json:"steps"`
}

type networkRun struct {
	Batch      int            `json:"batch"`
	Inputs     map[string]any `json:"inputs"`
	Outputs    map[string]any `json:"outputs"`
	ActOutputs map[string]any `json:"act_outputs"`
}

// forms are the files of a network that hold its computation, or take one from
// the case, by the key in cases.json.
var forms = map[string]string{
	"trace": "torchscript", "script": "torchscript", "frozen": "torchscript", "pt2": "torch.export", "pickle": "torch module",
	"pickle_legacy": "torch module", "pickle_entry": "torch module",
	"onnx": "onnx", "onnx_old": "onnx",
	"state": "torch weights", "state_legacy": "torch weights", "ckpt": "torch weights", "safetensors": "safetensors",
}

func networkCases(dir string, data []byte) ([]Case, error) {
	var f networkFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	if f.Atol == 0 {
		f.Atol = 1e-5
	}
	f.Batches = append(f.Batches, f.Steps...)
	if f.Library != "" {
		f.Files = map[string]string{"library": f.File}
		f.Sequence = len(f.Steps) > 0
	}
	all := []Case{}
	for form, file := range f.Files {
		kind, known := forms[form]
		if f.Library != "" {
			kind, known = f.Library, true
		}
		weights := kind == "torch weights" || kind == "safetensors"
		if !known || weights && f.Architecture == nil {
			continue
		}
		for _, method := range []string{"", "act"} {
			c := Case{
				Name: label(dir, form), Source: Source{kind, f.producer(kind)},
				Sequence: f.Sequence, Atol: f.Atol, Rtol: 1e-5,
			}
			if method != "" {
				c.Name += "/" + method
			}
			shapes := map[string][]int{}
			for i, r := range f.Batches {
				run, err := f.run(dir, r, method, shapes)
				if err != nil {
					return nil, err
				}
				if run.Outputs == nil {
					continue
				}
				run.Reset = slices.Contains(f.Reset, i)
				c.Runs = append(c.Runs, run)
			}
			if len(c.Runs) == 0 {
				continue
			}
			c.Graph = func() (*graph.Graph, error) {
				n, err := decode(filepath.Join(dir, file))
				if err != nil {
					return nil, err
				}
				if weights {
					s, err := architecture.ParseText(*f.Architecture)
					if err != nil {
						return nil, err
					}
					if n, err = format.WithArchitecture(n, s); err != nil {
						return nil, err
					}
				}
				if method == "act" && !slices.Contains(n.Describe().Methods, "act") {
					return nil, errNoMethod
				}
				return lower(n, method, shapes, c.Runs[0].Rows)
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// errNoMethod is a form of a network, such as a trace, that has fewer methods
// than another.
var errNoMethod = errors.New("no method act")

// NoMethod tells whether an error of Case.Graph means that this form of the
// file does not have the method of the case.
func NoMethod(err error) bool { return errors.Is(err, errNoMethod) }

func (f *networkFile) producer(kind string) string {
	version, _, _ := strings.Cut(f.Torch, "+")
	switch {
	case f.Library != "":
		return ""
	case f.Torch == "":
		name, _, _ := strings.Cut(f.Source, ", ")
		return name
	case kind == "safetensors":
		return "" // a format of its own, which has no versions
	}
	return "PyTorch " + version
}

// run reads one batch or step, and the shapes of its inputs.
func (f *networkFile) run(dir string, r networkRun, method string, shapes map[string][]int) (Run, error) {
	outputs := r.Outputs
	if method == "act" {
		outputs = r.ActOutputs
	}
	if outputs == nil {
		return Run{}, nil
	}
	run := Run{Rows: r.Batch}
	var err error
	if run.Inputs, err = flat(dir, r.Inputs); err != nil {
		return run, err
	}
	if run.Outputs, err = flat(dir, outputs); err != nil {
		return run, err
	}
	for name, v := range r.Inputs {
		if m, ok := v.(map[string]any); ok && m["npy"] == nil {
			continue
		}
		d, err := read(dir, v)
		if err != nil {
			return run, err
		}
		if run.Rows == 0 {
			run.Rows = d.shape[0]
		}
		s := slices.Clone(d.shape)
		// The state of a recurrent layer has the batch in the middle.
		s[max(0, slices.Index(s, run.Rows))] = graph.Batch
		if shapes[name] == nil {
			shapes[name] = s
		}
	}
	return run, nil
}

// decode reads a model file and those that lie beside it.
func decode(path string) (format.Network, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return format.DecodeBeside(filepath.Base(path), data, func(name string) ([]byte, error) {
		if !fs.ValidPath(name) {
			return nil, fs.ErrInvalid
		}
		return os.ReadFile(filepath.Join(filepath.Dir(path), filepath.FromSlash(name)))
	})
}

// lower makes the graph of a method. The shapes of images are given, those of
// flat rows where the file does not tell them; where rows cannot go through
// the network in any number, the graph is of one, or of as many as were
// recorded.
func lower(n format.Network, method string, shapes map[string][]int, rows int) (*graph.Graph, error) {
	images := map[string][]int{}
	d := n.Describe()
	for name, s := range shapes {
		if len(shapes) == 1 && len(d.Inputs) == 1 {
			name = d.Inputs[0].Name
		}
		if len(s) > 2 {
			images[name] = s
		}
	}
	o := format.LowerOptions{Method: method, Deterministic: true, InputShapes: images}
	g, err := n.Lower(o)
	if err == nil {
		return g, nil
	}
	for _, o.Rows = range []int{0, 1, rows} {
		for _, o.InputShapes = range []map[string][]int{nil, images, shapes} {
			if g, again := n.Lower(o); again == nil {
				return g, nil
			}
		}
	}
	return nil, err
}
