//go:build e2e

package console_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// sameDrives compares the page's road and car with the drives that
// training/vectors.py recorded, and returns what differs and how many values
// were compared.
const sameDrives = `(async (file) => {
  const { Car, Road, SplitMix64 } = await import("./console/physics.js");
  const wrong = [];
  let compared = 0;
  const same = (where, got, want) => {
    want.forEach((v, k) => {
      compared++;
      if (!(Math.abs(got[k] - v) <= 1e-8) && wrong.length < 10) wrong.push(where + " value " + k + ": got " + got[k] + ", want " + v);
    });
  };
  for (const r of file.roads) {
    const road = new Road(new SplitMix64(r.seed));
    r.centre.forEach((row, i) => same("road " + r.seed + " point " + i, [road.x[i], road.y[i], road.heading[i]], row));
    r.edges.forEach((row, i) => same("road " + r.seed + " edges " + i, [...road.edges[0][i], ...road.edges[1][i]], row));
    for (const d of r.drives) {
      const car = new Car(r.seed);
      const state = () => [car.x, car.y, car.heading, car.speed, car.steering, car.travelled, ...car.sensors];
      same("start of " + r.seed, state(), d.start);
      d.actions.forEach(([throttle, brake, steer], i) => {
        const where = "drive " + r.seed + " by rule " + d.rule + " step " + i;
        if (car.over) wrong.push(where + ": it is over already");
        car.step({ throttle, brake, steer });
        same(where, [...state(), car.point], [...d.states[i], d.points[i]]);
      });
      same("end of " + r.seed, [car.crashed, car.success, car.truncated].map(Number), [d.crashed, d.success, d.truncated].map(Number));
    }
  }
  return { wrong, compared };
})`

