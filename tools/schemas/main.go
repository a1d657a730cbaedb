// The command schemas writes the JSON schemas that kubeconform asks for, one for
// each kind, from what Kubernetes and the makers of custom resources publish:
//
//	schemas OUT SWAGGER.json [CRD.yaml ...]
//
// The schemas are strict: a key that a kind does not have is an error. Each is
// OUT/KIND-GROUP-VERSION.json, which is kubeconform's own scheme:
//
//	kubeconform -strict -schema-location 'OUT/{{.ResourceKind}}{{.KindSuffix}}.json'
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// definitions is the file that the others refer to.
const definitions = "_definitions.json"

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: schemas OUT SWAGGER.json [CRD.yaml ...]")
		os.Exit(2)
	}
	n, err := run(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, n, "schemas in", os.Args[1])
}

// run writes the schemas of a swagger file and of custom resources into out,
// and returns how many.
func run(out, swagger string, crds []string) (int, error) {
	data, err := os.ReadFile(swagger)
	if err != nil {
		return 0, err
	}
	var api struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(data, &api); err != nil {
		return 0, fmt.Errorf("%s: %w", swagger, err)
	}
	n := 0
	w := func(kind, group, version string, schema map[string]any) error {
		n++
		properties, _ := schema["properties"].(map[string]any)
		if properties == nil {
			properties = map[string]any{}
			schema["properties"] = properties
		}
		full := version
		if group != "" {
			full = group + "/" + version
		}
		properties["kind"] = map[string]any{"const": kind}
		properties["apiVersion"] = map[string]any{"const": full}
		properties["metadata"] = ref("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
		required, _ := schema["required"].([]any)
		schema["required"] = append(slices.Clone(required), "apiVersion", "kind")
		return write(filepath.Join(out, fileName(kind, group, version)), schema)
	}
	strictly := map[string]any{}
	for name, d := range api.Definitions {
		strictly[name] = strict(d)
	}
	// A quantity may be written as a number too.
	strictly["io.k8s.apimachinery.pkg.api.resource.Quantity"] = map[string]any{"type": []string{"string", "number"}}
	if err := write(filepath.Join(out, definitions), map[string]any{"definitions": strictly}); err != nil {
		return 0, err
	}
	for _, d := range api.Definitions {
		for _, k := range kindsOf(d) {
			if err := w(k.kind, k.group, k.version, strict(d).(map[string]any)); err != nil {
				return n, err
			}
		}
	}
	for _, name := range crds {
		if err := custom(name, w); err != nil {
			return n, fmt.Errorf("%s: %w", name, err)
		}
	}
	return n, nil
}

type kindName struct{ group, version, kind string }

// kindsOf returns the kind that a definition is of; lists of options, which are
// of many, and definitions without metadata are none that a file holds.
func kindsOf(d map[string]any) []kindName {
	list, _ := d["x-kubernetes-group-version-kind"].([]any)
	properties, _ := d["properties"].(map[string]any)
	if _, ok := properties["metadata"]; !ok || len(list) != 1 {
		return nil
	}
	m, _ := list[0].(map[string]any)
	text := func(key string) string { s, _ := m[key].(string); return s }
	return []kindName{{text("group"), text("version"), text("kind")}}
}

// custom writes the schemas of the custom resources of a file.
func custom(name string, w func(kind, group, version string, schema map[string]any) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for d := yaml.NewDecoder(f); ; {
		var crd struct {
			Kind string
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPI map[string]any `yaml:"openAPIV3Schema"`
					}
				}
			}
		}
		switch err := d.Decode(&crd); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if crd.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, v := range crd.Spec.Versions {
			schema, ok := strict(v.Schema.OpenAPI).(map[string]any)
			if !ok {
				return fmt.Errorf("%s %s has no schema", crd.Spec.Names.Kind, v.Name)
			}
			if err := w(crd.Spec.Names.Kind, crd.Spec.Group, v.Name, schema); err != nil {
				return err
			}
		}
	}
}

// strict returns a copy of an OpenAPI schema as a JSON schema: a key that has
// no property is an error where the schema does not say otherwise, and what is
// a number or a string in Kubernetes may be either.
func strict(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = strict(v[i])
		}
		return list
	case map[string]any:
		if to, ok := v["$ref"].(string); ok {
			return ref(strings.TrimPrefix(to, "#/definitions/"))
		}
		if v["format"] == "int-or-string" || v["x-kubernetes-int-or-string"] == true {
			return map[string]any{"type": []string{"string", "integer"}}
		}
		m := map[string]any{}
		for key, below := range v {
			switch properties, ok := below.(map[string]any); {
			case key == "properties" && ok:
				of := map[string]any{}
				for name, p := range properties {
					of[name] = strict(p)
				}
				m[key] = of
			case key == "format" || key == "description" || key == "default" || strings.HasPrefix(key, "x-"):
				// Of no weight here, or not of JSON schema.
			default:
				m[key] = strict(below)
			}
		}
		_, has := m["properties"]
		_, says := m["additionalProperties"]
		if has && !says && v["x-kubernetes-preserve-unknown-fields"] != true {
			m["additionalProperties"] = false
		}
		if v["nullable"] == true {
			delete(m, "nullable")
			return map[string]any{"anyOf": []any{map[string]any{"type": "null"}, m}}
		}
		return m
	}
	return v
}

func ref(name string) map[string]any {
	return map[string]any{"$ref": definitions + "#/definitions/" + name}
}

// fileName is the name that kubeconform looks for: of the group only the first
// part counts.
func fileName(kind, group, version string) string {
	parts := []string{strings.ToLower(kind)}
	if group != "" {
		first, _, _ := strings.Cut(group, ".")
		parts = append(parts, first)
	}
	return strings.Join(append(parts, version), "-") + ".json"
}

func write(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
