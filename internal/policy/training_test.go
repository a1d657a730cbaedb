package policy

import (
	"archive/zip"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// openTrained opens an agent with a file config.yml beside it.
func openTrained(t *testing.T, config string, more fstest.MapFS) (*Policy, error) {
	t.Helper()
	model, err := os.ReadFile("../format/sb3/testdata/ppo_box/model.zip")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"model.zip": {Data: model}, "config.yml": {Data: []byte(config)}}
	maps.Copy(files, more)
	a, err := artifact.Open(files, ".", artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return Open(a, Options{})
}

func TestNotesOfTheTraining(t *testing.T) {
	p, err := openTrained(t, "frame_stack: 4\nnormalize: dict(norm_obs=False, norm_reward=True)\nenv_wrapper: sb3_contrib.common.wrappers.TimeFeatureWrapper\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(p.Notes(), "\n")
	for _, want := range []string{"config.yml says that 4 observations were stacked; one that is sent holds all of them, the oldest first", "wrapped by sb3_contrib.common.wrappers.TimeFeatureWrapper"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
}

func TestStatisticsOfTheTrainingMustBeThere(t *testing.T) {
	if _, err := openTrained(t, "normalize: true\n", nil); err == nil || !strings.Contains(err.Error(), "put vecnormalize.pkl beside the model") {
		t.Errorf("got %v, want a refusal that names the file", err)
	}
}

// TestUnzippedAgent opens the members of a zip as files and compares it with
// the zip.
func TestUnzippedAgent(t *testing.T) {
	dir := t.TempDir()
	unzip(t, "../format/sb3/testdata/ppo_box/model.zip", dir)
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(a, Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, rows, _ := agent(t, "ppo_box")
	zipped := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: n})
	for _, obs := range rows {
		got, err := act(p, obs)
		if err != nil {
			t.Fatal(err)
		}
		want, err := act(zipped, obs)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("the folder gives %v, the zip %v", got, want)
			}
		}
	}
}

func unzip(t *testing.T, name, dir string) {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f.Name)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// RL Zoo normalises one observation and stacks what comes out: the statistics
// are those of each frame.
func TestStatisticsOfStackedObservations(t *testing.T) {
	pre := preprocessor(t, "vecnormalize")
	f := func(frames, width, want int) {
		t.Helper()
		n := joined(true, []string{"obs"}, width)
		n.description.Inputs[0].Shape = []int{graph.Batch, width}
		src := &sources{card: &artifact.Card{}, network: n, preprocessor: pre}
		var notes []string
		if err := checkTraining(src, &artifact.Training{Files: []string{"config.yml"}, FrameStack: frames}, &notes); err != nil {
			t.Error(err)
			return
		}
		if got := src.preprocessor.Width(); got != want {
			t.Errorf("%d frames before a network of %d values: statistics of %d, want %d", frames, width, got, want)
		}
	}
	f(3, 3*pre.Width(), 3*pre.Width())
	f(3, pre.Width(), pre.Width())   // normalised after they were stacked
	f(3, 2*pre.Width(), pre.Width()) // which two sources then disagree on
	f(1, 3*pre.Width(), pre.Width())
}
