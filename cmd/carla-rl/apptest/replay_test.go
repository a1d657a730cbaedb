//go:build unix

package apptest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// replayed is what these tests read of a report.
type replayed struct {
	Steps struct {
		Read, Compared, Different, Drawn uint64
		LeftOut                          uint64 `json:"left_out"`
	}
	LeftOut []struct {
		Reason string
		Steps  uint64
	} `json:"left_out"`
	Worst []struct {
		Sequence    uint64
		RequestID   string `json:"request_id"`
		Observation []float64
		New         []float64
		Base        []float64
	}
	Actions []struct {
		Name string
		Max  float64
	}
	Gate struct{ Passed bool }
}

// askOf asks one of several models.
func (p *process) askOf(model string, members map[string]any) answer {
	p.t.Helper()
	body, err := json.Marshal(members)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.post("/v1/models/"+model+"/predict", string(body))
}

// replayLog runs replay on a log, and reads its report.
func replayLog(t *testing.T, file, model string, code int, more ...string) replayed {
	t.Helper()
	r := execute(t, "", append([]string{"replay", "--from", file, "--model", model, "--json"}, more...)...)
	var rep replayed
	if err := json.Unmarshal([]byte(r.stdout), &rep, json.MatchCaseInsensitiveNames(true)); err != nil || r.code != code {
		t.Fatalf("%v: exit code %d, want %d: %v: %s", more, r.code, code, err, r.stderr)
	}
	return rep
}

// nothingDiffers are thresholds that only the same bits hold.
var nothingDiffers = []string{
	"--max-mean", "0", "--max-p99", "0", "--max-abs", "0", "--max-sign-flips", "0", "--max-disagree", "0",
	"--max-saturation-rise", "0", "--max-intervention-rise", "0", "--max-left-out", "0",
}

// TestWhatWasServedIsReplayedToTheBit serves policies with state and without,
// that draw and that do not, in sessions, with tokens and alone, and replays
// what was recorded: no bit differs, and nothing is left out.
func TestWhatWasServedIsReplayedToTheBit(t *testing.T) {
	root := statefulModels(t)
	layModel(t, root, agentFolder, "ppo_multidiscrete")
	layModel(t, root, agentFolder, "ppo_box")
	file := filepath.Join(t.TempDir(), "experience.db")
	p := start(t, []string{"ARTIFACT_DIR=" + root, "DATABASE_URL=sqlite://" + file})
	p.waitModels(len(recurrentAgents) + len(frameStacks) + 2)
	steps := map[string]uint64{}
	var c agentCase
	for _, name := range recurrentAgents {
		folder := filepath.Join(agentFolder, name)
		c = agentCase{}
		readCase(t, folder, &c)
		rows, _ := c.rows()
		a, b := p.open(`{"model":"`+name+`"}`), p.open(`{"model":"`+name+`","seed":5}`)
		var state any
		for i, row := range rows {
			p.actIn(a, row, c.EpisodeStart[i], true)
			p.actIn(b, row, i%4 == 3, false) // drawn
			ans := p.askOf(name, map[string]any{"observations": []any{row, rows[(i+1)%len(rows)]}, "state": state, "deterministic": i%3 > 0, "episode_start": []bool{c.EpisodeStart[i], i == 2}})
			if ans.status != http.StatusOK {
				t.Fatalf("%s: %d %s", name, ans.status, ans.body)
			}
			state = ans.json(t)["state"]
			steps[name] += 4
		}
	}
	for _, name := range []string{"ppo_multidiscrete", "ppo_box"} {
		c = agentCase{}
		readCase(t, filepath.Join(agentFolder, name), &c)
		rows, _ := c.rows()
		for i := range 20 {
			ans := p.askOf(name, map[string]any{"observations": rows, "deterministic": i%2 == 0, "return": []string{"value"}})
			if ans.status != http.StatusOK {
				t.Fatalf("%s: %d %s", name, ans.status, ans.body)
			}
			steps[name] += uint64(len(rows))
		}
	}
	// A log may be read while a server writes to it.
	const name = "rppo_shared"
	for deadline := time.Now().Add(startMax); ; time.Sleep(10 * time.Millisecond) {
		r := execute(t, "", append([]string{"replay", "--from", file, "--model", filepath.Join(root, name), "--min-steps", fmt.Sprint(steps[name])}, nothingDiffers...)...)
		if r.code == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
	}
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d: %s", code, p.stderr())
	}
	for name, want := range steps {
		model := filepath.Join(root, name)
		for _, more := range [][]string{{"--recorded-model", name}, {}, {"--against", model}} {
			r := replayLog(t, file, model, 0, append(more, nothingDiffers...)...)
			if r.Steps.Compared != want || r.Steps.Different != 0 || r.Steps.Drawn == 0 {
				t.Errorf("%s %v: %+v, want %d steps", name, more, r.Steps, want)
			}
		}
	}
}

// TestAPerturbedWeightDoesNotPassTheGate serves a policy and replays another one
// whose weight differs a little: the worst step is the one with the largest
// input.
func TestAPerturbedWeightDoesNotPassTheGate(t *testing.T) {
	root, next := t.TempDir(), filepath.Join(t.TempDir(), "next")
	served := filepath.Join(root, "v0.1.0")
	putLinear(t, served, "v0.1.0", 2)
	putLinear(t, next, "v0.2.0", 2.001)
	file := filepath.Join(t.TempDir(), "experience.db")
	p := start(t, []string{"ARTIFACT_DIR=" + root, "DATABASE_URL=sqlite://" + file})
	p.waitReady()
	worst := ""
	for i := range 50 {
		x := float64((i*7)%40)/8 - 2.5
		if i == 31 {
			x = -9.5
		}
		id := fmt.Sprintf("drive-%d", i)
		ans := p.do(http.MethodPost, "/predict", fmt.Sprintf(`{"observations":[{"x":%v}]}`, x), http.Header{"X-Request-Id": {id}, "Content-Type": {"application/json"}})
		if ans.status != http.StatusOK {
			t.Fatalf("%d %s", ans.status, ans.body)
		}
		if i == 31 {
			worst = id
		}
	}
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d: %s", code, p.stderr())
	}
	replayLog(t, file, served, 0, append([]string{"--min-steps", "50"}, nothingDiffers...)...)
	page := filepath.Join(t.TempDir(), "report.html")
	r := replayLog(t, file, next, 1, "--max-abs", "y=0.009", "--html", page)
	w := r.Worst[0]
	if r.Gate.Passed || r.Steps.Compared != 50 || w.RequestID != worst || w.Observation[0] != -9.5 || w.Base[0] != -19 || r.Actions[0].Max < 0.009 {
		t.Errorf("%+v", r)
	}
	replayLog(t, file, next, 0, "--max-abs", "y=0.01")
	replayLog(t, file, next, 1, "--against", served, "--max-abs", "y=0.009")
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), worst) {
		t.Errorf("the page does not name the worst step: %v", err)
	}
}
