package server_test

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// document reads /openapi.json as a tree.
func document(t *testing.T, s *site) map[string]any {
	t.Helper()
	r := s.do("GET", "/openapi.json", "")
	var doc map[string]any
	if err := json.Unmarshal([]byte(r.body), &doc); err != nil || r.status != 200 {
		t.Fatalf("%d, %v: %.200s", r.status, err, r.body)
	}
	return doc
}

// at walks into a document.
func at(t testing.TB, v any, path ...string) any {
	t.Helper()
	for _, name := range path {
		o, ok := v.(map[string]any)
		if !ok || o[name] == nil {
			t.Fatalf("the document has no %s of %v", name, path)
		}
		v = o[name]
	}
	return v
}

// resolve follows a reference.
func resolve(t testing.TB, doc map[string]any, schema any) map[string]any {
	t.Helper()
	o := schema.(map[string]any)
	if ref, ok := o["$ref"].(string); ok {
		return resolve(t, doc, at(t, doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...))
	}
	return o
}

// recorder collects errors in place of telling them.
type recorder struct {
	testing.TB
	found []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.found = append(r.found, fmt.Sprintf(format, args...))
}

// conforms holds a value to a schema, in the keywords that the document uses.
func conforms(t testing.TB, doc map[string]any, where string, schema any, v any) {
	t.Helper()
	s := resolve(t, doc, schema)
	if forms, ok := s["anyOf"].([]any); ok {
		var found []string
		for _, form := range forms {
			r := &recorder{TB: t}
			if conforms(r, doc, where, form, v); len(r.found) == 0 {
				return
			}
			found = append(found, r.found...)
		}
		t.Errorf("%s is none of what is described: %s", where, strings.Join(found, "; "))
		return
	}
	kinds := []any{}
	switch k := s["type"].(type) {
	case string:
		kinds = append(kinds, k)
	case []any:
		kinds = k
	}
	kind := "null"
	switch v := v.(type) {
	case bool:
		kind = "boolean"
	case float64:
		kind = "number"
	case string:
		kind = "string"
	case []any:
		kind = "array"
		if n, ok := s["minItems"].(float64); ok && float64(len(v)) < n {
			t.Errorf("%s: %d items, at least %v", where, len(v), n)
		}
		for i, e := range v {
			if s["items"] != nil {
				conforms(t, doc, fmt.Sprintf("%s.%d", where, i), s["items"], e)
			}
		}
	case map[string]any:
		kind = "object"
		if required, ok := s["required"].([]any); ok {
			for _, name := range required {
				if _, ok := v[name.(string)]; !ok {
					t.Errorf("%s: no %s", where, name)
				}
			}
		}
		properties, _ := s["properties"].(map[string]any)
		for name, e := range v {
			if properties[name] != nil {
				conforms(t, doc, where+"."+name, properties[name], e)
			} else if s["additionalProperties"] == false {
				t.Errorf("%s: %s is not described", where, name)
			}
		}
	}
	for _, k := range kinds {
		if k == kind || k == "integer" && kind == "number" && v.(float64) == math.Trunc(v.(float64)) {
			kinds = nil
		}
	}
	if len(kinds) > 0 {
		t.Errorf("%s: %s, described as %v", where, kind, kinds)
	}
	if list, ok := s["enum"].([]any); ok {
		found := false
		for _, e := range list {
			found = found || e == v
		}
		if !found {
			t.Errorf("%s: %v is not among %v", where, v, list)
		}
	}
}

