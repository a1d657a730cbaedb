package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/experience/export"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// perturbedDemo is a copy of the demo in which one number of one weight is
// another, without the digests and golden vectors that would tell.
func perturbedDemo(t *testing.T, by float32) string {
	t.Helper()
	from := filepath.FromSlash("../../internal/demo/artifact")
	dir := filepath.Join(t.TempDir(), "perturbed")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	card := string(readFile(t, filepath.Join(from, "model_card.yaml")))
	card, _, _ = strings.Cut(card, "golden:")
	before, after, _ := strings.Cut(card, "artifact_hashes:")
	_, after, _ = strings.Cut(after, "observation:")
	card = strings.Replace(before+"observation:"+after, "version: v0.1.0", "version: v0.1.1", 1)
	write(t, filepath.Join(dir, "model_card.yaml"), []byte(card))
	write(t, filepath.Join(dir, "preprocessor.pkl"), readFile(t, filepath.Join(from, "preprocessor.pkl")))
	model := readFile(t, filepath.Join(from, "model.pt"))
	r, err := zip.NewReader(bytes.NewReader(model), int64(len(model)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	largest := largestMember(r, "/data/")
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if f == largest {
			v := math.Float32frombits(binary.LittleEndian.Uint32(data)) + by
			binary.LittleEndian.PutUint32(data, math.Float32bits(v))
		}
		m, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Store})
		if err == nil {
			_, err = m.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "model.pt"), out.Bytes())
	return dir
}

