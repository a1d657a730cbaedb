package artifact_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

const trainedArgs = "!!python/object/apply:collections.OrderedDict\n- - - algo\n    - ppo\n  - - env\n    - Car-v1\n"

// laid makes files of which each holds its own name.
func laid(names ...string) map[string]string {
	files := make(map[string]string, len(names))
	for _, name := range names {
		files[name] = name
		if strings.HasSuffix(name, "args.yml") {
			files[name] = trainedArgs
		}
	}
	return files
}

// opened is what was found in a folder: the model, the statistics, the name.
type opened struct{ model, statistics, name string }

// open lays files out in a folder called dir and opens at, a path in it.
func open(t *testing.T, dir, at string, files map[string]string) (opened, *artifact.Artifact, error) {
	t.Helper()
	below := map[string]string{}
	for name, text := range files {
		below[dir+"/"+name] = text
	}
	a, err := artifact.OpenPath(filepath.Join(folder(t, below), dir, filepath.FromSlash(at)), artifact.Limits{})
	if err != nil {
		return opened{}, nil, err
	}
	got := opened{a.ModelName(), "", a.Card.ModelName}
	if m := a.Member(artifact.RoleVecNormalize); m != nil {
		got.statistics = m.Name
		data, err := a.Read(artifact.RoleVecNormalize)
		if err != nil || m.Size != int64(len(data)) || m.SHA256 != sum(string(data)) {
			t.Errorf("%+v: %q, %v", m, data, err)
		}
	}
	return got, a, nil
}

