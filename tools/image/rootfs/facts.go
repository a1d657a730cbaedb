package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// facts are what the program knows of its commit.
type facts struct {
	version string // v1.2.3, or v0.0.0-COMMIT where no tag is near.
	commit  string // Eight hexadecimal digits, or "unknown".
	date    string // Time of the commit, RFC 3339 in UTC, or "unknown".
}

// unknown stands for a fact that neither the caller nor git gave.
const unknown = "unknown"

// complete fills what is empty in f from the checkout at dir, by the rules of
// the Makefile, so that `make build` and the image hold the same program.
func (f facts) complete(dir string) (facts, error) {
	if f.commit == "" {
		f.commit = commitOf(dir)
	}
	if f.date == "" {
		f.date = gitOutput(dir, "log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ")
	}
	if f.date == "" {
		f.date = unknown
	}
	if f.version == "" {
		f.version = versionOf(dir, f.commit)
	}
	for name, value := range map[string]string{"version": f.version, "commit": f.commit, "date": f.date} {
		// These go into the linker's flags, which are split at spaces.
		if !regexp.MustCompile(`^[0-9A-Za-z.:+_-]+$`).MatchString(value) {
			return f, fmt.Errorf("the %s %q has characters other than letters, digits and .:+_-", name, value)
		}
	}
	if f.date != unknown {
		if _, err := time.Parse(time.RFC3339, f.date); err != nil {
			return f, fmt.Errorf("the date is not in RFC 3339: %w", err)
		}
	}
	return f, nil
}

// time returns the time that all files of the image carry: that of the commit,
// or the first second of 1980, which every archive format can hold.
func (f facts) time() time.Time {
	if t, err := time.Parse(time.RFC3339, f.date); err == nil {
		return t.UTC()
	}
	return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
}

// versionOf returns the nearest tag, marked when a file of the checkout differs
// from the commit. The context of an image build leaves files out, so a file
// that is missing is no difference.
func versionOf(dir, commit string) string {
	tag := gitOutput(dir, "describe", "--tags", "--match", "v*")
	if tag == "" {
		return "v0.0.0-" + commit
	}
	if dirty := gitCommand(dir, "diff", "--quiet", "--diff-filter=d", "HEAD"); exitCode(dirty.Run()) == 1 {
		tag += "-dirty"
	}
	return tag
}

// commitOf returns the commit of the checkout at dir. It reads the files of git
// itself, because small build images hold no git.
func commitOf(dir string) string {
	if c := gitOutput(dir, "rev-parse", "--short=8", "HEAD"); c != "" {
		return c
	}
	head, err := os.ReadFile(filepath.Join(dir, ".git", "HEAD"))
	if err != nil {
		return unknown
	}
	ref, symbolic := strings.CutPrefix(strings.TrimSpace(string(head)), "ref: ")
	if !symbolic {
		return short(ref)
	}
	if loose, err := os.ReadFile(filepath.Join(dir, ".git", filepath.FromSlash(ref))); err == nil {
		return short(string(loose))
	}
	packed, err := os.ReadFile(filepath.Join(dir, ".git", "packed-refs"))
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(packed)) {
		if hash, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == ref {
			return short(hash)
		}
	}
	return unknown
}

// short returns the first eight digits of a hash, or "unknown" for what is none.
func short(hash string) string {
	if hash = strings.TrimSpace(hash); regexp.MustCompile(`^[0-9a-f]{40,64}$`).MatchString(hash) {
		return hash[:8]
	}
	return unknown
}

// gitOutput returns what git prints, or "" where git or the repository is
// missing.
func gitOutput(dir string, args ...string) string {
	out, err := gitCommand(dir, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func gitCommand(dir string, args ...string) *exec.Cmd {
	// The context may belong to another user than the one who builds.
	cmd := exec.Command("git", append([]string{"-c", "safe.directory=*"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TZ=UTC")
	return cmd
}

// exitCode returns the exit code in err, or -1 where there is none.
func exitCode(err error) int {
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}
