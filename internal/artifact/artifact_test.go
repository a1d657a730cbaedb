package artifact_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// corpusVariable names the folder with the full corpus. The tests here make
// what they need themselves and run without it.
const corpusVariable = "CARLA_RL_CORPUS"

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// folder writes files under a new folder and returns its path.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenReadsWhatItHashed(t *testing.T) {
	dir := folder(t, map[string]string{
		"model_card.yaml":  minimal + "artifact_hashes:\n  model.pt: sha256:" + strings.ToUpper(sum("weights")) + "\n  preprocessor.pkl: " + sum("scaler") + "\n",
		"model.pt":         "weights",
		"preprocessor.pkl": "scaler",
		"README.md":        "not used",
	})
	a, err := artifact.OpenPath(dir, artifact.Limits{RequireHashes: true, RequireCard: true})
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[artifact.Role]string{artifact.RoleModel: "weights", artifact.RolePreprocessor: "scaler"} {
		got, err := a.Read(role)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", role, got, err)
		}
		if m := a.Member(role); m == nil || m.SHA256 != sum(want) || m.Size != int64(len(want)) || !m.Hashed {
			t.Errorf("%s: got %+v", role, m)
		}
	}
	if len(a.Members) != 3 || a.Members[0].Role != artifact.RoleCard {
		t.Errorf("got members %+v", a.Members)
	}
	if len(a.Notes) != 0 {
		t.Errorf("got notes %v", a.Notes)
	}
	if len(a.Digest()) != 64 {
		t.Errorf("got digest %q", a.Digest())
	}
	if a.Member(artifact.RoleVecNormalize) != nil {
		t.Error("there is no vecnormalize")
	}
	if _, err := a.Read(artifact.RoleVecNormalize); !errors.Is(err, artifact.ErrMissing) {
		t.Errorf("got %v", err)
	}
	a.Release()
	if _, err := a.Read(artifact.RoleModel); err == nil {
		t.Error("the bytes are still there after Release")
	}
}

func TestOpenFindsMembersByName(t *testing.T) {
	f := func(files map[string]string, card, model, preprocessor, vecnormalize string) {
		t.Helper()
		m := fstest.MapFS{"a/model_card.yaml": {Data: []byte(minimal + card)}}
		for name, text := range files {
			m["a/"+name] = &fstest.MapFile{Data: []byte(text)}
		}
		a, err := artifact.Open(m, "a", artifact.Limits{})
		if err != nil {
			t.Error(err)
			return
		}
		for role, want := range map[artifact.Role]string{artifact.RoleModel: model, artifact.RolePreprocessor: preprocessor, artifact.RoleVecNormalize: vecnormalize} {
			got := ""
			if member := a.Member(role); member != nil {
				got = member.Name
			}
			if got != want {
				t.Errorf("%s: got %q, want %q", role, got, want)
			}
		}
	}
	f(map[string]string{"model.pt": "x"}, "", "model.pt", "", "")
	f(map[string]string{"model.pth": "x"}, "", "model.pth", "", "")
	f(map[string]string{"policy.pt": "x"}, "", "policy.pt", "", "")
	f(map[string]string{"policy.zip": "x"}, "", "policy.zip", "", "")
	f(map[string]string{"model.onnx": "x"}, "", "model.onnx", "", "")
	f(map[string]string{"model.pt": "x", "model.onnx": "y"}, "", "model.pt", "", "")
	f(map[string]string{"model.pt": "x", "other.pt": "y"}, "model_filename: other.pt", "other.pt", "", "")
	f(map[string]string{"model.pt": "x", "preprocessor.pkl": "y"}, "", "model.pt", "preprocessor.pkl", "")
	f(map[string]string{"model.pt": "x", "preprocessor.joblib": "y"}, "", "model.pt", "preprocessor.joblib", "")
	f(map[string]string{"model.pt": "x", "vecnormalize.pkl": "y"}, "", "model.pt", "", "vecnormalize.pkl")
	f(map[string]string{"model.pt": "x", "vec_normalize.pkl": "y"}, "", "model.pt", "", "vec_normalize.pkl")
	f(map[string]string{"model.pt": "x", "preprocessor.pkl": "y", "s.pkl": "z"}, "preprocessor_filename: s.pkl", "model.pt", "s.pkl", "")
	f(map[string]string{"model.pt": "x", "vecnormalize.pkl": "y"}, "preprocessor_filename: vecnormalize.pkl", "model.pt", "", "vecnormalize.pkl")
}