func TestLayouts(t *testing.T) {
	f := func(dir, at string, want opened, names ...string) {
		t.Helper()
		got, _, err := open(t, dir, at, laid(names...))
		if err != nil || got != want {
			t.Errorf("%s/%s with %v: got %+v, %v; want %+v", dir, at, names, got, err, want)
		}
	}
	// The hub: the zip, the unzipped zip, and what is beside it.
	hub := []string{
		"ppo-Car-v1.zip", "ppo-Car-v1/data", "ppo-Car-v1/policy.pth", "ppo-Car-v1/policy.optimizer.pth", "ppo-Car-v1/pytorch_variables.pth",
		"ppo-Car-v1/_stable_baselines3_version", "config.json", "results.json", "vec_normalize.pkl", "args.yml", "config.yml", "env_kwargs.yml",
		"train_eval_metrics.zip", "replay.mp4", "README.md",
	}
	f("ppo-Car-v1", "", opened{"ppo-Car-v1.zip", "vec_normalize.pkl", "ppo-Car-v1"}, hub...)
	f("abc123", "", opened{"ppo-Car-v1.zip", "vec_normalize.pkl", "ppo-Car-v1"}, hub...)
	f("abc123", "ppo-Car-v1.zip", opened{"ppo-Car-v1.zip", "vec_normalize.pkl", "ppo-Car-v1"}, hub...)
	f("abc123", "", opened{"ppo-Car-v1", "vec_normalize.pkl", "ppo-Car-v1"}, hub[1:]...)
	f("abc123", "ppo-Car-v1", opened{"ppo-Car-v1", "vec_normalize.pkl", "ppo-Car-v1"}, hub[1:]...)
	f("abc123", "", opened{"ppo-Car-v1", "", "ppo-Car-v1"}, "ppo-Car-v1/data", "ppo-Car-v1/policy.pth")
	f("ppo-Car-v1", "", opened{"ppo-Car-v1", "ppo-Car-v1/vec_normalize.pkl", "ppo-Car-v1"}, "data", "policy.pth", "vec_normalize.pkl", "policy.optimizer.pth")
	f("car", "", opened{"policy.zip", "", "car"}, "policy.zip", "data", "policy.pth", "pytorch_variables.pth")

	// A run of RL Zoo.
	zoo := []string{
		"Car-v1.zip", "best_model.zip", "rl_model_1000_steps.zip", "rl_model_20000_steps.zip", "rl_model_vecnormalize_1000_steps.pkl",
		"rl_model_replay_buffer_1000_steps.pkl", "evaluations.npz", "0.monitor.csv", "command.txt",
		"Car-v1/config.yml", "Car-v1/args.yml", "Car-v1/vecnormalize.pkl",
	}
	f("Car-v1_1", "", opened{"Car-v1.zip", "Car-v1/vecnormalize.pkl", "ppo-Car-v1"}, zoo...)
	f("Car-v1_1", "Car-v1.zip", opened{"Car-v1.zip", "Car-v1/vecnormalize.pkl", "ppo-Car-v1"}, zoo...)
	f("Car-v1_1", "best_model.zip", opened{"best_model.zip", "Car-v1/vecnormalize.pkl", "ppo-Car-v1"}, zoo...)
	f("run", "best_model.zip", opened{"best_model.zip", "Car-v1/vecnormalize.pkl", "ppo-Car-v1"}, zoo...)
	f("Car-v1_1", "", opened{"best_model.zip", "Car-v1/vecnormalize.pkl", "ppo-Car-v1"}, zoo[1:]...)
	f("Car-v1_1", "", opened{"rl_model_20000_steps.zip", "Car-v1/vecnormalize.pkl", "ppo-Car-v1"}, zoo[2:]...)
	f("Car-v1_1", "rl_model_1000_steps.zip", opened{"rl_model_1000_steps.zip", "rl_model_vecnormalize_1000_steps.pkl", "ppo-Car-v1"}, zoo...)
	f("Car-v1_1", "", opened{"Car-v1.zip", "", "Car-v1_1"}, "Car-v1.zip", "other.zip")
	f("run", "", opened{"Car-v1.zip", "", "run"}, "Car-v1.zip", "other.zip", "Car-v1/monitor.csv")

	// Of a person's own.
	f("car", "", opened{"policy.zip", "vecnormalize.pkl", "car"}, "policy.zip", "vecnormalize.pkl", "evaluations.npz", "notes.txt")
	f("car", "policy.zip", opened{"policy.zip", "vecnormalize.pkl", "policy"}, "policy.zip", "vecnormalize.pkl")
	f("car", "policy.zip", opened{"policy.zip", "vec_normalize.pkl", "policy"}, "policy.zip", "vec_normalize.pkl")
	f("car", "a.zip", opened{"a.zip", "a_vecnormalize.pkl", "a"}, "a.zip", "b.zip", "a_vecnormalize.pkl", "vecnormalize.pkl", "b_vecnormalize.pkl")
	f("car", "b.zip", opened{"b.zip", "VecNormalize_b.pkl", "b"}, "a.zip", "b.zip", "VecNormalize_b.pkl")
	f("car", "a.zip", opened{"a.zip", "", "a"}, "a.zip", "b.zip", "vecnorm_b.pkl", "sub/vecnormalize.pkl")
	f("car", "a.zip", opened{"a.zip", "vec_norm_final.pkl", "a"}, "a.zip", "vec_norm_final.pkl")
	f("car", "", opened{"a.zip", "sub/vecnormalize.pkl", "car"}, "a.zip", "sub/vecnormalize.pkl")
	f("car", "", opened{"model_200.pt", "", "car"}, "model_0.pt", "model_50.pt", "model_200.pt")
	f("car", "model.onnx", opened{"model.onnx", "", "model"}, "model.onnx", "vecnormalize.pkl")
	f("car", "", opened{"model.onnx", "vecnormalize.pkl", "car"}, "model.onnx", "vecnormalize.pkl")
}

