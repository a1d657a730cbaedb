//go:build e2e

package console_test

import (
	"bytes"
	"flag"
	"fmt"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// screenshots is the folder that `make screenshots` has the pictures of the
// documents written to; without it they are taken and thrown away.
var screenshots = flag.String("screenshots", "", "folder to write the pictures of the documents to")

// maxPicture is what a picture of a document may weigh.
const maxPicture = 250 << 10

// picture takes a picture of what is in view.
func (p *page) picture(name string) {
	p.t.Helper()
	data := p.screenshot()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	if len(data) > maxPicture || img.Bounds().Dx() < 1000 {
		p.t.Errorf("%s has %d bytes and %v", name, len(data), img.Bounds())
	}
	if *screenshots == "" {
		return
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, "console-"+name+".png"), data, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// TestScreenshots takes the pictures of the documents while the server has
// something to do.
func TestScreenshots(t *testing.T) {
	var traffic time.Duration
	if *screenshots != "" {
		traffic = 130 * time.Second // the charts are full
	}
	root := filepath.Join(t.TempDir(), "policies")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	demoFolder(t, root, "v0.1.0", nil)
	demoFolder(t, root, "v0.2.0", nil)
	demoFolder(t, root, "v0.3.0", func(dir string) {
		if err := os.Truncate(filepath.Join(dir, "model.pt"), 9000); err != nil {
			t.Fatal(err)
		}
	})
	url := startServer(t, root, append([]string{"MODEL_VERSION="}, recorded(t)...)...)
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() { drivers(t, url, stop) })
	defer sending.Wait()
	defer close(stop)

	light, dark := newPage(t, 1280, 860), newPage(t, 1280, 860)
	light.theme("light")
	dark.moving("dark")
	// The dark one drives meanwhile, so that its view must not be left.
	light.open(url + "/console")
	dark.open(url + "/console#drive")
	dark.wait(`document.querySelector("#drive button.main:not(:disabled)")`)
	dark.eval(`document.querySelector("#drive button.main").click()`, nil)
	light.wait(`document.querySelectorAll("#overview .action").length === 3`)
	const drawn = `document.querySelector("#overview .plot path.l.s1")?.getAttribute("d").length > 20`
	light.wait(drawn)
	time.Sleep(traffic)
	light.picture("overview")
	dark.eval(`document.querySelector("#drive [aria-keyshortcuts=R]").click()`, nil)
	dark.wait(`Number(/Distance\s*(\d+) m/.exec(document.querySelector("#drive dl.facts").innerText)?.[1]) > 90`)
	dark.picture("drive")

	light.view("try")
	light.wait(`document.querySelector("#answer [data-action=steer]")`)
	for i, v := range []string{"25.5", "0.1", "0.8", "0.2", "0.5", "0.9", "0.1"} {
		light.eval(fmt.Sprintf(`(e => { e.focus(); e.select(); })(document.querySelectorAll("#try .slider input[type=number]")[%d])`, i), nil)
		light.typed(v)
	}
	light.wait(`document.querySelector("#answer [data-action=steer]").textContent === "-0.8525"`)
	light.eval(`document.activeElement.blur()`, nil)
	light.picture("try")
	light.view("versions")
	light.wait(`document.querySelectorAll("#versions dl.facts dd").length > 1`)
	light.picture("versions")
	light.view("steps")
	light.picture("steps")

	second := newPage(t, 1280, 860)
	second.theme("dark")
	second.open(url + "/console")
	second.wait(`document.querySelectorAll("#overview .action").length === 3`)
	second.wait(drawn)
	time.Sleep(traffic / 2)
	second.picture("overview-dark")
	if said := append(light.said(), dark.said()...); len(said) > 0 {
		t.Errorf("the logs have %q", said)
	}
}

// recorded are the settings with which steps are kept.
func recorded(t *testing.T) []string {
	t.Helper()
	return []string{"DATABASE_URL=sqlite://" + filepath.Join(t.TempDir(), "experience.db")}
}

// drivers sends observations as a few cars have them until stop is closed, and
// now and then one that is refused.
func drivers(t *testing.T, url string, stop chan struct{}) {
	r := rand.New(rand.NewPCG(1, 2))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		speed := 36 + 3*r.NormFloat64()
		if i%211 == 0 {
			speed = 250
		}
		ask(t, url+"/predict", fmt.Sprintf(`{"observations":[{"speed":%.3f,"steering":%.3f,"sensors":[%.3f,%.3f,%.3f,%.3f,%.3f]}]}`,
			speed, 0.1*r.NormFloat64(), 0.12+0.1*r.Float64(), 0.2+0.2*r.Float64(), 0.4+0.6*r.Float64(), 0.2+0.2*r.Float64(), 0.12+0.1*r.Float64()), nil)
	}
}