func TestOpenWithoutCard(t *testing.T) {
	dir := filepath.Join(folder(t, map[string]string{"ppo-Car/ppo.zip": "x", "ppo-Car/vec_normalize.pkl": "y", "ppo-Car/config.json": "{}"}), "ppo-Car")
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Card.Present || a.Card.ModelName != "ppo-Car" || a.Member(artifact.RoleModel).Name != "ppo.zip" || a.Member(artifact.RoleVecNormalize) == nil {
		t.Errorf("got %+v, %+v", a.Card, a.Members)
	}
	if !strings.Contains(strings.Join(a.Notes, "\n"), "There is no model_card.yaml") {
		t.Errorf("got notes %v", a.Notes)
	}
}

func TestOpenSingleFile(t *testing.T) {
	dir := folder(t, map[string]string{"policy.zip": "x"})
	a, err := artifact.OpenPath(filepath.Join(dir, "policy.zip"), artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Card.Present || a.Card.ModelName != "policy" || len(a.Members) != 1 || a.Members[0].Role != artifact.RoleModel {
		t.Errorf("got %+v, %+v", a.Card, a.Members)
	}
	a, err = artifact.OpenFile(os.DirFS(dir), "policy.zip", artifact.Limits{})
	if err != nil || a.Card.ModelName != "policy" {
		t.Errorf("got %+v, %v", a, err)
	}
}

// errAny stands for an error that has no sentinel.
var errAny error

// refused opens a folder and looks for text in the error.
func refused(t *testing.T, dir string, l artifact.Limits, is error, want ...string) {
	t.Helper()
	start := time.Now()
	_, err := artifact.OpenPath(dir, l)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if err == nil {
		t.Error("was accepted")
		return
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("got %q, which is no %v", err, is)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %q, want %q in it", err, w)
		}
	}
	if strings.Contains(err.Error(), filepath.Dir(dir)) {
		t.Errorf("the error names a path of the machine: %q", err)
	}
}

func TestOpenNamesTheMissingFile(t *testing.T) {
	l := artifact.Limits{}
	refused(t, folder(t, map[string]string{"model_card.yaml": minimal}), l, artifact.ErrMissing, "model.pt: missing")
	refused(t, folder(t, map[string]string{"model_card.yaml": minimal + "model_filename: policy.onnx"}), l, artifact.ErrMissing, "policy.onnx: missing")
	refused(t, folder(t, map[string]string{"model_card.yaml": minimal, "best.pt": "x"}), l, artifact.ErrMissing, "model.pt: missing", `there is "best.pt"`, "model_filename")
	refused(t, folder(t, map[string]string{"model_card.yaml": minimal + "preprocessor_filename: p.pkl", "model.pt": "x"}), l, artifact.ErrMissing, "p.pkl: missing")
	refused(t, folder(t, map[string]string{"model_card.yaml": minimal + "artifact_hashes: {vocab.txt: " + sum("x") + "}", "model.pt": "x"}), l, artifact.ErrMissing, "vocab.txt: missing", "artifact_hashes")
	refused(t, folder(t, map[string]string{"model.pt": "x"}), artifact.Limits{RequireCard: true}, artifact.ErrMissing, "model_card.yaml: missing")
	refused(t, folder(t, map[string]string{"model_card.yml": minimal, "model.pt": "x"}), l, artifact.ErrMissing, "model_card.yaml: missing", "rename it")
	refused(t, folder(t, nil), l, artifact.ErrMissing, "model.pt: missing")
	refused(t, filepath.Join(t.TempDir(), "nowhere"), l, artifact.ErrMissing, "there is no such file or folder")
}

