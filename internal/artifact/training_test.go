package artifact_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// trained opens a model with what RL Zoo wrote beside it.
func trained(t testing.TB, config, args string) *artifact.Artifact {
	t.Helper()
	m := fstest.MapFS{"a.zip": {Data: []byte("x")}}
	if config != "" {
		m["config.yml"] = &fstest.MapFile{Data: []byte(config)}
	}
	if args != "" {
		m["args.yml"] = &fstest.MapFile{Data: []byte(args)}
	}
	a, err := artifact.Open(m, ".", artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const ordered = "!!python/object/apply:collections.OrderedDict\n"

func TestTraining(t *testing.T) {
	f := func(config, args string, want artifact.Training) {
		t.Helper()
		a := trained(t, config, args)
		if config != "" {
			want.Files = append(want.Files, "config.yml")
		}
		if args != "" {
			want.Files = append(want.Files, "args.yml")
		}
		if a.Training == nil || !reflect.DeepEqual(*a.Training, want) {
			t.Errorf("%s%s: got %+v, %v; want %+v", config, args, a.Training, a.Notes, want)
		}
		members := 0
		for _, m := range a.Members {
			if m.Role == artifact.RoleTraining && len(m.SHA256) == 64 {
				members++
			}
		}
		if members != len(want.Files) {
			t.Errorf("members %+v", a.Members)
		}
	}
	both, obs := &artifact.Normalize{Observation: true, Reward: true}, &artifact.Normalize{Observation: true}
	f(ordered+"- - - frame_stack\n    - 4\n  - - normalize\n    - true\n", "", artifact.Training{FrameStack: 4, Normalize: both})
	f(ordered+"- - - normalize\n    - dict(norm_obs=True, norm_reward=False)\n", "", artifact.Training{Normalize: obs})
	f("normalize: \"{'norm_obs': True, 'norm_reward': False}\"\n", "", artifact.Training{Normalize: obs})
	f("normalize: {norm_obs: false}\n", "", artifact.Training{Normalize: &artifact.Normalize{Reward: true}})
	f("normalize: false\n", "", artifact.Training{Normalize: &artifact.Normalize{}})
	f("normalize: \"{'gamma': 0.9}\"\n", "", artifact.Training{Normalize: both})
	f("frame_stack: 1\npolicy_kwargs: dict(net_arch=[16], activation_fn=nn.ReLU)\n", "", artifact.Training{FrameStack: 1})
	f("env_wrapper: a.b.TimeFeatureWrapper\n", "", artifact.Training{EnvWrappers: []string{"a.b.TimeFeatureWrapper"}})
	f("env_wrapper:\n  - a.FrameSkip:\n      skip: 2\n  - b.Other\nvec_env_wrapper:\n  - c.VecFrameStack:\n      n_stack: 3\n", "",
		artifact.Training{EnvWrappers: []string{"a.FrameSkip", "b.Other", "c.VecFrameStack"}, FrameStack: 3})
	f("env_wrapper: !!python/tuple [a.A, a.B]\n", "", artifact.Training{EnvWrappers: []string{"a.A", "a.B"}})
	f("", trainedArgs, artifact.Training{Algorithm: "ppo", Env: "Car-v1"})
	f("frame_stack: 2\n", trainedArgs+"  - - hyperparams\n    - "+strings.TrimSpace(ordered)+"\n      - - - frame_stack\n          - 8\n        - - normalize\n          - true\n",
		artifact.Training{Algorithm: "ppo", Env: "Car-v1", FrameStack: 2, Normalize: both})
	f("", "algo: tqc\nenv: ALE/Pong-v5\nhyperparams: {frame_stack: 4}\n", artifact.Training{Algorithm: "tqc", Env: "ALE/Pong-v5", FrameStack: 4})
	f("a: &x 4\nframe_stack: *x\n", "", artifact.Training{FrameStack: 4})
}

// What does not tell anything is no part of the artifact.
func TestTrainingOfOthers(t *testing.T) {
	for _, config := range []string{"model: resnet\nlr: 0.1\n", "- a\n- b\n", "text", "frame_stack: null\nnormalize: null\nenv_wrapper: null\n", "env: [1]\nalgo: 'a b'\n"} {
		a := trained(t, config, "")
		if a.Training != nil || len(a.Members) != 1 {
			t.Errorf("%q: %+v, %+v", config, a.Training, a.Members)
		}
	}
	dir := folder(t, map[string]string{"model.pt": "x", "config.yml": "frame_stack: 4\n"})
	if a, err := artifact.OpenPath(dir, artifact.Limits{}); err != nil || a.Training != nil {
		t.Errorf("beside a model of another kind: %+v, %v", a, err)
	}
}

// hostileSidecars are texts that make no object, no loop and no work, each with
// a part of the note.
var hostileSidecars = map[string]string{
	"":                                    "is empty",
	"\n":                                  "it is empty",
	"frame_stack: 0\n":                    "a number from 1 to",
	"frame_stack: 4.0\n":                  "a number from 1 to",
	"frame_stack: -1\n":                   "a number from 1 to",
	"frame_stack: 99999999999999999999\n": "a number from 1 to",
	"frame_stack: {a: 1}\n":               "frame_stack is not a number",
	"frame_stack: !!python/object/apply:os.system ['touch /tmp/pwned-y']\n": "frame_stack is not a number",
	"normalize: [1]\n": "normalize is neither",
	"normalize: !!python/object/apply:os.system ['touch /tmp/pwned-y']\n": "normalize is neither",
	"normalize: __import__('os').system('touch /tmp/pwned-y')\n":          "not a literal",
	"normalize: \"[1]\"\n":                   "is no dict",
	"a: b: c\n":                              "it is no YAML",
	"\xff\xfe":                               "not valid UTF-8",
	strings.Repeat("[", 40_000):              "nested deeper",
	strings.Repeat("- ", 40_000) + "a":       "",
	"a: &a [*a, *a]\nframe_stack: *a\n":      "",
	"a: &a\n  b: &b [*a]\nenv_wrapper: *a\n": "",
	strings.Repeat("a: 1\n", 50_000):         "entries",
	"# " + strings.Repeat("x", 2<<20):        "over the limit",
	"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b]\nenv_wrapper: *c\n": "",
	ordered + "- *x\n": "it is no YAML",
}

func TestTrainingHostile(t *testing.T) {
	for in, want := range hostileSidecars {
		start := time.Now()
		a := trained(t, "", "")
		dir := folder(t, map[string]string{"a.zip": "x", "config.yml": in})
		if in != "" {
			a = trained(t, in, "")
		} else if b, err := artifact.OpenPath(dir, artifact.Limits{}); err == nil {
			a = b
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%.40q took %v", in, took)
		}
		if notes := strings.Join(a.Notes, "\n"); !strings.Contains(notes, want) {
			t.Errorf("%.40q: notes %.200q, want %q in them", in, notes, want)
		}
		if a.Training != nil && (a.Training.FrameStack != 0 || a.Training.Normalize != nil) {
			t.Errorf("%.40q: %+v", in, a.Training)
		}
	}
	for _, tagged := range []string{
		"!!python/object/apply:os.system\n- touch /tmp/pwned-y\n",
		"!!python/object/new:subprocess.Popen\nargs: [touch, /tmp/pwned-y]\nframe_stack: 4\n",
		"!!python/object:os.system {frame_stack: 4}\n",
		"!mine {frame_stack: 4}\n",
	} {
		if a := trained(t, tagged, ""); a.Training != nil {
			t.Errorf("%q: %+v", tagged, a.Training)
		}
	}
	if found, _ := filepath.Glob("/tmp/pwned-*"); len(found) > 0 {
		t.Errorf("something was run: %v", found)
	}
}

// A name that should be a file and is something else is noted.
func TestTrainingThatIsNoFile(t *testing.T) {
	dir := folder(t, map[string]string{"a.zip": "x"})
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "config.yml")); err != nil {
		t.Logf("links are not made here: 1 case is not run")
		return
	}
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil || a.Training != nil || len(a.Members) != 1 {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestCorpusTraining(t *testing.T) {
	const cases = 25
	root := os.Getenv(corpusVariable)
	if root == "" {
		t.Logf("%s is not set: %d cases not run", corpusVariable, cases)
		return
	}
	found, err := filepath.Glob(filepath.Join(root, "sb3_real", "*", "args.yml"))
	if err != nil || len(found) < cases {
		t.Fatalf("%d cases, %v", len(found), err)
	}
	normalized := 0
	for _, args := range found {
		dir := filepath.Dir(args)
		a, err := artifact.OpenPath(filepath.Join(dir, "model.zip"), artifact.Limits{})
		if err != nil {
			t.Error(err)
			continue
		}
		algo, env, _ := strings.Cut(filepath.Base(dir), "_")
		if a.Training == nil || a.Training.Algorithm != algo || a.Training.Env != env || a.Card.ModelName != algo+"-"+env {
			t.Errorf("%s: %+v, called %s", filepath.Base(dir), a.Training, a.Card.ModelName)
			continue
		}
		_, err = os.Stat(filepath.Join(dir, "vecnormalize.pkl"))
		has := err == nil
		if has != (a.Member(artifact.RoleVecNormalize) != nil) || has != (a.Training.Normalize != nil && a.Training.Normalize.Observation) {
			t.Errorf("%s: statistics there %v, used %v, said %+v", filepath.Base(dir), has, a.Member(artifact.RoleVecNormalize), a.Training.Normalize)
		}
		if has {
			normalized++
		}
	}
	if normalized < 10 {
		t.Errorf("%d cases with statistics", normalized)
	}
}

// FuzzTraining asserts that no text beside a model keeps it from being opened,
// and that what was understood of it is within its bounds.
func FuzzTraining(f *testing.F) {
	for in := range hostileSidecars {
		if len(in) < 10_000 {
			f.Add(in)
		}
	}
	for _, in := range []string{trainedArgs, ordered + "- - - frame_stack\n    - 4\n", "normalize: dict(norm_obs=True)\nenv_wrapper:\n  - a.B:\n      skip: 2\n"} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if in == "" {
			return
		}
		a := trained(t, in, in)
		if r := a.Training; r != nil && (len(r.Files) == 0 || r.FrameStack < 0 || r.FrameStack > 1024 || len(r.EnvWrappers) > 64 || len(r.Env) > 128) {
			t.Fatalf("%+v", r)
		}
	})
}
