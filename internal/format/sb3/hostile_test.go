package sb3_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
)

// TestHostile opens the hostile zips of the large corpus.
func TestHostile(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 8 hostile files not run")
		return
	}
	b, err := os.ReadFile(filepath.Join(root, "hostile", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Items []struct{ Path, Kind, Expect, Must string }
	}
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, it := range index.Items {
		if it.Kind != "model.zip" {
			continue
		}
		ran++
		t.Run(it.Path, func(t *testing.T) {
			p, err := decodeFile(filepath.Join(root, "hostile", it.Path))
			switch {
			case err != nil:
				t.Log(err)
			case it.Expect == "reject":
				t.Errorf("opened; it must: %s", it.Must)
			case !strings.Contains(strings.Join(p.Notes, " "), "lr_schedule"):
				t.Errorf("opened without a word about lr_schedule; it must: %s", it.Must)
			}
		})
	}
	if ran == 0 {
		t.Error("no hostile files were found")
	}
	if marks, _ := filepath.Glob("/tmp/pwned-*"); len(marks) > 0 {
		t.Errorf("something was executed: %v", marks)
	}
}

// members reads the files of a zip of the corpus.
func members(t testing.TB, name string) map[string][]byte {
	t.Helper()
	r, err := zip.OpenReader(filepath.Join("testdata", name, "model.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	out := map[string][]byte{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if out[f.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// archive makes a zip as the library does: everything stored.
func archive(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range []string{"data", "policy.pth", "_stable_baselines3_version"} {
		content, ok := files[name]
		if !ok {
			continue
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// changed decodes an agent of the corpus with entries of its data replaced.
func changed(t *testing.T, name string, entries map[string]any) (*sb3.Policy, error) {
	t.Helper()
	files := members(t, name)
	var d map[string]any
	if err := json.Unmarshal(files["data"], &d); err != nil {
		t.Fatal(err)
	}
	for key, v := range entries {
		if v == nil {
			delete(d, key)
		} else {
			d[key] = v
		}
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	files["data"] = b
	return decode(archive(t, files))
}

// pickled is an object of data that holds a pickle.
func pickled(p string) map[string]any {
	return map[string]any{":type:": "<class 'x'>", ":serialized:": base64.StdEncoding.EncodeToString([]byte(p))}
}

// partial is the pickle of policy_kwargs with a functools.partial of an
// activation: pickles of its arguments, in order and by name.
func partial(name, args, kwargs string) string {
	class := "ctorch.nn.modules.activation\n" + name + "\n"
	return "(dS'activation_fn'\ncfunctools\npartial\n(" + class + "tR(" + class + args + kwargs + "Ntbs."
}

// TestAccepts holds what is not refused though it looks strange.
func TestAccepts(t *testing.T) {
	f := func(name string, entries map[string]any, activation string) {
		t.Helper()
		p, err := changed(t, "ppo_box", entries)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if p.Activation != activation {
			t.Errorf("%s: the activation is %s, %s was wanted", name, p.Activation, activation)
		}
	}
	optimizer := pickled("(dS'optimizer_class'\ncmine\nOpt\ns.")
	optimizer["optimizer_class"] = "<class 'mine.Opt'>"
	f("an optimizer of the user", map[string]any{"policy_kwargs": optimizer}, "Tanh")
	f("no arguments", map[string]any{"policy_kwargs": nil}, "Tanh")
	f("an activation with its argument", map[string]any{"policy_kwargs": pickled(partial("LeakyReLU", ")", "(dS'negative_slope'\nF0.3\nsS'inplace'\nI01\ns"))}, "LeakyReLU(negative_slope=0.3)")
	f("an activation with arguments in order", map[string]any{"policy_kwargs": pickled(partial("Hardtanh", "(F-2.0\nF3.0\nI01\nt", "(d"))}, "Hardtanh(min_val=-2, max_val=3)")
}

// TestRefuses holds the reasons for which data is refused.
func TestRefuses(t *testing.T) {
	const call = "cos\nsystem\n(S'touch /tmp/pwned-sb3'\ntR."
	f := func(name string, entries map[string]any, want error, part string) {
		t.Helper()
		p, err := changed(t, "ppo_box", entries)
		if err == nil {
			t.Errorf("%s: decoded as %s", name, p.PolicyClass)
			return
		}
		if want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v", name, err)
		}
		var fe *sb3.FormatError
		if !errors.As(err, &fe) {
			t.Errorf("%s: a %T", name, err)
		}
	}
	f("a call for the class", map[string]any{"policy_class": pickled(call)}, pickle.ErrForbiddenGlobal, "os.system")
	f("a call in the arguments", map[string]any{"policy_kwargs": pickled(call)}, pickle.ErrForbiddenGlobal, "os.system")
	f("a call for a space", map[string]any{"action_space": pickled(call)}, pickle.ErrForbiddenGlobal, "os.system")
	f("a class of the user", map[string]any{"policy_class": pickled("cmine.policies\nMine\n.")}, sb3.ErrUnsupported, "mine.policies.Mine")
	f("a class of the program", map[string]any{"policy_class": map[string]any{
		":serialized:": base64.StdEncoding.EncodeToString([]byte("ccloudpickle.cloudpickle\n_make_skeleton_class\n.")),
		"__module__":   "__main__",
		"__init__":     "<function Mine.__init__ at 0x7f8beca10ae0>",
	}}, sb3.ErrUnsupported, "the class __main__.Mine")
	f("a class without methods", map[string]any{"policy_class": map[string]any{
		":serialized:": base64.StdEncoding.EncodeToString([]byte("ccloudpickle.cloudpickle\n_make_skeleton_class\n.")),
		"__module__":   "__main__",
	}}, sb3.ErrUnsupported, "in the module __main__")
	argument := func(name, text, p string) map[string]any {
		d := pickled(p)
		d[name] = text
		return map[string]any{"policy_kwargs": d}
	}
	const function = "ccloudpickle.cloudpickle\n_make_function\n."
	f("an activation that is a function", argument("activation_fn", "<function <lambda> at 0x7f8beca10ae0>", function), sb3.ErrUnsupported, "activation_fn is the function <lambda>")
	f("an activation of the user", argument("activation_fn", "<class 'mine.Act'>", "(dS'activation_fn'\ncmine\nAct\ns."), sb3.ErrUnsupported, "mine.Act")
	f("a call named as the optimizer", argument("optimizer_class", "<class 'os.system'>", call), pickle.ErrForbiddenGlobal, "os.system")
	f("an optimizer that is called", argument("optimizer_class", "<class 'os.system'>", "(dS'optimizer_class'\ncos\nsystem\n(S'x'\ntRs."), pickle.ErrForbiddenGlobal, "os.system")
	f("a space of the user", map[string]any{"observation_space": pickled("cmine\nSpace\n.")}, sb3.ErrUnsupported, "mine.Space")
	f("an activation without its argument", map[string]any{"policy_kwargs": pickled(partial("Threshold", "(F0.5\nt", "(d"))}, nil, "without its argument value")
	f("an activation with another argument", map[string]any{"policy_kwargs": pickled(partial("ELU", ")", "(dS'beta'\nF0.5\ns"))}, sb3.ErrUnsupported, "beta")
	f("an activation with a text", map[string]any{"policy_kwargs": pickled(partial("ELU", "(S'x'\nt", "(d"))}, nil, "a number was wanted")
	f("no class", map[string]any{"policy_class": nil}, nil, "policy_class is missing")
	f("a number as the class", map[string]any{"policy_class": pickled("K\x01.")}, nil, "policy_class is a int")
	f("not base64", map[string]any{"policy_class": map[string]any{":serialized:": "?"}}, nil, "illegal base64")
	f("no space", map[string]any{"observation_space": nil}, nil, "observation_space is missing")
	f("a space that is a list", map[string]any{"observation_space": pickled("].")}, nil, "a list, a space was wanted")
	f("an unknown space", map[string]any{"observation_space": pickled("cgymnasium.spaces.text\nText\n)\x81.")}, sb3.ErrUnsupported, "gymnasium.spaces.text.Text")
	f("a box without bounds", map[string]any{"observation_space": pickled("cgymnasium.spaces.box\nBox\n)\x81}(X\x06\x00\x00\x00_shapeK\x05\x85ub.")}, nil, "low")
	f("a huge box", map[string]any{"observation_space": pickled("cgymnasium.spaces.box\nBox\n)\x81}(X\x06\x00\x00\x00_shapeJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86ub.")}, nil, "shape")
	f("a box with bounds of another size", map[string]any{"observation_space": pickled("cgymnasium.spaces.box\nBox\n)\x81}(X\x06\x00\x00\x00_shapeK\x01\x85X\x03\x00\x00\x00low" +
		"cnumpy._core.numeric\n_frombuffer\n(C\x10" + strings.Repeat("\x00", 16) + "cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87RK\x10\x85X\x01\x00\x00\x00CtRub.")}, nil, "low has 16 bytes")
	f("no actions", map[string]any{"action_space": pickled("cgymnasium.spaces.discrete\nDiscrete\n)\x81}(X\x01\x00\x00\x00nK\x00ub.")}, nil, "n is no integer")
	f("another action space", map[string]any{"action_space": pickled("cgymnasium.spaces.discrete\nDiscrete\n)\x81}(X\x01\x00\x00\x00nK\x07ub.")}, nil, "action_net")
	f("another architecture", map[string]any{"policy_kwargs": map[string]any{"net_arch": []int{8, 8}}}, nil, "net_arch says [8 8]")
	f("an unknown argument", map[string]any{"policy_kwargs": map[string]any{"dropout": 0.1}}, sb3.ErrUnsupported, "dropout")
	f("an extractor of the user", map[string]any{"policy_kwargs": map[string]any{
		":serialized:":             base64.StdEncoding.EncodeToString([]byte("cmine\nNet\n.")),
		"features_extractor_class": "<class 'mine.Net'>",
	}}, sb3.ErrUnsupported, "features_extractor_class is the class mine.Net")
	f("gSDE without its matrix", map[string]any{"use_sde": true}, nil, "log_std")
}

// TestReads holds what is read although it is unusual.
func TestReads(t *testing.T) {
	f := func(name string, entries map[string]any) {
		t.Helper()
		if _, err := changed(t, "ppo_box", entries); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("code that is not needed", map[string]any{"lr_schedule": pickled("cos\nsystem\n(S'touch /tmp/pwned-sb3'\ntR.")})
	f("no use_sde", map[string]any{"use_sde": nil})
	f("an optimizer", map[string]any{"policy_kwargs": pickled("}(X\x0f\x00\x00\x00optimizer_classctorch.optim.adam\nAdam\nX\x0d\x00\x00\x00activation_fnctorch.nn.modules.activation\nELU\nu.")})
}

// TestJSON holds the dialect of data to what Python writes.
func TestJSON(t *testing.T) {
	files := members(t, "ppo_box")
	object := string(files["data"])
	with := func(prefix string) string { return "{" + prefix + "," + object[1:] }
	good := func(name, d string) {
		t.Helper()
		files["data"] = []byte(d)
		if _, err := decode(archive(t, files)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := func(name, d, part string) {
		t.Helper()
		files["data"] = []byte(d)
		if _, err := decode(archive(t, files)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v, want %q", name, err, part)
		}
	}
	good("as it is", object)
	good("numbers that are none", with(`"a": NaN, "b": [Infinity, -Infinity], "c": -1.5e-3`))
	good("a long integer", with(`"a": `+strings.Repeat("9", 300)))
	good("escapes", with(`"\u00e4\"": "\ud83d\ude00\\"`))
	bad("nothing", "", "an object was wanted")
	bad("a list", "[]", "an object was wanted")
	bad("a key twice", with(`"use_sde": false`), `key "use_sde" twice`)
	bad("a key twice below", with(`"a": {"b": 1, "b": 2}`), `key "b" twice`)
	bad("bytes after the end", object+"{}", "after the end")
	bad("cut", object[:len(object)-1], "a comma or the end")
	bad("cut in a string", object[:len(object)/2], "")
	bad("deep", with(`"a": `+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)), "nested deeper")
	bad("a comma too many", with(`"a": [1,]`), "no JSON value")
	bad("a word", with(`"a": nil`), "no JSON value")
	bad("a number too many", with(`"a": 01`), "no JSON value")
	bad("a bad escape", with(`"\x": 1`), "invalid")
}

// TestWeights holds that weights other than those of the class are refused.
func TestWeights(t *testing.T) {
	f := func(agent, weights, part string) {
		t.Helper()
		files := members(t, agent)
		files["policy.pth"] = members(t, weights)["policy.pth"]
		_, err := decode(archive(t, files))
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s with the weights of %s: got %v, want %q", agent, weights, err, part)
		}
	}
	f("ppo_box", "td3", "hidden layers of [], net_arch says [8 6]")
	f("ppo_matrix_actions", "old_sac", "hidden layers of []")
	f("ppo_box", "ppo_multidiscrete", "hidden layers of [8], net_arch says [8 6]")
	f("td3", "sac_arch_dict", "policy.pth has no layers actor.mu")
	f("dqn", "qrdqn", "policy.pth has no layers q_net.q_net")
	f("ppo_dict", "ppo_matrix_actions", "it would be given")
	files := members(t, "ppo_box")
	delete(files, "policy.pth")
	if _, err := decode(archive(t, files)); err == nil || !strings.Contains(err.Error(), "holds no weights") {
		t.Errorf("without weights: %v", err)
	}
}
