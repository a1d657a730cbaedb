//go:build e2e

package console_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// axe is the checker of accessibility, at one version and with the hash of its
// file: it comes from npm into the cache and is no part of the program.
const (
	axeVersion = "4.14.1"
	axeHash    = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
)

var axe = sync.OnceValues(func() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache")
	}
	name := filepath.Join(cache, "carla-rl", "axe-core-"+axeVersion, "axe.min.js")
	text, err := os.ReadFile(name)
	if err != nil {
		if text, err = fetchAxe(); err != nil {
			return "", err
		}
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != axeHash {
		return "", fmt.Errorf("%s is not the file that is asked for: its SHA-256 is %x", name, sum)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", err
	}
	// Another test may be about the same.
	part := fmt.Sprintf("%s.%d", name, os.Getpid())
	if err := cmp.Or(os.WriteFile(part, text, 0o644), os.Rename(part, name)); err != nil {
		return "", err
	}
	return string(text), nil
})

func fetchAxe() ([]byte, error) {
	dir, err := os.MkdirTemp("", "axe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, args := range [][]string{
		{"../../tools/need", "npm"},
		{"npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir, "axe-core@" + axeVersion},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%q: %w\n%s", args, err, out)
		}
	}
	return os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
}

// accessible holds what the page shows now to every rule of axe.
func (p *page) accessible(where string) {
	p.t.Helper()
	source, err := axe()
	if err != nil {
		p.t.Fatal(err)
	}
	// The source of axe is larger than what should come back as a value.
	p.eval("if (!window.axe) {"+source+"}; true", nil)
	var found struct {
		Passes     int `json:"passes"`
		Violations []struct {
			ID    string `json:"id"`
			Help  string `json:"help"`
			Nodes []struct {
				HTML    string `json:"html"`
				Summary string `json:"failureSummary"`
			} `json:"nodes"`
		} `json:"violations"`
	}
	p.eval(`axe.run(document, {resultTypes: ["violations"]}).then(r => ({passes: r.passes.length, violations: r.violations}))`, &found)
	if found.Passes < 10 {
		p.t.Errorf("%s: only %d rules were of use", where, found.Passes)
	}
	for _, v := range found.Violations {
		for _, n := range v.Nodes {
			p.t.Errorf("%s: %s (%s): %s\n%s", where, v.ID, v.Help, n.HTML, strings.TrimSpace(n.Summary))
		}
	}
}

func TestAccessibleInBothThemes(t *testing.T) {
	url := startServer(t, "")
	for range 20 {
		ask(t, url+"/predict", guideRequest, nil)
	}
	ask(t, url+"/predict", `{}`, nil) // an error to show
	for _, theme := range []string{"light", "dark"} {
		p := newPage(t, 1280, 900)
		p.theme(theme)
		p.open(url + "/console")
		p.wait(`document.querySelectorAll("#overview .action").length === 3 && document.querySelectorAll("#overview td").length > 20`)
		for _, v := range views {
			p.view(v)
			p.accessible(theme + ", " + v)
		}
		p.view("versions")
		p.eval(`document.getElementById("rollback").click()`, nil)
		p.wait(`document.querySelector("dialog[open]")`)
		p.accessible(theme + ", the dialog")
	}
	small := newPage(t, 390, 800)
	small.open(url + "/console")
	for _, v := range views {
		small.view(v)
		small.accessible("small, " + v)
		var over bool
		if small.eval(`document.documentElement.scrollWidth > document.documentElement.clientWidth`, &over); over {
			t.Errorf("%s is wider than a telephone", v)
		}
	}
}
