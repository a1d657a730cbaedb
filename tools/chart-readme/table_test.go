package main

import (
	"os"
	"strings"
	"testing"
)

// TestReadme holds the README of the chart to its values.
func TestReadme(t *testing.T) {
	dir := "../../" + chart
	values, err := os.ReadFile(dir + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(dir + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := update(string(readme), values)
	if err != nil {
		t.Fatal(err)
	}
	if want != string(readme) {
		t.Error("charts/carla-rl-serving/README.md is not what values.yaml says: go run ./tools/chart-readme")
	}
}

func TestUpdate(t *testing.T) {
	const values = `# The file.

# -- Pods.
replicas: 3

image:
  # -- Where it is,
  # in a registry.
  repository: here
  # -- Its tag.
  tag: ""

# Not part of it.
# -- What a node | has.
selector: {os: linux}
# -- A list.
list:
  - a
`
	got, err := update("# Chart\n\n"+begin+"old\n"+end+"after\n", []byte(values))
	if err != nil {
		t.Fatal(err)
	}
	want := "# Chart\n\n" + begin + `
| value | default | meaning |
|---|---|---|
| ` + "`replicas` | `3`" + ` | Pods. |
| ` + "`image.repository` | `\"here\"`" + ` | Where it is, in a registry. |
| ` + "`image.tag` | `\"\"`" + ` | Its tag. |
| ` + "`selector` | `{\"os\":\"linux\"}`" + ` | What a node \| has. |
| ` + "`list` | `[\"a\"]`" + ` | A list. |

` + end + "after\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestUpdateRefuses(t *testing.T) {
	f := func(readme, values, want string) {
		t.Helper()
		_, err := update(readme, []byte(values))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("update(%q, %q) = %v, want an error with %q", readme, values, err, want)
		}
	}
	marks := begin + end
	f("", "", "README.md lacks")
	f(begin, "", "README.md lacks")
	f(marks, "", "is no mapping")
	f(marks, "a: {b: 1}\n", "a.b has no comment")
	f(marks, "# Without a mark.\na: 1\n", "a has no comment")
	f(marks, "a: {}\n", "a has no comment")
}
