//go:build e2e

package console_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// views are those of the page, by the names in their addresses.
var views = []string{"overview", "drive", "try", "steps", "versions"}

const guideRequest = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`

// view goes to a view and waits until it is there.
func (p *page) view(name string) {
	p.t.Helper()
	p.eval(`location.hash = "#`+name+`"`, nil)
	p.wait(fmt.Sprintf(`!document.getElementById(%q).hidden && document.getElementById(%q).childElementCount > 0`, name, name+"-body"))
}

// TestPageLoadsQuietly holds that nothing goes wrong while the page is used, and
// that it asks nobody but its server.
func TestPageLoadsQuietly(t *testing.T) {
	url := startServer(t, "")
	for _, path := range []string{"/", "/console"} {
		p := newPage(t, 1280, 900)
		p.open(url + path)
		p.wait(`document.getElementById("state").dataset.kind === "good"`)
		if got := p.text(`document.getElementById("state-text").textContent`); got != "Ready · carla-ppo v0.1.0" {
			t.Errorf("%s: the state is %q", path, got)
		}
		for _, v := range views {
			p.view(v)
		}
		p.wait(`document.querySelector("#answer [data-action=steer]")`)
		p.view("overview")
		p.wait(`document.getElementById("polled").textContent.startsWith("Metrics read")`)
		p.wait(`document.querySelectorAll("#overview .action").length === 3`)
		p.wait(`document.getElementById("about").textContent.includes("cpu")`)
		if said := p.said(); len(said) > 0 {
			t.Errorf("%s: the log has %q", path, said)
		}
		asked := p.asked()
		for _, a := range asked {
			if !strings.HasPrefix(a, url+"/") && !strings.HasPrefix(a, strings.Replace(url, "http", "ws", 1)+"/") && !strings.HasPrefix(a, "data:") {
				t.Errorf("%s: it asked for %s", path, a)
			}
		}
		for _, want := range []string{"/console/app.js", "/console/console.css", "/metrics", "/versions", "/readyz"} {
			if !slices.Contains(asked, url+want) {
				t.Errorf("%s: it did not ask for %s", path, want)
			}
		}
	}
}

// TestOverviewTellsWhatTheServerDid compares what is shown with what was sent.
func TestOverviewTellsWhatTheServerDid(t *testing.T) {
	url := startServer(t, "")
	p := newPage(t, 1280, 900)
	p.open(url + "/console")
	p.wait(`document.getElementById("polled").textContent.startsWith("Metrics read")`)
	for range 40 {
		ask(t, url+"/predict", guideRequest, nil)
	}
	for range 3 {
		ask(t, url+"/predict", `{"observations":[]}`, nil)
	}
	p.wait(`document.querySelector("#overview .tiles").innerText.includes("40 in all")`)
	row := func(name string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#overview tbody tr")].find(r => r.cells[0].textContent === %q)`, name)
	}
	p.wait(row("VALIDATION_ERROR") + `?.cells[2].textContent === "3"`)
	p.wait(row("/predict"))
	for _, stage := range []string{"decode", "queue", "policy", "encode"} {
		p.wait(row(stage) + `?.cells[2].textContent.match(/^[0-9.]+ (µs|ms|s)$/)`)
	}
	// The guide's observation is answered with no throttle, at its low end.
	p.wait(`document.querySelector("#overview .action").innerText.match(/throttle[^]*at the low end\s+100.0 %/)`)
}

// TestTryItAnswersAsPredict moves sliders and types numbers as a person does, and
// compares what is shown with what the route answers.
func TestTryItAnswersAsPredict(t *testing.T) {
	url := startServer(t, "")
	p := newPage(t, 1280, 900)
	p.open(url + "/console#try")
	p.wait(`document.querySelector("#answer [data-action=steer]")`)
	for i, v := range []string{"25.5", "0.1", "0.8", "0.2", "0.5", "0.9", "0.1"} {
		p.eval(fmt.Sprintf(`(e => { e.focus(); e.select(); })(document.querySelectorAll("#try .slider input[type=number]")[%d])`, i), nil)
		p.typed(v)
	}
	var want struct {
		Actions []map[string]float64 `json:"actions"`
	}
	f := func(request string) {
		t.Helper()
		if status := ask(t, url+"/predict", request, &want); status != 200 || len(want.Actions) != 1 {
			t.Fatalf("%s: %d", request, status)
		}
		text, err := json.Marshal(want.Actions)
		if err != nil {
			t.Fatal(err)
		}
		p.wait(fmt.Sprintf(`JSON.stringify(Object.entries(JSON.parse(document.getElementById("answer-json").textContent).actions[0]).sort()) === JSON.stringify(Object.entries(JSON.parse(%q)[0]).sort())`, text))
		for name, v := range want.Actions[0] {
			p.wait(fmt.Sprintf(`Math.abs(Number(document.querySelector("#answer [data-action=%s]").textContent) - %v) < 1e-4`, name, v))
		}
	}
	f(guideRequest)
	// An arrow on the slider of the speed is a hundredth of its range.
	p.eval(`document.querySelector("#try .slider input[type=range]").focus()`, nil)
	p.press("ArrowRight", 39, 0)
	p.wait(`document.querySelector("#try .slider input[type=number]").value === "27.5"`)
	f(strings.Replace(guideRequest, "25.5", "27.5", 1))
	// A value beyond its bounds is refused in the server's words.
	p.eval(`(e => { e.focus(); e.select(); })(document.querySelector("#try .slider input[type=number]"))`, nil)
	p.typed("250")
	p.wait(`document.getElementById("try-trouble").textContent.includes("expected 0 to 200 km/h, got 250")`)
}

