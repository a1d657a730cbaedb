package carlarl_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named is a test as SECURITY.md writes it.
var named = regexp.MustCompile(`\b([a-z0-9-]+)\.((?:Test|Fuzz)[A-Za-z0-9_]+)`)

// TestSecurityNamesTestsThatExist holds SECURITY.md to the tree: each rule has
// a test that is there, or says what is missing.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	data, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{"carlarl": ".", "carla-rl": "cmd/carla-rl", "apptest": "cmd/carla-rl/apptest", "attack": "e2e/attack", "hostile": "e2e/hostile", "chaos": "e2e/chaos"}
	for _, glob := range []string{"internal/*", "internal/format/*"} {
		dirs, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			folders[filepath.Base(dir)] = dir
		}
	}
	sources := map[string]string{}
	_, rules, _ := strings.Cut(string(data), "## Rules and their tests")
	rules, _, _ = strings.Cut(rules, "\n## ")
	count := 0
	for line := range strings.Lines(rules) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| rule") || strings.HasPrefix(line, "|-") {
			continue
		}
		count++
		tests := named.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 && !strings.Contains(line, "Not yet") {
			t.Errorf("a rule has no test and does not say why: %s", line)
		}
		for _, m := range tests {
			dir, ok := folders[m[1]]
			if !ok {
				t.Errorf("%s: there is no package %s", m[0], m[1])
				continue
			}
			if sources[dir] == "" {
				files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range files {
					text, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					sources[dir] += string(text)
				}
			}
			if !strings.Contains(sources[dir], "\nfunc "+m[2]+"(") {
				t.Errorf("%s: there is no such test in %s", m[0], dir)
			}
		}
	}
	if count != 25 {
		t.Errorf("%d rules are listed, there are 25", count)
	}
}
