// Command licenses writes THIRD_PARTY_LICENSES: the modules that are linked
// into the program, on any platform of a release and with ONNX Runtime, and the
// licences that their authors want to be given on. A licence that is not on the
// list of those that we link fails, and so does a module that has none.
//
//	licenses            writes the file
//	licenses -check     fails where the file differs from what would be written
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

const file = "THIRD_PARTY_LICENSES"

// allowed are the licences that may be linked, by their SPDX names: they ask
// for their text to be given on and for nothing of the program that links them.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "blessing"}

// builds are what is released.
var builds = []struct{ os, arch, tags string }{
	{"linux", "amd64", ""}, {"linux", "arm64", ""}, {"darwin", "arm64", ""}, {"windows", "amd64", ""}, {"linux", "amd64", "ort"},
}

func main() {
	check := flag.Bool("check", false, "compare and do not write")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	text, err := list()
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(file, text, 0o644)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, text) {
		return fmt.Errorf("%s is not what is linked: run make licenses and commit", file)
	}
	fmt.Printf("%s is what is linked: %d texts of licences\n", file, strings.Count(string(text), rule)/2)
	return nil
}

// a module is linked, with the files of its licences by their names in it.
type module struct {
	path, version, dir string
	files              map[string]string
}

const rule = "--------------------------------------------------------------------------------\n"

// list returns the text of the file.
func list() ([]byte, error) {
	modules, err := linked()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("carla-rl links the Go standard library and the modules below, each under its\nown licence, whose text follows. `make licenses` writes this file.\n\n")
	var texts bytes.Buffer
	var wrong []error
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		m := modules[path]
		names := map[string]bool{}
		title := strings.TrimSpace(m.path + " " + m.version)
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			if strings.HasPrefix(m.path, "modernc.org/") && (name == "LICENSE-3RD-PARTY.md" || name == "LICENSE-LOGO") {
				continue // A list of others', which stand here by themselves where they are linked, and a picture's.
			}
			found := licences(m.files[name])
			if len(found) == 0 && isLicence(name) {
				wrong = append(wrong, fmt.Errorf("%s: %s is no licence that is known here", title, name))
			}
			for _, l := range found {
				names[l] = true
				if !slices.Contains(allowed, l) {
					wrong = append(wrong, fmt.Errorf("%s: %s is under %s, which is not linked here", title, name, l))
				}
			}
			fmt.Fprintf(&texts, "%s%s: %s\n%s\n%s\n\n", rule, title, name, rule, strings.TrimSpace(m.files[name]))
		}
		if len(names) == 0 {
			wrong = append(wrong, fmt.Errorf("%s has no licence", title))
		}
		fmt.Fprintf(&b, "%-76s %s\n", title, strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	}
	b.WriteByte('\n')
	b.Write(bytes.TrimRight(texts.Bytes(), "\n"))
	b.WriteByte('\n')
	return b.Bytes(), errors.Join(wrong...)
}

// linked returns the modules of all builds and, as the module std, Go's library.
func linked() (map[string]*module, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	std := &module{path: "Go standard library", files: map[string]string{}}
	if err := std.add(strings.TrimSpace(string(root)), strings.TrimSpace(string(root))); err != nil {
		return nil, err
	}
	modules := map[string]*module{"": std}
	for _, k := range builds {
		cmd := exec.Command("go", "list", "-deps", "-tags="+k.tags, "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}\t{{$.Dir}}{{end}}{{end}}", "./cmd/carla-rl")
		cmd.Env = append(os.Environ(), "GOOS="+k.os, "GOARCH="+k.arch, "CGO_ENABLED=0")
		if k.tags != "" && k.os == runtime.GOOS && k.arch == runtime.GOARCH {
			cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
		}
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("list what is linked for %s/%s: %w", k.os, k.arch, err)
		}
		for line := range strings.Lines(string(out)) {
			f := strings.Split(strings.TrimSpace(line), "\t")
			if len(f) != 4 {
				continue
			}
			m := modules[f[0]]
			if m == nil {
				m = &module{path: f[0], version: f[1], dir: f[2], files: map[string]string{}}
				modules[f[0]] = m
			}
			if err := m.add(m.dir, f[3]); err != nil {
				return nil, err
			}
		}
	}
	return modules, nil
}

// notice are the names of files that go with a licence.
var notice = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)(\.(md|txt|rst))?$|(?i)^licen[cs]e-[a-z0-9.-]*$`)

func isLicence(name string) bool {
	base := strings.ToLower(filepath.Base(name))
	return strings.HasPrefix(base, "licen") || strings.HasPrefix(base, "copying")
}

// add reads the licences of a package and of the folders above it, as far as
// the module goes.
func (m *module) add(root, dir string) error {
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !notice.MatchString(e.Name()) {
				continue
			}
			name, err := filepath.Rel(root, filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			m.files[filepath.ToSlash(name)] = strings.ReplaceAll(string(data), "\r\n", "\n")
		}
		if len(dir) <= len(root) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// marks are words that only one kind of licence has.
var marks = []struct{ name, words string }{
	{"Apache-2.0", "apache license version 2.0"},
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"ISC", "permission to use, copy, modify, and distribute this software for any purpose"},
	{"MPL", "mozilla public license"},
	{"GPL", "gnu general public license"},
	{"LGPL", "gnu lesser general public license"},
	{"AGPL", "gnu affero general public license"},
	{"EPL", "eclipse public license"},
	{"CDDL", "common development and distribution license"},
	{"BUSL", "business source license"},
	{"SSPL", "server side public license"},
	{"CC", "creative commons"},
	{"blessing", "sqlite has been dedicated to the public domain by the authors"}, // SPDX's name for SQLite's
}

var spaces = regexp.MustCompile(`[\s,]*\s[\s,]*`)

// licences returns the names of the licences that a text holds.
func licences(text string) []string {
	plain := spaces.ReplaceAllString(strings.ToLower(text), " ")
	found := map[string]bool{}
	for _, m := range marks {
		if strings.Contains(plain, spaces.ReplaceAllString(m.words, " ")) {
			found[m.name] = true
		}
	}
	if strings.Contains(plain, "redistribution and use in source and binary forms") {
		if strings.Contains(plain, "neither the name") || strings.Contains(plain, "may not be used to endorse") || strings.Contains(plain, "nor the names of") {
			found["BSD-3-Clause"] = true
		} else {
			found["BSD-2-Clause"] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}
