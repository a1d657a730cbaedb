//go:build unix

package apptest

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// recordedRows are observations of the drives that training recorded.
func recordedRows(t *testing.T) [][7]float64 {
	t.Helper()
	data, err := os.ReadFile("../../../internal/demo/testdata/episodes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Episodes []struct {
			Observations [][7]float64 `json:"observations"`
		} `json:"episodes"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var rows [][7]float64
	for _, e := range file.Episodes {
		for i := 0; i < len(e.Observations); i += 4 {
			rows = append(rows, e.Observations[i])
		}
	}
	return rows
}

// drifting asks for the actions of rows and returns the scrape behind them.
func drifting(t *testing.T, p *process, rows [][7]float64) string {
	t.Helper()
	for _, o := range rows {
		body := fmt.Sprintf(`{"observations":[{"speed":%g,"steering":%g,"sensors":[%g,%g,%g,%g,%g]}]}`, o[0], o[1], o[2], o[3], o[4], o[5], o[6])
		if a := p.post("/predict", body); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	return p.get("/metrics").body
}

// driftOf returns a measure of a scrape by feature.
func driftOf(t *testing.T, scrape, name string) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^carla_rl_drift_`+name+`\{feature="([^"]+)",model="carla-ppo",version="v0.1.0"\} (\S+)$`).FindAllStringSubmatch(scrape, -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		values[m[1]] = v
	}
	return values
}

// TestDriftIsMeasured sends the demo policy observations of its own drives, and
// the same with another speed and a dead sensor: only what has changed is told
// to have.
func TestDriftIsMeasured(t *testing.T) {
	rows := recordedRows(t)
	every := []string{"CARLA_RL_DRIFT_SAMPLE_EVERY=1"}
	p := start(t, every)
	p.waitReady()
	like := drifting(t, p, rows)
	if want := fmt.Sprintf("carla_rl_drift_rows{model=\"carla-ppo\",version=\"v0.1.0\"} %d\n", len(rows)); !strings.Contains(like, want) {
		t.Errorf("no %s", want)
	}
	z, psi := driftOf(t, like, "z_score"), driftOf(t, like, "psi")
	for _, feature := range []string{"speed", "steering", "sensors[0]", "sensors[1]", "sensors[2]", "sensors[3]", "sensors[4]"} {
		if v, ok := z[feature]; !ok || math.Abs(v) > 1 {
			t.Errorf("%s has the z-score %v, %t", feature, v, ok)
		}
	}
	if a := p.get("/versions"); !strings.Contains(a.body, `"drift":{"values":7}`) {
		t.Errorf("/versions does not say that it is measured: %s", a.body)
	}
	for feature, v := range driftOf(t, like, "out_of_range_ratio") {
		if v > 0.01 {
			t.Errorf("%v of %s is out of range", v, feature)
		}
	}
	if v := driftOf(t, like, "saturation_ratio")["sensors[1]"]; v > 0.2 {
		t.Errorf("a sensor that sees is at its bounds in %v", v)
	}

	changed := make([][7]float64, len(rows))
	for i, o := range rows {
		o[0] += 60 // km/h
		o[3] = 0   // sensors[1]
		changed[i] = o
	}
	other := start(t, every)
	other.waitReady()
	unlike := drifting(t, other, changed)
	shifted, index := driftOf(t, unlike, "z_score"), driftOf(t, unlike, "psi")
	// 60 km/h are 5.9 of the standard deviations of the training, 10.2 km/h.
	if d := shifted["speed"] - z["speed"]; math.Abs(d-5.88) > 0.01 {
		t.Errorf("another speed moves the z-score by %v", d)
	}
	if shifted["sensors[1]"] > -1 || index["sensors[1]"] < psi["sensors[1]"]+1 {
		t.Errorf("a dead sensor has the z-score %v and the index %v, before %v", shifted["sensors[1]"], index["sensors[1]"], psi["sensors[1]"])
	}
	if v := driftOf(t, unlike, "saturation_ratio")["sensors[1]"]; v != 1 {
		t.Errorf("a dead sensor is at its bound in %v", v)
	}
	if v := driftOf(t, unlike, "out_of_range_ratio")["speed"]; v < 0.9 {
		t.Errorf("%v of another speed is out of range", v)
	}
	for _, feature := range []string{"steering", "sensors[0]", "sensors[2]", "sensors[3]", "sensors[4]"} {
		if shifted[feature] != z[feature] || index[feature] != psi[feature] {
			t.Errorf("%s has not changed and is told to have: %v, %v", feature, shifted[feature], z[feature])
		}
	}
}

// TestNoStatisticsNoDrift: a policy whose training left none exports none, and
// the log and /versions say so.
func TestNoStatisticsNoDrift(t *testing.T) {
	dir := t.TempDir()
	weights, err := os.ReadFile("../../../testdata/modules/2.8.0/seq_mlp/state_dict.pth")
	if err != nil {
		t.Fatal(err)
	}
	card := movingCard[:strings.Index(movingCard, "control_hz")]
	for name, data := range map[string][]byte{"model.pth": weights, "model_card.yaml": []byte(card)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, []string{"CARLA_RL_DRIFT_SAMPLE_EVERY=1"}, dir)
	p.waitReady()
	for range 120 {
		if a := p.post("/predict", `{"observations":[{"obs":[0,1,2,3,4]}]}`); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if strings.Contains(p.get("/metrics").body, "\ncarla_rl_drift_") {
		t.Error("drift of a policy without statistics is told")
	}
	if want := "drift: not measured, because the training left no statistics of observations"; !strings.Contains(p.stdout(), want) {
		t.Errorf("the log does not say %q:\n%s", want, p.stdout())
	}
	if a := p.get("/versions"); !strings.Contains(a.body, `"drift":{"values":0,"why":"the training left no statistics of observations`) {
		t.Errorf("/versions does not say so: %s", a.body)
	}
}