// TestDriveComputesAsPython holds the physics of the page to recorded drives.
func TestDriveComputesAsPython(t *testing.T) {
	file, err := os.ReadFile("../../training/drive_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	p := newPage(t, 800, 600)
	p.open(startServer(t, "") + "/console")
	var got struct {
		Wrong    []string `json:"wrong"`
		Compared int      `json:"compared"`
	}
	p.eval(fmt.Sprintf("%s(%s)", sameDrives, file), &got)
	if len(got.Wrong) > 0 || got.Compared < 10_000 {
		t.Errorf("of %d values differ %s", got.Compared, strings.Join(got.Wrong, "\n"))
	}
}

// driving opens the drive, which goes on to no other road and waits for nothing
// but the answers.
func driving(t *testing.T, url string) *page {
	t.Helper()
	p := newPage(t, 800, 600) // what is drawn takes the time of those who answer
	p.open(url + "/console#drive")
	p.wait(`document.querySelector("#drive button.main:not(:disabled)")`)
	p.field("Pace", "0")
	p.eval(`[...document.querySelectorAll("#drive label")].find(l => l.textContent === "Go on to the next road").firstChild.checked = false`, nil)
	return p
}

// field changes a list or a number of the drive by its label.
func (p *page) field(label, value string) {
	p.t.Helper()
	p.eval(fmt.Sprintf(`(e => { e.value = %q; if (e.value !== %[1]q) throw new Error("it has no such value"); e.dispatchEvent(new Event("input")); e.dispatchEvent(new Event("change")); })(document.getElementById([...document.querySelectorAll("#drive label")].find(l => l.textContent === %q).htmlFor))`, value, label), nil)
}

// button presses a button of the drive.
func (p *page) button(name string) {
	p.t.Helper()
	p.eval(fmt.Sprintf(`[...document.querySelectorAll("#drive button")].find(b => b.textContent === %q).click()`, name), nil)
}

// drive is what the drive tells of itself by a name, as an expression.
func drive(name string) string { return `document.getElementById("drive-body").dataset.` + name }

const lastDrive = `[...document.querySelector("#drive tbody tr").cells].map(c => c.textContent).join("|")`

// TestDriveALap: the demo policy drives roads to their ends, and with its sensors
// disturbed hard it leaves them.
func TestDriveALap(t *testing.T) {
	url := startServer(t, "")
	p := driving(t, url)
	for i, road := range []string{"1", "1000003"} {
		p.field("Road", road)
		p.button("Drive")
		p.wait(fmt.Sprintf(`%s === "ended" && %s === "%d"`, drive("state"), drive("laps"), i+1))
		if got := p.text(lastDrive); !strings.HasPrefix(got, road+"|v0.1.0|clean|lap|2") {
			t.Errorf("the drive is told as %s", got)
		}
		if got := p.text(`document.querySelector("#drive [role=status]").textContent`); !strings.HasPrefix(got, "A lap: ") {
			t.Errorf("a reader is told %q", got)
		}
	}
	p.button("Disturb hard")
	for i, road := range []string{"1", "1000003"} {
		p.field("Road", road)
		p.button("Drive")
		p.wait(fmt.Sprintf(`%s === "ended" && %s === "%d"`, drive("state"), drive("crashes"), i+1))
		if got := p.text(lastDrive); !strings.HasPrefix(got, road+"|v0.1.0|disturbed|left the road|") {
			t.Errorf("the drive is told as %s", got)
		}
	}
	if got := p.text(drive("laps")); got != "2" {
		t.Errorf("%s laps", got)
	}
	if said := p.said(); len(said) > 0 {
		t.Errorf("the log has %q", said)
	}
	for _, a := range p.asked() {
		if !strings.HasPrefix(a, url+"/") && !strings.HasPrefix(a, strings.Replace(url, "http", "ws", 1)+"/") && !strings.HasPrefix(a, "data:") {
			t.Errorf("it asked for %s", a)
		}
	}
}

// colours is how many colours a part of the picture has.
const colours = `(c => { const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, seen = new Set(); for (let i = 0; i < d.length; i += 4) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return seen.size; })(document.querySelector("#drive canvas"))`

// TestDriveStepByStep: keys, pauses, words for those who do not see the picture,
// and a picture for those who do.
func TestDriveStepByStep(t *testing.T) {
	p := driving(t, startServer(t, ""))
	if got := p.text(drive("state")); got != "idle" {
		t.Errorf("before anybody has started it, it is %s", got)
	}
	p.wait(colours + " > 20")
	p.eval(`document.querySelector("#drive [role=group]").focus()`, nil)
	for i := 1; i <= 3; i++ {
		p.press("s", 83, 0)
		p.wait(fmt.Sprintf(`%s === "%d" && %s === "paused"`, drive("steps"), i, drive("state")))
	}
	if got := p.text(`document.querySelector("#drive details p").textContent`); !strings.HasPrefix(got, "The car is at 1") {
		t.Errorf("in words: %q", got)
	}
	p.press("h", 72, 0)
	p.wait(`document.querySelector("#drive [role=status]").textContent === "The sensors are disturbed."`)
	p.press("c", 67, 0)
	p.wait(`document.querySelector("#drive [role=status]").textContent === "The sensors are clean."`)
	p.press("r", 82, 0)
	p.wait(drive("steps") + ` === "0"`)
	p.field("Pace", "1")
	p.eval(`document.querySelector("#drive [role=group]").focus()`, nil)
	p.press("p", 80, 0)
	p.wait(drive("steps") + ` > 2`)
	p.press("p", 80, 0)
	p.wait(drive("state") + ` === "paused"`)
	// It is paused where it is not looked at.
	p.press("p", 80, 0)
	p.wait(drive("state") + ` === "driving"`)
	p.view("try")
	p.wait(drive("state") + ` === "paused"`)
	// A letter that is written is no key.
	p.view("drive")
	p.eval(`document.getElementById([...document.querySelectorAll("#drive label")].find(l => l.textContent === "Road").htmlFor).focus()`, nil)
	steps := p.text(drive("steps"))
	p.press("r", 82, 0)
	if got := p.text(drive("steps")); got != steps {
		t.Errorf("a key in a field has restarted the drive: %s steps, %s before", got, steps)
	}
}

// TestDriveComparesVersions: a version that is chosen drives, and a ghost of
// another, or of the same with clean sensors, beside it.
func TestDriveComparesVersions(t *testing.T) {
	root := t.TempDir()
	demoFolder(t, root, "v0.1.0", nil)
	demoFolder(t, root, "v0.2.0", nil)
	p := driving(t, startServer(t, root))
	const ghost = `[...document.querySelectorAll("#drive dt")].find(d => d.textContent === "Ghost").nextSibling.textContent`
	p.wait(`[...document.querySelectorAll("#drive option")].filter(o => o.textContent === "v0.1.0" && !o.disabled).length === 2`)
	p.field("Version", `["carla-ppo","v0.1.0"]`)
	p.field("Ghost", `["carla-ppo","v0.2.0"]`)
	p.button("Drive")
	p.wait(drive("laps") + ` === "1"`)
	if got := p.text(drive("version")); got != "v0.1.0" {
		t.Errorf("%s has driven", got)
	}
	// The policies are the same, and so are their drives.
	if got := p.text(ghost); !strings.HasPrefix(got, "v0.2.0: lap at 21") {
		t.Errorf("the ghost: %q", got)
	}
	p.field("Ghost", "clean")
	p.button("Disturb hard")
	p.button("Drive")
	p.wait(drive("crashes") + ` === "1"`)
	if got := p.text(ghost); !strings.HasPrefix(got, "with clean sensors") {
		t.Errorf("the ghost: %q", got)
	}
}

// TestDriveSaysWhyNot: a policy that is none for this car is not offered it.
func TestDriveSaysWhyNot(t *testing.T) {
	p := newPage(t, 1280, 900)
	p.open(startServer(t, agentFolder(t, "ppo_box")) + "/console#drive")
	p.wait(drive("state") + ` === "refused"`)
	p.wait(`document.querySelector("#drive .drive-banner").textContent.includes("cannot drive this car: its observation has no names")`)
	var disabled bool
	if p.eval(`["Drive", "Step", "Restart", "Next road"].every(n => [...document.querySelectorAll("#drive button")].find(b => b.textContent === n).disabled)`, &disabled); !disabled {
		t.Error("it is offered all the same")
	}
}

// TestDriveWithAKey goes over HTTP: a browser sends no key with a WebSocket.
func TestDriveWithAKey(t *testing.T) {
	p := newPage(t, 1280, 900)
	p.open(startServer(t, "", "API_KEY=the-key-of-this-test") + "/console#drive")
	p.wait(`!document.getElementById("locked").hidden`)
	p.eval(`document.getElementById("key").value = "the-key-of-this-test"; document.getElementById("key").dispatchEvent(new Event("change"))`, nil)
	p.wait(`document.querySelector("#drive button.main:not(:disabled)") && document.getElementById("state-text").textContent.includes("carla-ppo")`)
	p.field("Pace", "0")
	p.button("Drive")
	p.wait(drive("laps") + ` === "1"`)
	p.wait(`document.querySelector("#drive dl").textContent.includes("over HTTP")`)
}
