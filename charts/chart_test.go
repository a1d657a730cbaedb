// Package charts_test checks the Helm chart without Helm and without a cluster:
// the end-to-end tests render and install it.
package charts_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"
)

const chart = "carla-rl-serving"

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readYAML(t *testing.T, name string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal(read(t, name), &v); err != nil {
		t.Fatal(name, err)
	}
	return v
}

func readSchema(t *testing.T) schema {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(read(t, chart+"/values.schema.json"), &root); err != nil {
		t.Fatal(err)
	}
	return schema{root: root, node: root}
}

// schema is a node of values.schema.json.
type schema struct {
	root, node map[string]any
}

func (s schema) at(node any) schema {
	n, _ := node.(map[string]any)
	if ref, ok := n["$ref"].(string); ok {
		n = s.root["definitions"].(map[string]any)[strings.TrimPrefix(ref, "#/definitions/")].(map[string]any)
	}
	return schema{s.root, n}
}

func (s schema) types() []string {
	switch t := s.node["type"].(type) {
	case string:
		return []string{t}
	case []any:
		var types []string
		for _, one := range t {
			types = append(types, one.(string))
		}
		return types
	}
	return nil
}

func typeOf(v any) []string {
	switch v.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case int:
		return []string{"integer", "number"}
	case float64:
		return []string{"number"}
	case string:
		return []string{"string"}
	case []any:
		return []string{"array"}
	case map[string]any:
		return []string{"object"}
	}
	return nil
}

// check returns what the schema says against a value: keys that it does not
// know, types and enumerations. Helm itself checks the rest.
func (s schema) check(at string, v any) []string {
	var wrong []string
	if types := s.types(); types != nil && !slices.ContainsFunc(typeOf(v), func(t string) bool { return slices.Contains(types, t) }) {
		return []string{fmt.Sprintf("%s: is %v, not %v", at, typeOf(v), types)}
	}
	if enum, ok := s.node["enum"].([]any); ok && !slices.Contains(enum, v) {
		wrong = append(wrong, fmt.Sprintf("%s: %v is none of %v", at, v, enum))
	}
	switch v := v.(type) {
	case []any:
		if items, ok := s.node["items"]; ok {
			for i, one := range v {
				wrong = append(wrong, s.at(items).check(fmt.Sprintf("%s[%d]", at, i), one)...)
			}
		}
	case map[string]any:
		properties, _ := s.node["properties"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			below := strings.TrimPrefix(at+"."+key, ".")
			switch p, ok := properties[key]; {
			case ok:
				wrong = append(wrong, s.at(p).check(below, v[key])...)
			case s.node["additionalProperties"] == false:
				wrong = append(wrong, below+": the schema does not know it")
			default:
				wrong = append(wrong, s.at(s.node["additionalProperties"]).check(below, v[key])...)
			}
		}
	}
	return wrong
}

// stale returns the properties of the schema that the default values lack.
func (s schema) stale(at string, v map[string]any) []string {
	var wrong []string
	properties, _ := s.node["properties"].(map[string]any)
	for key, p := range properties {
		below := strings.TrimPrefix(at+"."+key, ".")
		value, ok := v[key]
		if !ok {
			wrong = append(wrong, below)
			continue
		}
		// What is empty by default, or defined apart, is Kubernetes' own.
		_, ref := p.(map[string]any)["$ref"]
		if m, ok := value.(map[string]any); ok && len(m) > 0 && !ref {
			wrong = append(wrong, s.at(p).stale(below, m)...)
		}
	}
	slices.Sort(wrong)
	return wrong
}

func TestSchemaKnowsValues(t *testing.T) {
	s := readSchema(t)
	files, err := filepath.Glob(chart + "/ci/*-values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no values under ci", err)
	}
	for _, name := range append(files, chart+"/values.yaml") {
		for _, wrong := range s.check("", readYAML(t, name)) {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	if got, want := s.stale("", readYAML(t, chart+"/values.yaml")), []string{"global"}; !slices.Equal(got, want) {
		t.Errorf("properties of the schema that values.yaml lacks: %v, want %v, which Helm itself gives", got, want)
	}
}

func TestSchemaCatchesTypos(t *testing.T) {
	s := readSchema(t)
	f := func(values, want string) {
		t.Helper()
		var v map[string]any
		if err := yaml.Unmarshal([]byte(values), &v); err != nil {
			t.Fatal(err)
		}
		got := s.check("", v)
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: got %q, want one that begins with %q", values, got, want)
		}
	}
	f("replicacount: 2", "replicacount: the schema does not know")
	f("replicaCount: two", "replicaCount: is [string]")
	f("image: {tags: v1}", "image.tags: ")
	f("image: {tag: 1.0}", "image.tag: is [number]")
	f("config: {model: {verson: v0.1.0}}", "config.model.verson: ")
	f("config: {server: {port: 9000}}", "config.server.port: ")
	f("ingress: {hosts: [{host: a, path: /}]}", "ingress.hosts[0].path: ")
	f("artifacts: {source: pvc}", "artifacts.source: ")
	f("resources: {limit: {cpu: 1}}", "resources.limit: ")
	f("livenessProbe: {httpGet: {}, period: 1}", "livenessProbe.period: ")
}

