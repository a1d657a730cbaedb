//go:build unix

package apptest

import (
	"crypto/sha256"
	wire "encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// putLinear writes the artifact of a policy that multiplies one feature.
func putLinear(t *testing.T, dir, version string, factor float32) {
	t.Helper()
	header := `{"0.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"0.bias":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`
	model := wire.LittleEndian.AppendUint64(nil, uint64(len(header)))
	model = append(model, header...)
	model = wire.LittleEndian.AppendUint32(model, math.Float32bits(factor))
	model = wire.LittleEndian.AppendUint32(model, 0)
	sum := sha256.Sum256(model)
	card := fmt.Sprintf(`model_name: linear
version: %s
model_type: pytorch
model_filename: model.safetensors
architecture: [{linear: 0}]
observation: [{name: x, low: -10, high: 10}]
action: [{name: y}]
postprocess: none
artifact_hashes: {model.safetensors: "sha256:%s"}
`, version, hex.EncodeToString(sum[:]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"model.safetensors": string(model), "model_card.yaml": card} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// linear asks for the action of one observation, and returns it with the version
// that gave it.
func (p *process) linear(x float64) (version string, y float64, status int) {
	a := p.post("/predict", fmt.Sprintf(`{"observations":[{"x":%v}]}`, x))
	if a.status != http.StatusOK {
		return "", 0, a.status
	}
	m := a.json(p.t)
	return m["version"].(string), m["actions"].([]any)[0].(map[string]any)["y"].(float64), a.status
}

// tool runs a subcommand to its end.
func tool(t *testing.T, env []string, args ...string) (out string, code int) {
	t.Helper()
	c := exec.Command(binary, args...)
	c.Env = environment(env...)
	text, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), c.ProcessState.ExitCode()
}

const adminKey = "the-key-of-admins"

// TestDescriptionFollowsReload: GET /openapi.json is made once for the policy
// that answers, and describes the next one as soon as that does.
func TestDescriptionFollowsReload(t *testing.T) {
	dir := t.TempDir()
	putLinear(t, filepath.Join(dir, "v0.1.0"), "v0.1.0", 1)
	p := start(t, []string{"CARLA_RL_ADMIN_KEY=" + adminKey, "CARLA_RL_POLL_INTERVAL=0"}, dir)
	p.waitReady()
	const before, after = `"maximum":10,"minimum":-10`, `"maximum":20,"minimum":-10`
	f := func(want, other string) {
		t.Helper()
		for range 2 {
			if text := p.get("/openapi.json").body; !strings.Contains(text, want) || strings.Contains(text, other) {
				t.Errorf("%q is not described, or %q is: %.300s", want, other, text)
			}
		}
	}
	f(before, after)
	putLinear(t, filepath.Join(dir, "v0.2.0"), "v0.2.0", 2)
	name := filepath.Join(dir, "v0.2.0", "model_card.yaml")
	card, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(card), "high: 10", "high: 20", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"CARLA_RL_URL=" + p.url, "CARLA_RL_ADMIN_KEY=" + adminKey}
	for _, step := range []struct{ act, want, other string }{{"reload", after, before}, {"rollback", before, after}} {
		if out, code := tool(t, env, step.act); code != 0 {
			t.Fatalf("%s: exit code %d: %s", step.act, code, out)
		}
		f(step.want, step.other)
	}
}

// TestReloadRollbackStatus is the life of three versions, by the command line.
func TestReloadRollbackStatus(t *testing.T) {
	dir := t.TempDir()
	putLinear(t, filepath.Join(dir, "v0.1.0"), "v0.1.0", 1)
	p := start(t, []string{"CARLA_RL_ADMIN_KEY=" + adminKey, "CARLA_RL_POLL_INTERVAL=0"}, dir)
	p.waitReady()
	env := []string{"CARLA_RL_URL=" + p.url, "CARLA_RL_ADMIN_KEY=" + adminKey}
	f := func(code int, wants []string, args ...string) {
		t.Helper()
		out, got := tool(t, env, args...)
		if got != code {
			t.Errorf("%v: exit code %d, want %d: %s", args, got, code, out)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%v: no %q in %s", args, want, out)
			}
		}
		if strings.Contains(out, dir) {
			t.Errorf("%v tells a path: %s", args, out)
		}
	}
	answers := func(version string, factor float64) {
		t.Helper()
		if v, y, status := p.linear(3); v != version || y != 3*factor {
			t.Errorf("got %s %v %d, want %s %v", v, y, status, version, 3*factor)
		}
	}
	f(1, []string{"NO_PREVIOUS_VERSION"}, "rollback")
	f(0, []string{"linear: unchanged, v0.1.0 "}, "reload")
	putLinear(t, filepath.Join(dir, "v0.2.0"), "v0.2.0", 2)
	f(0, []string{"linear: changed, v0.2.0 ", "(v0.1.0 ", "loaded v0.2.0"}, "reload", "linear")
	answers("v0.2.0", 2)
	f(0, []string{"linear: changed, v0.1.0 ", "(v0.2.0 "}, "rollback")
	answers("v0.1.0", 1)
	f(0, []string{"linear is held by a rollback", "*  linear  v0.1.0   ready", "-  linear  v0.2.0   ready"}, "status")
	putLinear(t, filepath.Join(dir, "v0.3.0"), "v0.3.0", float32(math.NaN()))
	f(1, []string{"linear: failed, v0.2.0 ", "refused v0.3.0: ", "0.weight holds NaN"}, "reload")
	answers("v0.2.0", 2)
	f(0, []string{"v0.3.0   failed", "0.weight holds NaN"}, "status")
	f(0, []string{`"available_versions"`, `"poll_interval_s":0`}, "status", "--json")
	f(1, []string{"MODEL_NOT_FOUND"}, "reload", "nobody")
	env = []string{"CARLA_RL_URL=" + p.url, "CARLA_RL_ADMIN_KEY=wrong"}
	f(1, []string{"UNAUTHORIZED"}, "reload")
	f(0, []string{"linear"}, "status") // which asks for no key here
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(adminKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(0, []string{"v0.1.0"}, "rollback", "--key-file", key)
	if out := p.stdout(); strings.Count(out, `"event_type":"audit"`) < 8 || strings.Contains(out, adminKey) {
		t.Errorf("the records of acts: %s", out)
	}
	if a := p.get("/metrics"); !strings.Contains(a.body, `carla_rl_admin_acts_total{act="rollback",result="changed"} 2`) ||
		!strings.Contains(a.body, `carla_rl_version_changes_total{kind="rollback"} 2`) || !strings.Contains(a.body, "carla_rl_versions_in_memory 2") {
		t.Errorf("metrics: %s", a.body)
	}
}

// TestNewVersionIsFoundByItself, without a key and without a word.
func TestNewVersionIsFoundByItself(t *testing.T) {
	dir := t.TempDir()
	putLinear(t, filepath.Join(dir, "v0.1.0"), "v0.1.0", 1)
	p := start(t, []string{"CARLA_RL_POLL_INTERVAL=20ms"}, dir)
	p.waitReady()
	if a := p.post("/admin/reload", ""); a.status != http.StatusForbidden {
		t.Errorf("%d %s", a.status, a.body)
	}
	putLinear(t, filepath.Join(dir, "v0.2.0"), "v0.2.0", 2)
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		v, y, status := p.linear(3)
		if status != http.StatusOK || v == "v0.1.0" && y != 3 || v == "v0.2.0" && y != 6 {
			t.Fatalf("got %s %v %d", v, y, status)
		}
		if v == "v0.2.0" {
			break
		}
		if time.Since(begun) > startMax {
			t.Fatalf("%s answers still: %s", v, p.stdout())
		}
	}
}

