package artifact

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// modelNames are the names that a model file has where the card does not give
// one. The first is the default and wins over the others; of the others only
// one may be there.
var modelNames = []string{
	"model.pt", "model.pth", "policy.pt", "policy.pth", "model.onnx", "policy.onnx", "policy.zip", "model.zip",
	"model.pt2", "policy.pt2", "model.safetensors", "policy.safetensors",
}

var modelExtensions = []string{".pt", ".pth", ".pt2", ".onnx", ".zip", ".safetensors"}

func isModelExtension(ext string) bool { return slices.Contains(modelExtensions, strings.ToLower(ext)) }

// IsModelFile reports whether a file of this name may be a model.
func IsModelFile(name string) bool { return isModelExtension(path.Ext(name)) }

// notModels are files with the ending of a model that RL Zoo puts on the hub
// beside it.
var notModels = []string{"train_eval_metrics.zip", "replay_buffer.zip"}

// model is what was chosen for the model of an artifact.
type model struct {
	name   string // of the file, "" where there is none
	folder string // of a model that was unzipped, "." for the artifact itself
	alone  bool   // the operator named it, and not the folder that it lies in
}

// agent reports whether the model may be one of stable-baselines3, which keeps
// the statistics of its observations in a file of their own.
func (m model) agent() bool {
	return m.folder != "" || strings.EqualFold(path.Ext(m.name), ".zip")
}

// stem is the name without what tells of a model, "" where the folder has it.
func (m model) stem() string {
	if m.folder != "" {
		return strings.TrimPrefix(m.folder, ".")
	}
	return stemOf(m.name)
}

func stemOf(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// checkpointName is what training leaves at a step: prefix_N_steps.zip of
// stable-baselines3, model_N.pt of rsl_rl.
var checkpointName = onDemand(`^(?:(.+)_(\d{1,18})_steps|(model)_(\d{1,18}))$`)

// checkpoint returns the prefix and the step in the name of a checkpoint.
func checkpoint(stem string) (prefix string, step int, ok bool) {
	m := checkpointName().FindStringSubmatch(stem)
	if m == nil {
		return "", 0, false
	}
	step, err := strconv.Atoi(m[2] + m[4])
	return m[1] + m[3], step, err == nil
}

// bestName is the stem of what the evaluation callback of stable-baselines3
// leaves.
const bestName = "best_model"

// passing reports whether a model is not the end of its training: the best one
// so far or a checkpoint.
func passing(stem string) bool {
	_, _, ok := checkpoint(stem)
	return ok || stem == bestName
}

// model chooses the model of a folder. Without one it has told why.
//
//  1. The file that the card names.
//  2. A file of a known name.
//  3. Without a card: the only other model, best_model and checkpoints aside;
//     of several the one that the folder is named after, or that has a folder of
//     its own name; else best_model; else the last checkpoint.
//  4. A zip of stable-baselines3 that was unzipped, here or in one folder.
func (o *opener) model() model {
	if name := o.a.Card.ModelFilename; name != "" {
		return model{name: name}
	}
	here := isUnzipped(o.names)
	var known, others []string
	for _, name := range o.names {
		switch {
		case here && (slices.Contains(unzippedNames, name) || strings.HasSuffix(name, ".pth")):
		case slices.Contains(modelNames, name):
			known = append(known, name)
		case IsModelFile(name) && ValidName(name) && !slices.Contains(notModels, name) && !o.isFolder(name):
			others = append(others, name)
		}
	}
	slices.SortFunc(known, func(a, b string) int { return slices.Index(modelNames, a) - slices.Index(modelNames, b) })
	switch {
	case len(known) > 1 && known[0] != modelNames[0]:
		return o.ambiguous(known)
	case len(known) > 0:
		o.unused(known[0], append(known[1:], others...))
		return model{name: known[0]}
	case len(others) > 0 && !o.a.Card.Present:
		return o.choose(others)
	case here:
		return model{folder: "."}
	}
	return o.unzippedBelow()
}

// choose takes one of several models of no known name.
func (o *opener) choose(names []string) model {
	var final []string
	best, last, lastStep := "", "", -1
	for _, name := range names {
		switch stem := stemOf(name); {
		case stem == bestName:
			best = name
		default:
			if _, step, ok := checkpoint(stem); !ok {
				final = append(final, name)
			} else if step > lastStep {
				last, lastStep = name, step
			}
		}
	}
	if len(final) > 1 {
		if own := slices.DeleteFunc(slices.Clone(final), func(name string) bool { return !o.own(stemOf(name)) }); len(own) == 1 {
			final = own
		}
	}
	taken := best
	switch {
	case len(final) > 1:
		return o.ambiguous(final)
	case len(final) == 1:
		taken = final[0]
	case best == "":
		taken = last
	}
	o.unused(taken, names)
	return model{name: taken}
}

// own reports whether a folder is plainly that of the model of this stem: it
// is named after it, as on the hub and as the runs of RL Zoo are, or holds a
// folder of its name.
func (o *opener) own(stem string) bool {
	return stem == o.called || stem == runOf(o.called) || o.isFolder(stem)
}

// runName is a folder of a run of RL Zoo: the environment and a number.
var runName = onDemand(`^(.+)_\d+$`)

func runOf(folder string) string {
	if m := runName().FindStringSubmatch(folder); m != nil {
		return m[1]
	}
	return folder
}

func (o *opener) ambiguous(names []string) model {
	o.problem(Problem{File: names[0], Err: fmt.Errorf("%w: there is also %s", ErrAmbiguous, strings.Join(names[1:], ", ")),
		Hint: "name one with model_filename in the card, or give the path of the file"})
	return model{}
}

// unused notes the models that were not taken.
func (o *opener) unused(taken string, names []string) {
	const most = 5
	left := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == taken })
	switch n := len(left); {
	case n == 1:
		o.note("%s is used; %s is not.", taken, left[0])
	case n > most:
		o.note("%s is used; %s and %d others are not.", taken, strings.Join(left[:most], ", "), n-most)
	case n > 1:
		o.note("%s is used; %s are not.", taken, strings.Join(left, ", "))
	}
}

// isFolder reports whether there is a folder of this name.
func (o *opener) isFolder(name string) bool {
	if !slices.Contains(o.names, name) {
		return false
	}
	info, err := fs.Stat(o.fsys, join(o.dir, name))
	return err == nil && info.IsDir()
}

// folders returns the folders of the artifact, a few of them: they are those
// that a training leaves.
func (o *opener) folders() []string {
	const most, looks = 64, 512
	var out []string
	for i, name := range o.names {
		if i >= looks || len(out) == most {
			break
		}
		if name[0] != '.' && o.isFolder(name) {
			out = append(out, name)
		}
	}
	return out
}
