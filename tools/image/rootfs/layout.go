package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Paths in the image.
const (
	programPath = "usr/local/bin/carla-rl"
	sbomPath    = "usr/share/sbom/carla-rl.cdx.json"
	bundlePath  = "etc/ssl/certs/ca-certificates.crt"
)

// Modes of folders that a user without a name in /etc/passwd must be able to
// write, whatever its groups: as /tmp has it.
const modeShared = 0o777 | fs.ModeSticky

// accounts are the users of the image, for programs that look up a name. The
// number counts: an image runs under any other as well.
const accounts = "root:x:0:0:root:/:/sbin/nologin\n" +
	"carla-rl:x:1000:1000:carla-rl:/app:/sbin/nologin\n" +
	"nonroot:x:65532:65532:nonroot:/app:/sbin/nologin\n" +
	"nobody:x:65534:65534:nobody:/:/sbin/nologin\n"

// groups are the groups of accounts.
const groups = "root:x:0:\ncarla-rl:x:1000:\nnonroot:x:65532:\nnogroup:x:65534:\n"

// compile builds the program for linux with the flags of the Makefile.
func compile(o options, f facts, to string) error {
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false",
		"-ldflags", fmt.Sprintf("-s -w -X main.version=%s -X main.commit=%s -X main.date=%s", f.version, f.commit, f.date),
		"-o", to}
	cgo := "CGO_ENABLED=0"
	if o.ort != "" {
		cgo = "CGO_ENABLED=1"
		args = append(args, "-tags", "ort")
	}
	cmd := exec.Command("go", append(args, "./cmd/carla-rl")...)
	cmd.Dir = o.source
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+o.arch, cgo)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}

// layOut adds all that stands beside the program.
func layOut(source, out string) error {
	for _, dir := range []string{"app/artifacts", "app/config", "app/logs", "etc/ssl/certs", "tmp", "licenses"} {
		if err := os.MkdirAll(filepath.Join(out, dir), 0o755); err != nil {
			return err
		}
	}
	demo := filepath.Join(source, "internal/demo/artifact")
	members, err := os.ReadDir(demo)
	if err != nil {
		return fmt.Errorf("the demo policy: %w", err)
	}
	for _, m := range members {
		if err := copyFile(filepath.Join(demo, m.Name()), filepath.Join(out, "app/artifacts", m.Name())); err != nil {
			return err
		}
	}
	for _, name := range []string{"LICENSE", "THIRD_PARTY_LICENSES"} {
		if err := copyFile(filepath.Join(source, name), filepath.Join(out, "licenses", name)); err != nil {
			return err
		}
	}
	// The authorities that HTTPS to a trace collector is checked by. A base
	// image may bring its own.
	if err := copyFile(filepath.Join("/", bundlePath), filepath.Join(out, bundlePath)); err != nil {
		fmt.Fprintf(os.Stderr, "rootfs: no certificate authorities in the image: %v\n", err)
	}
	for name, text := range map[string]string{"etc/passwd": accounts, "etc/group": groups} {
		if err := os.WriteFile(filepath.Join(out, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies the bytes of a file.
func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// shared are the folders that the server may write to.
var shared = []string{"tmp", "app/logs"}

// freeze gives every file and folder below root its mode and the same time, so
// that neither the umask nor the clock of a builder is seen in the image.
func freeze(root string, at time.Time) error {
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return err
	}
	// A folder after what it holds: writing in it would change its time.
	slices.Reverse(paths)
	for _, path := range paths {
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		switch {
		case slices.Contains(shared, name):
			mode = modeShared
		case info.IsDir() || name == programPath || strings.HasPrefix(filepath.Base(name), "ld-linux"):
			mode = 0o755
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
		if err := os.Chtimes(path, at, at); err != nil {
			return err
		}
	}
	return nil
}
