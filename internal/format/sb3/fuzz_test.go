package sb3_test

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
)

// FuzzDecode: any data beside any weights is an error, or a policy whose graphs
// verify unless it says that it is not supported.
func FuzzDecode(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/model.zip")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		files := members(f, name)
		f.Add(files["data"], files["policy.pth"])
		f.Add(short(f, files["data"]), files["policy.pth"])
	}
	f.Fuzz(func(t *testing.T, data, weights []byte) {
		z, err := torch.OpenZip(archive(t, map[string][]byte{"data": data, "policy.pth": weights}), torch.Limits{})
		if err != nil {
			t.Skip() // not made by this test
		}
		lowerAll(t, z)
	})
}

// FuzzSpaces: any pickle as a space or as the arguments of the policy.
func FuzzSpaces(f *testing.F) {
	files := members(f, "ppo_dict")
	var d map[string]any
	if err := json.Unmarshal(files["data"], &d); err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"ppo_dict", "ppo_multibinary", "ppo_box", "dqn"} {
		var d map[string]map[string]any
		_ = json.Unmarshal(members(f, name)["data"], &d) // entries that are no objects stay away
		for _, key := range []string{"observation_space", "action_space", "policy_kwargs"} {
			text, _ := d[key][":serialized:"].(string)
			if b, err := base64.StdEncoding.DecodeString(text); err == nil && len(b) > 0 {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, key := range []string{"observation_space", "action_space", "policy_kwargs"} {
			old := d[key]
			d[key] = pickled(string(p))
			data, err := json.Marshal(d)
			d[key] = old
			if err != nil {
				t.Fatal(err)
			}
			z, err := torch.OpenZip(archive(t, map[string][]byte{"data": data, "policy.pth": files["policy.pth"]}), torch.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			lowerAll(t, z)
		}
	})
}

// lowerAll decodes and lowers in all ways. Lower verifies what it makes.
func lowerAll(t *testing.T, z *torch.Zip) {
	p, err := sb3.Decode(z)
	if err != nil {
		return
	}
	for _, o := range []sb3.LowerOptions{{Deterministic: true}, {}, {ActionMasks: true}} {
		g, err := p.Lower(o)
		if err == nil && (len(g.Outputs) == 0 || g.Outputs[0].Name != "action") {
			t.Fatal("a graph without an action")
		}
	}
}

// short keeps the entries of data that are read.
func short(f *testing.F, data []byte) []byte {
	var d, kept map[string]json.RawMessage
	if err := json.Unmarshal(data, &d); err != nil {
		f.Fatal(err)
	}
	kept = map[string]json.RawMessage{}
	for key, v := range d {
		if key == "use_sde" || strings.HasPrefix(key, "policy_") || strings.HasSuffix(key, "_space") {
			kept[key] = v
		}
	}
	b, err := json.Marshal(kept)
	if err != nil {
		f.Fatal(err)
	}
	return b
}