// TestOpenAPI holds the description to the routes: every operation answers
// with a status and a body as described, every route is described, and the
// example of a request is taken.
func TestOpenAPI(t *testing.T) {
	keys, err := server.NewKeys(server.PlainKey("k", server.ScopeAdmin))
	if err != nil {
		t.Fatal(err)
	}
	contracts := map[string]*policy.Contract{"named": driving(), "unnamed": unnamed(4), "square": unnamed(2, 2), "scalar": unnamed(), "keeping": keeping(), "camera": camera()}
	for name, c := range contracts {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &fakeBackend{contract: c}, server.Options{Version: "v1.2.3", Limits: fast(), Keys: keys, MetricsHandler: emptyMetrics})
			open := document(t, &site{addr: s.addr, t: t, Server: s.Server, key: "k"})
			if open["openapi"] != "3.1.0" || at(t, open, "info", "version") != "v1.2.3" {
				t.Errorf("head: %v %v", open["openapi"], open["info"])
			}
			paths := at(t, open, "paths").(map[string]any)
			ids := map[string]bool{}
			for path, item := range paths {
				for method, op := range item.(map[string]any) {
					if method == "parameters" {
						continue
					}
					checkOperation(t, s, open, path, method, op, ids)
				}
			}
			for _, p := range routes {
				if _, ok := paths[p.template].(map[string]any)[p.method]; !ok {
					t.Errorf("%s %s is not described", p.method, p.template)
				}
			}
			if len(ids) != len(routes) {
				t.Errorf("%d operations are described, there are %d", len(ids), len(routes))
			}
		})
	}
}

func checkOperation(t *testing.T, s *site, doc map[string]any, path, method string, op any, ids map[string]bool) {
	t.Helper()
	id := at(t, op, "operationId").(string)
	if ids[id] || id == "" || at(t, op, "summary") == "" {
		t.Errorf("%s %s: operation id %q", method, path, id)
	}
	ids[id] = true
	body := ""
	if o := op.(map[string]any); o["requestBody"] != nil {
		content := at(t, o, "requestBody", "content", "application/json")
		b, err := json.Marshal(at(t, content, "example"))
		if err != nil {
			t.Fatal(err)
		}
		body = string(b)
		conforms(t, doc, id+" example", at(t, content, "schema"), at(t, content, "example"))
	}
	if strings.Contains(path, "{id}") { // the operation before may have ended it
		s.do("POST", "/v1/sessions", `{"id":"robot"}`, "X-API-Key", "k")
	}
	url := strings.NewReplacer("{model}", "carla-ppo", "{version}", "v0.1.0", "{id}", "robot").Replace(path)
	// A good request, one without a key, one of another host's page, one with a
	// bad body: each answers as described.
	cases := [][]string{{"X-API-Key", "k"}, nil, {"Origin", "https://evil"}}
	for _, headers := range cases {
		checkAnswer(t, s.do(strings.ToUpper(method), url, body, headers...), doc, method+" "+path, op)
	}
	if body != "" {
		for _, bad := range []string{"{", "{}", `{"observations":[]}`} {
			checkAnswer(t, s.do(strings.ToUpper(method), url, bad, "X-API-Key", "k"), doc, method+" "+path, op)
		}
		checkAnswer(t, s.do(strings.ToUpper(method), url, body, "X-API-Key", "k", "Content-Type", "text/plain"), doc, method+" "+path, op)
		if path != "/predict" {
			checkAnswer(t, s.do(strings.ToUpper(method), strings.NewReplacer("{model}", "carla-ppo", "{version}", "v9").Replace(strings.Replace(path, "{model}/predict", "nobody/predict", 1)), body, "X-API-Key", "k"), doc, method+" "+path, op)
		}
	}
}

func checkAnswer(t *testing.T, r reply, doc map[string]any, where string, op any) {
	t.Helper()
	response := at(t, op, "responses", strconv.Itoa(r.status))
	if r.status == http.StatusNoContent && r.body == "" {
		return
	}
	content, ok := response.(map[string]any)["content"].(map[string]any)
	if !ok {
		t.Errorf("%s %d: no content is described", where, r.status)
		return
	}
	described, ok := content["application/json"].(map[string]any)
	if !ok {
		return // text
	}
	var v any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Errorf("%s %d: %v: %s", where, r.status, err, r.body)
		return
	}
	conforms(t, doc, where+" "+strconv.Itoa(r.status), described["schema"], v)
	if r.status >= http.StatusBadRequest && !strings.Contains(where, " /v2") {
		if code := r.code(t); !strings.Contains(at(t, response, "description").(string), code) {
			t.Errorf("%s %d: the code %s is not described", where, r.status, code)
		}
	}
}

