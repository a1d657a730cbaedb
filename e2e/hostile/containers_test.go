//go:build e2e

package hostile_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
)

// What one pickle may take, in whatever it lies.
const (
	pickleTime   = time.Second
	pickleMemory = 64 << 20
)

// place is a way in which a pickle comes to the readers.
type place struct {
	name, role string
	// sound is a file with the pickle that belongs there, and file one with
	// another one.
	sound []byte
	file  func(p []byte) []byte
	own   []byte                            // the pickle that belongs there
	read  func(file []byte) (string, error) // what was read, in words
	// ignored tells that the pickle is never read: what is read of the file is
	// what is read of the sound one. never tells that no such file is read.
	ignored, never bool
}

// readModel reads a model file as far as lowering it.
func readModel(file []byte) (string, error) {
	n, err := format.Decode("", file)
	if err != nil {
		return "", err
	}
	d := n.Describe()
	said := fmt.Sprintf("%s, %d tensors, %d parameters, %v", d.Format, len(d.Tensors), d.Parameters, d.Layers)
	if d.WeightsOnly {
		return said, nil
	}
	g, unsupported := n.Lower(format.LowerOptions{Deterministic: true})
	if unsupported == nil {
		return said + fmt.Sprintf(", %d nodes", len(g.Nodes)), g.Verify()
	}
	return said + ", " + unsupported.Error(), nil //nolint:nilerr // it was read; what it computes is not known here
}

func readPreprocessor(file []byte) (string, error) {
	p, err := preprocess.Decode(file)
	if err != nil {
		return "", err
	}
	return strings.Join(p.Describe(), "; "), nil
}

// members are those of an archive, in its order.
type members struct {
	names []string
	data  map[string][]byte
}

func unpack(file []byte) *members {
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		panic(err)
	}
	m := &members{data: map[string][]byte{}}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			panic(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			panic(err)
		}
		m.names = append(m.names, f.Name)
		m.data[f.Name] = b
	}
	return m
}

// with packs the members anew, one of them changed or added.
func (m *members) with(name string, data []byte) []byte {
	var a archive
	for _, n := range m.names {
		if n != name {
			a.add(n, m.data[n], stored, false)
		}
	}
	a.add(name, data, stored, false)
	return a.bytes()
}

// full is the name of the member that ends so.
func (m *members) full(end string) string {
	i := slices.IndexFunc(m.names, func(n string) bool { return strings.HasSuffix(n, end) })
	if i < 0 {
		panic("no member " + end)
	}
	return m.names[i]
}

// root is the folder of the repository.
const root = "../.."

func mustRead(path ...string) []byte {
	b, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		panic(err)
	}
	return b
}