// TestOpenOfTheGuide is the guide's ConfigMap: a card and nothing else.
func TestOpenOfTheGuide(t *testing.T) {
	card := minimal + "artifact_hashes:\n  model.pt: \"sha256:abc123...\"\n  preprocessor.pkl: \"sha256:def456...\"\n"
	dir := folder(t, map[string]string{"model_card.yaml": card})
	refused(t, dir, artifact.Limits{}, artifact.ErrMissing, "model.pt: missing", "preprocessor.pkl: missing", "placeholder")
	_, err := artifact.OpenPath(dir, artifact.Limits{})
	if !strings.HasPrefix(err.Error(), "model.pt: missing") {
		t.Errorf("the missing file must come first: %v", err)
	}
	problems, _ := artifact.Check(dir, artifact.Limits{})
	if len(problems) != 4 {
		t.Errorf("got %d problems, want two missing files and two placeholders: %v", len(problems), problems)
	}
	if errors.Is(err, artifact.ErrHash) {
		t.Errorf("a placeholder is no mismatch: %v", err)
	}

	// With the files there, the placeholders are what is left.
	dir = folder(t, map[string]string{"model_card.yaml": card, "model.pt": "x", "preprocessor.pkl": "y"})
	refused(t, dir, artifact.Limits{}, artifact.ErrPlaceholder, "model_card.yaml:5: artifact_hashes[\"model.pt\"]", "model_card.yaml:6:")
}

func TestOpenRefusesHashes(t *testing.T) {
	l := artifact.Limits{}
	hash := func(s string) string { return minimal + "artifact_hashes: {" + s + "}" }
	refused(t, folder(t, map[string]string{"model_card.yaml": hash("model.pt: " + sum("other")), "model.pt": "x"}), l, artifact.ErrHash,
		"model.pt: digest mismatch", sum("other"), sum("x"))
	refused(t, folder(t, map[string]string{"model_card.yaml": hash("notes.txt: " + sum("other")), "model.pt": "x", "notes.txt": "x"}), l, artifact.ErrHash, "notes.txt")
	refused(t, folder(t, map[string]string{"model_card.yaml": hash("model_card.yaml: " + sum("x")), "model.pt": "x"}), l, artifact.ErrCard, "a card cannot hold its own digest")
	refused(t, folder(t, map[string]string{"model_card.yaml": hash("../../etc/passwd: " + sum("x")), "model.pt": "x"}), l, artifact.ErrName, "it was not read")
	refused(t, folder(t, map[string]string{"model_card.yaml": hash("sub/model.pt: " + sum("x")), "model.pt": "x"}), l, artifact.ErrName)

	strict := artifact.Limits{RequireHashes: true}
	refused(t, folder(t, map[string]string{"model_card.yaml": minimal, "model.pt": "x"}), strict, artifact.ErrNoHash,
		"model.pt: no digest: require_hashes is set", "add model.pt: sha256:"+sum("x"))
	refused(t, folder(t, map[string]string{"model_card.yaml": hash("model.pt: " + sum("x")), "model.pt": "x", "preprocessor.pkl": "y"}), strict, artifact.ErrNoHash, "preprocessor.pkl")
	refused(t, folder(t, map[string]string{"model.pt": "x"}), strict, artifact.ErrNoHash, "model.pt")
}

func TestOpenNotesTheAbsenceOfHashes(t *testing.T) {
	a, err := artifact.OpenPath(folder(t, map[string]string{"model_card.yaml": minimal, "model.pt": "x"}), artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Notes) != 1 || !strings.HasPrefix(a.Notes[0], "No digest is given for model.pt") {
		t.Errorf("got notes %v", a.Notes)
	}
}

func TestOpenRefusesWhatIsAmbiguous(t *testing.T) {
	l := artifact.Limits{}
	refused(t, folder(t, map[string]string{"model_card.yaml": minimal, "policy.zip": "x", "model.onnx": "x"}), l, artifact.ErrAmbiguous, "model_filename")
	refused(t, folder(t, map[string]string{"a.pt": "x", "b.pt": "x"}), l, artifact.ErrAmbiguous, "a.pt", "b.pt")
	refused(t, folder(t, map[string]string{"model_card.yaml": minimal, "model.pt": "x", "preprocessor.pkl": "x", "preprocessor.joblib": "y"}), l, artifact.ErrAmbiguous, "preprocessor_filename")
}

