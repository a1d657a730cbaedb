package artifact_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// minimal is a card with what must be there.
const minimal = "model_name: carla-ppo\nversion: v0.1.0\nmodel_type: pytorch\n"

func parse(t *testing.T, text string) *artifact.Card {
	t.Helper()
	card, _, err := artifact.ParseCard([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return card
}

func TestParseCardOfTheGuide(t *testing.T) {
	// The guide's card, its placeholders replaced by digests.
	text := `model_name: "carla-ppo"
version: "v0.1.0"
model_type: "pytorch"
description: "CarlaRL PPO policy for autonomous driving"
input_shape: [5]
output_shape: [3]
framework_version: "2.1.0"
performance_metrics:
  reward: 850.5
  success_rate: 0.95
artifact_hashes:
  model.pt: "sha256:` + strings.Repeat("AB", 32) + `"
  preprocessor.pkl: "` + strings.Repeat("cd", 32) + `"
`
	want := &artifact.Card{
		Present: true, ModelName: "carla-ppo", Version: "v0.1.0", ModelType: "pytorch",
		Description: "CarlaRL PPO policy for autonomous driving", FrameworkVersion: "2.1.0",
		InputShape: []int{5}, OutputShape: []int{3},
		PerformanceMetrics: map[string]float64{"reward": 850.5, "success_rate": 0.95},
		ArtifactHashes: []artifact.Hash{
			{Name: "model.pt", SHA256: strings.Repeat("ab", 32), Line: 12},
			{Name: "preprocessor.pkl", SHA256: strings.Repeat("cd", 32), Line: 13},
		},
	}
	if diff := cmp.Diff(want, parse(t, text)); diff != "" {
		t.Error(diff)
	}
}

func TestParseCardContract(t *testing.T) {
	card := parse(t, minimal+`
observation:
  - {name: speed, unit: km/h, low: 0, high: 200}
  - {name: sensors, shape: [5], unit: m, low: 0, high: 1}
  - {name: image, shape: [2, 3], high: .inf}
  - plain
action:
  - {name: throttle, low: 0, high: 1}
  - {name: gear, discrete: true, low: 0, high: 5}
postprocess: clip
deterministic_default: true
on_version_change: Reset
distribution: gaussian
frame_stack: 4
control_hz: 20
model_filename: policy.zip
preprocessor_filename: vec_normalize.pkl
golden:
  atol: 1.0e-6
  rtol: 1e-4
  vectors:
    - observation: {speed: 25.5, sensors: [0.8, 0.2, 0.5, 0.9, 0.1], image: [[1, 2, 3], [4, 5, 6]]}
      action: {throttle: 0.31}
    - observation: [1, 2.5]
      action: [3]
      deterministic: false
`)
	want := []artifact.FeatureSpec{
		{Name: "speed", Unit: "km/h", Low: new(0.0), High: new(200.0)},
		{Name: "sensors", Shape: []int{5}, Unit: "m", Low: new(0.0), High: new(1.0)},
		{Name: "image", Shape: []int{2, 3}},
		{Name: "plain"},
	}
	if diff := cmp.Diff(want, card.Observation); diff != "" {
		t.Error(diff)
	}
	if got := card.Observation[2].Size(); got != 6 {
		t.Errorf("size: got %d, want 6", got)
	}
	wantAction := []artifact.ActionSpec{
		{Name: "throttle", Low: new(0.0), High: new(1.0)},
		{Name: "gear", Low: new(0.0), High: new(5.0), Discrete: true},
	}
	if diff := cmp.Diff(wantAction, card.Action); diff != "" {
		t.Error(diff)
	}
	wantGolden := &artifact.Golden{Atol: 1e-6, Rtol: 1e-4, Vectors: []artifact.GoldenVector{
		{
			Observation: map[string]any{"speed": 25.5, "sensors": []float64{0.8, 0.2, 0.5, 0.9, 0.1},
				"image": []any{[]float64{1, 2, 3}, []float64{4, 5, 6}}},
			Action: map[string]any{"throttle": 0.31}, Deterministic: true, Line: 25,
		},
		{Observation: []float64{1, 2.5}, Action: []float64{3}, Line: 27},
	}}
	if diff := cmp.Diff(wantGolden, card.Golden); diff != "" {
		t.Error(diff)
	}
	if card.Postprocess != "clip" || card.DeterministicDefault == nil || !*card.DeterministicDefault || card.OnVersionChange != "reset" || card.FrameStack.Frames != 4 ||
		card.ControlHz != 20 || card.Distribution == nil || card.Distribution.Kind != "gaussian" || card.ModelFilename != "policy.zip" || card.PreprocessorFilename != "vec_normalize.pkl" {
		t.Errorf("got %+v", card)
	}
}

func TestParseCardForms(t *testing.T) {
	f := func(line string, ok func(*artifact.Card) bool) {
		t.Helper()
		if card := parse(t, minimal+line); !ok(card) {
			t.Errorf("%s: got %+v", line, card)
		}
	}
	f("framework_version: 2.1", func(c *artifact.Card) bool { return c.FrameworkVersion == "2.1" })
	f("input_shape: 5", func(c *artifact.Card) bool { return len(c.InputShape) == 1 && c.InputShape[0] == 5 })
	f("input_shape: [-1, 5]", func(c *artifact.Card) bool { return len(c.InputShape) == 1 })
	f("input_shape: [null, 84, 84, 4]", func(c *artifact.Card) bool { return len(c.InputShape) == 3 })
	f("description:", func(c *artifact.Card) bool { return c.Description == "" })
	f("artifact_hashes: {}", func(c *artifact.Card) bool { return len(c.ArtifactHashes) == 0 })
	f("artifact_hashes: {model.pt: 'SHA256:"+strings.Repeat("aB", 32)+"'}", func(c *artifact.Card) bool { return c.ArtifactHashes[0].SHA256 == strings.Repeat("ab", 32) })
	f("postprocess: Clip", func(c *artifact.Card) bool { return c.Postprocess == "clip" })
	f("architecture: [{linear: network.0}, relu]", func(c *artifact.Card) bool { return c.Architecture != nil && len(c.Architecture.Content) == 2 })
	f("performance_metrics: {eval: {reward: 1, steps: 2}, loss: 1e-3, note: fine}", func(c *artifact.Card) bool {
		m := c.PerformanceMetrics
		return len(m) == 3 && m["eval_reward"] == 1 && m["eval_steps"] == 2 && m["loss"] == 1e-3
	})
	f("observation: [{name: x, low: -1e-5, high: 0x10}]", func(c *artifact.Card) bool { return *c.Observation[0].Low == -1e-5 && *c.Observation[0].High == 16 })
	f("observation: [{name: x, low: null, high: .inf}]", func(c *artifact.Card) bool { return c.Observation[0].Low == nil && c.Observation[0].High == nil })
	f("golden: {vectors: [{observation: [1], action: 2}]}", func(c *artifact.Card) bool {
		return c.Golden.Atol == 1e-5 && c.Golden.Rtol == 1e-5 && c.Golden.Vectors[0].Action == 2.0
	})
}

func TestParseCardNotesWhatItDoesNotKnow(t *testing.T) {
	_, notes, err := artifact.ParseCard([]byte(minimal + "author: somebody\nperformance_metrics: {best: yes please}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(notes, "\n")
	for _, want := range []string{`the key "author"`, "performance_metrics.best is not a number"} {
		if !strings.Contains(got, want) {
			t.Errorf("notes lack %q: %s", want, got)
		}
	}
}

// TestParseCardRefuses looks at the message and the line of each mistake.
func TestParseCardRefuses(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		_, _, err := artifact.ParseCard([]byte(minimal + lines))
		if err == nil {
			t.Errorf("%q was accepted", lines)
			return
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, want %q in it", lines, err, want)
		}
	}
	f("version: v9.9.9", "model_card.yaml:4: version: invalid card: the key is given twice, first on line 2")
	f("artifact_hash: {}", "model_card.yaml:4: artifact_hash: invalid card: unknown key, did you mean artifact_hashes?")
	f("preprocesor_filename: x.pkl", "did you mean preprocessor_filename?")
	f("input_shape: five", "input_shape: invalid card: want a list, got the text \"five\"")
	f("input_shape: [5.5]", "input_shape[0]: invalid card: want a whole number, got \"5.5\"")
	f("input_shape: [0]", "want a whole number from 1 to 16777216, got \"0\"")
	f("input_shape: [5, -1]", "got \"-1\"")
	f("input_shape: [16777216, 16777216]", "want at most 16777216 values")
	f("input_shape: [1,1,1,1,1,1,1,1,1]", "want at most 8 entries, got 9")
	f("model_filename: ../model.pt", "want the name of a file in the artifact folder: not a plain name: \"../model.pt\"")
	f("model_filename: /etc/passwd", "not a plain name")
	f("preprocessor_filename: sub/x.pkl", "not a plain name")
	f("postprocess: squash", "want one of clip, unscale, none, got \"squash\"")
	f("on_version_change: keep", "want one of drain, reset, got \"keep\"")
	f("deterministic_default: 1", "want true or false, got \"1\"")
	f("description: true", "want text, got \"true\"")
	f("performance_metrics: {reward: .nan}", "performance_metrics.reward: invalid card: want a finite number")
	f("performance_metrics: {a: {b: 1}, a_b: 2}", "two metrics have the name a_b")
	f("performance_metrics: 5", "want a mapping")
	f("observation: {speed: 1}", "want a list, got a mapping")
	f("observation: [{name: a}, {name: a}]", "observation[1].name: invalid card: the name \"a\" is given twice")
	f("observation: [{unit: m}]", "observation[0].name: invalid card: this key is required")
	f("observation: [{name: a, low: 2, high: 1}]", "low is above high: 2 > 1")
	f("observation: [{name: a, hihg: 1}]", "did you mean high?")
	f("observation: [{name: a, colour: red}]", "unknown key; there are: name, shape, unit, low, high")
	f("observation: [{name: a, low: .nan}]", "want a number")
	f("observation: [{name: \"a\\u0007\"}]", "want printable text")
	f("observation: [{name: "+strings.Repeat("a", 65)+"}]", "at most 64 bytes")
	f("golden: {vectors: []}", "want at least one vector")
	f("golden: {atol: -1, vectors: [{observation: [1], action: [1]}]}", "want a tolerance from 0 to 1")
	f("golden: {vectors: [{observation: [1]}]}", "golden.vectors[0].action: invalid card: this key is required")
	f("golden: {vectors: [{observation: [.nan], action: [1]}]}", "want a finite number")
	f("golden: {vectors: [{observation: [[1, 2], [3]], action: [1]}]}", "the lists are not of the same length")
	f("golden: {vectors: [{observation: {a: text}, action: [1]}]}", "golden.vectors[0].observation.a: invalid card: want a number")
	f("frame_stack: 0", "want a whole number from 1 to 1024")
	f("control_hz: -5", "want a rate")
	f("artifact_hashes: [a]", "want a mapping")
	f("artifact_hashes: {model.pt: abc}", "a SHA-256 has 64 hex digits, got 3 characters")
	f("artifact_hashes: {model.pt: 'sha512:"+strings.Repeat("ab", 64)+"'}", "digests of kind \"sha512\" are not supported")
	f("artifact_hashes: {model.pt: '"+strings.Repeat("xy", 32)+"'}", "is not hexadecimal")
	f("x: !!python/object/apply:os.system [id]", "the tag \"!!python/object/apply:os.system\" is not allowed")
	f("description: !!str x", "description: invalid card: the tag \"!!str\" is not allowed")
	f("deterministic_default: !!bool x", "the tag \"!!bool\" is not allowed")
	f("!!str description: x", "description: invalid card: the tag \"!!str\" is not allowed")
	f("x: &a [*a]", "aliases (*a) are not allowed")
	f("x: &a {}\ny: *a", "aliases (*a) are not allowed")
	f("x: {<<: {a: 1}}", "merge keys (<<) are not allowed")
	f("? [a, b]\n: c", "a key must be plain text")
	f("---\na: b", "more than one YAML document")
	f("x: [", "did not find expected node content")
	f("x: "+strings.Repeat("[", 40)+strings.Repeat("]", 40), "over the limit: nested deeper than 32")
	f("x:\n  - "+strings.Repeat("- ", 40)+"1", "over the limit: nested deeper than 32")
	f("description: "+strings.Repeat("x", 70_000), "want at most 65536 bytes")
}

func TestParseCardRequiredKeys(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, _, err := artifact.ParseCard([]byte(text))
		if !errors.Is(err, artifact.ErrCard) {
			t.Errorf("%q: got %v", text, err)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: got %q, want %q in it", text, err, w)
			}
		}
	}
	f("", "the card is empty")
	f("# nothing", "the card is empty")
	f("just text", "want a mapping of keys to values, got the text")
	f("- a\n- b", "got a list")
	f("model_name: x", "version: invalid card: this key is required", "model_type: invalid card: this key is required")
	f("model_name:\nversion: v1.0.0\nmodel_type: pytorch", "model_name: invalid card: this key is required and has no value")
	f("model_name: a b\nversion: v1.0.0\nmodel_type: pytorch", "model_name: invalid card: want a name: not a plain name")
	f("model_name: x\nversion: ../v1\nmodel_type: pytorch", "version: invalid card: want a semantic version MAJOR.MINOR.PATCH such as v0.1.0, at most 64 bytes, got \"../v1\"")
	for _, version := range []string{"banana", "1.0", "v1", "10", "V1.2.3", "1.2.3-01", "latest", "v1.0.0-" + strings.Repeat("a", 64), "''", "v1.0.0/x"} {
		f("model_name: x\nversion: "+version+"\nmodel_type: pytorch", "model_card.yaml:2: version: invalid card: want a semantic version MAJOR.MINOR.PATCH")
	}
	f("model_name: x\nversion: [1]\nmodel_type: pytorch", "version: invalid card: want text, got a list")
	f("model_name: x\nversion: v1.0.0\nmodel_type: pytorch\nx: \xff\xfe", "not valid UTF-8")
}

func TestParseCardPlaceholders(t *testing.T) {
	for _, text := range []string{
		"sha256:abc123...", "sha256:def456...", "abc123...", "abc123", "sha256:", "<sha256>", "sha256:${HASH}", "TODO", "changeme",
		"your-hash-here", strings.Repeat("0", 64), "sha256:" + strings.Repeat("X", 64), "sha256:abc123…",
	} {
		_, _, err := artifact.ParseCard([]byte(minimal + "artifact_hashes: {model.pt: \"" + text + "\"}"))
		if !errors.Is(err, artifact.ErrPlaceholder) {
			t.Errorf("%q: got %v, want it called a placeholder", text, err)
			continue
		}
		if errors.Is(err, artifact.ErrHash) || !strings.Contains(err.Error(), "sha256sum \"model.pt\"") {
			t.Errorf("%q: got %v, want it to say how to mend it and not to call it a mismatch", text, err)
		}
	}
}

func TestParseCardSaysEverythingAtOnce(t *testing.T) {
	_, _, err := artifact.ParseCard([]byte("model_name: a/b\nverzion: v1\nmodel_type: pytorch\ninput_shape: x\npostprocess: y\n"))
	var e *artifact.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if len(e.Problems) != 5 { // name, misspelt version, shape, postprocess, missing version
		t.Errorf("got %d problems: %v", len(e.Problems), err)
	}
}

// TestParseCardIsCheap feeds cards that are made to be expensive.
func TestParseCardIsCheap(t *testing.T) {
	deep := func(open string, n int) string { return "x: " + strings.Repeat(open, n) }
	var aliases strings.Builder
	aliases.WriteString(minimal + "a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 50; i++ {
		fmt.Fprintf(&aliases, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	for name, text := range map[string]string{
		"flow depth":       minimal + deep("[", 100_000),
		"flow maps":        minimal + deep("{a: ", 100_000),
		"closed depth":     minimal + deep("[", 900) + strings.Repeat("]", 900),
		"block depth":      minimal + "x:\n  " + strings.Repeat("- ", 50_000),
		"question marks":   minimal + "x:\n  " + strings.Repeat("? ", 50_000),
		"many keys":        minimal + strings.Repeat("k: v\n", 100_000),
		"many entries":     minimal + "x: [" + strings.Repeat("1,", 1_000_000) + "1]",
		"billion laughs":   aliases.String(),
		"long key":         minimal + strings.Repeat("k", 300_000) + ": v",
		"quotes":           minimal + "x: " + strings.Repeat("'", 1_000_001),
		"growing indent":   minimal + indents(1000),
		"unclosed strings": minimal + "x: \"" + strings.Repeat("\\x41", 50_000),
	} {
		start := time.Now()
		_, _, err := artifact.ParseCard([]byte(text))
		// A parser that is not linear takes minutes; a busy machine and the race
		// detector make a second of the milliseconds that it takes.
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		if err == nil {
			t.Errorf("%s was accepted", name)
		} else if len(err.Error()) > 100_000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
}

func indents(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i))
		b.WriteString("x:\n")
	}
	return b.String()
}

func FuzzParseCard(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(minimal + "golden: {vectors: [{observation: {a: [1]}, action: [1]}]}\n"))
	f.Add([]byte(minimal + "x: &x\n  <<: *x\n"))
	f.Add([]byte(minimal + "observation: [{name: a, shape: [2, 3], low: -1e-5}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		card, _, err := artifact.ParseCard(data)
		if err != nil {
			return
		}
		if !artifact.ValidName(card.ModelName) || !artifact.ValidVersion(card.Version) || card.ModelType == "" {
			t.Errorf("accepted %+v", card)
		}
		for _, h := range card.ArtifactHashes {
			if !artifact.ValidName(h.Name) || len(h.SHA256) != 64 {
				t.Errorf("accepted the hash %+v", h)
			}
		}
		for name, v := range card.PerformanceMetrics {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("accepted the metric %s: %v", name, v)
			}
		}
		for _, o := range card.Observation {
			if o.Name == "" || o.Size() < 1 || o.Size() > 1<<24 {
				t.Errorf("accepted the feature %+v", o)
			}
		}
	})
}