// places lists all ways, with files of testdata for what is around the pickle.
func places() []place {
	scaler := mustRead("testdata/preprocess/standard/preprocessor_p4.pkl")
	state := unpack(mustRead("testdata/torch/2.15.0/seq_tanh/state_dict.pth"))
	script := unpack(mustRead("testdata/torch/2.15.0/seq_tanh/model_script.pt"))
	exported := unpack(mustRead("testdata/modules/2.15.0/program/model.pt2"))
	agent := unpack(mustRead("internal/format/sb3/testdata/ppo_box/model.zip"))
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(agent.data["data"], &attributes); err != nil {
		panic(err)
	}
	attribute := func(key string, p []byte) []byte {
		changed := maps.Clone(attributes)
		v, err := json.Marshal(map[string]string{":type:": "<class 'function'>", ":serialized:": base64.StdEncoding.EncodeToString(p)})
		if err != nil {
			panic(err)
		}
		changed[key] = v
		b, err := json.Marshal(changed)
		if err != nil {
			panic(err)
		}
		return agent.with("data", b)
	}
	serialized := func(key string) []byte {
		var v map[string]any
		if err := json.Unmarshal(attributes[key], &v); err != nil {
			panic(err)
		}
		b, err := base64.StdEncoding.DecodeString(v[":serialized:"].(string))
		if err != nil {
			panic(err)
		}
		return b
	}
	policy := unpack(agent.data["policy.pth"])
	stateKey, scriptKey := state.full("data.pkl"), script.full("data.pkl")
	constants := script.full("constants.pkl")
	top, _, _ := strings.Cut(exported.names[0], "/")
	head := "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}(X\r\x00\x00\x00little_endian\x88u."
	legacy := func(p []byte) []byte { return slices.Concat([]byte(head), p, []byte("\x80\x02].")) }

	all := []place{
		{name: "a pickle", role: "preprocessor", sound: scaler, file: func(p []byte) []byte { return p }, read: readPreprocessor},
		{name: "joblib, zlib", role: "preprocessor", sound: squeezed(scaler, false), file: func(p []byte) []byte { return squeezed(p, false) }, read: readPreprocessor},
		{name: "joblib, gzip", role: "preprocessor", sound: squeezed(scaler, true), file: func(p []byte) []byte { return squeezed(p, true) }, read: readPreprocessor},
		{name: "array of objects of joblib", role: "preprocessor", sound: scaler, file: objects, read: readPreprocessor},
		{name: "array of objects in .npy", role: "preprocessor", never: true, file: func(p []byte) []byte { return npy(p) }, read: readPreprocessor},
		{name: "array of objects in .npz", role: "preprocessor", never: true, file: func(p []byte) []byte { return pack("mean.npy", npy(p), "std.npy", npy(p)) }, read: readPreprocessor},
		{name: "state dict as a preprocessor", role: "weights", sound: nil, never: false, file: func(p []byte) []byte { return state.with(stateKey, p) }, read: readPreprocessor},
		{name: "state dict", role: "weights", sound: state.with(stateKey, state.data[stateKey]), file: func(p []byte) []byte { return state.with(stateKey, p) }, read: readModel},
		{name: "state dict before torch 1.6", role: "weights", sound: mustRead("testdata/torch/2.15.0/seq_tanh/state_dict_legacy.pth"), file: legacy, read: readModel},
		{name: "tar of torch 0.1", role: "weights", never: true, file: tarred, read: readModel},
		{name: "a pickle as a model", role: "weights", never: true, file: func(p []byte) []byte { return p }, read: readModel},
		{name: "object of TorchScript", role: "script", sound: script.with(scriptKey, script.data[scriptKey]), file: func(p []byte) []byte { return script.with(scriptKey, p) }, read: readModel},
		{name: "constants of TorchScript", role: "script", sound: script.with(constants, script.data[constants]), file: func(p []byte) []byte { return script.with(constants, p) }, read: readModel},
		{name: "sample inputs of .pt2", role: "ignored", ignored: true, sound: exported.with(top+"/data/sample_inputs/model.pt", []byte("x")), file: func(p []byte) []byte { return exported.with(top+"/data/sample_inputs/model.pt", p) }, read: readModel},
		{name: "sample inputs of .pt2 in a zip", role: "ignored", ignored: true, sound: exported.with(top+"/data/sample_inputs/model.pt", []byte("x")), file: func(p []byte) []byte {
			return exported.with(top+"/data/sample_inputs/model.pt", state.with(stateKey, p))
		}, read: readModel},
		{name: "weights of an agent", role: "weights", sound: agent.with("policy.pth", agent.data["policy.pth"]), file: func(p []byte) []byte {
			return agent.with("policy.pth", policy.with(policy.full("data.pkl"), p))
		}, read: readModel},
		{name: "optimizer of an agent", role: "ignored", ignored: true, sound: agent.with("policy.optimizer.pth", []byte("x")), file: func(p []byte) []byte {
			return agent.with("policy.optimizer.pth", state.with(stateKey, p))
		}, read: readModel},
		{name: "variables of an agent", role: "ignored", ignored: true, sound: agent.with("pytorch_variables.pth", []byte("x")), file: func(p []byte) []byte { return agent.with("pytorch_variables.pth", p) }, read: readModel},
	}
	for _, key := range []string{"observation_space", "action_space", "policy_class", "policy_kwargs"} {
		p := place{name: key + " of an agent", role: "agent", file: func(p []byte) []byte { return attribute(key, p) }, read: readModel}
		if key != "policy_kwargs" {
			p.sound = attribute(key, serialized(key))
		}
		all = append(all, p)
	}
	for _, key := range []string{"lr_schedule", "clip_range", "_last_obs", "ep_info_buffer"} {
		all = append(all, place{name: key + " of an agent", role: "ignored", ignored: true, sound: attribute(key, []byte("N.")), file: func(p []byte) []byte { return attribute(key, p) }, read: readModel})
	}
	all = append(all, constantOf(exported))
	own := map[string][]byte{
		"a pickle": scaler, "joblib, zlib": scaler, "joblib, gzip": scaler,
		"state dict": state.data[stateKey], "weights of an agent": policy.data[policy.full("data.pkl")],
		"object of TorchScript": script.data[scriptKey], "constants of TorchScript": script.data[constants],
	}
	for i := range all {
		all[i].own = own[all[i].name]
		if key, ok := strings.CutSuffix(all[i].name, " of an agent"); ok && all[i].role == "agent" && key != "policy_kwargs" {
			all[i].own = serialized(key)
		}
	}
	return all
}

// constantOf is the place of a constant of a program of torch.export: one that is
// said to be a pickle.
func constantOf(program *members) place {
	name := program.full("model_weights_config.json")
	var config struct {
		Config map[string]map[string]any `json:"config"`
	}
	if err := json.Unmarshal(program.data[name], &config); err != nil || len(config.Config) == 0 {
		panic(fmt.Sprint("weights of a program: ", err))
	}
	path := ""
	for _, c := range config.Config {
		c["use_pickle"] = true
		path, _ = c["path_name"].(string)
	}
	changed, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	weight := program.full("/" + path)
	pickled := &members{names: program.names, data: maps.Clone(program.data)}
	pickled.data[name] = changed
	return place{name: "pickled weights of .pt2", role: "weights", never: true, file: func(p []byte) []byte { return pickled.with(weight, p) }, read: readModel}
}

