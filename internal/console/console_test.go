package console_test

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/console"
)

// maxBytes is what the page may add to the program.
const maxBytes = 180_000

func page(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, f := range console.Files() {
		if f.MediaType == "" || len(f.Body) == 0 {
			t.Errorf("%s has %d bytes of type %q", f.Name, len(f.Body), f.MediaType)
		}
		files[f.Name] = string(f.Body)
	}
	if files[console.Index] == "" {
		t.Fatal("there is no page")
	}
	return files
}

func TestFilesAreSmall(t *testing.T) {
	n := 0
	for _, body := range page(t) {
		n += len(body)
	}
	if n > maxBytes {
		t.Errorf("the page has %d bytes, more than %d", n, maxBytes)
	}
	t.Logf("%d bytes", n)
}

// outside is what reaches beyond the server, or makes code or markup of text.
var outside = regexp.MustCompile(`(?i)https?:|["'(]//[a-z]|@import|(?-i:\burl\()|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\bimport\(|<style|\sstyle=|\son[a-z]+="|javascript:|sessionStorage|document\.cookie|indexedDB`)

// TestPageIsCompleteInItself holds that what the page names is there, that
// nothing of it is anywhere else, and that no file is there for nothing.
func TestPageIsCompleteInItself(t *testing.T) {
	files := page(t)
	used := map[string]bool{console.Index: true}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(files[console.Index], -1) {
		name, ok := strings.CutPrefix(m[1], "console/")
		switch {
		case ok && files[name] == "":
			t.Errorf("the page names %s, which is not there", m[1])
		case ok:
			used[name] = true
		case m[1] != "docs" && !strings.HasPrefix(m[1], "data:image/svg+xml,"):
			t.Errorf("the page names %s", m[1])
		}
	}
	for name, body := range files {
		// The namespaces of XML are names, not addresses.
		body = strings.NewReplacer("http://www.w3.org/2000/svg", "").Replace(body)
		if found := outside.FindAllString(body, -1); found != nil {
			t.Errorf("%s has %q", name, found)
		}
		for _, m := range regexp.MustCompile(`(?m)from "\./([^"]+)"`).FindAllStringSubmatch(body, -1) {
			if files[m[1]] == "" {
				t.Errorf("%s imports %s, which is not there", name, m[1])
			}
			used[m[1]] = true
		}
	}
	for name := range files {
		if !used[name] {
			t.Errorf("nothing uses %s", name)
		}
	}
}

// TestKeyIsNotStored holds that the theme is all that the page leaves behind.
func TestKeyIsNotStored(t *testing.T) {
	for name, body := range page(t) {
		if strings.Contains(body, "localStorage") && name != "theme.js" {
			t.Errorf("%s stores something", name)
		}
	}
	if n := strings.Count(page(t)["theme.js"], "setItem("); n != 1 {
		t.Errorf("theme.js stores %d things", n)
	}
}

// TestModulesAreText holds that files are UTF-8 of one line ending.
func TestModulesAreText(t *testing.T) {
	for name, body := range page(t) {
		if bytes.ContainsAny([]byte(body), "\r\x00\ufeff") || !strings.HasSuffix(body, "\n") {
			t.Errorf("%s is not plain text", name)
		}
	}
	var names []string
	for _, f := range console.Files() {
		names = append(names, f.Name)
	}
	if !slices.IsSorted(names) {
		t.Errorf("%q are not in order", names)
	}
}