func TestLayoutsOfBothSpellings(t *testing.T) {
	files := map[string]string{"policy.zip": "x", "vecnormalize.pkl": "same", "vec_normalize.pkl": "same"}
	if got, _, err := open(t, "car", "", files); err != nil || got.statistics != "vec_normalize.pkl" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLayoutsNote(t *testing.T) {
	f := func(at, want string, names ...string) {
		t.Helper()
		_, a, err := open(t, "Car-v1_1", at, laid(names...))
		if err != nil {
			t.Error(err)
			return
		}
		if notes := strings.Join(a.Notes, "\n"); !strings.Contains(notes, want) {
			t.Errorf("got %q, want %q in them", notes, want)
		}
	}
	f("", "Car-v1.zip is used; best_model.zip, rl_model_9_steps.zip are not.", "Car-v1.zip", "best_model.zip", "rl_model_9_steps.zip")
	f("", "best_model.zip is used; rl_model_9_steps.zip is not.", "best_model.zip", "rl_model_9_steps.zip")
	f("", "Car-v1/vecnormalize.pkl, which lies beside the model, is used", "Car-v1.zip", "Car-v1/vecnormalize.pkl")
	f("model.onnx", "vecnormalize.pkl, which lies beside the file, is not used: open the folder", "model.onnx", "vecnormalize.pkl")
	f("policy.zip", "preprocessor.npz, which lies beside the file, is not used: open the folder", "policy.zip", "preprocessor.npz")
	f("policy.zip", "vecnormalize.pkl, which lies beside the model, is used", "policy.zip", "vecnormalize.pkl")
	f("", "rl_model_vecnormalize_9_steps.pkl is not used: it belongs to a checkpoint", "Car-v1.zip", "rl_model_vecnormalize_9_steps.pkl")
	f("", "The model is the unzipped one in the folder agent", "agent/data", "agent/policy.pth")
	f("", "The folders a, b are not used", "policy.zip", "a/vecnormalize.pkl", "b/config.yml")
	f("", "and 3 others are not", "best_model.zip", "m_1_steps.zip", "m_2_steps.zip", "m_3_steps.zip", "m_4_steps.zip", "m_5_steps.zip", "m_6_steps.zip", "m_7_steps.zip", "m_8_steps.zip")
}

func TestLayoutsRefused(t *testing.T) {
	f := func(at string, is error, want string, names ...string) {
		t.Helper()
		if _, _, err := open(t, "car", at, laid(names...)); !errors.Is(err, is) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %v with %q", names, err, is, want)
		}
	}
	f("", artifact.ErrAmbiguous, "a.zip: ambiguous: there is also b.zip", "a.zip", "b.zip", "best_model.zip")
	f("", artifact.ErrAmbiguous, "there is also b", "a/data", "a/policy.pth", "b/data", "b/policy.pth")
	f("", artifact.ErrAmbiguous, "vec_normalize.pkl: ambiguous: there is also vecnormalize.pkl", "policy.zip", "vecnormalize.pkl", "vec_normalize.pkl")
	f("policy.zip", artifact.ErrAmbiguous, "give the path", "policy.zip", "vecnormalize.pkl", "vec_normalize.pkl")
	f("", artifact.ErrMissing, "model.pt: missing", "train_eval_metrics.zip", "README.md")
	f("", artifact.ErrMissing, "model.pt: missing", "data", "README.md")
}

func TestUnzipped(t *testing.T) {
	for _, at := range []string{"", "agent"} {
		_, a, err := open(t, "car", at, laid("agent/data", "agent/policy.pth", "agent/policy.optimizer.pth", "agent/system_info.txt", "agent/README.md"))
		if err != nil {
			t.Fatal(err)
		}
		if !a.Unzipped() || a.Member(artifact.RoleModel) != nil {
			t.Errorf("unzipped %v, %+v", a.Unzipped(), a.Members)
		}
		for _, name := range []string{"data", "policy.pth", "system_info.txt"} {
			data, err := a.ModelMember(name)
			i := slices.IndexFunc(a.Members, func(m artifact.Member) bool { return m.Name == "agent/"+name })
			if err != nil || i < 0 || a.Members[i].SHA256 != sum(string(data)) || a.Members[i].Role != artifact.RoleModelMember {
				t.Errorf("%s: %q, %v", name, data, err)
			}
		}
		for _, name := range []string{"policy.optimizer.pth", "_stable_baselines3_version", "README.md", "../agent/data", "agent/data", ""} {
			if data, err := a.ModelMember(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %q, %v", name, data, err)
			}
		}
	}
	dir := folder(t, laid("data", "policy.pth", "README.md"))
	if !artifact.IsUnzipped(os.DirFS(dir), ".") || artifact.IsUnzipped(os.DirFS(folder(t, laid("data", "policy.pth", "model_card.yaml"))), ".") {
		t.Error("a folder with a card is an artifact, one without an unzipped model")
	}
}

