package torchexport_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchexport"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

const (
	model   = "model/models/model.json"
	weights = "model/data/weights/model_weights_config.json"
)

// members reads a program of the corpus.
func members(t testing.TB) map[string][]byte {
	t.Helper()
	z := open(t, "../../../testdata/modules/2.15.0/seq_mlp/model.pt2")
	all := map[string][]byte{}
	for _, name := range z.Names() {
		b, err := z.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}

// pack makes an archive of members.
func pack(t testing.TB, all map[string][]byte) *torch.Zip {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, data := range all {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := torch.OpenZip(b.Bytes(), torch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// lower decodes and lowers an archive.
func lower(z *torch.Zip) error {
	p, err := torchexport.Decode(z)
	if err != nil {
		return err
	}
	_, err = p.Lower(torchexport.Options{})
	return err
}

// TestNonFinite reads bounds as the json of Python writes them, which is what
// torch 2.5 gives a dimension without a bound.
func TestNonFinite(t *testing.T) {
	all := members(t)
	all[model] = bytes.Replace(all[model], []byte(`{"graph_module"`),
		[]byte(`{"bounds": [Infinity, -Infinity, NaN, -1, 1e-5], "text \" Infinity": "-Infinity, \\", "graph_module"`), 1)
	if err := lower(pack(t, all)); err != nil {
		t.Error(err)
	}
}

// TestOldProgram refuses what torch 2.1 wrote, and says what to do.
func TestOldProgram(t *testing.T) {
	err := lower(open(t, "../../../testdata/programs/2.1.2/mlp/model.pt2"))
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "torch 2.1 to 2.4") || !strings.Contains(err.Error(), "torch 2.5 or later") {
		t.Error(err)
	}
}

// TestRefuses changes one thing in a valid program, and reads what the refusal
// says.
func TestRefuses(t *testing.T) {
	f := func(name, old, now string, want ...string) {
		t.Helper()
		all := members(t)
		if !bytes.Contains(all[name], []byte(old)) {
			t.Fatalf("%s has no %q", name, old)
		}
		all[name] = bytes.Replace(all[name], []byte(old), []byte(now), 1)
		err := lower(pack(t, all))
		if err == nil {
			t.Errorf("%s for %s: no error", now, old)
			return
		}
		for _, w := range append(want, "torch.export:") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s for %s: %v, want %q", now, old, err, w)
			}
		}
	}
	f(model, `{"graph_module"`, `{"graph_module": {}, "graph_module"`, "duplicate")
	f(model, `"major": 8`, `"major": 9`, "unsupported:", "schema version 9")
	f(model, `"major": 8`, `"major": 5`, "unsupported:", "schema version 5", "export the model again with torch 2.5 or later")
	f(model, `"aten": 10`, `"aten": 11`, "unsupported:", "version 11")
	f(model, `torch.ops.aten.tanh.default`, `torch.ops.aten.nonsense.default`, "unsupported: operator torch.nonsense")
	f(model, `torch.ops.aten.tanh.default`, `os.system`, "unsupported: operator os.system")
	f(model, `torch.ops.aten.tanh.default`, `_operator.call`, "unsupported: operator _operator.call")
	f(model, `{"as_tensor": {"name": "linear"}}`, `{"as_tensor": {"name": "linaer"}}`, `no value "linear"`)
	f(model, `"outputs": [{"as_tensor": {"name": "tanh"}}]`, `"outputs": [{"as_tensor": {"name": "linear"}}]`, `"linear" is empty or there twice`)
	f(model, `"parameter_name": "0.weight"`, `"parameter_name": "9.weight"`, `"9.weight": there is no such tensor`)
	f(model, `{"user_output":`, `{"user_input_mutation": {"user_input_name": "x"}, "user_otput":`, "unsupported: user_input_mutation", `input "x"`)
	f(model, `{"user_output":`, `{"gradient_to_parameter": {}, "user_otput":`, "unsupported:", "a program for training")
	f(model, `{"user_output":`, `{"buffer_mutation": {}, "user_otput":`, `the next value of "", which is no buffer`)
	f(model, `"output_specs": [`, `"output_specs": [{"user_output": {"arg": {"as_none": true}}}, `, "1 outputs, the signature has 2")
	f(model, `{"as_tensor": {"name": "linear"}}`, `{"as_tensor": {"name": "linear"}, "as_int": 3}`, "two kinds")
	f(model, `{"as_tensor": {"name": "linear"}}`, `{"as_wonder": 3}`, "unsupported:")
	f(model, `{"as_tensor": {"name": "linear"}}`, `{}`, "unsupported:")
	f(model, `{"as_tensor": {"name": "linear"}}`, `[]`, "an object was wanted")
	f(model, `{"as_tensor": {"name": "linear"}}`, `{"as_ints": [`+strings.Repeat("0,", 2_000_000)+`0]}`, "limit exceeded")
	f(model, `"inputs": [`, `"inputs": [`+strings.Repeat("{},", 200_000), "limit exceeded")
	f(weights, `"dtype": 7`, `"dtype": 11`, "element type 11")
	f(weights, `"layout": 7`, `"layout": 1`, "layout 1")
	f(weights, `"path_name": "weight_0"`, `"path_name": "weight_9"`, `"weight_9" of`, "is missing")
	f(weights, `"path_name": "weight_0"`, `"path_name": "../weights/weight_0"`, "is missing")
	f(weights, `"path_name": "weight_0"`, `"path_name": "../../models/model.json"`, "is missing")
	f(weights, `[{"as_int": 8}, {"as_int": 5}]`, `[{"as_int": 9}, {"as_int": 5}]`, "reaches element")
	f(weights, `[{"as_int": 8}, {"as_int": 5}]`, `[{"as_int": 8}, {"as_int": -5}]`, "negative")
	f(weights, `[{"as_int": 8}, {"as_int": 5}]`, `[{"as_int": 4611686018427387904}, {"as_int": 5}]`, "overflows")
	f(weights, `"storage_offset": {"as_int": 0}`, `"storage_offset": {"as_int": 1}`, "reaches element")
	f(weights, `"storage_offset": {"as_int": 0}`, `"storage_offset": {"as_int": 9223372036854775807}`, "")
	f(weights, `"use_pickle": false`, `"use_pickle": true`, "neither a zip archive")
}

// TestSampleInputs are never read.
func TestSampleInputs(t *testing.T) {
	all := members(t)
	all["model/data/sample_inputs/model.pt"] = []byte("cposix\nsystem\n")
	if err := lower(pack(t, all)); err != nil {
		t.Error(err)
	}
}

// TestMissingMember names the member.
func TestMissingMember(t *testing.T) {
	for _, name := range []string{weights, "model/data/weights/weight_1"} {
		all := members(t)
		delete(all, name)
		if err := lower(pack(t, all)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestStatic says how a program is exported for any number of rows, where one
// that was exported for a fixed number cannot be lowered.
func TestStatic(t *testing.T) {
	all := members(t)
	all[model] = bytes.ReplaceAll(all[model], []byte("torch.ops.aten.tanh.default"), []byte("torch.ops.aten.nothing.default"))
	var m map[string]any
	if err := json.Unmarshal(all[model], &m); err != nil {
		t.Fatal(err)
	}
	values := m["graph_module"].(map[string]any)["graph"].(map[string]any)["tensor_values"].(map[string]any)
	values["input"].(map[string]any)["sizes"].([]any)[0] = map[string]any{"as_int": 3}
	var err error
	if all[model], err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	p, err := torchexport.Decode(pack(t, all))
	if err != nil {
		t.Fatal(err)
	}
	if p.Static != 3 || p.Inputs[0].Shape.String() != "[B,5]" {
		t.Errorf("%d rows, input %v", p.Static, p.Inputs[0].Shape)
	}
	if _, err := p.Lower(torchexport.Options{}); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "exported for 3 rows") {
		t.Errorf("%v", err)
	}
}

// TestHostile opens the hostile programs of the large corpus: all are refused
// but the one whose sample inputs are a pickle that is never read.
func TestHostile(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 4 hostile programs were not run")
		return
	}
	paths, err := filepath.Glob(filepath.Join(root, "hostile", "pt2", "*"))
	if err != nil || len(paths) < 4 {
		t.Fatalf("no hostile files: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := torch.OpenZip(data, torch.Limits{})
		if err == nil {
			err = lower(z)
		}
		if inert := strings.Contains(path, "sample_inputs"); inert != (err == nil) {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}

// FuzzDecode asserts that any graph is refused, or lowers to one that
// verifies.
func FuzzDecode(f *testing.F) {
	all := members(f)
	f.Add(all[model], all[weights])
	for _, name := range []string{"modules/2.15.0/program", "modules/2.15.0/seq_images", "modules/2.15.0/two_inputs", "programs/2.15.0/views", "programs/2.15.0/branch", "programs/2.15.0/loop"} {
		z := open(f, "../../../testdata/"+name+"/model.pt2")
		b, err := z.Record("models/model.json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, all[weights])
	}
	f.Fuzz(func(t *testing.T, m, w []byte) {
		own := maps.Clone(all)
		own[model], own[weights] = m, w
		p, err := torchexport.Decode(pack(t, own))
		if err != nil {
			return
		}
		for rows := range 2 {
			g, err := p.Lower(torchexport.Options{InputShapes: map[string][]int{"input": {graph.Batch, 5}}, Rows: rows})
			if err != nil {
				continue
			}
			if err := g.Verify(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