// TestOpenRefusesWhatIsNoFile puts everything in the place of the model that
// is not a file with bytes. None of it may block or allocate.
func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("links and FIFOs are not made on Windows: 9 cases are not run")
		return
	}
	outside := folder(t, map[string]string{"secret": "outside"})
	f := func(place func(model string) error, is error, want ...string) {
		t.Helper()
		dir := folder(t, map[string]string{"model_card.yaml": minimal})
		if err := place(filepath.Join(dir, "model.pt")); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		refused(t, dir, artifact.Limits{}, is, append(want, "model.pt: ")...)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("allocated %d bytes", n)
		}
	}
	link := func(to string) func(string) error {
		return func(model string) error { return os.Symlink(to, model) }
	}
	f(link(filepath.Join(outside, "secret")), artifact.ErrEscape, "leaves the artifact folder")
	f(link("../"+filepath.Base(outside)+"/secret"), artifact.ErrEscape)
	f(link("/etc/passwd"), artifact.ErrEscape)
	f(link("nothing"), artifact.ErrMissing, "a link to a file that is not there")
	f(link("model.pt"), errAny, "too many levels")
	f(link("/dev/zero"), artifact.ErrEscape)
	f(makeFIFO, artifact.ErrNotRegular, "a FIFO")
	f(func(model string) error { return os.Mkdir(model, 0o755) }, artifact.ErrNotRegular, "a folder")
	f(func(model string) error { return os.WriteFile(model, nil, 0o644) }, errAny, "is empty (0 bytes)")
	f(func(model string) error {
		file, err := os.Create(model)
		if err != nil {
			return err
		}
		defer file.Close()
		return file.Truncate(10 << 30)
	}, artifact.ErrLimit, "10737418240 bytes, at most 536870912 are read")
}

func TestOpenPathRefusesWhatIsNoFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("FIFOs are not made on Windows: 1 case is not run")
		return
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := makeFIFO(pipe); err != nil {
		t.Fatal(err)
	}
	refused(t, pipe, artifact.Limits{}, artifact.ErrNotRegular, "a FIFO")
}

// TestOpenCardRefusesWhatIsNoFile is the same for the card.
func TestOpenCardRefusesWhatIsNoFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("links and FIFOs are not made on Windows: 3 cases are not run")
		return
	}
	f := func(place func(card string) error, is error) {
		t.Helper()
		dir := folder(t, map[string]string{"model.pt": "x"})
		if err := place(filepath.Join(dir, "model_card.yaml")); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, artifact.Limits{}, is, "model_card.yaml: ")
	}
	f(makeFIFO, artifact.ErrNotRegular)
	f(func(card string) error { return os.Symlink("/etc/hostname", card) }, artifact.ErrEscape)
	f(func(card string) error { return os.WriteFile(card, make([]byte, 5<<20), 0o644) }, artifact.ErrLimit)
}

// TestOpenFollowsLinksInside is how Kubernetes mounts a ConfigMap: every file
// is a link through ..data into a folder with a time in its name.
func TestOpenFollowsLinksInside(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("links are not made on Windows: 1 case is not run")
		return
	}
	dir := folder(t, map[string]string{"..2026_11_23/model_card.yaml": minimal, "..2026_11_23/model.pt": "weights"})
	for from, to := range map[string]string{"..data": "..2026_11_23", "model_card.yaml": "..data/model_card.yaml", "model.pt": "..data/model.pt"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := a.Read(artifact.RoleModel); err != nil || string(data) != "weights" {
		t.Errorf("got %q, %v", data, err)
	}
	// A link to the folder itself is the operator's own choice.
	link := filepath.Join(t.TempDir(), "current")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.OpenPath(link, artifact.Limits{}); err != nil {
		t.Error(err)
	}
}

func TestOpenLimitsFolders(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 50 {
		files[strings.Repeat("a", i+1)] = &fstest.MapFile{Data: []byte("x")}
	}
	if _, err := artifact.Open(files, ".", artifact.Limits{MaxFiles: 49}); !errors.Is(err, artifact.ErrLimit) {
		t.Errorf("got %v", err)
	}
}

func TestOpenIsNotFooledByGrowingFiles(t *testing.T) {
	files := growing{fstest.MapFS{"model_card.yaml": {Data: []byte(minimal)}, "model.pt": {Data: []byte("weights")}}}
	if _, err := artifact.Open(files, ".", artifact.Limits{}); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("got %v", err)
	}
}

// growing tells a size that is smaller than what can be read.
type growing struct{ fstest.MapFS }

func (g growing) Open(name string) (fs.File, error) {
	f, err := g.MapFS.Open(name)
	if err != nil || name != "model.pt" {
		return f, err
	}
	return growingFile{f}, nil
}

