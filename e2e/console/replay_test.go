//go:build e2e

package console_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReplayReportIsAccessible records a drive, replays it through a version that
// does something else, and holds the page of the report to what the console is
// held to: no error, nothing loaded, every rule of axe in both themes, and no
// wider than a telephone.
func TestReplayReportIsAccessible(t *testing.T) {
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "experience.db")
	url := startServer(t, "", "DATABASE_URL=sqlite://"+log, "CARLA_RL_EXPERIENCE_MODE=durable")
	for i := range 300 {
		body := fmt.Sprintf(`{"observations":[{"speed":%d,"steering":%g,"sensors":[0.1,0.3,%g,0.3,%g]}]}`, 20+i%30, 0.01*float64(i%60-30), 0.003*float64(i), 0.002*float64(i))
		if status := ask(t, url+"/predict", body, nil); status != 200 {
			t.Fatal(status)
		}
	}
	demoFolder(t, dir, "v0.2.0", func(folder string) {
		card := filepath.Join(folder, "model_card.yaml")
		text, err := os.ReadFile(card)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(card, append(text, "\nenvelope: {limits: {steer: {low: -0.2, high: 0.2}}}\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	report := filepath.Join(dir, "report.html")
	out, err := exec.Command(name, "replay", "--from", log, "--model", filepath.Join(dir, "v0.2.0"), "--max-abs", "0.01", "--max-mean", "10", "--html", report).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 { // 1: a threshold does not hold
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a threshold does not hold", "Worst steps", "<svg"} {
		if !strings.Contains(string(text), want) {
			t.Fatalf("the report has no %q", want)
		}
	}
	files := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(files.Close)
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int{1280, 390} {
			p := newPage(t, width, 900)
			p.theme(theme)
			p.open(files.URL + "/report.html")
			where := fmt.Sprintf("%s, %d wide", theme, width)
			p.accessible(where)
			p.eval(`document.querySelectorAll("details").forEach(d => { d.open = true; })`, nil)
			p.accessible(where + ", worst steps open")
			var over bool
			if p.eval(`document.documentElement.scrollWidth > document.documentElement.clientWidth`, &over); over {
				t.Errorf("%s: it is wider than the screen", where)
			}
			if said := p.said(); len(said) > 0 {
				t.Errorf("%s: the log has %q", where, said)
			}
			for _, a := range p.asked() {
				if a != files.URL+"/report.html" && !strings.HasPrefix(a, "data:") {
					t.Errorf("%s: it asked for %s", where, a)
				}
			}
		}
	}
}
