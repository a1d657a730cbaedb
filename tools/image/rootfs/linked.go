package main

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// libraryFolders are where the loader of a Linux distribution looks, by the
// machine that an ELF file names.
var libraryFolders = map[elf.Machine][]string{
	elf.EM_X86_64:  {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
	elf.EM_AARCH64: {"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
}

// linkedDir is where the libraries go: every loader looks here last.
const linkedDir = "usr/lib"

// copyLinked puts the loader and the libraries that the given programs and
// libraries are linked to into the tree, from the image that builds: the C
// library that the program was linked with is the one that it runs on. It
// returns a component for each file.
func copyLinked(root string, files []string) ([]component, error) {
	var parts []component
	done := map[string]bool{}
	for _, f := range files {
		done[filepath.Base(f)] = true
	}
	for len(files) > 0 {
		next := files[0]
		files = files[1:]
		loader, needed, machine, err := linkage(next)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", next, err)
		}
		if loader != "" && !done[filepath.Base(loader)] {
			done[filepath.Base(loader)] = true
			part, err := copyPart(loader, root, strings.TrimPrefix(loader, "/"))
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
		}
		for _, name := range needed {
			if done[name] || strings.HasPrefix(name, "ld-linux") {
				continue
			}
			done[name] = true
			found, err := findLibrary(name, machine)
			if err != nil {
				return nil, fmt.Errorf("%s needs it: %w", next, err)
			}
			part, err := copyPart(found, root, filepath.Join(linkedDir, name))
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
			files = append(files, found)
		}
	}
	slices.SortFunc(parts, func(a, b component) int { return strings.Compare(a.Name, b.Name) })
	return parts, nil
}

// linkage returns the loader that an ELF file names, and the libraries that it
// needs.
func linkage(path string) (loader string, needed []string, machine elf.Machine, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", nil, 0, err
	}
	defer f.Close()
	if s := f.Section(".interp"); s != nil {
		data, err := s.Data()
		if err != nil {
			return "", nil, 0, err
		}
		loader = strings.TrimRight(string(data), "\x00")
	}
	needed, err = f.ImportedLibraries()
	return loader, needed, f.Machine, err
}

func findLibrary(name string, machine elf.Machine) (string, error) {
	for _, dir := range libraryFolders[machine] {
		path := filepath.Join(dir, name)
		if f, err := elf.Open(path); err == nil {
			fits := f.Machine == machine
			f.Close()
			if fits {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s is not in the image that builds", name)
}

// copyPart copies a file into the tree and returns its component.
func copyPart(from, root, name string) (component, error) {
	if err := copyFile(from, filepath.Join(root, name)); err != nil {
		return component{}, err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return component{}, err
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	return component{
		Ref: "file:/" + name, Type: "file", Name: "/" + name, Version: "sha256:" + digest[:12],
		Hashes: []hash{{"SHA-256", digest}},
	}, nil
}