type growingFile struct{ fs.File }

func (f growingFile) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	return smallInfo{info}, err
}

type smallInfo struct{ fs.FileInfo }

func (i smallInfo) Size() int64 { return i.FileInfo.Size() - 3 }

func TestCheckSaysEverythingAtOnce(t *testing.T) {
	dir := folder(t, map[string]string{
		"model_card.yaml": "model_name: a b\nversion: v0.1.0\nartifact_hashes: {model.pt: " + sum("other") + ", preprocessor.pkl: TODO, gone.txt: " + sum("x") + "}\n",
		"model.pt":        "x", "preprocessor.pkl": "y",
	})
	problems, _ := artifact.Check(dir, artifact.Limits{RequireHashes: true})
	var files []string
	for _, p := range problems {
		files = append(files, p.File)
	}
	slices.Sort(files)
	// The name, the missing type and the placeholder; the mismatch; the file
	// that is not there.
	want := []string{"gone.txt", "model.pt", "model_card.yaml", "model_card.yaml", "model_card.yaml"}
	if !slices.Equal(files, want) {
		t.Errorf("got %v: %v", files, problems)
	}
	problems, notes := artifact.Check(folder(t, map[string]string{"model_card.yaml": minimal, "model.pt": "x"}), artifact.Limits{})
	if len(problems) != 0 || len(notes) != 1 {
		t.Errorf("got %v, %v", problems, notes)
	}
}

func TestDigestIsOfTheContent(t *testing.T) {
	open := func(files map[string]string) string {
		files["model_card.yaml"] = minimal
		a, err := artifact.OpenPath(folder(t, files), artifact.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return a.Digest()
	}
	first := open(map[string]string{"model.pt": "x"})
	if second := open(map[string]string{"model.pt": "x"}); first != second {
		t.Error("the same content has two digests")
	}
	if second := open(map[string]string{"model.pt": "y"}); first == second {
		t.Error("two contents have one digest")
	}
	if second := open(map[string]string{"policy.pt": "x"}); first == second {
		t.Error("two names have one digest")
	}
}

// TestCorpusCards holds the hostile cards of the corpus to what its index
// says, and opens the artifacts that are fine.
func TestCorpusCards(t *testing.T) {
	corpus := os.Getenv(corpusVariable)
	if corpus == "" {
		t.Logf("%s is not set: 18 cases are not run", corpusVariable)
		return
	}
	data, err := os.ReadFile(filepath.Join(corpus, "hostile", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Items []struct {
			Path string `json:"path"`
			Must string `json:"must"`
		} `json:"items"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	// These two are found where the card meets the model's graph.
	later := map[string]bool{"wrong_input_shape": true, "wrong_output_shape": true}
	seen := 0
	for _, item := range index.Items {
		name, ok := strings.CutPrefix(item.Path, "card/")
		if !ok {
			continue
		}
		seen++
		name = strings.TrimSuffix(name, "/v0.1.0")
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			a, err := artifact.OpenPath(filepath.Join(corpus, "hostile", item.Path), artifact.Limits{})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if took > 10*time.Second || after.TotalAlloc-before.TotalAlloc > 64<<20 {
				t.Errorf("took %v and %d bytes", took, after.TotalAlloc-before.TotalAlloc)
			}
			if later[name] {
				if err != nil || len(a.Card.InputShape) != 1 || len(a.Card.OutputShape) != 1 {
					t.Errorf("got %+v, %v", a, err)
				}
				return
			}
			if err == nil {
				t.Errorf("was accepted: %s", item.Must)
			} else {
				t.Log(err)
			}
		})
	}
	if seen == 0 {
		t.Error("the index has no cards")
	}
	dirs, err := filepath.Glob(filepath.Join(corpus, "ancestor", "*", "v0.1.0"))
	if err != nil || len(dirs) == 0 {
		t.Fatal("no ancestor artifacts", err)
	}
	for _, dir := range dirs {
		a, err := artifact.OpenPath(dir, artifact.Limits{RequireHashes: true, RequireCard: true})
		if err != nil || a.Member(artifact.RoleModel) == nil {
			t.Errorf("%s: %v", filepath.Base(filepath.Dir(dir)), err)
		}
	}
}
