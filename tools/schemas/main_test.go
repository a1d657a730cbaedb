package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

const swagger = `{"definitions": {
  "io.k8s.api.apps.v1.Deployment": {
    "description": "left out",
    "properties": {
      "apiVersion": {"type": "string"}, "kind": {"type": "string"},
      "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
      "spec": {"type": "object", "required": ["port"], "properties": {
        "port": {"format": "int-or-string", "type": "string"},
        "format": {"type": "string", "format": "byte"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}
    },
    "x-kubernetes-group-version-kind": [{"group": "apps", "kind": "Deployment", "version": "v1"}]
  },
  "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions": {
    "properties": {"metadata": {}},
    "x-kubernetes-group-version-kind": [{"group": "", "kind": "DeleteOptions", "version": "v1"}, {"group": "apps", "kind": "DeleteOptions", "version": "v1"}]
  }
}}`

const crd = `apiVersion: v1
kind: Namespace
---
kind: CustomResourceDefinition
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            properties:
              free: {type: object, properties: {a: {type: string}}, x-kubernetes-preserve-unknown-fields: true}
              maybe: {type: string, nullable: true}
`

func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"swagger.json": swagger, "crd.yaml": crd} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n, err := run(dir, dir+"/swagger.json", []string{dir + "/crd.yaml"})
	if err != nil || n != 2 {
		t.Fatalf("%d schemas, %v; want 2", n, err)
	}
	f := func(name, want string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var g, w any
		if err := json.Unmarshal(data, &g); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(want), &w); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s:\n%s\nwant\n%s", name, data, want)
		}
	}
	f("deployment-apps-v1.json", `{
	  "properties": {
	    "apiVersion": {"const": "apps/v1"}, "kind": {"const": "Deployment"},
	    "metadata": {"$ref": "_definitions.json#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
	    "spec": {"type": "object", "required": ["port"], "additionalProperties": false, "properties": {
	      "port": {"type": ["string", "integer"]},
	      "format": {"type": "string"},
	      "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}
	  },
	  "additionalProperties": false,
	  "required": ["apiVersion", "kind"]}`)
	f("servicemonitor-monitoring-v1.json", `{
	  "type": "object",
	  "properties": {
	    "apiVersion": {"const": "monitoring.coreos.com/v1"}, "kind": {"const": "ServiceMonitor"},
	    "metadata": {"$ref": "_definitions.json#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
	    "spec": {"type": "object", "additionalProperties": false, "properties": {
	      "free": {"type": "object", "properties": {"a": {"type": "string"}}},
	      "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]}}}
	  },
	  "additionalProperties": false,
	  "required": ["spec", "apiVersion", "kind"]}`)
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := run(dir, dir+"/none.json", nil); err == nil {
		t.Error("a file that is not there is taken")
	}
	if err := os.WriteFile(dir+"/swagger.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(dir, dir+"/swagger.json", nil); err == nil {
		t.Error("a file that is no JSON is taken")
	}
}
