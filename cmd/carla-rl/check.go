package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// checkCmd holds the checks of files before a server reads them.
type checkCmd struct {
	Config   checkConfigCmd   `cmd:"" help:"Say everything that is wrong with a configuration file."`
	Artifact checkArtifactCmd `cmd:"" help:"Say everything that is wrong with an artifact folder."`
}

// checkConfigCmd reads a configuration file as the server would.
type checkConfigCmd struct {
	File string `arg:"" help:"The file."`
	Show bool   `help:"Print every setting that would be in force, and where it comes from."`
}

// Run prints every mistake in the file.
func (c *checkConfigCmd) Run(s stdio) error {
	if err := present(c.File); err != nil {
		return err
	}
	problems, notes := config.Check(c.File, config.Options{ONNXRuntime: ort.Built})
	for _, p := range problems {
		fmt.Fprintln(s.out, oneLine(p.String()))
	}
	for _, n := range notes {
		fmt.Fprintf(s.out, "note: %s\n", oneLine(n))
	}
	if len(problems) > 0 {
		return refused("configuration file", c.File, len(problems))
	}
	if c.Show {
		cfg, _, err := config.Load(config.Options{File: c.File, ONNXRuntime: ort.Built})
		if err != nil {
			return err
		}
		for _, v := range cfg.Values() {
			fmt.Fprintf(s.out, "%-36s %-16s %s\n", v.Key, oneLine(v.Value), oneLine(v.Source.String()))
		}
	}
	fmt.Fprintf(s.out, "%s: the configuration is valid\n", c.File)
	return nil
}

// checkArtifactCmd looks at the files of an artifact and, where nothing is wrong
// with them, at the policy that they hold. It computes no action.
type checkArtifactCmd struct {
	Dir           string `arg:"" help:"The folder, or a single file."`
	RequireHashes bool   `help:"Also demand a SHA-256 for each file, as model.require_hashes does."`
}

// Help tells what is looked at.
func (c *checkArtifactCmd) Help() string {
	return `Reads the card, finds the files, compares their SHA-256 with the card's, and lists
every problem. Where there is none it decodes the model and the preprocessor, and
holds their shapes and the observations of the golden vectors against the card. No
action is computed: carla-rl verify replays the golden vectors.`
}

// Run prints every problem of the folder.
func (c *checkArtifactCmd) Run(s stdio) error {
	if err := present(c.Dir); err != nil {
		return err
	}
	dir, note, err := artifactFolder(c.Dir)
	if err != nil {
		return err
	}
	problems, notes := artifact.Check(dir, artifact.Limits{RequireHashes: c.RequireHashes})
	for _, p := range problems {
		fmt.Fprintln(s.out, oneLine(p.String()))
	}
	if note != "" {
		notes = append([]string{note}, notes...)
	}
	for _, n := range notes {
		fmt.Fprintf(s.out, "note: %s\n", oneLine(n))
	}
	if len(problems) > 0 {
		return refused("artifact", c.Dir, len(problems))
	}
	if err := readable(dir, artifact.Limits{RequireHashes: c.RequireHashes}); err != nil {
		fmt.Fprintln(s.out, oneLine(err.Error()))
		return refused("artifact", c.Dir, 1)
	}
	fmt.Fprintf(s.out, "%s: the artifact is valid\n", c.Dir)
	return nil
}

// readable reads the policy of an artifact, and runs nothing of it.
func readable(dir string, l artifact.Limits) error {
	a, err := artifact.OpenPath(dir, l)
	if err != nil {
		return err
	}
	defer a.Release()
	return policy.Check(a)
}

// present refuses a name that is not there, before there is more to say of it.
func present(name string) error {
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: there is no such file or folder", name)
	}
	return nil
}

// refused counts what was listed on standard output.
func refused(what, name string, problems int) error {
	if problems == 1 {
		return fmt.Errorf("%s %s has 1 problem", what, name)
	}
	return fmt.Errorf("%s %s has %d problems", what, name, problems)
}
