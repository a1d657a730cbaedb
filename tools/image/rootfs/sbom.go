package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// bom is a CycloneDX bill of materials, as far as it is filled here. Its form
// is https://cyclonedx.org/docs/1.6/json/.
type bom struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp,omitempty"`
	Component component `json:"component"`
}

type component struct {
	Ref        string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Scope      string     `json:"scope,omitempty"`
	PackageURL string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// writeSBOM writes the bill of materials of a Go program: the modules that the
// linker says are in it, and the standard library. extra are components that
// stand beside the program.
func writeSBOM(program, to string, f facts, extra ...component) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read what was linked: %w", err)
	}
	data, err := json.MarshalIndent(billOf(info, f, extra), "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, append(data, '\n'), 0o644)
}

// billOf makes the bill of materials of what info tells.
func billOf(info *debug.BuildInfo, f facts, extra []component) bom {
	main := golangModule(debug.Module{Path: info.Main.Path, Version: f.version})
	main.Type = "application"
	for _, s := range info.Settings {
		switch s.Key {
		case "GOARCH", "GOOS", "CGO_ENABLED", "-tags":
			main.Properties = append(main.Properties, property{"carla-rl:build:" + s.Key, s.Value})
		}
	}
	main.Properties = append(main.Properties, property{"carla-rl:build:commit", f.commit})

	b := bom{Format: "CycloneDX", SpecVersion: "1.6", Version: 1, Metadata: metadata{Component: main}}
	if f.date != unknown {
		b.Metadata.Timestamp = f.time().Format(time.RFC3339)
	}
	b.Components = append(b.Components, golangModule(debug.Module{Path: "std", Version: info.GoVersion}))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.Components = append(b.Components, golangModule(*m))
	}
	b.Components = append(b.Components, extra...)

	all := dependency{Ref: main.Ref}
	for _, c := range b.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{all}
	for _, c := range b.Components {
		b.Dependencies = append(b.Dependencies, dependency{Ref: c.Ref})
	}
	return b
}

// golangModule returns the component of a Go module. Its package URL follows
// https://github.com/package-url/purl-spec, type golang.
func golangModule(m debug.Module) component {
	url := "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	c := component{Ref: url, Type: "library", Name: m.Path, Version: m.Version, Scope: "required", PackageURL: url}
	// h1: is the SHA-256 of a list of the module's files, not of an archive.
	if sum, ok := strings.CutPrefix(m.Sum, "h1:"); ok {
		if raw, err := base64.StdEncoding.DecodeString(sum); err == nil {
			c.Hashes = []hash{{"SHA-256", hex.EncodeToString(raw)}}
		}
	}
	return c
}
