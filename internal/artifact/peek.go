package artifact

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// algorithmName begins the name of a model on the hub: the algorithm, then the
// environment.
var algorithmName = onDemand(`(?i)^(?:ppo|a2c|dqn|sac|td3|ddpg|tqc|qrdqn|qr-dqn|trpo|ars|crossq|her|maskable_?ppo|recurrent_?ppo|ppo_lstm|ppo_mask)-.`)

// trainedName is the name of a model without a card: the algorithm and the
// environment where the training or, as on the hub, the file says them; else
// what the path makes.
func trainedName(called, stem string, t *Training) string {
	if t != nil && t.Algorithm != "" && t.Env != "" {
		return NameFromPath(strings.NewReplacer("/", "-", ":", "-").Replace(t.Algorithm + "-" + t.Env))
	}
	if algorithmName().MatchString(stem) {
		return NameFromPath(stem)
	}
	return called
}

// Peek tells whether the folder dir of fsys, which has no card, holds a model
// all the same, and how it is called; called is the name that its path makes.
// No model is read.
func Peek(fsys fs.FS, dir, called string) (name string, ok bool) {
	o := newOpener(fsys, dir, Limits{})
	o.called = called
	var err error
	if o.names, err = ReadNames(fsys, dir, o.l.MaxFiles); err != nil {
		return called, false
	}
	m := o.model()
	if m == (model{}) {
		// Several models are a folder of a model too, which is then refused.
		return called, len(o.problems) > 0 && !errors.Is(o.problems[0].Err, ErrMissing)
	}
	return o.peek(called, m), true
}

// PeekFile returns how the single model file, or unzipped model, at a path of
// the operating system is called.
func PeekFile(name string) string {
	called := NameFromPath(filepath.ToSlash(name))
	dir, file, problem := splitPath(name)
	if problem != nil || file == "" {
		return called
	}
	root, err := OpenRoot(dir)
	if err != nil {
		return called
	}
	defer root.Close() //nolint:errcheck // A read-only folder handle has nothing to lose.
	o := newOpener(root, ".", Limits{})
	m := model{name: file, alone: true}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		m = model{folder: file, alone: true}
	}
	if !m.agent() {
		return called
	}
	if o.names, err = ReadNames(root, ".", o.l.MaxFiles); err != nil {
		return called
	}
	return o.peek(called, m)
}

func (o *opener) peek(called string, m model) string {
	if m.agent() {
		o.training(o.neighbours(m))
	}
	return trainedName(called, path.Base(m.stem()), o.a.Training)
}
