//go:build e2e

package console_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// scraped returns the values of a metric by one of its labels, and the sum of those
// that have the same one.
func scraped(t *testing.T, url, name, label string) map[string]float64 {
	t.Helper()
	r, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{(.*)\} (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		of := regexp.MustCompile(label + `="([^"]*)"`).FindStringSubmatch(m[1])
		v, err := strconv.ParseFloat(m[2], 64)
		if of == nil || err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		values[of[1]] += v
	}
	return values
}

// TestDriftByFeature sends what the training never saw of one feature, and compares
// the table with the metrics.
func TestDriftByFeature(t *testing.T) {
	url := startServer(t, "", "CARLA_RL_DRIFT_SAMPLE_EVERY=1")
	p := newPage(t, 1280, 900)
	p.open(url + "/console")
	p.wait(`document.querySelectorAll("#overview .action").length === 3`)
	if hidden := p.text(`String(document.getElementById("drift").hidden)`); hidden != "true" {
		t.Error("drift is shown before it is measured")
	}
	for i := range 150 {
		body := fmt.Sprintf(`{"observations":[{"speed":%d,"steering":%g,"sensors":[0.1,0.3,0.9,0.3,0.1]}]}`, 150+i%20, 0.001*float64(i%40-20))
		if status := ask(t, url+"/predict", body, nil); status != 200 {
			t.Fatal(status)
		}
	}
	columns := []struct{ metric, head string }{
		{"out_of_range_ratio", "out of range"}, {"psi", "PSI"}, {"saturation_ratio", "saturated"}, {"z_score", "z-score"},
	}
	want := map[string]map[string]float64{}
	for _, c := range columns {
		want[c.head] = scraped(t, url, "carla_rl_drift_"+c.metric, "feature")
		if len(want[c.head]) != 7 {
			t.Fatalf("%s has %v", c.metric, want[c.head])
		}
	}
	if z := want["z-score"]; z["speed"] < 6 || math.Abs(z["steering"]) > 1 {
		t.Fatalf("z-scores %v: the test is not of what it says", z)
	}
	p.wait(`!document.getElementById("drift").hidden && document.querySelectorAll("#drift tbody tr").length === 7`)
	cell := func(feature, head string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#drift tbody tr")].find(r => r.cells[0].textContent === %q)?.cells[[...document.querySelectorAll("#drift thead th")].findIndex(h => h.textContent === %q)]`, feature, head)
	}
	for head, features := range want {
		for feature, v := range features {
			rounded := 0.0101                                                 // by the page
			if strings.HasPrefix(head, "s") || strings.HasPrefix(head, "o") { // shares are shown in percent
				v, rounded = 100*v, 0.051
			}
			p.wait(fmt.Sprintf(`Math.abs(parseFloat(%s?.textContent) - %v) <= %v`, cell(feature, head), v, rounded))
		}
	}
	for feature, much := range map[string]bool{"speed": true, "steering": false} {
		p.wait(fmt.Sprintf(`(%s.querySelector(".num.bad") !== null) === %v`, cell(feature, "z-score"), much))
	}
	for _, theme := range []string{"light", "dark"} {
		p.theme(theme)
		p.accessible(theme + ", drift")
	}
	p.view("versions")
	p.wait(`document.querySelector("#versions tbody tr").textContent.includes("drift of 7 values measured")`)
	if said := p.said(); len(said) > 0 {
		t.Errorf("the log has %q", said)
	}
}

// TestInterventions serves the demo with an envelope that its steering leaves all
// the time: the overview counts it, the form and the log's steps say what was
// changed.
func TestInterventions(t *testing.T) {
	root := t.TempDir()
	demoFolder(t, root, "v0.1.0", func(dir string) {
		card := filepath.Join(dir, "model_card.yaml")
		text, err := os.ReadFile(card)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(card, append(text, "\nenvelope: {limits: {steer: {low: -0.05, high: 0.05}}}\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	url := startServer(t, root, "DATABASE_URL=sqlite://"+filepath.Join(t.TempDir(), "experience.db"))
	p := newPage(t, 1280, 900)
	p.open(url + "/console")
	p.wait(`document.querySelectorAll("#overview .action").length === 3`)
	facts := func(action string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#overview .action")].find(a => a.querySelector("h3").textContent === %q)`, action)
	}
	p.wait(facts("steer") + `?.innerText.match(/changed by the envelope\s+never/)`)
	const asked = 30
	for range asked {
		if status := ask(t, url+"/predict", guideRequest, nil); status != 200 {
			t.Fatal(status)
		}
	}
	kinds := scraped(t, url, "carla_rl_interventions_total", "kind")
	if len(kinds) != 1 {
		t.Fatalf("kinds %v", kinds)
	}
	for kind, n := range kinds {
		if n != asked {
			t.Errorf("%v of %s, want %d", n, kind, asked)
		}
		p.wait(fmt.Sprintf(`%s?.innerText.match(/%s\s+%v\b/)`, facts("steer"), strings.ReplaceAll(kind, "_", " "), n))
	}
	p.wait(facts("steer") + `?.innerText.match(/changed by the envelope\s+[0-9.]+ \/s/)`)
	p.wait(facts("throttle") + `?.innerText.match(/changed by the envelope\s+never/)`)
	p.accessible("overview with interventions")

	p.view("steps")
	p.wait(`[...document.querySelectorAll("#steps tbody tr")].length === 20 && [...document.querySelectorAll("#steps tbody tr")].every(r => r.querySelector(".badge.warn")?.title.startsWith("steer "))`)
	p.accessible("steps with interventions")

	p.view("try")
	p.wait(`document.querySelector("#answer [data-action=steer]")`)
	for i, v := range []string{"25.5", "0.1", "0.8", "0.2", "0.5", "0.9", "0.1"} {
		p.eval(fmt.Sprintf(`(e => { e.focus(); e.select(); })(document.querySelectorAll("#try .slider input[type=number]")[%d])`, i), nil)
		p.typed(v)
	}
	p.wait(`Number(document.querySelector("#answer [data-action=steer]")?.textContent) === -0.05`)
	p.wait(`document.getElementById("answer").parentElement.innerText.match(/steer\s+bound: -0\.8525 became -0\.0500/)`)
	p.accessible("an answer with an intervention")
	if said := p.said(); len(said) > 0 {
		t.Errorf("the log has %q", said)
	}
}
