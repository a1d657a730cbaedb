package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/carla-rl/carla-rl-serving/internal/ort"
)

// These are set by the linker; see LDFLAGS in the Makefile.
var (
	version = ""
	commit  = ""
	date    = ""
)

// versionCmd prints the version of the program.
type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

// buildInfo is what the binary knows of its own making.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Date     string `json:"date"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Engines  string `json:"engines"`
}

// build returns the facts of the linker, or those that the go command left in
// a binary made by `go install` or `go run`.
func build() buildInfo {
	b := buildInfo{
		Version:  version,
		Commit:   commit,
		Date:     date,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Engines:  "plan, reference",
	}
	if ort.Built {
		b.Engines += ", onnxruntime"
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && b.Commit == "" && len(s.Value) >= 8:
				b.Commit = s.Value[:8]
			case s.Key == "vcs.time" && b.Date == "":
				b.Date = s.Value
			}
		}
	}
	if b.Version == "" {
		b.Version = "dev"
	}
	for _, s := range []*string{&b.Commit, &b.Date} {
		if *s == "" {
			*s = "unknown"
		}
	}
	return b
}

// Run prints the version.
func (c *versionCmd) Run(s stdio) error {
	b := build()
	if c.JSON {
		return writeJSON(s.out, b)
	}
	fmt.Fprintf(s.out, "carla-rl %s (commit %s, %s)\n%s %s, engines: %s\n",
		b.Version, b.Commit, b.Date, b.Go, b.Platform, b.Engines)
	return nil
}