// The operator's files go before those that lie there, and are used once.
func TestOpenPathWith(t *testing.T) {
	dir := folder(t, laid("run/policy.zip", "run/vecnormalize.pkl", "run/preprocessor.pkl", "run/args.yml", "mine/vecnormalize.pkl", "mine/scaler.joblib"))
	mine := func(name string) string { return filepath.Join(dir, "mine", name) }
	f := func(at string, files artifact.Files, statistics, preprocessor string) {
		t.Helper()
		a, err := artifact.OpenPathWith(filepath.Join(dir, filepath.FromSlash(at)), files, artifact.Limits{})
		if err != nil {
			t.Error(err)
			return
		}
		for role, want := range map[artifact.Role]string{artifact.RoleVecNormalize: statistics, artifact.RolePreprocessor: preprocessor} {
			data, _ := a.Read(role)
			if string(data) != want {
				t.Errorf("%s: the %s is %q, want %q", at, role, data, want)
			}
		}
		if a.Training == nil || a.Training.Algorithm != "ppo" {
			t.Errorf("%s: training %+v", at, a.Training)
		}
	}
	for _, at := range []string{"run", "run/policy.zip"} {
		f(at, artifact.Files{VecNormalize: mine("vecnormalize.pkl")}, "mine/vecnormalize.pkl", "")
		f(at, artifact.Files{Preprocessor: mine("scaler.joblib")}, "", "mine/scaler.joblib")
		f(at, artifact.Files{VecNormalize: filepath.Join(dir, "run", "vecnormalize.pkl")}, "run/vecnormalize.pkl", "")
	}
	card := folder(t, map[string]string{
		"a/model_card.yaml": minimal + "artifact_hashes:\n  preprocessor.pkl: " + sum("theirs") + "\n", "a/model.pt": "x", "a/preprocessor.pkl": "theirs",
		"b/preprocessor.pkl": "mine", "c/preprocessor.pkl": "statistics",
	})
	a, err := artifact.OpenPathWith(filepath.Join(card, "a"), artifact.Files{
		Preprocessor: filepath.Join(card, "b", "preprocessor.pkl"), VecNormalize: filepath.Join(card, "c", "preprocessor.pkl"),
	}, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[artifact.Role]string{artifact.RolePreprocessor: "mine", artifact.RoleVecNormalize: "statistics"} {
		if data, err := a.Read(role); err != nil || string(data) != want {
			t.Errorf("two files of one name: the %s is %q, %v", role, data, err)
		}
	}
	_, err = artifact.OpenPathWith(filepath.Join(dir, "run"), artifact.Files{VecNormalize: mine("nothing.pkl")}, artifact.Limits{})
	if !errors.Is(err, artifact.ErrMissing) || !strings.Contains(err.Error(), "nothing.pkl") {
		t.Errorf("got %v", err)
	}
}

func TestPeek(t *testing.T) {
	f := func(want string, ok bool, names ...string) {
		t.Helper()
		if got, is := artifact.Peek(os.DirFS(folder(t, laid(names...))), ".", "called"); got != want || is != ok {
			t.Errorf("%v: got %q, %v; want %q, %v", names, got, is, want, ok)
		}
	}
	f("ppo-Car-v1", true, "Car-v1.zip", "Car-v1/args.yml")
	f("sac-Car-v0", true, "sac-Car-v0.zip", "README.md")
	f("called", true, "policy.zip")
	f("called", true, "model.onnx", "args.yml")
	f("sac-Car-v0", true, "sac-Car-v0/data", "sac-Car-v0/policy.pth")
	f("called", true, "a.zip", "b.zip")
	f("called", false, "README.md")
	f("called", false)
}

func TestPeekFile(t *testing.T) {
	dir := folder(t, laid("Car-v1.zip", "Car-v1/args.yml", "sac-Car-v0/data", "sac-Car-v0/policy.pth", "policy.onnx"))
	for file, want := range map[string]string{"Car-v1.zip": "ppo-Car-v1", "sac-Car-v0": "sac-Car-v0", "policy.onnx": "policy", "nothing.zip": "nothing"} {
		if got := artifact.PeekFile(filepath.Join(dir, file)); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}