// TestThreeUnusableAnswers take a version out of service: the one before is put
// back, and where there is none, the server is not ready.
func TestThreeUnusableAnswers(t *testing.T) {
	dir := t.TempDir()
	putLinear(t, filepath.Join(dir, "v0.1.0"), "v0.1.0", 1)
	p := start(t, []string{"CARLA_RL_ADMIN_KEY=" + adminKey, "CARLA_RL_POLL_INTERVAL=0"}, dir)
	p.waitReady()
	admin := http.Header{"X-Api-Key": {adminKey}}
	putLinear(t, filepath.Join(dir, "v0.2.0"), "v0.2.0", 1e38) // above 3.4 the action is infinite
	if a := p.do(http.MethodPost, "/admin/reload", "", admin); a.status != http.StatusOK || !strings.Contains(a.body, `"result":"changed"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for range 2 {
		if _, _, status := p.linear(9); status != http.StatusInternalServerError {
			t.Errorf("got %d", status)
		}
	}
	if v, _, status := p.linear(1); v != "v0.2.0" {
		t.Errorf("%s answers, %d", v, status)
	}
	for range 3 {
		if _, _, status := p.linear(9); status != http.StatusInternalServerError {
			t.Errorf("got %d", status)
		}
	}
	if v, y, status := p.linear(9); v != "v0.1.0" || y != 9 {
		t.Errorf("got %s %v %d", v, y, status)
	}
	a := p.get("/versions")
	if !strings.Contains(a.body, `"state":"quarantined"`) || !strings.Contains(a.body, "3 unusable answers one after another") {
		t.Errorf("%s", a.body)
	}
	if a := p.get("/metrics"); !strings.Contains(a.body, `carla_rl_quarantines_total{model="linear",version="v0.2.0"} 1`) ||
		!strings.Contains(a.body, `carla_rl_model_quarantined{model="linear",version="v0.2.0"} 1`) {
		t.Errorf("no metric of it")
	}
	if !strings.Contains(p.stdout(), "version quarantined") {
		t.Errorf("no line of it: %s", p.stdout())
	}
	if a := p.get("/readyz"); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	// A reload tries it again; with the other one gone, nothing is left.
	if err := os.RemoveAll(filepath.Join(dir, "v0.1.0")); err != nil {
		t.Fatal(err)
	}
	q := start(t, []string{"CARLA_RL_ADMIN_KEY=" + adminKey, "CARLA_RL_POLL_INTERVAL=0"}, dir)
	q.waitReady()
	for range 3 {
		q.linear(9)
	}
	if a := q.get("/readyz"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "quarantined") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if _, _, status := q.linear(1); status != http.StatusServiceUnavailable {
		t.Errorf("got %d", status)
	}
	if a := q.do(http.MethodPost, "/admin/reload", "", admin); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	if v, _, status := q.linear(1); v != "v0.2.0" {
		t.Errorf("%s answers, %d", v, status)
	}
}

// TestSessionsAcrossReloads stay on their version until they end.
func TestSessionsAcrossReloads(t *testing.T) {
	dir := t.TempDir()
	putLinear(t, dir, "v0.1.0", 1)
	p := start(t, []string{"CARLA_RL_ADMIN_KEY=" + adminKey, "CARLA_RL_POLL_INTERVAL=0"}, dir)
	p.waitReady()
	if a := p.post("/v1/sessions", `{"id":"robot"}`); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	step := func(version string, y float64) {
		t.Helper()
		m := p.post("/v1/sessions/robot/act", `{"observation":{"x":3}}`).json(t)
		if m["version"] != version || m["actions"].([]any)[0].(map[string]any)["y"] != y {
			t.Errorf("got %v, want %s %v", m, version, y)
		}
	}
	step("v0.1.0", 3)
	admin := http.Header{"X-Api-Key": {adminKey}}
	for i := range 3 { // so that the session's version is not the one before
		putLinear(t, dir, fmt.Sprintf("v0.%d.0", i+2), float32(i+2))
		if a := p.do(http.MethodPost, "/admin/reload", "", admin); !strings.Contains(a.body, `"result":"changed"`) {
			t.Fatalf("%d %s", a.status, a.body)
		}
		step("v0.1.0", 3)
	}
	if v, y, _ := p.linear(3); v != "v0.4.0" || y != 12 {
		t.Errorf("got %s %v", v, y)
	}
	if a := p.get("/metrics"); !strings.Contains(a.body, "carla_rl_sessions_draining 1") {
		t.Error("no session drains")
	}
	if a := p.post("/v1/sessions/robot/reset", ""); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	step("v0.4.0", 12)
}

// TestKilledWhileVersionsChange kills the server at any time of a reload or a
// rollback. It starts again with a version that is good, although a bad one is
// under the root as well; the root is never written to.
func TestKilledWhileVersionsChange(t *testing.T) {
	kills := 3
	if os.Getenv("CARLA_RL_CHAOS") != "" {
		kills = 50
	}
	dir := t.TempDir()
	putLinear(t, filepath.Join(dir, "v0.1.0"), "v0.1.0", 1)
	putLinear(t, filepath.Join(dir, "v0.2.0"), "v0.2.0", 2)
	random := rand.New(rand.NewPCG(3, 4))
	for kill := range kills {
		p := start(t, []string{"CARLA_RL_ADMIN_KEY=" + adminKey, "CARLA_RL_POLL_INTERVAL=10ms"}, dir)
		p.waitReady()
		if v, y, status := p.linear(3); v != "v0.2.0" || y != 6 {
			t.Fatalf("kill %d: it started with %s, which gave %v, %d", kill, v, y, status)
		}
		stop := make(chan struct{})
		var churn sync.WaitGroup
		churn.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				at := filepath.Join(dir, "v0.3.0")
				_ = os.RemoveAll(at)
				putLinear(t, at, "v0.3.0", float32(math.Inf(1)))
				for _, path := range []string{"/admin/reload", "/admin/rollback"} {
					r, err := http.NewRequest(http.MethodPost, p.url+path, http.NoBody)
					if err != nil {
						t.Error(err)
						return
					}
					r.Header.Set("X-API-Key", adminKey)
					if res, err := client.Do(r); err == nil { // or it was killed
						res.Body.Close()
					}
				}
			}
		})
		time.Sleep(time.Duration(random.Int64N(int64(150 * time.Millisecond))))
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-p.exited
		close(stop)
		churn.Wait()
	}
}