func squeezed(p []byte, gz bool) []byte {
	var b bytes.Buffer
	var w io.WriteCloser = zlib.NewWriter(&b)
	if gz {
		w = gzip.NewWriter(&b)
	}
	_, _ = w.Write(p) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// objects puts a pickle behind a wrapper of joblib that says that it is an array
// of objects.
func objects(p []byte) []byte {
	const wrapper = "\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x08\x00\x00\x00subclasscnumpy\nndarray\nX\x05\x00\x00\x00shapeK\x01\x85X\x05\x00\x00\x00orderX\x01\x00\x00\x00C" +
		"X\x05\x00\x00\x00dtypecnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87RX\x0a\x00\x00\x00allow_mmap\x89ub"
	return slices.Concat([]byte(wrapper), p, []byte("."))
}

// npy is an .npy file of objects, which numpy pickles.
func npy(p []byte) []byte {
	h := "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
	h += strings.Repeat(" ", 117-len(h)) + "\n"
	return slices.Concat([]byte("\x93NUMPY\x01\x00"), le.AppendUint16(nil, uint16(len(h))), []byte(h), p)
}

// tarred is the container that torch had at first.
func tarred(p []byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"sys_info", "pickle", "storages", "tensors"} {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(p))})
		_, _ = w.Write(p) // a buffer takes everything
	}
	_ = w.Close()
	return b.Bytes()
}

func pickleWorker() func(n uint64) func() result {
	all := places()
	sounds := make([]string, len(all))
	for i, p := range all {
		if p.sound == nil {
			continue
		}
		said, err := p.read(p.sound)
		if err != nil {
			panic(fmt.Sprintf("%s: the sound file is refused: %v", p.name, err))
		}
		sounds[i] = said
	}
	var g grammar
	return func(n uint64) func() result {
		r := rand.New(rand.NewPCG(n, 5))
		i := r.IntN(len(all))
		for all[i].ignored && r.IntN(8) > 0 { // they cost most and show least
			i = r.IntN(len(all))
		}
		p := all[i]
		if r.IntN(100) == 0 && p.sound != nil { // so that it is seen that the place is read at all
			return func() result {
				said, err := p.read(p.sound)
				if err != nil || said != sounds[i] {
					return result{kind: p.name, sound: true, wrong: fmt.Sprintf("the sound file: %v, %s", err, said)}
				}
				return result{kind: p.name, sound: true, read: true}
			}
		}
		g.r, g.role, g.nice = r, p.role, r.IntN(3) == 0
		if p.ignored {
			g.role = "weights"
		}
		var pickled []byte
		if p.own != nil && r.IntN(2) == 0 {
			pickled = g.spliced(p.own)
		} else {
			pickled = g.pickle()
		}
		names := named(pickled)
		file := p.file(pickled)
		return func() result {
			said, err := p.read(file)
			res := result{kind: p.name, read: err == nil}
			switch {
			case p.ignored:
				if err != nil || said != sounds[i] {
					res.wrong = fmt.Sprintf("what is never read changes what is read: %v, %s", err, said)
				}
			case err != nil:
			case p.never:
				res.wrong = "it was read: " + said
			default:
				for _, name := range names {
					if !plain(name) && !slices.Contains(named(p.own), name) {
						res.wrong = fmt.Sprintf("it was read and names %q", name)
					}
				}
			}
			return res
		}
	}
}

// TestPickles: pickles of every protocol by the million, in all places of files
// that hold pickles, are refused where they name anything that is not plain data.
func TestPickles(t *testing.T) {
	ledger.Begin(t)
	o := generate(t, "pickles")
	o.row(t, "A5", "pickles of a grammar, protocols 0 to 5, in every place of a file that holds one", "pickles")
	o.within(t, pickleTime, pickleMemory)
	for name, n := range o.Kinds {
		if n == 0 {
			t.Errorf("%s: nothing was tried", name)
		}
	}
	if marks, _ := filepath.Glob("/tmp/pwned-*"); len(marks) > 0 {
		t.Errorf("something was executed: %v", marks)
	}
}

// TestNamed holds the oracle itself to pickles whose names are known.
func TestNamed(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		if got := named([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, wanted %q", in, got, want)
		}
	}
	f("cos\nsystem\n.", "os system")
	f("\x80\x04\x8c\x02os\x8c\x06system\x93.", "os system")
	f("\x8c\x0bcollectionsq\x00\x8c\x02osq\x000"+"0h\x00\x8c\x06system\x93.", "os system")
	f("(ios\nsystem\n.", "os system")
	f("}(X\x01\x00\x00\x00acos\nsystem\nu.", "os system")
	f("K\x01.cos\nsystem\n.")
	f("\x8a\x02ab(cos\nsystem\nK\x01o(cnt\nsystem\no.", "os system", "nt system")
	f("NR.")
}