// ownValues are settings of the server that the chart gives from values of
// their own, and secrets that belong into no ConfigMap.
var ownValues = []string{
	"database.url", "model.artifact_dir", "security.admin_key", "security.api_key", "security.api_key_file",
	"server.drain_delay", "server.host", "server.port", "sessions.token_key",
}

// TestSchemaKnowsConfiguration holds the schema of config to the reference of
// the server's configuration.
func TestSchemaKnowsConfiguration(t *testing.T) {
	types := map[string][]string{
		"text": {"string"}, "integer": {"integer"}, "size": {"string", "integer"}, "time": {"string"}, "rate": {"string"},
		"boolean": {"boolean"}, "number": {"number"}, "list": {"string", "array"}, "secret": {"string"},
	}
	want := map[string][]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z]+\\.[a-z_0-9]+)` \\|[^|]*\\|[^|]*\\| (\\w+) \\|")
	for _, m := range row.FindAllStringSubmatch(string(read(t, "../docs/configuration-reference.md")), -1) {
		if !slices.Contains(ownValues, m[1]) {
			want[m[1]] = types[m[2]]
		}
	}
	if len(want) < 30 {
		t.Fatalf("only %d settings were found in the reference", len(want))
	}
	got := map[string][]string{}
	s := readSchema(t)
	config := s.at(s.node["properties"].(map[string]any)["config"])
	for section, node := range config.node["properties"].(map[string]any) {
		for key, p := range node.(map[string]any)["properties"].(map[string]any) {
			got[section+"."+key] = s.at(p).types()
		}
	}
	if !reflect.DeepEqual(got, want) {
		for key := range maps.Keys(want) {
			if !slices.Equal(got[key], want[key]) {
				t.Errorf("config.%s: the schema has %v, the reference %v", key, got[key], want[key])
			}
		}
		for key := range maps.Keys(got) {
			if _, ok := want[key]; !ok {
				t.Errorf("config.%s: the reference does not know it", key)
			}
		}
	}
}

// guideValues are the values of the Kubernetes deployment guide, but for its
// rewrite-target, which would make a 404 of every request.
const guideValues = `
replicaCount: 3
image: {repository: your-registry/carla-rl-serving, tag: latest, pullPolicy: Always}
service: {type: ClusterIP, port: 80, targetPort: 8080}
ingress:
  enabled: true
  className: nginx
  hosts: [{host: api.yourdomain.com, paths: [{path: /, pathType: Prefix}]}]
  tls: [{secretName: model-serving-tls, hosts: [api.yourdomain.com]}]
