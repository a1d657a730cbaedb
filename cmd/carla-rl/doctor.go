package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/doctor"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// doctorCmd names what keeps a deployment from working.
type doctorCmd struct {
	Config    string   `placeholder:"FILE" help:"Configuration file to examine."`
	Artifacts string   `placeholder:"DIR" help:"Artifact folder that will be served."`
	File      []string `short:"f" name:"filename" sep:"none" placeholder:"FILE" help:"Kubernetes manifests: a file, a folder of files, or - for standard input. May be given several times; all are taken for one deployment."`
	JSON      bool     `help:"Print JSON."`
}

// Help tells the severities and the exit codes.
func (c *doctorCmd) Help() string {
	return `Examines what it is given, and asks no cluster. Each finding has the place, the
reason and the mend. An error does not work or is refused; a warning works at first
and fails later or under load; a note is worth knowing.

Exit code 0: nothing, or notes only; 1: errors or warnings, or a file that cannot be
read; 2: the command line is wrong.

Examples:
  carla-rl doctor -f deploy/k8s/
  kubectl kustomize deploy/k8s/overlays/production | carla-rl doctor -f -
  helm template charts/carla-rl-serving | carla-rl doctor -f - --json
  carla-rl doctor --config config.yaml --artifacts ./artifacts`
}

// Run examines and prints.
func (c *doctorCmd) Run(s stdio) error {
	if c.Config == "" && c.Artifacts == "" && len(c.File) == 0 {
		return usage(errors.New("name what to examine: --config FILE, --artifacts DIR or -f FILE"))
	}
	in := doctor.Input{Server: doctorServer()}
	for _, name := range c.File {
		objects, err := manifests(name, s.in)
		if err != nil {
			return err
		}
		in.Objects = append(in.Objects, objects...)
	}
	if c.Config != "" {
		data, err := os.ReadFile(c.Config)
		if err != nil {
			return err
		}
		in.Config = &doctor.Text{Name: c.Config, Data: string(data)}
	}
	if c.Artifacts != "" {
		if err := present(c.Artifacts); err != nil {
			return err
		}
		in.Artifacts = &doctor.Artifacts{Name: c.Artifacts, Open: openArtifact(c.Artifacts)}
	}
	findings := doctor.Examine(in)
	counts := [3]int{}
	for _, f := range findings {
		counts[f.Severity]++
	}
	if c.JSON {
		if err := writeJSON(s.out, doctorReport{Objects: len(in.Objects), Findings: slices.Concat([]doctor.Finding{}, findings)}); err != nil {
			return err
		}
	} else {
		printFindings(s.out, findings)
		fmt.Fprintf(s.out, "%s, %s, %s in %s\n", counted(counts[doctor.Error], "error"), counted(counts[doctor.Warning], "warning"), counted(counts[doctor.Note], "note"), counted(len(in.Objects), "object"))
	}
	if worst, found := doctor.Worst(findings); found && worst > doctor.Note {
		return fmt.Errorf("doctor: %s and %s", counted(counts[doctor.Error], "error"), counted(counts[doctor.Warning], "warning"))
	}
	return nil
}

// doctorReport is the form of --json.
type doctorReport struct {
	Objects  int              `json:"objects"`
	Findings []doctor.Finding `json:"findings"`
}

func counted(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// printFindings writes findings, the worst first, those of one check together.
func printFindings(w io.Writer, findings []doctor.Finding) {
	for severity := doctor.Error; severity >= doctor.Note; severity-- {
		why := ""
		for _, f := range findings {
			if f.Severity != severity {
				continue
			}
			fmt.Fprintf(w, "%s: %s [%s]\n  %s\n", f.Severity, oneLine(f.Where), f.Check, oneLine(f.What))
			if f.Why != why {
				fmt.Fprintf(w, "  %s\n", f.Why)
				why = f.Why
			}
			for i, line := range strings.Split(printable(f.Mend), "\n") {
				lead := "        "
				if i == 0 {
					lead = "  mend: "
				}
				fmt.Fprintf(w, "%s%s\n", lead, line)
			}
			fmt.Fprintln(w)
		}
	}
}

// manifests reads a file, the manifests of a folder, or standard input.
func manifests(name string, in io.Reader) ([]*doctor.Object, error) {
	if name == "-" {
		return doctor.Decode("stdin", in)
	}
	if err := present(name); err != nil {
		return nil, err
	}
	var out []*doctor.Object
	err := filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		ext := filepath.Ext(path)
		if d.IsDir() && path != name {
			return fs.SkipDir // As kubectl apply -f does.
		}
		if d.IsDir() || path != name && ext != ".yaml" && ext != ".yml" && ext != ".json" {
			return nil
		}
		if strings.EqualFold(strings.TrimSuffix(d.Name(), ext), "kustomization") {
			return nil // It is for kustomize, and its result is what is applied.
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		objects, err := doctor.Decode(path, f)
		out = append(out, objects...)
		return err
	})
	return out, err
}

// openArtifact finds and opens what a server would answer with.
func openArtifact(root string) func(version string) (*artifact.Artifact, []artifact.Problem, error) {
	return func(version string) (*artifact.Artifact, []artifact.Problem, error) {
		dir := root
		if isFolder(root) {
			at, err := repository.Locate(repository.Options{Root: root, ModelVersion: version})
			switch {
			case errors.Is(err, repository.ErrEmpty) && !errors.Is(err, artifact.ErrEscape):
			case err != nil:
				return nil, nil, err
			default:
				dir = at.Path
			}
		}
		a, err := artifact.OpenPath(dir, artifact.Limits{})
		if err == nil {
			a.Release()
			return a, nil, nil
		}
		if list := (*artifact.Error)(nil); errors.As(err, &list) {
			return nil, list.Problems, nil
		}
		return nil, nil, err
	}
}