// routes are the routes that the document describes.
var routes = []struct{ method, template string }{
	{"post", "/predict"}, {"post", "/v1/models/{model}/predict"}, {"post", "/v1/models/{model}/versions/{version}/predict"},
	{"get", "/healthz"}, {"get", "/livez"}, {"get", "/readyz"}, {"get", "/startupz"}, {"get", "/metadata"}, {"post", "/warmup"},
	{"post", "/admin/reload"}, {"post", "/admin/rollback"},
	{"post", "/v1/sessions"}, {"get", "/v1/sessions/{id}"}, {"delete", "/v1/sessions/{id}"}, {"post", "/v1/sessions/{id}/act"}, {"post", "/v1/sessions/{id}/reset"}, {"post", "/v1/sessions/{id}/outcome"}, {"get", "/v1/experience"},
	{"get", "/v1/stream"}, {"get", "/v1/models"}, {"get", "/v1/models/{model}"}, {"get", "/v1/models/{model}/versions/{version}"},
	{"get", "/versions"}, {"get", "/metrics"}, {"get", "/openapi.json"},
	{"get", "/v2"}, {"get", "/v2/health/live"}, {"get", "/v2/health/ready"}, {"get", "/v2/models/{model}"}, {"get", "/v2/models/{model}/ready"},
	{"post", "/v2/models/{model}/infer"}, {"get", "/v2/models/{model}/versions/{version}"}, {"get", "/v2/models/{model}/versions/{version}/ready"},
	{"post", "/v2/models/{model}/versions/{version}/infer"},
}

// TestOpenAPINotReady holds that there is a description also when no policy is
// ready.
func TestOpenAPINotReady(t *testing.T) {
	b := &fakeBackend{contract: driving()}
	b.readiness.Store(&server.NotReadyError{Reason: "no model"})
	doc := document(t, serve(t, b, server.Options{Limits: fast()}))
	at(t, doc, "paths", "/predict", "post")
}

// TestOpenAPIFollowsThePolicy: the description is made once for a policy, and
// anew when another one answers, or none.
func TestOpenAPIFollowsThePolicy(t *testing.T) {
	var now atomic.Pointer[fakeBackend]
	use := func(c *policy.Contract) { now.Store(&fakeBackend{contract: c}) }
	use(driving())
	keys, err := server.NewKeys(server.PlainKey("k", server.ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, reloaded{now.Load(), &now}, server.Options{Limits: fast(), Keys: keys, Keyless: true, MetricsHandler: emptyMetrics})
	read := func() string { return s.do("GET", "/openapi.json", "").body }
	first := read()
	if read() != first || !strings.Contains(first, `"steering"`) {
		t.Fatalf("two descriptions of one policy differ, or have not its names: %.200s", first)
	}
	if n := testing.AllocsPerRun(100, s.DescribeAgain); n > 20 {
		t.Errorf("%v allocations for a description that was made", n)
	}
	use(unnamed(2))
	second := read()
	if second == first || strings.Contains(second, `"steering"`) || read() != second {
		t.Errorf("the description did not follow: %.200s", second)
	}
	now.Load().readiness.Store(&server.NotReadyError{Reason: "no model"})
	if none := read(); none == second || none == first {
		t.Error("the description of a policy that no longer answers")
	}
	use(driving())
	if read() != first {
		t.Error("the same contract is described in another way")
	}
}

// reloaded is a backend whose policy is exchanged.
type reloaded struct {
	*fakeBackend
	now *atomic.Pointer[fakeBackend]
}

func (b reloaded) Resolve(model, version string) (server.Target, error) {
	return b.now.Load().Resolve(model, version)
}

// TestDocs holds that the page is complete in itself: it names no other host,
// and what it names is there.
func TestDocs(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	page := s.do("GET", "/docs", "")
	if page.status != 200 || page.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", page.status, page.header)
	}
	policy := page.header.Get("Content-Security-Policy")
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
		if got := page.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	all := page.body
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.body, -1) {
		if m[1] == "data:," {
			continue
		}
		part := s.do("GET", "/"+m[1], "")
		if part.status != 200 {
			t.Errorf("%s: %d", m[1], part.status)
		}
		if m[1] != "openapi.json" {
			all += part.body
		}
	}
	if regexp.MustCompile(`(?i)https?://|//[a-z]+\.|@import|url\(|innerHTML|eval\(|<style|onclick`).MatchString(all) {
		t.Error("the page reaches for something outside, or for markup at run time")
	}
	if !strings.Contains(all, "openapi.json") {
		t.Error("the page does not read the description")
	}
}
