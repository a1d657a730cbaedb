//go:build unix

package apptest

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("../../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestGettingStartedShowsTheRealAnswer compares the answer in the document
// with the one that its own command gets.
func TestGettingStartedShowsTheRealAnswer(t *testing.T) {
	text := readDoc(t, "docs/getting-started.md")
	body := regexp.MustCompile(`-d '(\{.*\})'`).FindStringSubmatch(text)
	_, block, _ := strings.Cut(text, "```json\n")
	shown, _, found := strings.Cut(block, "```")
	if body == nil || !found {
		t.Fatal("the document shows no command or no answer")
	}
	var want map[string]any
	if err := json.Unmarshal([]byte(shown), &want); err != nil {
		t.Fatal(err)
	}
	a := start(t, nil).post("/predict", body[1])
	got := a.json(t)
	if a.status != http.StatusOK || len(got) != len(want) {
		t.Fatalf("answered %d %s, the document shows %s", a.status, a.body, shown)
	}
	near(t, "actions", got["actions"], want["actions"], 1e-6, 1e-5)
	for _, name := range []string{"version", "model", "deterministic"} {
		if got[name] != want[name] {
			t.Errorf("%s is %v, the document shows %v", name, got[name], want[name])
		}
	}
}

// TestErrorCodesAreDocumented compares the codes of the API description with
// the table of the document.
func TestErrorCodesAreDocumented(t *testing.T) {
	code := regexp.MustCompile(`"([A-Z]+(?:_[A-Z]+)+)"`)
	documented := readDoc(t, "docs/errors.md")
	a := start(t, nil).get("/openapi.json")
	found := code.FindAllStringSubmatch(a.body, -1)
	if len(found) < 10 {
		t.Fatalf("the API description names %d codes: %s", len(found), a.body)
	}
	for _, m := range found {
		if !strings.Contains(documented, "`"+m[1]+"`") {
			t.Errorf("docs/errors.md does not name %s", m[1])
		}
	}
}

// TestMetricsAreAsDocumented looks for each metric of the document, once there
// were requests whose actions an envelope changed, a refusal and a version that
// failed to load.
func TestMetricsAreAsDocumented(t *testing.T) {
	names := regexp.MustCompile("`((?:http|carla_rl)_[a-z_]+)`").FindAllStringSubmatch(readDoc(t, "docs/operations.md"), -1)
	if len(names) < 15 {
		t.Fatalf("the document names %d metrics", len(names))
	}
	dir := t.TempDir()
	demoArtifact(t, dir, "v0.1.0")
	demoArtifact(t, dir, "v0.0.1") // Its card says another version.
	card, err := os.OpenFile(filepath.Join(dir, "v0.1.0", "model_card.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := card.WriteString("\nenvelope: {limits: {steer: {low: -0.1, high: 0.1}}}\n"); err != nil || card.Close() != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"DATABASE_URL=" + filepath.Join(t.TempDir(), "experience.db"), "CARLA_RL_DRIFT_SAMPLE_EVERY=1"}, dir)
	p.waitReady()
	for range 100 { // drift is told of no less
		p.post("/predict", guideRequest)
	}
	p.post("/predict", "{")
	p.do(http.MethodPost, "/predict", guideRequest, http.Header{"Origin": {"https://evil.example"}})
	for begun := time.Now(); p.get("/startupz").status != http.StatusOK && time.Since(begun) < startMax; {
		time.Sleep(time.Millisecond)
	}
	text := p.get("/metrics").body
	for _, m := range names {
		if !strings.Contains(text, "\n# TYPE "+m[1]+" ") {
			t.Errorf("/metrics does not have %s", m[1])
		}
	}
}

// TestReadmeBeginsWithTwoCommands runs the second of them.
func TestReadmeBeginsWithTwoCommands(t *testing.T) {
	text := readDoc(t, "README.md")
	begin := text[:min(len(text), 400)]
	if !strings.Contains(begin, "go run ./cmd/carla-rl serve\n") {
		t.Error("the first command is not there")
	}
	body := regexp.MustCompile(`-d '(\{.*\})'`).FindStringSubmatch(begin)
	if body == nil {
		t.Fatal("the second command is not there")
	}
	if a := start(t, nil).post("/predict", body[1]); a.status != http.StatusOK {
		t.Errorf("it is answered %d %s", a.status, a.body)
	}
}
