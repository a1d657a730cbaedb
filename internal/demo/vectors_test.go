package demo_test

import (
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/go-json-experiment/json"
)

// TestRoadsAndDrivesAreThoseOfPython holds this port of the environment to the
// drives that training/vectors.py recorded, as the page of the console is.
func TestRoadsAndDrivesAreThoseOfPython(t *testing.T) {
	data, err := os.ReadFile("../../training/drive_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Roads []struct {
			Seed   string       `json:"seed"`
			Centre [][3]float64 `json:"centre"` // x, y, heading
			Edges  [][4]float64 `json:"edges"`  // x, y of the left one, then of the right one
			Drives []drive      `json:"drives"`
		} `json:"roads"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Roads) == 0 {
		t.Fatal("no road is recorded")
	}
	for _, f := range file.Roads {
		seed, err := strconv.ParseUint(f.Seed, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		random := splitMix64(seed)
		r := newRoad(&random)
		for i := range roadPoints {
			got := [...]float64{r.centre[i].x, r.centre[i].y, r.heading[i], r.left[i].x, r.left[i].y, r.right[i].x, r.right[i].y}
			for k, want := range append(f.Centre[i][:], f.Edges[i][:]...) {
				near(t, "road "+f.Seed+" point "+strconv.Itoa(i), got[k], want, 1e-8)
			}
		}
		for _, d := range f.Drives {
			d.replay(t, seed)
		}
	}
}

// drive is a recorded drive: actions, and after each x, y, heading, speed,
// steering, distance and five sensors.
type drive struct {
	Rule      bool          `json:"rule"`
	Start     [11]float64   `json:"start"`
	Actions   [][3]float64  `json:"actions"`
	States    [][11]float64 `json:"states"`
	Points    []int         `json:"points"`
	Crashed   bool          `json:"crashed"`
	Success   bool          `json:"success"`
	Truncated bool          `json:"truncated"`
}

func (d *drive) replay(t *testing.T, seed uint64) {
	t.Helper()
	where := func(i int) string {
		return "drive " + strconv.FormatUint(seed, 10) + " by rule " + strconv.FormatBool(d.Rule) + " step " + strconv.Itoa(i)
	}
	c := newCar(seed)
	d.compare(t, where(0), c, &d.Start)
	for i, a := range d.Actions {
		over, success := c.step(a[0], a[1], a[2])
		d.compare(t, where(i+1), c, &d.States[i])
		if c.nearest != d.Points[i] {
			t.Fatalf("%s: point %d, want %d", where(i+1), c.nearest, d.Points[i])
		}
		last := i == len(d.Actions)-1
		if over != last || success != (last && d.Success) {
			t.Fatalf("%s of %d: over %t, success %t", where(i+1), len(d.Actions), over, success)
		}
	}
}

func (d *drive) compare(t *testing.T, where string, c *car, want *[11]float64) {
	t.Helper()
	// The port keeps its sensors in float32, as the policy sees them.
	got := [...]float64{c.at.x, c.at.y, c.heading, c.speed, c.steering}
	for k, v := range got {
		near(t, where, v, want[k], 1e-8)
	}
	for k, v := range c.obs[2:] {
		near(t, where, float64(v), want[6+k], 1e-6)
	}
}

func near(t *testing.T, where string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance || math.IsNaN(got) {
		t.Fatalf("%s: got %v, want %v", where, got, want)
	}
}