// largestMember is the largest tensor of a file of torch.
func largestMember(r *zip.Reader, part string) *zip.File {
	var largest *zip.File
	for _, f := range r.File {
		if strings.Contains(f.Name, part) && (largest == nil || f.UncompressedSize64 > largest.UncompressedSize64) {
			largest = f
		}
	}
	return largest
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// recordDemo writes a log of SQLite of what the demo did with drawn
// observations.
func recordDemo(t *testing.T, steps int) string {
	t.Helper()
	a, err := artifact.OpenPath(filepath.FromSlash("../../internal/demo/artifact"), artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Open(a, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "experience.db")
	store, err := experience.Open(context.Background(), file, experience.Options{Run: "run1"})
	if err != nil {
		t.Fatal(err)
	}
	o := newSampler(p, 1).sample(steps)
	answers, err := ask(p, o, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	width := p.Contract().Inputs[0].Width
	b := &experience.Batch{Layouts: []experience.Layout{{Model: "carla-ppo", Version: "v0.1.0", Digest: a.Digest(), Inputs: []experience.Input{{Name: "x", Width: width, Shape: []int{width}}},
		Features: []experience.Part{{Name: "speed", Size: 1}, {Name: "steering", Offset: 1, Size: 1}, {Name: "sensors", Shape: []int{5}, Offset: 2, Size: 5}}, Actions: []experience.Part{{Name: "throttle", Size: 1}, {Name: "brake", Offset: 1, Size: 1}, {Name: "steer", Offset: 2, Size: 1}}}}}
	for i := range steps {
		b.Steps = append(b.Steps, experience.Step{
			Run: "run1", Sequence: uint64(i + 1), Time: time.Unix(int64(i), 0), RequestID: fmt.Sprintf("req-%d", i+1), Model: "carla-ppo", Version: "v0.1.0", Digest: a.Digest(),
			Observation: o.in[0][i*width:][:width], Action: answers.actions[i*3:][:3], Deterministic: true,
		})
	}
	b.Gaps = []experience.Gap{{Run: "run1", First: uint64(steps + 1), Last: uint64(steps + 4), Reason: experience.LostFull, Time: time.Unix(1, 0)}}
	if err := store.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReplayExitCodes(t *testing.T) {
	const steps = 700
	demo := filepath.FromSlash("../../internal/demo/artifact")
	file, other := recordDemo(t, steps), perturbedDemo(t, 0.05)
	f := func(want int, says string, args ...string) outcome {
		t.Helper()
		r := execute("", append([]string{"replay"}, args...)...)
		if r.code != want || !strings.Contains(r.stderr, says) {
			t.Errorf("%v: exit code %d, want %d: %s %s", args, r.code, want, r.stderr, r.stdout)
		}
		if want == exitOK && r.stderr != "" || want != exitOK && strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%v: standard error is %q", args, r.stderr)
		}
		return r
	}
	zero := []string{"--max-abs", "0", "--max-mean", "0", "--max-p99", "0", "--max-sign-flips", "0", "--max-saturation-rise", "0", "--max-intervention-rise", "0", "--max-left-out", "0"}
	f(exitOK, "", append([]string{"--from", file, "--model", demo}, zero...)...)
	f(exitOK, "", append([]string{"--from", "sqlite://" + file, "--model", demo, "--against", demo, "--min-steps", "700"}, zero...)...)
	f(exitOK, "", append([]string{"--from", file, "--model", demo, "--against", demo, "--determinism", "fast"}, zero...)...)
	f(exitOK, "", "--from", file, "--model", other)
	f(exitDiffers, "max-abs", "--from", file, "--model", other, "--max-abs", "0")
	f(exitDiffers, "max-mean", "--from", file, "--model", demo, "--against", other, "--max-mean", "1e-9")
	f(exitDiffers, "min-steps", "--from", file, "--model", demo, "--min-steps", "701")
	f(exitTrouble, "nothing was compared", "--from", file, "--model", demo, "--recorded-version", "v9.9.9")
	f(exitTrouble, "no such action", "--from", file, "--model", demo, "--max-abs", "yaw=1")
	f(exitTrouble, "expected a number", "--from", file, "--model", demo, "--max-abs", "steer=x")
	f(exitTrouble, "nowhere.db", "--from", filepath.Join(t.TempDir(), "nowhere.db"), "--model", demo)
	f(exitTrouble, "", "--from", file, "--model", filepath.Join(t.TempDir(), "nothing"))
	f(exitTrouble, "cannot be compared", "--from", file, "--model", demo, "--against", filepath.FromSlash("../../internal/format/sb3/testdata/td3/model.zip"))
	f(exitUsage, "", "--from", file)
	f(exitTrouble, "--since: expected a time", "--from", file, "--model", demo, "--since", "yesterday")
	f(exitOK, "", "--from", file, "--model", demo, "--until", "1970-01-01T00:05:00Z", "--since", "1970-01-01", "--min-steps", "300")
	f(exitTrouble, "nothing was compared", "--from", file, "--model", demo, "--since", "1h")

	page := filepath.Join(t.TempDir(), "report.html")
	r := f(exitDiffers, "", "--from", file, "--model", other, "--max-abs", "0", "--json", "--html", page, "--newest", "600")
	var rep replay.Report
	if err := json.Unmarshal([]byte(r.stdout), &rep); err != nil {
		t.Fatal(err)
	}
	w := rep.Worst[0]
	if rep.Steps.Compared != 600 || rep.Steps.Lost != 4 || rep.Gate.Passed || rep.New.Version != "v0.1.1" || w.Sequence <= 100 || w.RequestID != fmt.Sprintf("req-%d", w.Sequence) || len(w.Observation) != 7 {
		t.Errorf("%s", r.stdout)
	}
	if html := string(readFile(t, page)); !strings.Contains(html, fmt.Sprintf("step %d of run run1", w.Sequence)) || !strings.HasSuffix(html, "</html>\n") {
		t.Error("the page does not have the worst step")
	}
	text := f(exitOK, "", "--from", file, "--model", other).stdout
	for _, want := range []string{"700 steps read, 700 compared", "lost when they were recorded", "worst steps", "carla-ppo v0.1.1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// TestReplayOfAnExport replays what was exported as JSON Lines.
func TestReplayOfAnExport(t *testing.T) {
	const steps = 300
	file := recordDemo(t, steps)
	s, err := experience.Open(context.Background(), file, experience.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lines := filepath.Join(t.TempDir(), "steps.jsonl")
	if _, err := export.Write(context.Background(), s, lines, export.Options{Format: export.JSONLines}); err != nil {
		t.Fatal(err)
	}
	demo := filepath.FromSlash("../../internal/demo/artifact")
	f := func(want int, says string, args ...string) {
		t.Helper()
		r := execute("", append([]string{"replay", "--from", lines, "--model", demo}, args...)...)
		if r.code != want || !strings.Contains(r.stderr+r.stdout, says) {
			t.Errorf("%v: exit code %d, want %d: %s %s", args, r.code, want, r.stderr, r.stdout)
		}
	}
	f(exitOK, "300 compared, 0 of them different", "--max-abs", "0", "--max-left-out", "0")
	f(exitOK, "100 compared", "--until", "1970-01-01T00:01:40Z", "--recorded-model", "carla-ppo")
	f(exitTrouble, "nothing was compared", "--recorded-version", "v9.9.9")
	f(exitTrouble, "--newest", "--newest", "5")
	f(exitDiffers, "max-abs", "--against", perturbedDemo(t, 0.05), "--max-abs", "0")
	data := string(readFile(t, lines))
	write(t, lines, []byte(data+strings.ReplaceAll(data, `"carla-ppo"`, `"other"`)))
	f(exitTrouble, "2 models (carla-ppo, other)")
	f(exitOK, "300 compared", "--recorded-model", "other")
	write(t, lines, []byte(data+"{\"run\":1}\n"))
	f(exitTrouble, "line 301: run: expected a string")
}

func TestReplayOfAURLHidesItsPassword(t *testing.T) {
	if got := shownURL("postgres://user:secret@host/db"); strings.Contains(got, "secret") || !strings.Contains(got, "host/db") {
		t.Error(got)
	}
	if got := shownURL("logs/experience.db"); got != "logs/experience.db" {
		t.Error(got)
	}
}