// TestFormFitsEveryPolicy opens agents of many kinds, has a random observation
// made and answered, and compares with what the route says to the same request.
func TestFormFitsEveryPolicy(t *testing.T) {
	f := func(agent string, sliders, boxes, texts int) {
		t.Helper()
		t.Run(agent, func(t *testing.T) {
			url := startServer(t, agentFolder(t, agent))
			p := newPage(t, 1280, 1000)
			p.open(url + "/console#try")
			p.wait(`document.querySelector("#try-send") && !document.querySelector("#try fieldset")?.closest("[hidden]") && document.getElementById("try-json").value`)
			got := []int{}
			p.eval(`["input[type=range]", "fieldset:not(:last-of-type) input[type=checkbox]", "textarea:not(#try-json)"].map(q => document.querySelectorAll("#try-body .panel:first-of-type " + q).length)`, &got)
			if !slices.Equal(got, []int{sliders, boxes, texts}) {
				t.Errorf("there are %d sliders, boxes and texts, want %d", got, []int{sliders, boxes, texts})
			}
			p.eval(`document.getElementById("try-random").click()`, nil)
			p.eval(`document.getElementById("try-send").click()`, nil)
			p.wait(`document.getElementById("answer-json") || !document.getElementById("try-trouble").hidden`)
			if trouble := p.text(`document.getElementById("try-trouble").textContent`); trouble != "" {
				t.Fatal(trouble)
			}
			p.wait(`document.querySelectorAll("#answer [data-action]").length > 0`)
			var unread int
			if p.eval(`[...document.querySelectorAll("#answer [data-action]")].filter(e => Number.isNaN(Number(e.textContent))).length`, &unread); unread > 0 {
				t.Errorf("%d values of the answer are not shown: %s", unread, p.text(`document.getElementById("answer").innerText`))
			}
			// The request that is shown carries the state of the next step.
			var shown, want struct {
				Actions json.RawMessage `json:"actions"`
				Model   string          `json:"model"`
			}
			p.eval(`(async () => { document.getElementById("try-episode")?.click(); })()`, nil)
			p.wait(`JSON.parse(document.getElementById("try-json").value).deterministic !== undefined`)
			p.eval(`(e => { if (e && !e.checked) e.click(); })([...document.querySelectorAll("#try label")].find(l => l.textContent === "Deterministic")?.querySelector("input"))`, nil)
			request := p.text(`document.getElementById("try-json").value`)
			p.eval(`document.getElementById("try-send").click()`, nil)
			p.wait(`JSON.parse(document.getElementById("answer-json").textContent).deterministic === JSON.parse(document.getElementById("try-json").value).deterministic`)
			decode(t, json.RawMessage(p.text(`document.getElementById("answer-json").textContent`)), &shown)
			if status := ask(t, url+"/v1/models/"+shown.Model+"/predict", request, &want); status != 200 || canonical(t, want.Actions) != canonical(t, shown.Actions) {
				t.Errorf("the page shows %s, the route answers %d %s", shown.Actions, status, want.Actions)
			}
			if said := p.said(); len(said) > 0 {
				t.Errorf("the log has %q", said)
			}
		})
	}
	f("ppo_images", 2, 0, 1)
	f("ppo_dict", 5, 0, 0)
	f("dqn", 1, 0, 0)
	f("maskable_multidiscrete", 5, 0, 0)
	f("ppo_multibinary", 2, 0, 0)
	f("ppo_matrix_actions", 6, 0, 0)
	f("rppo_two_layers", 5, 0, 0)
	f("sac_arch_dict", 5, 0, 0)
}

