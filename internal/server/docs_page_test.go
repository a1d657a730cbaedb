package server_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestDocsShowsEveryMethod holds that the page shows what the description has:
// every method, and whatever the tag.
func TestDocsShowsEveryMethod(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	script := s.do("GET", "/docs/docs.js", "").body
	list := regexp.MustCompile(`for \(const method of \[([^\]]+)\]\)`).FindStringSubmatch(script)
	if list == nil {
		t.Fatal("the page has no list of methods")
	}
	for path, item := range at(t, document(t, s), "paths").(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" && !strings.Contains(list[1], `"`+method+`"`) {
				t.Errorf("%s %s is not on the page, which shows %s", method, path, list[1])
			}
		}
	}
	if !strings.Contains(script, "if (!tags.has(tag)) tags.set(tag, [])") {
		t.Error("an operation of a tag that the page does not know would break it")
	}
}