resources: {limits: {cpu: 2000m, memory: 4Gi}, requests: {cpu: 500m, memory: 1Gi}}
autoscaling: {enabled: true, minReplicas: 2, maxReplicas: 10, targetCPUUtilizationPercentage: 70, targetMemoryUtilizationPercentage: 80}
nodeSelector: {}
tolerations: []
affinity: {}
`

func TestGuideValues(t *testing.T) {
	var guide map[string]any
	if err := yaml.Unmarshal([]byte(guideValues), &guide); err != nil {
		t.Fatal(err)
	}
	var compare func(at string, want, got any)
	compare = func(at string, want, got any) {
		w, ok := want.(map[string]any)
		if !ok || len(w) == 0 {
			if !reflect.DeepEqual(want, got) {
				t.Errorf("%s is %v, and %v in the guide", at, got, want)
			}
			return
		}
		g, _ := got.(map[string]any)
		for key := range w {
			compare(at+"."+key, w[key], g[key])
		}
	}
	compare("", guide, readYAML(t, chart+"/values.yaml"))
	for _, name := range []string{"Chart.yaml", "values.yaml", "README.md", "templates/deployment.yaml", "templates/service.yaml",
		"templates/ingress.yaml", "templates/configmap.yaml", "templates/serviceaccount.yaml", "templates/hpa.yaml"} {
		if _, err := os.Stat(filepath.Join(chart, name)); err != nil {
			t.Errorf("the guide's structure: %v", err)
		}
	}
}

// TestMetadata holds Chart.yaml to what its values say, for Artifact Hub, and the
// README, which Artifact Hub shows by itself, to links that lead somewhere there.
func TestMetadata(t *testing.T) {
	meta, values := readYAML(t, chart+"/Chart.yaml"), readYAML(t, chart+"/values.yaml")
	app, _ := meta["appVersion"].(string)
	if !strings.HasPrefix(app, "v") {
		t.Errorf("appVersion is %q, and releases are tagged v*", app)
	}
	annotation := func(name string) []map[string]string {
		t.Helper()
		annotations, _ := meta["annotations"].(map[string]any)
		text, _ := annotations["artifacthub.io/"+name].(string)
		var list []map[string]string
		if err := yaml.Unmarshal([]byte(text), &list); err != nil || len(list) == 0 {
			t.Fatalf("%s: %d, %v", name, len(list), err)
		}
		return list
	}
	image := func(at map[string]any, tag string) string {
		m, _ := at["image"].(map[string]any)
		return fmt.Sprint(m["repository"], ":", cmp.Or(tag, fmt.Sprint(m["tag"])))
	}
	tests, _ := values["tests"].(map[string]any)
	var images []string
	for _, i := range annotation("images") {
		images = append(images, i["image"])
	}
	if want := []string{image(values, app), image(tests, "")}; !slices.Equal(images, want) {
		t.Errorf("images %v, want %v", images, want)
	}
	for _, c := range annotation("changes") {
		if !slices.Contains([]string{"added", "changed", "deprecated", "removed", "fixed", "security"}, c["kind"]) || c["description"] == "" {
			t.Errorf("change %v", c)
		}
	}
	for _, part := range strings.Split(string(read(t, chart+"/README.md")), "](")[1:] {
		if target, _, _ := strings.Cut(part, ")"); !strings.HasPrefix(target, "https://") && !strings.HasPrefix(target, "#") {
			t.Errorf("README.md has a link to %s", target)
		}
	}
}

// TestTemplatesParse parses every template, and holds each include to a
// template that is defined, and each define to one that is used.
func TestTemplatesParse(t *testing.T) {
	names := regexp.MustCompile(`function "(\w+)" not defined`)
	funcs := template.FuncMap{}
	defined, used := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(chart+"/templates", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text := string(read(t, name))
		for {
			_, err = template.New(name).Funcs(funcs).Parse(text)
			if err == nil {
				break
			}
			// Helm's own functions are not here; only the syntax is looked at.
			m := names.FindStringSubmatch(err.Error())
			if m == nil {
				t.Error(err)
				break
			}
			funcs[m[1]] = func(...any) any { return nil }
		}
		for _, m := range regexp.MustCompile(`define "([^"]+)"`).FindAllStringSubmatch(text, -1) {
			if defined[m[1]] {
				t.Errorf("%s: %s is defined twice", name, m[1])
			}
			defined[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`include "([^"]+)"`).FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(defined, used) {
		t.Errorf("defined: %v\nused: %v", slices.Sorted(maps.Keys(defined)), slices.Sorted(maps.Keys(used)))
	}
}

// TestTemplatesReadValues holds each .Values.x.y of the templates to a value
// that is there.
func TestTemplatesReadValues(t *testing.T) {
	values := readYAML(t, chart+"/values.yaml")
	paths := regexp.MustCompile(`(?:\.|\$v|\$root\.|\$\.)(?:Values)?\.([a-zA-Z][a-zA-Z.]*)`)
	seen := 0
	err := filepath.WalkDir(chart+"/templates", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, m := range paths.FindAllStringSubmatch(string(read(t, name)), -1) {
			if !strings.Contains(m[0], "Values") && !strings.HasPrefix(m[0], "$v") {
				continue
			}
			seen++
			var at any = values
			for key := range strings.SplitSeq(m[1], ".") {
				below, ok := at.(map[string]any)
				if !ok || len(below) == 0 {
					break
				}
				if at, ok = below[key]; !ok {
					t.Errorf("%s: .Values.%s is not in values.yaml", name, m[1])
					break
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 100 {
		t.Errorf("only %d values were found in the templates", seen)
	}
}