func canonical(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var v any
	decode(t, raw, &v)
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReloadThatFailsShowsWhy types the key of an admin and has versions loaded
// that are broken and that are not.
func TestReloadThatFailsShowsWhy(t *testing.T) {
	root := t.TempDir()
	demoFolder(t, root, "v0.1.0", nil)
	const key = "the-key-of-an-admin-of-this-test"
	url := startServer(t, root, "CARLA_RL_ADMIN_KEY="+key, "CARLA_RL_POLL_INTERVAL=0s")
	p := newPage(t, 1280, 900)
	p.open(url + "/console#versions")
	p.wait(`document.querySelector("#versions tbody tr")`)
	outcome := `document.querySelector("#versions [role=status]").textContent`

	reload := func() { p.eval(`document.getElementById("reload").click()`, nil) }
	reload()
	p.wait(outcome + `.includes("UNAUTHORIZED")`)
	p.forget() // the browser logs an answer of 401 by itself

	p.eval(`document.getElementById("key").focus()`, nil)
	p.typed(key)
	p.press("Tab", 9, 0)
	reload()
	p.wait(outcome + `.startsWith("unchanged")`)

	demoFolder(t, root, "v0.2.0", func(dir string) {
		name := filepath.Join(dir, "model.pt")
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	reload()
	p.wait(outcome + `.includes("v0.2.0 was refused: ")`)
	var versions struct {
		List []struct {
			Version, State, Reason string
		} `json:"available_versions"`
	}
	p.eval(fmt.Sprintf(`fetch("versions", {headers: {"X-API-Key": %q}}).then(r => r.json())`, key), &versions)
	i := slices.IndexFunc(versions.List, func(v struct{ Version, State, Reason string }) bool { return v.Version == "v0.2.0" })
	if i < 0 || versions.List[i].Reason == "" || !strings.Contains(versions.List[i].Reason, "model.pt") {
		t.Fatalf("%+v", versions)
	}
	if shown := p.text(outcome); !strings.Contains(shown, versions.List[i].Reason) {
		t.Errorf("the page says %q, the server %q", shown, versions.List[i].Reason)
	}
	p.wait(fmt.Sprintf(`[...document.querySelectorAll("#versions tbody tr")].some(r => r.textContent.includes("failed") && r.textContent.includes(%q))`, versions.List[i].Reason))

	if err := os.RemoveAll(filepath.Join(root, "v0.2.0")); err != nil {
		t.Fatal(err)
	}
	demoFolder(t, root, "v0.3.0", nil)
	reload()
	p.wait(outcome + `.startsWith("changed")`)
	p.wait(`document.getElementById("state-text").textContent === "Ready · carla-ppo v0.3.0"`)
	p.eval(`document.getElementById("rollback").click()`, nil)
	p.wait(`document.querySelector("dialog[open]").textContent.includes("v0.1.0 takes over from v0.3.0")`)
	p.press("Escape", 27, 0)
	p.wait(`!document.querySelector("dialog[open]")`)
	p.eval(`document.getElementById("rollback").click()`, nil)
	p.eval(`document.querySelector("dialog .main").click()`, nil)
	p.wait(outcome + `.includes("v0.1.0 answers, v0.3.0 did before")`)
	p.wait(`document.getElementById("state-text").textContent === "Ready · carla-ppo v0.1.0"`)
	if said := p.said(); len(said) > 0 {
		t.Errorf("the log has %q", said)
	}

	// The key is nowhere but in the memory of the page.
	kept := p.text(`JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), document.cookie, location.href, document.documentElement.outerHTML])`)
	if strings.Contains(kept, key) {
		t.Error("the key of the admin is kept")
	}
	p.open(url + "/console?again#versions")
	p.wait(`document.getElementById("reload")`)
	if got := p.text(`document.getElementById("key").value`); got != "" {
		t.Errorf("the field of the key has %q after the page was loaded again", got)
	}
}

// TestPageSaysWhatItNeeds: a key where there is one, and why nothing is ready.
func TestPageSaysWhatItNeeds(t *testing.T) {
	url := startServer(t, "", "API_KEY=the-key-of-this-test")
	p := newPage(t, 1280, 900)
	p.open(url + "/console")
	p.wait(`document.getElementById("locked").textContent.includes("asks for an API key")`)
	p.eval(`document.getElementById("key").focus()`, nil)
	p.typed("another-key")
	p.press("Enter", 13, 0)
	p.wait(`document.getElementById("locked").textContent.includes("does not know this API key")`)
	p.eval(`(e => { e.focus(); e.select(); })(document.getElementById("key"))`, nil)
	p.typed("the-key-of-this-test")
	p.press("Enter", 13, 0)
	p.wait(`document.getElementById("locked").hidden && document.getElementById("state-text").textContent.includes("carla-ppo")`)
	p.view("try")
	p.wait(`document.querySelector("#answer [data-action=steer]")`)
	p.eval(`document.getElementById("key-forget").click()`, nil)
	p.wait(`!document.getElementById("locked").hidden`)

	root := t.TempDir()
	demoFolder(t, root, "v0.1.0", func(dir string) {
		if err := os.Remove(filepath.Join(dir, "preprocessor.pkl")); err != nil {
			t.Fatal(err)
		}
	})
	q := newPage(t, 1280, 900)
	q.open(startServer(t, root) + "/console#versions")
	q.wait(`document.getElementById("state-text").textContent === "Not ready"`)
	q.wait(`document.getElementById("not-ready").textContent.includes("preprocessor.pkl")`)
	q.wait(`document.querySelector("#versions tbody").textContent.includes("preprocessor.pkl")`)
}

// TestThemeIsChosen by the switch, and stays chosen.
func TestThemeIsChosen(t *testing.T) {
	url := startServer(t, "")
	p := newPage(t, 1280, 900)
	const background = `getComputedStyle(document.body).backgroundColor`
	colors := map[string]string{}
	for _, name := range []string{"light", "dark"} {
		p.theme(name)
		p.open(url + "/console")
		colors[name] = p.text(background)
	}
	if colors["light"] == colors["dark"] {
		t.Fatalf("both themes are %s", colors["light"])
	}
	press := func(name, color string) {
		t.Helper()
		p.eval(`document.getElementById("theme").click()`, nil)
		p.wait(fmt.Sprintf(`document.getElementById("theme").textContent === "Theme: %s" && %s === %q`, name, background, color))
	}
	press("Light", colors["light"])
	p.open(url + "/console?again")
	p.wait(fmt.Sprintf(`document.getElementById("theme").textContent === "Theme: Light" && %s === %q`, background, colors["light"]))
	press("Dark", colors["dark"])
	press("System", colors["dark"])
}

// TestKeyboardReachesEveryControl goes through each view by Tab alone.
func TestKeyboardReachesEveryControl(t *testing.T) {
	url := startServer(t, "", "CARLA_RL_ADMIN_KEY=the-key-of-an-admin-of-this-test")
	p := newPage(t, 1280, 900)
	p.open(url + "/console")
	p.wait(`document.querySelectorAll("#overview .action").length === 3`)
	p.eval(`document.getElementById("key").value = "the-key-of-an-admin-of-this-test"; document.getElementById("key").dispatchEvent(new Event("change"))`, nil)
	p.wait(`!document.getElementById("key-forget").hidden`)
	const controls = `[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]:not([tabindex='-1'])")].filter(e => !e.disabled && e.checkVisibility({visibilityProperty: true}))`
	for _, v := range views {
		p.view(v)
		if v == "try" {
			p.wait(`document.querySelector("#answer-json")`)
			p.eval(`document.querySelectorAll("#try details").forEach(d => { d.open = true; })`, nil)
		}
		p.eval(`document.activeElement.blur(); getSelection().removeAllRanges(); window.scrollTo(0, 0)`, nil)
		var want int
		p.eval(`(window.reached = new Set(), `+controls+`.length)`, &want)
		if want < 10 {
			t.Fatalf("%s has %d controls", v, want)
		}
		// Lists and radios take one stop each; a second round changes nothing.
		for range 2*want + 5 {
			p.press("Tab", 9, 0)
			var bare string
			p.eval(`(e => { if (!e || e === document.body) return ""; reached.add(e); const s = getComputedStyle(e); return e.matches(":focus-visible") && s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1 ? "" : e.outerHTML.slice(0, 200); })(document.activeElement)`, &bare)
			if bare != "" {
				t.Errorf("%s: nobody sees that this has the focus: %s", v, bare)
			}
		}
		var missed []string
		p.eval(controls+`.filter(e => !reached.has(e) && !(e.type === "radio" && [...reached].some(r => r.name === e.name))).map(e => e.outerHTML.slice(0, 200))`, &missed)
		if len(missed) > 0 {
			t.Errorf("%s: Tab does not reach %q", v, missed)
		}
	}
	// A view is opened by Enter on its link.
	p.eval(`document.querySelector("nav a[href='#versions']").focus()`, nil)
	p.press("Enter", 13, 0)
	p.wait(`!document.getElementById("versions").hidden && document.querySelector("nav a[aria-current]").hash === "#versions"`)
}
